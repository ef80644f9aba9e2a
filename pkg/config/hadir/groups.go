package hadir

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/diag"
)

// scripts: every resource has a program, or is served in process.
func (c *checker) scripts() {
	if c.machine.Script == nil {
		return
	}
	missing := func(r haresources.Resource, format string, args ...any) {
		c.fail(r.Pos, "", "a program in resource.d or /etc/init.d", format, args...)
		c.problems[len(c.problems)-1].Wire = "Cannot locate resource script " + r.Script
	}
	for _, g := range c.dir.Groups {
		for _, r := range g.Resources {
			builtin := c.machine.Builtin != nil && c.machine.Builtin(r.Script)
			switch s := c.machine.Script(r.Script); {
			case builtin && s.Path != "" && !s.Bare && !s.Stock:
				c.warn(r.Pos, r.Script, "the stock script, or none, for heartbeat's own agent", "%s is not the stock script: it will be run", s.Path)
			case builtin:
			case s.Path == "":
				missing(r, "cannot locate resource script %q", r.Script)
			case s.Bare:
				missing(r, "cannot locate resource script %q: %s is not executable", r.Script, s.Path)
			}
		}
	}
}

// address is the address of an IPaddr resource with what follows it.
type address struct {
	addr   netip.Addr
	link   string // named in the resource; "" is to be found
	script string
	group  int
	at     diag.Pos
}

// findVIPs lists the addresses that haresources brings up, as ADDRESS[/MASK[/INTERFACE[:LABEL]][/BROADCAST]].
func (c *checker) findVIPs() []address {
	var list []address
	for i, g := range c.dir.Groups {
		for _, r := range g.Resources {
			if r.Script != "IPaddr" && r.Script != "IPaddr2" && r.Script != "IPv6addr" {
				continue
			}
			v, ok := c.parseVIP(r)
			if !ok {
				continue
			}
			v.group = i
			if slices.ContainsFunc(list, func(x address) bool { return x.addr == v.addr }) {
				c.warn(r.Pos, r.Script, "each address once", "%s is in this file already", v.addr)
			}
			list = append(list, v)
		}
	}
	return list
}

func (c *checker) parseVIP(r haresources.Resource) (v address, ok bool) {
	switch {
	case len(r.Args) == 0:
		c.fail(r.Pos, r.Script, r.Script+"::ADDRESS", "no address given")
		return v, false
	case strings.Count(r.Word, "::") > 1 && strings.IndexFunc(strings.TrimPrefix(r.Word, r.Script+"::"), notInIPv6) < 0:
		c.fail(r.Pos, r.Script, "the IPv6 address in full: \"::\" parts arguments", "%q is not an address", r.Args[0])
		return v, false
	case len(r.Args) > 1:
		c.fail(r.Pos, r.Script, r.Script+"::ADDRESS/MASK/INTERFACE", "%d arguments", len(r.Args))
		return v, false
	}
	parts := append(strings.Split(r.Args[0], "/"), "", "", "")
	a, err := netip.ParseAddr(parts[0])
	switch v6 := r.Script == "IPv6addr"; {
	case v6 && (err != nil || !a.Is6()):
		c.fail(r.Pos, r.Script, "an IPv6 address", "%q is not an IPv6 address", parts[0])
		return v, false
	case !v6 && err != nil:
		c.fail(r.Pos, r.Script, "an IPv4 address", "%q is not an IPv4 address", parts[0])
		return v, false
	case !v6 && a.Is6():
		c.warn(r.Pos, r.Script, "IPv6addr::"+r.Args[0], "the original's %s takes no IPv6 address", r.Script)
	}
	if mask := parts[1]; mask != "" {
		n, err := strconv.Atoi(mask)
		quad, qerr := netip.ParseAddr(mask)
		if (err != nil || n < 1 || n > a.BitLen()) && (qerr != nil || !quad.Is4() || !a.Is4()) {
			c.fail(r.Pos, r.Script, fmt.Sprintf("1 to %d", a.BitLen()), "%s is not the length of a mask", mask)
		}
	}
	v = address{addr: a, script: r.Script, at: r.Pos}
	broadcast := parts[3]
	if parts[2] != "" {
		if parts[2][0] >= '0' && parts[2][0] <= '9' {
			broadcast = parts[2]
		} else {
			v.link, _, _ = strings.Cut(parts[2], ":")
		}
	}
	if b, err := netip.ParseAddr(broadcast); broadcast != "" && broadcast != "+" && broadcast != "-" && (err != nil || !b.Is4()) {
		c.fail(r.Pos, r.Script, "ADDRESS/MASK/INTERFACE/BROADCAST", "%q is not a broadcast address", broadcast)
	}
	return v, true
}

// notInIPv6 tells what cannot be in an IPv6 address with what follows a "/".
func notInIPv6(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF:/", r) }

// addresses: each has an interface to go on, and is not there yet.
func (c *checker) addresses() {
	for _, v := range c.vips {
		if c.machine.Links == nil {
			return
		}
		_, ok := c.machine.Links[v.link]
		switch {
		case v.link != "" && !ok:
			c.fail(v.at, v.script, c.linkNames(), "no interface %q here", v.link)
		case v.link == "" && !c.reachable(v.addr, ""):
			c.warn(v.at, v.script, "an address in a network of this node, or an interface after it", "%s is in no network of this node", v.addr)
		}
		if on := c.linkOf(v.addr); on != "" && on != "lo" && !c.machine.Running {
			c.warn(v.at, v.script, "an address that only heartbeat brings up", "%s is up on %s, and no heartbeat runs here", v.addr, on)
		}
	}
}

// order: resources that are there twice, and ipvsadm's place.
func (c *checker) order() {
	groups := map[string]int{} // the group in which a resource is
	ipvsadm := -1              // the group in which ipvsadm is
	for i, g := range c.dir.Groups {
		director := ""
		for _, r := range g.Resources {
			before, twice := groups[r.Word]
			switch {
			case r.Script == "IPaddr" || r.Script == "IPaddr2" || r.Script == "IPv6addr": // findVIPs has it
			case r.Script == "ipvsadm" && ipvsadm >= 0 && ipvsadm != i:
				c.warn(r.Pos, "ipvsadm", "ipvsadm in one group", "it is in line %d too: to stop either clears the table of both", c.dir.Groups[ipvsadm].Pos.Line)
			case twice && before == i:
				c.warn(r.Pos, "", "each resource once", "%q is in this line already", r.Word)
			case twice:
				c.warn(r.Pos, "", "each resource once", "%q is in line %d too: to stop either stops both", r.Word, c.dir.Groups[before].Pos.Line)
			case r.Script == "ipvsadm" && director != "":
				c.warn(r.Pos, "ipvsadm", "ipvsadm left of "+director, "its start clears what %s has put into the table", director)
			}
			groups[r.Word] = i
			switch r.Script {
			case "LVSSyncDaemonSwap":
				if len(r.Args) == 0 || r.Args[0] != "master" && r.Args[0] != "backup" {
					c.warn(r.Pos, r.Script, "LVSSyncDaemonSwap::master", "%q names no role: its start fails", r.Word)
				}
			case "ipvsadm":
				ipvsadm = i
			case "ldirectord":
				director = r.Word
			}
		}
		c.synced(g)
	}
}

// synced: a group that keeps open connections with LVSSyncDaemonSwap has its table before its address. IPVS
// looks at a namespace's packets from the first service on: packets of connections that come before
// that go to the director itself, which resets them.
func (c *checker) synced(g haresources.Group) {
	index := func(scripts ...string) int {
		return slices.IndexFunc(g.Resources, func(r haresources.Resource) bool { return slices.Contains(scripts, r.Script) })
	}
	sync, table, ip := index("LVSSyncDaemonSwap"), index("ipvsadm", "ldirectord"), index("IPaddr", "IPaddr2", "IPv6addr")
	if sync < 0 || ip < 0 || table < ip {
		return
	}
	r := g.Resources[ip]
	c.warn(r.Pos, r.Script, g.Resources[table].Word+" "+g.Resources[sync].Word+" "+r.Word,
		"it comes before the table: open connections that arrive between the two are reset, whatever LVSSyncDaemonSwap knows of them")
}

// table: who needs IPVS and will not have it. Said once.
func (c *checker) table() {
	if !c.machine.NoIPVS {
		return
	}
	for _, g := range c.dir.Groups {
		for _, r := range g.Resources {
			if r.Script == "ipvsadm" || r.Script == "ldirectord" {
				c.warn(r.Pos, r.Script, "the module ip_vs, or ipvs userspace in systole.cf", "this kernel has no IPVS")
				return
			}
		}
	}
}

// directorGroups are the groups that run ldirectord with the configuration in file.
func (c *checker) directorGroups(file string) []int {
	var list []int
	for i, g := range c.dir.Groups {
		for _, r := range g.Resources {
			if r.Script != "ldirectord" {
				continue
			}
			name := "ldirectord.cf"
			if len(r.Args) > 0 {
				name = r.Args[0]
			}
			if file == name || strings.HasSuffix(file, "/"+strings.TrimPrefix(name, "/")) {
				list = append(list, i)
			}
		}
	}
	return list
}
