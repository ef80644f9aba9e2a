// Package hadir holds the files of an /etc/ha.d directory against each other and against the
// machine: what each parser alone cannot know. It does no I/O; texts and facts come in.
package hadir

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Dir is the parsed files. Nil and empty parts are not looked at.
type Dir struct {
	HA         *hacf.Config
	Resources  string // the file's name
	Groups     []haresources.Group
	Ldirectord []*ldirectordcf.Config
	Rules      *Rules // nil unless the ipvsadm resource loads any
}

// Rules are the rules that the ipvsadm resource loads.
type Rules struct {
	Table []ipvs.Entry // what they make of an empty table
	// At is where a service (with an invalid dest) or a destination is added.
	At func(service ipvs.VIP, dest netip.AddrPort) diag.Pos
}

// Machine is what is asked about this machine. Nil parts are not asked.
type Machine struct {
	Links map[string][]netip.Prefix // interfaces with their addresses
	// Script finds the program of a resource as the scripts do; ok is false if there is none.
	Script func(name string) (path string, ok bool)
	// Builtin tells whether a resource is served in process, so that no program is needed.
	Builtin func(name string) bool
}

// Check returns what does not fit together. Only what surely fails is an error.
func Check(d Dir, m Machine) diag.List {
	c := checker{dir: d, machine: m}
	c.vips = c.findVIPs()
	c.nodes()
	c.media()
	c.scripts()
	c.addresses()
	c.virtuals()
	c.rules()
	return c.problems
}

type checker struct {
	dir      Dir
	machine  Machine
	vips     []address // what haresources brings up
	problems diag.List
}

// nodes: haresources is for two, and what is named twice counts twice.
func (c *checker) nodes() {
	if c.dir.HA == nil || len(c.dir.HA.Nodes) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, n := range c.dir.HA.Nodes {
		if seen[n.Name] {
			c.problems.Warnf(n.Pos, "node", "each node once", "%q is a node already; the original counts it twice", n.Name)
		}
		seen[n.Name] = true
	}
	last := c.dir.HA.Nodes[len(c.dir.HA.Nodes)-1]
	switch {
	case len(seen) == 1:
		c.problems.Warnf(last.Pos, "node", "two nodes", "%q is the only node: there is nobody to take over", last.Name)
	case len(seen) > 2:
		c.problems.Warnf(last.Pos, "node", "two nodes", "%d nodes: haresources is made for two", len(seen))
	}
	for _, m := range c.dir.HA.Media {
		if m.Ping() && seen[m.Name] {
			c.problems.Warnf(m.Pos, m.Kind, "a host that is no node", "%q is a node of the cluster too", m.Name)
		}
	}
}

// media: interfaces that are not there, and media that reach nobody.
func (c *checker) media() {
	if c.dir.HA == nil || len(c.dir.HA.Media) == 0 {
		return
	}
	var toSelf []hacf.Medium // as every ucast file has that is the same on both nodes
	reaching := 0
	for _, m := range c.dir.HA.Media {
		if m.Ping() {
			continue
		}
		if _, ok := c.machine.Links[m.Name]; !ok && m.Kind != "serial" && c.machine.Links != nil {
			c.problems.Errorf(m.Pos, m.Kind, "one of "+c.linkNames(), "no interface %q here", m.Name)
		}
		if m.Kind == "ucast" || m.Kind == "ucast6" {
			if a, err := netip.ParseAddr(m.Args[0]); err == nil && c.own(a) {
				toSelf = append(toSelf, m)
				continue
			}
		}
		reaching++
	}
	switch {
	case reaching > 0:
	case len(toSelf) > 0:
		c.problems.Errorf(toSelf[0].Pos, toSelf[0].Kind, "the other node's address", "%s is this node's own address, and nothing else reaches the other node", toSelf[0].Args[0])
	default:
		c.problems.Errorf(c.dir.HA.Media[0].Pos, "", "bcast, ucast, mcast or serial", "nothing but ping media: the nodes cannot hear each other")
	}
}

func (c *checker) linkNames() string {
	return strings.Join(slices.Sorted(maps.Keys(c.machine.Links)), ", ")
}

func (c *checker) own(a netip.Addr) bool {
	for _, prefixes := range c.machine.Links {
		for _, p := range prefixes {
			if p.Addr() == a {
				return true
			}
		}
	}
	return false
}

// scripts: every resource has a program, or is served in process.
func (c *checker) scripts() {
	for _, g := range c.dir.Groups {
		for _, r := range g.Resources {
			if c.machine.Builtin != nil && c.machine.Builtin(r.Script) || c.machine.Script == nil {
				continue
			}
			if _, ok := c.machine.Script(r.Script); !ok {
				c.problems.Errorf(r.Pos, "", "a program in resource.d or /etc/init.d", "cannot locate resource script %q", r.Script)
				c.problems[len(c.problems)-1].Wire = "Cannot locate resource script " + r.Script
			}
		}
	}
}

// address is the address of an IPaddr resource with what follows it.
type address struct {
	addr   netip.Addr
	link   string // named in the resource; "" is to be found
	script string
	at     diag.Pos
}

// findVIPs lists the addresses that haresources brings up, as ADDRESS[/MASK[/INTERFACE[:LABEL][/BROADCAST]]].
func (c *checker) findVIPs() []address {
	var list []address
	for _, g := range c.dir.Groups {
		for _, r := range g.Resources {
			if r.Script != "IPaddr" && r.Script != "IPaddr2" && r.Script != "IPv6addr" {
				continue
			}
			if len(r.Args) == 0 {
				c.problems.Errorf(r.Pos, r.Script, r.Script+"::ADDRESS", "no address given")
				continue
			}
			parts := strings.Split(r.Args[0], "/")
			a, err := netip.ParseAddr(parts[0])
			switch v6 := r.Script == "IPv6addr"; {
			case v6 && (err != nil || !a.Is6()):
				c.problems.Errorf(r.Pos, r.Script, "an IPv6 address in full: \"::\" parts arguments", "%q is not an IPv6 address", parts[0])
				continue
			case !v6 && (err != nil || !a.Is4()):
				c.problems.Errorf(r.Pos, r.Script, "an IPv4 address", "%q is not an IPv4 address", parts[0])
				continue
			}
			if len(parts) > 1 {
				if n, err := strconv.Atoi(parts[1]); err == nil && (n < 1 || n > a.BitLen()) {
					c.problems.Errorf(r.Pos, r.Script, fmt.Sprintf("1 to %d", a.BitLen()), "%d is not the length of a mask", n)
				}
			}
			v := address{addr: a, script: r.Script, at: r.Pos}
			if len(parts) > 2 && parts[2] != "" && (parts[2][0] < '0' || parts[2][0] > '9') {
				v.link, _, _ = strings.Cut(parts[2], ":")
			}
			if slices.ContainsFunc(list, func(x address) bool { return x.addr == a }) {
				c.problems.Warnf(r.Pos, r.Script, "each address once", "%s is in this file already", a)
			}
			list = append(list, v)
		}
	}
	return list
}

// addresses: each has an interface to go on.
func (c *checker) addresses() {
	if c.machine.Links == nil {
		return
	}
	for _, v := range c.vips {
		_, ok := c.machine.Links[v.link]
		switch {
		case v.link != "" && !ok:
			c.problems.Errorf(v.at, v.script, "one of "+c.linkNames(), "no interface %q here", v.link)
		case v.link == "" && !c.reachable(v.addr):
			c.problems.Warnf(v.at, v.script, "an address in a network of this node, or an interface after it", "%s is in no network of this node", v.addr)
		}
	}
}

func (c *checker) reachable(a netip.Addr) bool {
	for _, prefixes := range c.machine.Links {
		for _, p := range prefixes {
			if p.Masked().Contains(a) {
				return true
			}
		}
	}
	return false
}

// virtuals: a virtual service on an address that no group brings up gets no traffic.
func (c *checker) virtuals() {
	if c.dir.Groups == nil {
		return
	}
	for _, cf := range c.dir.Ldirectord {
		for _, v := range cf.Virtuals {
			a := v.VIP.Addr.Addr()
			if v.VIP.FWMark != 0 || c.own(a) || slices.ContainsFunc(c.vips, func(x address) bool { return x.addr == a }) {
				continue
			}
			c.problems.Warnf(v.Pos, "virtual", "an IPaddr resource for it in "+c.dir.Resources, "no haresources group brings %s up", a)
		}
	}
}

// rules: ipvsadm's rules and ldirectord.cf are loaded one after the other; where both have a
// service, ldirectord's word is the last, and a difference only means a change at each start.
func (c *checker) rules() {
	if c.dir.Rules == nil || len(c.dir.Ldirectord) == 0 {
		return
	}
	for _, e := range c.dir.Rules.Table {
		at := c.dir.Rules.At(e.VIP, netip.AddrPort{})
		v := c.virtual(e.VIP)
		if v == nil {
			c.problems.Warnf(at, "", "a virtual section for it, or no rule", "service %s is in no ldirectord.cf: nobody checks its real servers", name(e.VIP))
			continue
		}
		if e.Scheduler != v.Scheduler {
			c.problems.Warnf(at, "", "scheduler "+v.Scheduler, "service %s has scheduler %s, %s says %s", name(e.VIP), e.Scheduler, v.Pos, v.Scheduler)
		}
		if e.Persistent != v.Persistent {
			c.problems.Warnf(at, "", fmt.Sprintf("persistent %d", v.Persistent), "service %s is persistent for %d s, %s says %d", name(e.VIP), e.Persistent, v.Pos, v.Persistent)
		}
		for _, d := range e.Dests {
			if !slices.ContainsFunc(v.Reals, func(r ldirectordcf.Real) bool { return r.Addr == d.Addr }) &&
				(v.Fallback == nil || v.Fallback.Addr != d.Addr) {
				c.problems.Warnf(c.dir.Rules.At(e.VIP, d.Addr), "", "a real= line for it, or no rule", "real server %s of %s is not in %s", d.Addr, name(e.VIP), v.Pos)
			}
		}
	}
}

func name(v ipvs.VIP) string {
	if v.FWMark != 0 {
		return fmt.Sprintf("fwmark %d", v.FWMark)
	}
	return v.Addr.String()
}

func (c *checker) virtual(vip ipvs.VIP) *ldirectordcf.Virtual {
	for _, cf := range c.dir.Ldirectord {
		for i := range cf.Virtuals {
			if cf.Virtuals[i].VIP == vip {
				return &cf.Virtuals[i]
			}
		}
	}
	return nil
}
