package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultSegment is the bridge that a [Link] without a Segment is plugged into.
const DefaultSegment = "lan"

// Options of a [Network]. The zero value is useful.
type Options struct {
	Segments []string                         // bridges; none means DefaultSegment alone
	Log      func(format string, args ...any) // told what the network does; nil is silence
}

// Link is an interface of a node, cabled to a bridge.
type Link struct {
	Name    string // "" is eth0
	Segment string // "" is DefaultSegment
	Addrs   []netip.Prefix
	MAC     net.HardwareAddr // nil is 02:00 and the first IPv4 address
}

// Network is a set of nodes and the bridges between them. Its methods may be called from several
// goroutines.
type Network struct {
	ctx    context.Context
	dir    string
	log    func(string, ...any)
	sw     *Node // holds the bridges
	mu     sync.Mutex
	nodes  map[string]*Node
	order  []*Node
	faults faults
	closed bool
	closes []func() error // what probes, captures and watches left to stop
}

// New makes a network without nodes. Everything in it is gone after Close, or when ctx ends, or
// when the calling process ends in whatever way.
func New(ctx context.Context, o Options) (*Network, error) {
	dir, err := makeDir()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	n := &Network{ctx: ctx, dir: dir, log: o.Log, nodes: map[string]*Node{}}
	if n.log == nil {
		n.log = func(string, ...any) {}
	}
	segments := o.Segments
	if len(segments) == 0 {
		segments = []string{DefaultSegment}
	}
	n.sw = &Node{net: n, Spec: NodeSpec{Name: "switch", bare: true}, dir: filepath.Join(dir, "switch")}
	if err := n.sw.boot(initConfig{RemoveAtEnd: dir}); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: switch: %w", err), n.Close())
	}
	for _, s := range segments {
		if err := n.addBridge(s); err != nil {
			return nil, errors.Join(fmt.Errorf("lab: bridge %s: %w", s, err), n.Close())
		}
	}
	return n, nil
}

// makeDir makes the network's directory on a file system that an overlay can write to.
func makeDir() (string, error) {
	parent := os.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(parent, &st); err == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		parent = "/dev/shm"
	}
	return os.MkdirTemp(parent, "systole-lab-")
}

// Dir is a directory of the network's own, removed by Close.
func (n *Network) Dir() string { return n.dir }

// Node returns the node of that name, or nil.
func (n *Network) Node(name string) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[name]
}

// Nodes lists the nodes in the order of their making.
func (n *Network) Nodes() []*Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Node(nil), n.order...)
}

// AddNode makes a node and switches it on.
func (n *Network) AddNode(spec NodeSpec) (*Node, error) {
	nd, err := n.NewNode(spec)
	if err != nil {
		return nil, err
	}
	return nd, nd.PowerOn()
}

// NewNode makes a node that is off: its files can be written, and PowerOn starts it.
func (n *Network) NewNode(spec NodeSpec) (*Node, error) {
	if spec.Name == "" || filepath.Base(spec.Name) != spec.Name {
		return nil, fmt.Errorf("lab: node name %q is not a host name", spec.Name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[spec.Name] != nil || n.closed {
		return nil, fmt.Errorf("lab: node %s: exists already, or the network is closed", spec.Name)
	}
	nd := &Node{net: n, Spec: spec, index: len(n.order) + 1, dir: filepath.Join(n.dir, spec.Name)}
	n.nodes[spec.Name] = nd
	n.order = append(n.order, nd)
	return nd, nil
}

// Close ends every process of the network and removes all that was made for it. It may be called
// again.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	closes, nodes := n.closes, append(append([]*Node(nil), n.order...), n.sw)
	n.closes = nil
	n.mu.Unlock()
	var errs []error
	for i := len(closes) - 1; i >= 0; i-- {
		errs = append(errs, closes[i]())
	}
	for _, nd := range nodes {
		errs = append(errs, nd.halt())
	}
	// A process that was just killed may still be making a file.
	err := os.RemoveAll(n.dir)
	for i := 0; err != nil && i < 20; i++ {
		time.Sleep(20 * time.Millisecond)
		err = os.RemoveAll(n.dir)
	}
	return errors.Join(append(errs, err)...)
}

// onClose has f called by Close before the nodes end.
func (n *Network) onClose(f func() error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closes = append(n.closes, f)
}

func (n *Network) addBridge(name string) error {
	return n.sw.withHandle(func(h *netlink.Handle) error {
		snoop := false // multicast heartbeats reach every port
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snoop}
		if err := h.LinkAdd(br); err != nil {
			return err
		}
		return h.LinkSetUp(br)
	})
}

// plug makes a veth pair: one end is the node's interface, the other a port of the bridge.
func (n *Network) plug(nd *Node, l Link) error {
	mac := l.mac()
	err := n.sw.withHandle(func(h *netlink.Handle) error {
		br, err := h.LinkByName(l.segment())
		if err != nil {
			return fmt.Errorf("segment %s: %w", l.segment(), err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nd.port(l.name())
		attrs.MasterIndex = br.Attrs().Index
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: l.name(), PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(nd.netFD())}
		if err := h.LinkAdd(veth); err != nil {
			return err
		}
		return h.LinkSetUp(veth)
	})
	if err != nil {
		return fmt.Errorf("cable of %s: %w", l.name(), err)
	}
	if err := nd.configure(l); err != nil {
		return err
	}
	return nd.connected(l.name())
}

func (l Link) name() string {
	if l.Name == "" {
		return "eth0"
	}
	return l.Name
}

func (l Link) segment() string {
	if l.Segment == "" {
		return DefaultSegment
	}
	return l.Segment
}

func (l Link) mac() net.HardwareAddr {
	if l.MAC != nil {
		return l.MAC
	}
	for _, a := range l.Addrs {
		if a.Addr().Is4() {
			b := a.Addr().As4()
			return net.HardwareAddr{2, 0, b[0], b[1], b[2], b[3]}
		}
	}
	return nil
}
