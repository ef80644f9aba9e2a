package ipaddr

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/systole-ha/systole/pkg/netif"
)

// ipv6addr is the agent IPv6addr: ip[/prefix[/nic]]. It writes no lines of its own.
type ipv6addr struct {
	*call
	arg string
}

// parse reads the argument; bits is -1 if no prefix length was given.
func (x *ipv6addr) parse() (ip netip.Addr, bits int, nic string, ok bool) {
	f := append(strings.Split(x.arg, "/"), "", "")
	ip, err := netip.ParseAddr(f[0])
	bits, nic = -1, f[2]
	if f[1] != "" && err == nil {
		var n uint64
		n, err = strconv.ParseUint(f[1], 10, 8)
		bits = int(n)
	}
	return ip, bits, nic, err == nil && ip.Is6() && !ip.Is4In6() && ip.Zone() == "" && bits <= 128
}

func (x *ipv6addr) monitor() int {
	ip, bits, nic, ok := x.parse()
	if !ok {
		return badArguments
	}
	if _, ok := x.served(ip, nic, bits); !ok {
		return notRunning
	}
	return success
}

func (x *ipv6addr) renew() {
	ip, bits, nic, _ := x.parse()
	if a, ok := x.served(ip, nic, bits); ok {
		x.announce(a.Link, ip, "Could not send neighbour advertisements")
	}
}

func (x *ipv6addr) start() int {
	ip, bits, nic, ok := x.parse()
	if !ok {
		return badArguments
	}
	if _, ok := x.served(ip, nic, bits); ok {
		x.renew()
		return success
	}
	link, bits, ok := x.home(ip, bits, nic)
	if !ok {
		x.c.Log.Print("no interface has an address in the network of " + ip.String())
		return genericError
	}
	err := x.o.Host.AddAddr(netif.Addr{Link: link, Prefix: netip.PrefixFrom(ip, bits)})
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		x.c.Log.Print(err.Error())
		return genericError
	}
	x.announce(link, ip, "Could not send neighbour advertisements")
	return success
}

// home is the interface that has a global address in the same network, else the one given.
func (x *ipv6addr) home(ip netip.Addr, bits int, nic string) (string, int, bool) {
	list, err := x.o.Host.Addrs()
	if err != nil {
		x.c.Log.Print(err.Error())
	}
	for _, a := range list {
		if a.Prefix.Addr().Is6() && a.Scope == netif.Universe && a.Prefix.Bits() < 128 && a.Prefix.Contains(ip) &&
			(nic == "" || a.Link == nic) && (bits < 0 || bits == a.Prefix.Bits()) {
			return a.Link, a.Prefix.Bits(), true
		}
	}
	return nic, bits, nic != "" && bits >= 0
}

func (x *ipv6addr) stop() int {
	ip, bits, nic, ok := x.parse()
	if !ok {
		return badArguments
	}
	a, ok := x.served(ip, nic, bits)
	if !ok {
		return success
	}
	x.o.Announcer.Cancel(a.Link, ip)
	if err := x.remove(a.Link, a.Prefix); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		x.c.Log.Print(err.Error())
		return genericError
	}
	return success
}
