package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Impl is whose programs run on a director.
type Impl int

// Implementations.
const (
	Ours     Impl = iota // this project's, from HostsOptions.Systole or HostsOptions.Root
	Original             // Debian's packages, as they are installed on this machine
)

// String is "ours" or "original".
func (i Impl) String() string {
	if i == Original {
		return "original"
	}
	return "ours"
}

// The tutorial's addresses.
var (
	VIP        = netip.MustParseAddr("172.16.60.111")
	masterAddr = netip.MustParseAddr("172.16.60.206")
	slaveAddr  = netip.MustParseAddr("172.16.60.207")
	realAddrs  = [2]netip.Addr{netip.MustParseAddr("172.16.60.204"), netip.MustParseAddr("172.16.60.205")}
	clientAddr = netip.MustParseAddr("172.16.60.1")
)

// Pages of the tutorial's web servers.
const (
	SorryPage = "Sorry, the access is in maintenance for the time being. Please wait a moment."
	TestPage  = "Test HA Page" // /lvs_testpage.html of the real servers
)

// HostsOptions say what differs from the tutorial. The zero value needs Systole or Root.
type HostsOptions struct {
	Master, Slave Impl
	Systole       string                           // our program; a tree of links to it is made
	Root          string                           // or: an install root of ours (usr/…, etc/…)
	Config        map[string]string                // files of both directors in place of the tutorial's: path → text
	MasterConfig  map[string]string                // of one of them, over Config
	SlaveConfig   map[string]string                //
	Env           []string                         // of the directors' commands, besides the usual
	Userspace     bool                             // no kernel IPVS, though there may be: see HaveIPVS
	Nginx         bool                             // real servers and directors run nginx, not a server of this process's
	IPv6          bool                             // fd00:60::206 and ::207 on the directors' eth0
	SecondLink    bool                             // eth1, a cross-over cable between the directors, 10.0.11.21 and .22
	Log           func(format string, args ...any) // as in Options
}

// Hosts are the five hosts of the tutorial, on one network: two directors, two real servers with the
// virtual address on lo, and a client, which is the others' gateway.
type Hosts struct {
	*Network
	Master, Slave *Director
	Real          [2]*WebHost // rs-204, rs-205
	Client        *Node
	ClientAddrs   []netip.Addr // of the client: persistence sends each to a real server of its own
	Userspace     bool         // the directors have no kernel IPVS
}

// Director is one of the two HA nodes.
type Director struct {
	*WebHost
	Impl Impl
	env  []string
}

// HaveIPVS tells whether the running kernel has IPVS loaded.
func HaveIPVS() bool {
	_, err := os.Stat("/proc/net/ip_vs")
	return err == nil
}

// NewHosts makes the five hosts with the web servers running and heartbeat not started.
func NewHosts(ctx context.Context, o HostsOptions) (*Hosts, error) {
	segments := []string{DefaultSegment}
	if o.SecondLink {
		segments = append(segments, "cross")
	}
	n, err := New(ctx, Options{Segments: segments, Log: o.Log})
	if err != nil {
		return nil, err
	}
	h := &Hosts{Network: n, Userspace: o.Userspace || !HaveIPVS()}
	if err := h.build(o); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return h, nil
}

func (h *Hosts) build(o HostsOptions) (err error) {
	if h.Client, err = h.client(); err != nil {
		return err
	}
	root := ""
	if o.Root != "" || o.Systole != "" {
		if root, err = h.root(o); err != nil {
			return err
		}
	}
	for i, addr := range realAddrs {
		if h.Real[i], err = h.realServer(i, addr, root, o.Nginx); err != nil {
			return err
		}
	}
	if h.Master, err = h.director("ha-master", masterAddr, 21, o.Master, o, o.MasterConfig); err != nil {
		return err
	}
	h.Slave, err = h.director("ha-slave", slaveAddr, 22, o.Slave, o, o.SlaveConfig)
	return err
}

// AddDirector adds an HA node to a network: a third one to the tutorial's hosts, or one of a pair whose other
// node is on another machine. Its configuration is the slave's, under o.Config. What o says of other nodes
// is not looked at.
func (n *Network) AddDirector(name string, addr netip.Addr, impl Impl, o HostsOptions) (*Director, error) {
	h := &Hosts{Network: n, Userspace: o.Userspace || !HaveIPVS()}
	return h.director(name, addr, addr.As4()[3], impl, o, map[string]string{"/etc/hostname": name + "\n"})
}

// root is the install root of ours.
func (h *Hosts) root(o HostsOptions) (string, error) {
	if o.Root != "" {
		return o.Root, nil
	}
	root := filepath.Join(h.dir, "ours")
	if isDir(root) {
		return root, nil
	}
	if err := installLinks(o.Systole, root); err != nil {
		return "", fmt.Errorf("lab: install root: %w", err)
	}
	return root, nil
}

func lanLink(addrs ...netip.Addr) Link {
	l := Link{Name: "eth0"}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.PrefixFrom(a, 24))
	}
	return l
}

func (h *Hosts) client() (*Node, error) {
	h.ClientAddrs = []netip.Addr{clientAddr}
	for i := range 8 {
		h.ClientAddrs = append(h.ClientAddrs, netip.AddrFrom4([4]byte{172, 16, 60, byte(11 + i)}))
	}
	return h.AddNode(NodeSpec{
		Name: "client", Links: []Link{lanLink(h.ClientAddrs...)},
		Sysctl: map[string]string{"net.ipv4.ip_forward": "1"},
	})
}

// realServer makes a real server. With our program in root, that puts the virtual address on lo and keeps it from being
// announced, as on a site's real servers; without, the tutorial's way does.
func (h *Hosts) realServer(i int, addr netip.Addr, root string, nginx bool) (*WebHost, error) {
	spec := NodeSpec{
		Name: "rs-" + fmt.Sprint(addr.As4()[3]), Links: []Link{lanLink(addr)}, Gateway: clientAddr,
		Sysctl: map[string]string{"net.ipv4.ip_forward": "1"},
	}
	if root != "" {
		spec.Roots = []string{root}
	} else {
		for _, dev := range []string{"lo", "all"} {
			spec.Sysctl["net.ipv4.conf."+dev+".arp_ignore"] = "1"
			spec.Sysctl["net.ipv4.conf."+dev+".arp_announce"] = "2"
		}
	}
	nd, err := h.NewNode(spec)
	if err != nil {
		return nil, err
	}
	w := &WebHost{Node: nd, nginx: nginx, pages: map[string]string{
		"/":                  fmt.Sprintf("this is test page of realserver%02d:%s\n", i+1, addr),
		"/lvs_testpage.html": TestPage + "\n",
	}, onPowerOn: func() error {
		if root == "" {
			return nd.loopback(VIP)
		}
		r, err := nd.Exec(h.ctx, "/usr/sbin/systole", "realserver", "start", VIP.String())
		if err == nil && r.Code != 0 {
			err = fmt.Errorf("lab: %s: systole realserver start: exit status %d: %s%s", nd.Name(), r.Code, r.Stdout, r.Stderr)
		}
		return err
	}}
	return w, w.PowerOn()
}

func (h *Hosts) director(name string, addr netip.Addr, cross byte, impl Impl, o HostsOptions, own map[string]string) (*Director, error) {
	spec := NodeSpec{Name: name, Links: []Link{lanLink(addr)}, Gateway: clientAddr, Sysctl: map[string]string{"net.ipv4.ip_forward": "1"}}
	if o.IPv6 {
		six := netip.MustParseAddr(fmt.Sprintf("fd00:60::%d", addr.As4()[3]))
		spec.Links[0].Addrs = append(spec.Links[0].Addrs, netip.PrefixFrom(six, 64))
	}
	if o.SecondLink {
		a := netip.AddrFrom4([4]byte{10, 0, 11, cross})
		spec.Links = append(spec.Links, Link{Name: "eth1", Segment: "cross", Addrs: []netip.Prefix{netip.PrefixFrom(a, 24)}})
	}
	if impl == Ours {
		root, err := h.root(o)
		if err != nil {
			return nil, err
		}
		spec.Roots = []string{root}
	}
	nd, err := h.NewNode(spec)
	if err != nil {
		return nil, err
	}
	d := &Director{Impl: impl, env: slices.Clone(o.Env), WebHost: &WebHost{Node: nd, nginx: o.Nginx, pages: map[string]string{"/": SorryPage + "\n"}}}
	if h.Userspace {
		// Our forwarder itself listens on the virtual address. Behind an original's stand-in for
		// ipvsadm nobody forwards: its own web server answers there.
		if impl == Ours {
			d.only = []netip.Addr{netip.MustParseAddr("127.0.0.1"), addr}
			d.env = append(d.env, "SYSTOLE_IPVS=userspace")
		} else if err := nd.WriteFile("/usr/sbin/ipvsadm", []byte(standinIPVSAdm), 0o755); err != nil {
			return nil, err
		}
	}
	files := TutorialConfig(addr == masterAddr)
	for _, m := range []map[string]string{o.Config, own} {
		for path, text := range m {
			files[path] = text
		}
	}
	for _, path := range sortedKeys(files) {
		if err := nd.WriteFile(path, []byte(files[path]), ConfigMode(path)); err != nil {
			return nil, err
		}
	}
	if impl == Original {
		// The tutorial's ha.cf names the directory of CentOS.
		if err := nd.Symlink("/usr/libexec/heartbeat", "/usr/lib64/heartbeat"); err != nil {
			return nil, err
		}
	}
	return d, d.PowerOn()
}

// WebHost is a node with a web server on port 80.
type WebHost struct {
	*Node
	pages     map[string]string
	nginx     bool
	only      []netip.Addr // addresses to listen on; none is all
	onPowerOn func() error
	mu        sync.Mutex
	sites     []*Site
}

// Page is what the host's web server answers at /, without the line's end.
func (w *WebHost) Page() string { return strings.TrimSpace(w.pages["/"]) }

// PowerOn boots the host and starts its web server.
func (w *WebHost) PowerOn() error {
	if err := w.Node.PowerOn(); err != nil {
		return err
	}
	if w.onPowerOn != nil {
		if err := w.onPowerOn(); err != nil {
			return err
		}
	}
	return w.StartWeb()
}

// PowerOff pulls the plug of the host.
func (w *WebHost) PowerOff() error {
	err := w.Node.PowerOff()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sites {
		err = errors.Join(err, s.Close())
	}
	w.sites = nil
	return err
}

// StartWeb starts the web server.
func (w *WebHost) StartWeb() error {
	if w.nginx {
		return w.startNginx()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sites) > 0 {
		return nil
	}
	handler := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		page, ok := w.pages[r.URL.Path]
		if !ok {
			http.NotFound(out, r)
			return
		}
		out.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(out, page) // a client that left
	})
	addrs := []string{":80"}
	if len(w.only) > 0 {
		addrs = nil
		for _, a := range w.only {
			addrs = append(addrs, netip.AddrPortFrom(a, 80).String())
		}
	}
	for _, a := range addrs {
		s, err := w.Serve(a, handler)
		if err != nil {
			return fmt.Errorf("lab: web server of %s: %w", w.Name(), err)
		}
		w.sites = append(w.sites, s)
	}
	return nil
}

// StopWeb stops the web server: new connections are refused.
func (w *WebHost) StopWeb() error {
	if w.nginx {
		return w.stopNginx()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, s := range w.sites {
		errs = append(errs, s.Close())
	}
	w.sites = nil
	return errors.Join(errs...)
}
