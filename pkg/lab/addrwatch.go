package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddrEvent is the kernel's notice that an address came or went.
type AddrEvent struct {
	Time  time.Time // of its arrival here
	Node  *Node
	Addr  netip.Prefix
	Added bool
}

// AddrWatch follows the addresses of nodes.
type AddrWatch struct {
	follower[AddrEvent]
	sock  *os.File
	nodes map[int32]*Node // by the number of their network namespace in the switch's
	done  chan struct{}
	once  sync.Once
}

// WatchAddrs begins to follow the node's addresses, until Stop, PowerOff, or Close of the network.
func (n *Node) WatchAddrs() (*AddrWatch, error) { return n.net.WatchAddrs(n) }

// WatchAddrs begins to follow the addresses of some nodes. All their notices come through one socket:
// the events are in the order in which the kernel made the changes, whatever nodes they are of.
func (n *Network) WatchAddrs(nodes ...*Node) (*AddrWatch, error) {
	w := &AddrWatch{nodes: map[int32]*Node{}, done: make(chan struct{})}
	err := n.sw.Do(func() error { return w.open(nodes) })
	if err != nil {
		return nil, fmt.Errorf("lab: watch addresses: %w", err)
	}
	raw, err := w.sock.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, w.sock.Close())
	}
	go func() { // ends by Stop
		defer close(w.done)
		buf, oob := make([]byte, 64<<10), make([]byte, 64)
		for {
			var size, oobSize int
			var rerr error
			err := raw.Read(func(fd uintptr) bool {
				size, oobSize, _, _, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
				return !errors.Is(rerr, unix.EAGAIN)
			})
			if err != nil || rerr != nil {
				return
			}
			w.notice(time.Now(), w.nodes[namespace(oob[:oobSize])], buf[:size])
		}
	}()
	n.onClose(w.Stop)
	return w, nil
}

// open makes the socket, in the switch's namespace, and has the kernel number those of the nodes.
func (w *AddrWatch) open(nodes []*Node) error {
	for _, n := range nodes {
		id, err := namespaceNumber(n.netFD())
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name(), err)
		}
		w.nodes[int32(id)] = n
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)}))
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	w.sock = os.NewFile(uintptr(fd), "addresses")
	return nil
}

// namespaceNumber is the number of a network namespace in the calling thread's. Nodes with a cable to
// the switch have one.
func namespaceNumber(fd int) (int, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	id, err := h.GetNetNsIdByFd(fd)
	if err == nil && id < 0 {
		err = errors.New("no cable")
	}
	return id, err
}

// namespace is the number of the namespace that a notice is from; -1 if it does not say.
func namespace(oob []byte) int32 {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
				return int32(binary.NativeEndian.Uint32(m.Data))
			}
		}
	}
	return -1
}

// notice takes what one datagram says about a node.
func (w *AddrWatch) notice(now time.Time, n *Node, b []byte) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if n == nil || err != nil {
		return
	}
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != unix.RTM_NEWADDR && m.Header.Type != unix.RTM_DELADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			continue
		}
		var addr netip.Addr
		for _, a := range attrs {
			// The local end of a point-to-point link has an attribute of its own; else both are the same.
			if v, ok := netip.AddrFromSlice(a.Value); ok && (a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !addr.IsValid()) {
				addr = v
			}
		}
		if addr.IsValid() {
			bits := int(m.Data[1]) // ifa_prefixlen
			w.add(AddrEvent{Time: now, Node: n, Addr: netip.PrefixFrom(addr, bits), Added: m.Header.Type == unix.RTM_NEWADDR})
		}
	}
}

// Stop ends the watch; its events stay. It may be called again.
func (w *AddrWatch) Stop() error {
	var err error
	w.once.Do(func() {
		err = w.sock.Close()
		<-w.done
	})
	return err
}

// Events returns what was seen so far.
func (w *AddrWatch) Events() []AddrEvent { return w.items() }

// Wait returns the first event, old or new, that ok accepts.
func (w *AddrWatch) Wait(ctx context.Context, ok func(AddrEvent) bool) (AddrEvent, error) {
	return w.wait(ctx, ok)
}
