package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NodeSpec says what a node is. Only Name is needed.
type NodeSpec struct {
	Name    string            // host name
	Links   []Link            // interfaces, cabled in this order
	Gateway netip.Addr        // default route; invalid is none
	Sysctl  map[string]string // "net.ipv4.ip_forward": "1"; set when the links are up
	Roots   []string          // install roots: their etc and usr are laid over the machine's, the first on top

	bare bool // the switch: sees the machine's files as they are
}

// Node is one host of a [Network]. A node that was switched off keeps its files under /etc, /usr,
// /var/lib, /var/log and /tmp; /run begins empty at each PowerOn.
type Node struct {
	Spec  NodeSpec
	net   *Network
	index int
	dir   string // disk/… and the overlays' work directories

	mu    sync.Mutex
	init  *exec.Cmd
	ctl   net.Conn // to the node's init; its end is the node's end
	pidfd int
	netns netns.NsHandle
	cmds  map[*Cmd]bool // started and not yet waited for
}

// Name is the node's host name.
func (n *Node) Name() string { return n.Spec.Name }

// Addr is the first IPv4 address of the node, or else its first address.
func (n *Node) Addr() netip.Addr {
	var first netip.Addr
	for _, l := range n.Spec.Links {
		for _, a := range l.Addrs {
			if a.Addr().Is4() {
				return a.Addr()
			}
			if !first.IsValid() {
				first = a.Addr()
			}
		}
	}
	return first
}

// Running tells whether the node is on.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.init != nil
}

// Pid is the process id of the node's init on the machine, 0 when the node is off.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.init == nil {
		return 0
	}
	return n.init.Process.Pid
}

// PowerOn boots the node: init, then cables, addresses, route and sysctls.
func (n *Node) PowerOn() error {
	if n.Running() {
		return nil
	}
	if err := n.boot(initConfig{}); err != nil {
		return fmt.Errorf("lab: node %s: %w", n.Name(), err)
	}
	err := n.withHandle(func(h *netlink.Handle) error { return setUp(h, "lo") })
	for _, l := range n.Spec.Links {
		if err == nil {
			err = n.net.plug(n, l)
		}
	}
	if err == nil && n.Spec.Gateway.IsValid() {
		err = n.withHandle(func(h *netlink.Handle) error {
			return h.RouteAdd(&netlink.Route{Gw: n.Spec.Gateway.AsSlice()})
		})
	}
	for _, k := range sortedKeys(n.Spec.Sysctl) {
		if err == nil {
			err = n.Sysctl(k, n.Spec.Sysctl[k])
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("lab: node %s: %w", n.Name(), err), n.halt())
	}
	n.net.log("node %s is on", n.Name())
	return nil
}

// PowerOff pulls the plug: nothing that the node says is heard any more, not even that its sockets
// are closed, and then every process is gone at once, none of them asked or told.
func (n *Node) PowerOff() error {
	if !n.Running() {
		return nil
	}
	for _, l := range n.Spec.Links {
		if err := n.isolate(l.name()); err != nil {
			return err
		}
	}
	err := n.halt()
	n.net.log("node %s is off", n.Name())
	return err
}

// halt kills the node's init, and with it all of the node.
func (n *Node) halt() error {
	n.mu.Lock()
	if n.init == nil {
		n.mu.Unlock()
		return nil
	}
	init, ctl, ns, pidfd := n.init, n.ctl, n.netns, n.pidfd
	n.init = nil
	var cmds []*Cmd
	for c := range n.cmds {
		cmds = append(cmds, c)
	}
	n.mu.Unlock()
	_ = init.Process.Kill()
	// The kernel ends init only when all others are gone, and those that this process started are
	// gone only when they have been waited for.
	for _, c := range cmds {
		_ = c.Wait() // for who started it to see
	}
	_ = init.Wait() // "signal: killed" is what was asked for
	err := errors.Join(ctl.Close(), ns.Close(), unix.Close(pidfd))
	// The ports go with the node's namespace, but not at once.
	if n.net.sw != n && n.net.sw.Running() {
		err = errors.Join(err, n.net.sw.withHandle(func(h *netlink.Handle) error {
			for _, l := range n.Spec.Links {
				if p, err := h.LinkByName(n.port(l.name())); err == nil {
					_ = h.LinkDel(p) // gone meanwhile
				}
			}
			return nil
		}))
	}
	return err
}

// Sysctl sets a network sysctl of the node.
func (n *Node) Sysctl(name, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	return n.Do(func() error { return os.WriteFile(path, []byte(value), 0o644) })
}

// Do runs f with its goroutine in the node's network namespace. Sockets that f opens itself (not in
// goroutines of its own) stay in there. All else of the process stays as it is.
func (n *Node) Do(f func() error) error {
	fd := n.netFD()
	if fd < 0 {
		return fmt.Errorf("lab: node %s is off", n.Name())
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- fmt.Errorf("lab: enter %s: %w", n.Name(), err)
			return
		}
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		_ = home.Close()
		done <- err
	}()
	return <-done
}

// NetNS returns a descriptor of the node's network namespace, which the node owns, for libraries
// that take one; -1 when the node is off.
func (n *Node) NetNS() int { return n.netFD() }

func (n *Node) netFD() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.init == nil {
		return -1
	}
	return int(n.netns)
}

func (n *Node) withHandle(f func(*netlink.Handle) error) error {
	fd := n.netFD()
	if fd < 0 {
		return fmt.Errorf("lab: node %s is off", n.Name())
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

// configure sets the addresses of a link that was just plugged in.
func (n *Node) configure(l Link) error {
	v6 := slices.ContainsFunc(l.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
	off := map[bool]string{true: "0", false: "1"}[v6]
	path := "net/ipv6/conf/" + l.name()
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		err := n.Do(func() error {
			// No duplicate detection: an address is usable at once. "." in names rules Sysctl out.
			return errors.Join(os.WriteFile("/proc/sys/"+path+"/accept_dad", []byte("0"), 0o644),
				os.WriteFile("/proc/sys/"+path+"/disable_ipv6", []byte(off), 0o644))
		})
		if err != nil {
			return err
		}
	}
	return n.withHandle(func(h *netlink.Handle) error {
		link, err := h.LinkByName(l.name())
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
		for _, a := range l.Addrs {
			if err := h.AddrAdd(link, address(a)); err != nil {
				return fmt.Errorf("address %s: %w", a, err)
			}
		}
		return nil
	})
}

// address is a as the kernel is told it: IPv4 with the broadcast address of its network.
func address(a netip.Prefix) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

func setUp(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.LinkSetUp(l)
}

// connected waits until both ends of a link's cable carry: the kernel spreads the word up to a second
// later, and the bridge forwards nothing before.
func (n *Node) connected(link string) error {
	for range 1000 {
		port, err := n.net.sw.state(n.port(link))
		if err != nil {
			return err
		}
		own, err := n.state(link)
		if err != nil {
			return err
		}
		if port.OperState == netlink.OperUp && own.OperState == netlink.OperUp || own.Flags&net.FlagUp == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("cable of %s: no carrier", link)
}

func (n *Node) state(link string) (attrs netlink.LinkAttrs, err error) {
	err = n.withHandle(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err == nil {
			attrs = *l.Attrs()
		}
		return err
	})
	return attrs, err
}

// port is the name of the bridge port at the other end of a link's cable.
func (n *Node) port(link string) string { return fmt.Sprintf("p%d.%s", n.index, link) }

func (n *Node) disk(elem ...string) string {
	return filepath.Join(append([]string{n.dir, "disk"}, elem...)...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
