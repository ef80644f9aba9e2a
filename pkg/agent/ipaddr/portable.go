package ipaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/systole-ha/systole/pkg/netif"
)

// portable is Debian's agent IPaddr: it works with alias labels as ifconfig does.
type portable struct {
	*call
	target
}

// topAlias is the highest number that the original tries.
const topAlias = 511

// address reads the parameter; the original looks at its form only.
func (x *portable) address() (netip.Addr, bool) {
	parts := strings.Split(x.ip, ".")
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 32); err != nil {
			parts = nil
		}
	}
	if len(parts) != 4 {
		x.log("ERROR: Parameter OCF_RESKEY_ip [%s] not an IP address", x.ip)
		return netip.Addr{}, false
	}
	ip, _ := netip.ParseAddr(x.ip) // an invalid one is nowhere, and refused at start
	return ip, true
}

// alias finds the address under an alias label; one without does not count.
func (x *portable) alias(ip netip.Addr) (netif.Addr, bool) {
	list, err := x.o.Host.Addrs()
	if err != nil {
		x.log("ERROR: %v", err)
	}
	for _, a := range list {
		if a.Prefix.Addr() == ip && strings.Contains(a.Label, ":") {
			return a, true
		}
	}
	return netif.Addr{}, false
}

func (x *portable) monitor() int {
	ip, ok := x.address()
	if !ok {
		return notConfigured
	}
	a, ok := x.alias(ip)
	if !ok {
		return notRunning
	}
	if want := x.nic; want != "" && want != a.Link {
		x.log("ERROR: IP is running an interface (%s) instead of the configured one (%s)", a.Link, want)
		return genericError
	}
	return success
}

func (x *portable) renew() {
	ip, err := netip.ParseAddr(x.ip)
	if err != nil {
		return
	}
	if a, ok := x.alias(ip); ok {
		x.announce(a.Link, ip, announceFailed)
	}
}

const announceFailed = "Could not send gratuitous arps"

func (x *portable) start() int {
	ip, ok := x.address()
	if !ok {
		return notConfigured
	}
	p, no := x.findifProgram(ip)
	if no != nil {
		x.c.Log.Print(no.text)
		x.log("ERROR: /usr/libexec/heartbeat/findif failed [rc=%d].", no.code)
		return genericError
	}
	// The original has a fixed default, eth0, and says nothing of it; only there it works.
	if x.nic == "" && p.link != "eth0" {
		x.log("INFO: Using calculated nic for %s: %s", ip, p.link)
	}
	mask := quad(p.prefix.Bits())
	if x.mask != mask {
		x.log("INFO: Using calculated netmask for %s: %s", ip, mask)
	}
	if a, ok := x.alias(ip); ok && a.Link == p.link {
		x.announce(p.link, ip, announceFailed)
		return success
	}
	label, ok := x.freeAlias(p.link)
	if !ok {
		x.log("ERROR: Could not add %s to %s: no free alias", ip, p.link)
		return genericError
	}
	x.log("INFO: eval ifconfig %s %s netmask %s broadcast %s", label, ip, mask, p.broadcast)
	err := x.o.Host.AddAddr(netif.Addr{Link: p.link, Prefix: p.prefix, Broadcast: p.broadcast, Label: label})
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		x.log("ERROR: Could not add %s to %s: %v", ip, label, errnoOf(err))
		return genericError
	}
	if err := x.o.Host.SetUp(p.link); err != nil {
		x.log("ERROR: Could not add %s to %s: %v", ip, label, errnoOf(err))
		return genericError
	}
	x.announce(p.link, ip, announceFailed)
	return success
}

func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// freeAlias is the first label of link that is not in use.
func (x *portable) freeAlias(link string) (string, bool) {
	used := map[string]bool{}
	list, err := x.o.Host.Addrs()
	if err != nil {
		x.log("ERROR: %v", err)
	}
	for _, a := range list {
		used[a.Label] = true
	}
	for n := range topAlias + 1 {
		if label := link + ":" + strconv.Itoa(n); !used[label] {
			return label, len(label) < syscall.IFNAMSIZ
		}
	}
	return "", false
}

func (x *portable) stop() int {
	ip, ok := x.address()
	if !ok {
		return notConfigured
	}
	a, ok := x.alias(ip)
	if !ok {
		return success
	}
	x.o.Announcer.Cancel(a.Link, ip)
	x.log("INFO: ifconfig %s down", a.Label)
	if err := x.remove(a.Link, a.Prefix); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		x.c.Log.Print(err.Error())
		x.log("WARNING: IP Address %s NOT released: rc=%d", ip, genericError)
		return genericError
	}
	return success
}

// findifProgram chooses interface, mask and broadcast as the program findif does: by the best route
// to ip, the default route included if the mask is given.
func (x *portable) findifProgram(ip netip.Addr) (place, *refusal) {
	bad := func(format string, args ...any) (place, *refusal) {
		return place{}, &refusal{notConfigured, fmt.Sprintf(format, args...)}
	}
	if !ip.IsValid() {
		return bad("IP address [%s] not valid.", x.ip)
	}
	bits := -1
	if x.mask != "" {
		var ok bool
		if bits, ok = quadBits(x.mask); !ok {
			n, err := strconv.ParseUint(x.mask, 10, 8)
			if err != nil || n < 1 || n > 32 {
				return bad("Invalid netmask specification [%s]", x.mask)
			}
			bits = int(n)
		}
	}
	p := place{link: x.nic}
	if x.nic != "" {
		if _, ok := x.link(x.nic); !ok {
			return bad("%s: unknown interface: No such device", x.nic)
		}
	}
	if x.broadcast != "" {
		b, err := netip.ParseAddr(x.broadcast)
		if err != nil || !b.Is4() {
			return bad("Invalid broadcast address [%s].", x.broadcast)
		}
		p.broadcast = b
	}
	if p.link == "" || bits < 0 {
		r, ok := x.best(ip)
		switch {
		case !ok:
			return place{}, &refusal{genericError, "no route to " + ip.String()}
		case bits < 0 && r.Dst.Bits() == 0:
			return place{}, &refusal{genericError, fmt.Sprintf("ERROR: Cannot use default route w/o netmask [%s]", ip)}
		case bits < 0:
			bits = r.Dst.Bits()
		}
		p.link = r.Link
	}
	p.prefix = netip.PrefixFrom(ip, bits)
	if !p.broadcast.IsValid() {
		p.broadcast = hostBits(p.prefix, true)
	}
	return p, nil
}

// best is the route to ip, on the wanted interface if there is one, that no other beats in metric
// and length.
func (x *portable) best(ip netip.Addr) (best netif.Route, ok bool) {
	routes := x.routes(netif.MainTable, false)
	if ip.IsLoopback() {
		for _, r := range x.routes(netif.LocalTable, false) {
			if !r.Dst.IsSingleIP() {
				routes = append(routes, r)
			}
		}
	}
	for _, r := range routes {
		if r.Link == "" || !r.Dst.Contains(ip) || x.nic != "" && r.Link != x.nic {
			continue
		}
		if !ok || r.Metric <= best.Metric && r.Dst.Bits() >= best.Dst.Bits() {
			best, ok = r, true
		}
	}
	return best, ok
}
