package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/j-keck/arping"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
)

// network is the Sender to real links. It keeps one socket a link: closing a packet socket takes
// the kernel tens of milliseconds, in which no other frame would leave.
type network struct {
	conns map[string]*conn
}

// conn is a packet socket on a link as it was when the socket was made.
type conn struct {
	index int
	c     *packet.Conn
}

func newNetwork() *network { return &network{conns: map[string]*conn{}} }

// Close closes the sockets.
func (n *network) Close() error {
	var errs []error
	for _, c := range n.conns {
		errs = append(errs, c.c.Close())
	}
	clear(n.conns)
	return errors.Join(errs...)
}

// ARP is Sender. Links without an Ethernet address (lo, tunnels) are passed over, as the original
// passes over lo.
func (n *network) ARP(link string, ip netip.Addr, reply bool) error {
	err := n.arp(link, ip, reply)
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", ip, link, err)
	}
	return nil
}

func (n *network) arp(link string, ip netip.Addr, reply bool) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil || len(ifi.HardwareAddr) != 6 {
		return err
	}
	c := n.conns[link]
	if c == nil || c.index != ifi.Index {
		n.drop(link)
		p, err := packet.Listen(ifi, packet.Raw, 0, nil) // protocol 0 receives nothing
		if err != nil {
			return err
		}
		c = &conn{index: ifi.Index, c: p}
		n.conns[link] = c
	}
	if _, err = c.c.WriteTo(frame(ifi.HardwareAddr, ip, reply), &packet.Addr{HardwareAddr: broadcast}); err != nil {
		n.drop(link)
	}
	return err
}

func (n *network) drop(link string) {
	if c := n.conns[link]; c != nil {
		_ = c.c.Close() // there is nothing in it that could be lost
		delete(n.conns, link)
	}
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// frame is a gratuitous ARP frame, "ip is at hw", to everybody: a request for ip, whose target
// hardware address is zero, or a reply that nobody asked for, to ip itself, as send_arp has them.
func frame(hw net.HardwareAddr, ip netip.Addr, reply bool) []byte {
	return frameFrom(hw, hw, ip, reply)
}

// frameFrom is the same, sent by a link whose own address is another.
func frameFrom(link, hw net.HardwareAddr, ip netip.Addr, reply bool) []byte {
	op, target := byte(1), make(net.HardwareAddr, 6)
	if reply {
		op, target = 2, hw
	}
	f := make([]byte, 0, 42)
	f = append(f, broadcast...)
	f = append(f, link...)
	f = append(f, 0x08, 0x06)                    // Ethernet type: ARP
	f = append(f, 0, 1, 0x08, 0x00, 6, 4, 0, op) // Ethernet, IPv4
	f = append(f, hw...)
	f = append(f, ip.AsSlice()...)
	f = append(f, target...)
	return append(f, ip.AsSlice()...)
}

// Once announces ip on link with one request and one reply, or one advertisement, for a program
// that ends soon after. It may take some time to return; the frames leave at once.
func Once(link string, ip netip.Addr) (err error) {
	n := newNetwork()
	defer func() { err = errors.Join(err, n.Close()) }()
	if ip.Is6() {
		return n.Advertise(link, ip)
	}
	ifi, err := net.InterfaceByName(link)
	if err != nil || len(ifi.HardwareAddr) != 6 {
		return err
	}
	// arping's socket is not close-on-exec: no child may be started until it is closed.
	syscall.ForkLock.RLock()
	err = arping.GratuitousArpOverIface(ip.AsSlice(), *ifi)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", ip, link, err)
	}
	return n.ARP(link, ip, true)
}

// Burst announces an IPv4 address on link as the program send_arp does: requests and replies in turn,
// with hw as the sender's hardware address (nil: the link's own). It returns when the last frame
// has left, or ctx has ended. A link without hardware addresses has nobody to be told.
func Burst(ctx context.Context, link string, ip netip.Addr, hw net.HardwareAddr, plan Schedule) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil || len(ifi.HardwareAddr) != 6 {
		return err
	}
	if hw == nil {
		hw = ifi.HardwareAddr
	}
	c, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", ip, link, err)
	}
	defer c.Close()
	for n := range plan.Frames {
		if n > 0 {
			select {
			case <-time.After(plan.Every):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if _, err := c.WriteTo(frameFrom(ifi.HardwareAddr, hw, ip, n%2 == 1), &packet.Addr{HardwareAddr: broadcast}); err != nil {
			return fmt.Errorf("announce %s on %s: %w", ip, link, err)
		}
	}
	return nil
}

// Advertise is Sender.
func (n *network) Advertise(link string, ip netip.Addr) error {
	err := advertise(link, ip)
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", ip, link, err)
	}
	return nil
}

func advertise(link string, ip netip.Addr) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil || ifi.Flags&net.FlagLoopback != 0 {
		return err
	}
	// The source is the address itself: the link-local one may still be tentative.
	c, _, err := ndp.Listen(ifi, ndp.Addr(ip.String()))
	if err != nil {
		return err
	}
	na := &ndp.NeighborAdvertisement{Override: true, TargetAddress: ip}
	if len(ifi.HardwareAddr) == 6 {
		na.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: ifi.HardwareAddr}}
	}
	err = c.WriteTo(na, nil, netip.IPv6LinkLocalAllNodes().WithZone(link))
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}
