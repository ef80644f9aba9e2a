package announce

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/j-keck/arping"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
)

// network is the Sender to real links.
type network struct{}

// ARP is Sender. Links without an Ethernet address (lo, tunnels) are passed over, as the original
// passes over lo.
func (network) ARP(link string, ip netip.Addr, reply bool) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", ip, link, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil
	}
	if reply {
		err = sendReply(ifi, ip)
	} else {
		// arping's socket is not close-on-exec: no child may be started until it is closed.
		syscall.ForkLock.RLock()
		err = arping.GratuitousArpOverIface(ip.AsSlice(), *ifi)
		syscall.ForkLock.RUnlock()
	}
	if err != nil {
		return fmt.Errorf("announce %s on %s: %w", ip, link, err)
	}
	return nil
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// replyFrame is an ARP reply that nobody asked for, to everybody: "ip is at hw". Its target is the
// sender itself, as send_arp has it.
func replyFrame(hw net.HardwareAddr, ip netip.Addr) []byte {
	f := make([]byte, 0, 42)
	f = append(f, broadcast...)
	f = append(f, hw...)
	f = append(f, 0x08, 0x06)                         // Ethernet type: ARP
	f = append(f, 0, 1, 0x08, 0x00, 6, 4, 0x00, 0x02) // Ethernet, IPv4, reply
	for range 2 {                                     // sender, target
		f = append(f, hw...)
		f = append(f, ip.AsSlice()...)
	}
	return f
}

func sendReply(ifi *net.Interface, ip netip.Addr) (err error) {
	// Protocol 0 receives nothing.
	c, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(replyFrame(ifi.HardwareAddr, ip), &packet.Addr{HardwareAddr: broadcast})
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// Advertise is Sender.
func (network) Advertise(link string, ip netip.Addr) error {
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
	allNodes := netip.IPv6LinkLocalAllNodes().WithZone(link)
	err = c.WriteTo(na, nil, allNodes)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}
