package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kernel is the Host of this machine, or rather of the network namespace in which it was opened.
type Kernel struct {
	h *netlink.Handle
}

// Open connects to route netlink in the calling thread's namespace.
func Open() (*Kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink: %w", err)
	}
	return &Kernel{h: h}, nil
}

// Close ends the connection.
func (k *Kernel) Close() { k.h.Close() }

// dumpTries bounds how often a list is asked for again that changed while it was sent; the last
// answer is used as it is.
const dumpTries = 5

func dump[T any](list func() ([]T, error)) ([]T, error) {
	var out []T
	var err error
	for range dumpTries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, nil
}

// Links is Host.
func (k *Kernel) Links() ([]Link, error) {
	list, err := dump(k.h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := make([]Link, 0, len(list))
	for _, l := range list {
		out = append(out, linkOf(l.Attrs()))
	}
	return out, nil
}

func linkOf(a *netlink.LinkAttrs) Link {
	return Link{
		Index: a.Index, Name: a.Name, Hardware: a.HardwareAddr, MTU: a.MTU,
		Up: a.Flags&net.FlagUp != 0, Running: a.RawFlags&unix.IFF_RUNNING != 0, Loopback: a.Flags&net.FlagLoopback != 0,
	}
}

// names maps interface indices to names.
func (k *Kernel) names() (map[int]string, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	return names, nil
}

// Addrs is Host.
func (k *Kernel) Addrs() ([]Addr, error) {
	names, err := k.names()
	if err != nil {
		return nil, err
	}
	var out []Addr
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := dump(func() ([]netlink.Addr, error) { return k.h.AddrList(nil, family) })
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range list {
			p, ok := prefixOf(a.IPNet)
			if !ok {
				continue
			}
			bcast, _ := netip.AddrFromSlice(a.Broadcast)
			out = append(out, Addr{
				Link: names[a.LinkIndex], Prefix: p, Broadcast: bcast.Unmap(), Label: a.Label, Scope: Scope(a.Scope),
				Secondary: family == unix.AF_INET && a.Flags&unix.IFA_F_SECONDARY != 0, Tentative: a.Flags&unix.IFA_F_TENTATIVE != 0,
			})
		}
	}
	return out, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	if bits == 32 {
		ip = ip.Unmap()
	}
	return netip.PrefixFrom(ip, ones), true
}

// Routes is Host.
func (k *Kernel) Routes(t Table, v6 bool) ([]Route, error) {
	family, anywhere := unix.AF_INET, netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if v6 {
		family, anywhere = unix.AF_INET6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	names, err := k.names()
	if err != nil {
		return nil, err
	}
	list, err := dump(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(family, &netlink.Route{Table: int(t)}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	out := make([]Route, 0, len(list))
	for _, r := range list {
		dst, ok := prefixOf(r.Dst)
		if !ok {
			dst = anywhere
		}
		n := Route{Link: names[r.LinkIndex], Dst: dst, Metric: r.Priority, Scope: Scope(r.Scope)}
		if src, ok := netip.AddrFromSlice(r.Src); ok {
			n.Src = src.Unmap()
		}
		if via, ok := netip.AddrFromSlice(r.Gw); ok {
			n.Via = via.Unmap()
		}
		out = append(out, n)
	}
	return out, nil
}

// AddAddr is Host.
func (k *Kernel) AddAddr(a Addr) error {
	if err := checkLabel(a); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("add address %s to %s: %w", a.Prefix, a.Link, err) }
	link, err := k.link(a.Link)
	if err != nil {
		return fail(err)
	}
	n := &netlink.Addr{IPNet: ipNet(a.Prefix), Scope: int(a.Scope), Label: a.Label}
	switch {
	case a.Prefix.Addr().Is6():
		n.Flags, n.Label = unix.IFA_F_NODAD, ""
	case a.Broadcast.IsValid():
		n.Broadcast = a.Broadcast.AsSlice()
	default:
		n.Broadcast = net.IPv4zero // "do not compute one"
	}
	if err := k.h.AddrAdd(link, n); err != nil {
		return fail(err)
	}
	return nil
}

// checkLabel refuses what ifconfig and ip would: the kernel takes any text.
func checkLabel(a Addr) error {
	if a.Label == "" || a.Label == a.Link {
		return nil
	}
	if !strings.HasPrefix(a.Label, a.Link+":") {
		return fmt.Errorf("add address %s to %s: label %q does not begin with %q: %w", a.Prefix, a.Link, a.Label, a.Link+":", unix.EINVAL)
	}
	if len(a.Label) >= unix.IFNAMSIZ {
		return fmt.Errorf("add address %s to %s: label %q has more than %d characters: %w", a.Prefix, a.Link, a.Label, unix.IFNAMSIZ-1, unix.ERANGE)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// link finds an interface by name; ENODEV if there is none.
func (k *Kernel) link(name string) (netlink.Link, error) {
	l, err := k.h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, unix.ENODEV
	}
	return l, err
}

// DelAddr is Host.
func (k *Kernel) DelAddr(link string, p netip.Prefix) error {
	l, err := k.link(link)
	if err == nil {
		err = k.h.AddrDel(l, &netlink.Addr{IPNet: ipNet(p), Broadcast: net.IPv4zero})
	}
	if err != nil {
		return fmt.Errorf("delete address %s from %s: %w", p, link, err)
	}
	return nil
}

// DelRoute is Host.
func (k *Kernel) DelRoute(link string, dst netip.Prefix) error {
	l, err := k.link(link)
	if err == nil {
		err = k.h.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(dst), Table: unix.RT_TABLE_MAIN, Scope: netlink.SCOPE_NOWHERE})
	}
	if err != nil {
		return fmt.Errorf("delete route to %s through %s: %w", dst, link, err)
	}
	return nil
}

// DelNeighbor is Host.
func (k *Kernel) DelNeighbor(link string, ip netip.Addr) error {
	l, err := k.link(link)
	if err == nil {
		err = k.h.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip.AsSlice()})
	}
	if err != nil {
		return fmt.Errorf("delete neighbour %s from %s: %w", ip, link, err)
	}
	return nil
}

// SetUp is Host.
func (k *Kernel) SetUp(link string) error {
	l, err := k.link(link)
	if err == nil {
		err = k.h.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	return nil
}

// Watch is Host. It listens in the calling thread's namespace.
func (k *Kernel) Watch(ctx context.Context, f func(Event)) error {
	done := make(chan struct{})
	defer close(done)
	failed := make(chan error, 2)
	report := func(err error) {
		select {
		case failed <- err:
		default: // only the first counts; one more comes when we close done
		}
	}
	// The library's goroutines close these after done is closed or a failure; they are drained so
	// that neither waits for us.
	linkUpdates, addrUpdates := make(chan netlink.LinkUpdate), make(chan netlink.AddrUpdate)
	links, addrs := (<-chan netlink.LinkUpdate)(linkUpdates), (<-chan netlink.AddrUpdate)(addrUpdates)
	if err := netlink.LinkSubscribeWithOptions(linkUpdates, done, netlink.LinkSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer func() { go drain(linkUpdates) }()
	if err := netlink.AddrSubscribeWithOptions(addrUpdates, done, netlink.AddrSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer func() { go drain(addrUpdates) }()
	names, err := k.names()
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("watch addresses: %w", err)
		case u, ok := <-links:
			if !ok {
				links = nil
				continue
			}
			l := linkOf(u.Link.Attrs())
			names[l.Index] = l.Name
			f(Event{Link: &l, Removed: u.Header.Type == unix.RTM_DELLINK})
		case u, ok := <-addrs:
			if !ok {
				addrs = nil
				continue
			}
			p, ok := prefixOf(&u.LinkAddress)
			if !ok {
				continue
			}
			if _, known := names[u.LinkIndex]; !known { // the link's own notice is still to come
				if names, err = k.names(); err != nil {
					return err
				}
			}
			f(Event{
				Addr: &Addr{
					Link: names[u.LinkIndex], Prefix: p, Scope: Scope(u.Scope),
					Secondary: p.Addr().Is4() && u.Flags&unix.IFA_F_SECONDARY != 0, Tentative: u.Flags&unix.IFA_F_TENTATIVE != 0,
				},
				Removed: !u.NewAddr,
			})
		}
	}
}

func drain[T any](c <-chan T) {
	for range c {
	}
}
