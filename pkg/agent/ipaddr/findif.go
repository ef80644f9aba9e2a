package ipaddr

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// place is where an address belongs.
type place struct {
	link      string
	prefix    netip.Prefix
	broadcast netip.Addr // invalid: none
}

// refusal is why there is no place: an exit code and the text of findif's ERROR line.
type refusal struct {
	code int
	text string
}

// findif chooses interface, prefix length and broadcast address as the shell findif of IPaddr2
// does: from the routes to directly connected networks. strict asks for all the checks of the
// arguments; Debian's makes them at start only.
func (x *call) findif(t target, strict bool) (place, *refusal) {
	bits, r := x.maskBits(t.mask)
	if r == nil && strict {
		r = x.check(t, bits)
	}
	if r != nil {
		return place{}, r
	}
	p := place{link: t.nic}
	ip, err := netip.ParseAddr(t.ip)
	var route netif.Route
	found := false
	if err == nil {
		route, found = x.connected(ip, bits, t.nic)
	}
	switch {
	case found:
		if p.link == "" {
			p.link = route.Link
		}
		if bits < 0 {
			bits = route.Dst.Bits()
		}
	case p.link == "" || bits < 0 || err != nil:
		return place{}, &refusal{genericError, "Unable to find nic or netmask."}
	}
	if bits > ip.BitLen() {
		return place{}, badMask(t.mask)
	}
	p.prefix = netip.PrefixFrom(ip, bits)
	switch {
	case !ip.Is4():
	case t.broadcast == "+":
		p.broadcast = hostBits(p.prefix, true)
	case t.broadcast == "-":
		p.broadcast = hostBits(p.prefix, false)
	case t.broadcast != "":
		p.broadcast, _ = netip.ParseAddr(t.broadcast) // was checked before anything is added
	case found && route.Src.IsValid():
		if a, ok := x.served(route.Src, "", -1); ok {
			p.broadcast = a.Broadcast
		}
	}
	return p, nil
}

// maskBits reads a prefix length; -1 if none was given. Dotted quads are taken too, as by Debian's
// findif; CentOS's refuses them.
func (x *call) maskBits(mask string) (int, *refusal) {
	if mask == "" {
		return -1, nil
	}
	if strings.Contains(mask, ".") {
		if n, ok := quadBits(mask); ok {
			x.log("WARNING: Please convert dotted quad netmask %s to CIDR notation %d!", mask, n)
			return n, nil
		}
	}
	n, err := strconv.ParseUint(mask, 10, 8)
	if err != nil {
		return 0, badMask(mask)
	}
	return int(n), nil
}

func badMask(mask string) *refusal {
	return &refusal{notConfigured, "Invalid netmask specification [" + mask + "]."}
}

// quadBits reads a netmask in dotted form.
func quadBits(mask string) (int, bool) {
	m, err := netip.ParseAddr(mask)
	if err != nil || !m.Is4() {
		return 0, false
	}
	b := m.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := 0
	for ; v&(1<<31) != 0; v <<= 1 {
		n++
	}
	return n, v == 0
}

// quad is the dotted form of a prefix length.
func quad(bits int) string {
	return hostBits(netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), bits), false).String()
}

// hostBits is the prefix's address with all host bits set, or none.
func hostBits(p netip.Prefix, set bool) netip.Addr {
	if !set {
		return p.Masked().Addr()
	}
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// check refuses bad arguments; bits is the mask as read.
func (x *call) check(t target, bits int) *refusal {
	if t.nic != "" {
		if _, ok := x.link(t.nic); !ok {
			if x.o.Dialect == halog.D12 {
				return &refusal{notConfigured, "Invalid interface name [" + t.nic + `]: Device "` + t.nic + `" does not exist.`}
			}
			return &refusal{notConfigured, "Unknown interface [" + t.nic + "] No such device."}
		}
	}
	ip, err := netip.ParseAddr(t.ip)
	if err != nil || ip.Zone() != "" || ip.Is4() && ip.As4()[0] == 0 {
		return &refusal{notConfigured, "IP address [" + t.ip + "] not valid."}
	}
	if t.mask != "" && (bits < 1 || bits > ip.BitLen()) {
		return badMask(t.mask)
	}
	if b, err := netip.ParseAddr(t.broadcast); t.broadcast != "" && (err != nil || !b.Is4()) &&
		!(x.o.Dialect == halog.D12 && (t.broadcast == "+" || t.broadcast == "-")) {
		return &refusal{notConfigured, "Invalid broadcast address [" + t.broadcast + "]."}
	}
	return nil
}

// connected finds the route to the directly connected network that ip is in: not longer than bits
// if that was given, on link if that was. Debian's findif takes the longest prefix, the last of
// equal ones; CentOS's the first in the kernel's order.
func (x *call) connected(ip netip.Addr, bits int, link string) (netif.Route, bool) {
	fits := func(r netif.Route) bool {
		return r.Dst.Contains(ip) && (bits < 0 || r.Dst.Bits() <= bits) && (link == "" || r.Link == link)
	}
	var found []netif.Route
	for _, r := range x.routes(netif.MainTable, ip.Is6()) {
		direct := r.Scope == netif.OnLink || ip.Is6() && !r.Via.IsValid()
		if direct && r.Dst.Bits() > 0 && fits(r) {
			found = append(found, r)
		}
	}
	if len(found) == 0 && ip.Is4() && ip.IsLoopback() {
		for _, r := range x.routes(netif.LocalTable, false) {
			if r.Scope == netif.OnHost && !r.Dst.IsSingleIP() && fits(r) {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		return netif.Route{}, false
	}
	if x.o.Dialect == halog.D12 {
		slices.SortStableFunc(found, func(a, b netif.Route) int { return a.Dst.Bits() - b.Dst.Bits() })
		return found[len(found)-1], true
	}
	return found[0], true
}

func (x *call) routes(t netif.Table, v6 bool) []netif.Route {
	list, err := x.o.Host.Routes(t, v6)
	if err != nil {
		x.log("ERROR: %v", err)
	}
	return list
}
