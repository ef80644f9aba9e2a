// Package hadir holds the files of an /etc/ha.d directory against each other and against the
// machine: what each parser alone cannot know. It does no I/O; texts and facts come in.
package hadir

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Dir is the parsed files. Nil and empty parts are not looked at.
type Dir struct {
	HA          *hacf.Config
	Resources   string // the file's name
	Groups      []haresources.Group
	Ldirectord  []*ldirectordcf.Config
	RulesFile   string       // ipvsadm's rules
	Rules       []ipvs.Entry // what they make of an empty table
	RulesLoaded bool
}

// Machine is what is asked about this machine.
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

// media: interfaces that are not there, and a ucast peer that is this node itself, which is what a
// file copied from the other node has.
func (c *checker) media() {
	if c.dir.HA == nil || c.machine.Links == nil {
		return
	}
	beats := false
	for _, m := range c.dir.HA.Media {
		if m.Ping() {
			continue
		}
		beats = true
		if m.Kind == "serial" {
			continue
		}
		if _, ok := c.machine.Links[m.Name]; !ok {
			c.problems.Errorf(m.Pos, m.Kind, "one of "+c.linkNames(), "no interface %q here", m.Name)
		}
		if (m.Kind == "ucast" || m.Kind == "ucast6") && len(m.Args) > 0 {
			if a, err := netip.ParseAddr(m.Args[0]); err == nil && c.own(a) {
				c.problems.Warnf(m.Pos, m.Kind, "the other node's address", "%s is this node's own address", a)
			}
		}
	}
	if !beats && len(c.dir.HA.Media) > 0 {
		c.problems.Errorf(c.dir.HA.Media[0].Pos, "", "bcast, ucast, mcast or serial", "nothing but ping media: the nodes cannot hear each other")
	}
}

func (c *checker) linkNames() string {
	var names []string
	for n := range c.machine.Links {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
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
	addr netip.Addr
	link string // named in the resource; "" is to be found
	at   diag.Pos
}

// findVIPs lists the addresses that haresources brings up.
func (c *checker) findVIPs() []address {
	var list []address
	for _, g := range c.dir.Groups {
		for _, r := range g.Resources {
			if len(r.Args) == 0 || r.Script != "IPaddr" && r.Script != "IPaddr2" && r.Script != "IPv6addr" {
				continue
			}
			parts := strings.Split(r.Args[0], "/")
			a, err := netip.ParseAddr(parts[0])
			if err != nil {
				c.problems.Errorf(r.Pos, r.Script, "an address", "%q is not an address", parts[0])
				continue
			}
			v := address{addr: a, at: r.Pos}
			for _, p := range parts[1:] {
				if p != "" && (p[0] < '0' || p[0] > '9') {
					v.link, _, _ = strings.Cut(p, ":")
				}
			}
			list = append(list, v)
		}
	}
	return list
}

// addresses: each has an interface to go on, and none is there already as a node's own.
func (c *checker) addresses() {
	if c.machine.Links == nil {
		return
	}
	for _, v := range c.vips {
		if v.link != "" {
			if _, ok := c.machine.Links[v.link]; !ok {
				c.problems.Errorf(v.at, "IPaddr", "one of "+c.linkNames(), "no interface %q here", v.link)
			}
			continue
		}
		if !c.reachable(v.addr) {
			c.problems.Warnf(v.at, "IPaddr", "an address in a network of this node, or an interface after it", "%s is in no network of this node", v.addr)
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
	if !c.dir.RulesLoaded || len(c.dir.Ldirectord) == 0 {
		return
	}
	at := diag.Pos{File: c.dir.RulesFile}
	for _, e := range c.dir.Rules {
		v := c.virtual(e.VIP)
		if v == nil {
			c.problems.Warnf(at, "", "a virtual section for it, or no rule", "service %s is in no ldirectord.cf: nobody checks its real servers", name(e.VIP))
			continue
		}
		if e.Scheduler != v.Scheduler {
			c.problems.Warnf(at, "", "scheduler "+v.Scheduler, "service %s has scheduler %s, %s says %s", name(e.VIP), e.Scheduler, v.Pos.File, v.Scheduler)
		}
		if e.Persistent != v.Persistent {
			c.problems.Warnf(at, "", fmt.Sprintf("persistent %d", v.Persistent), "service %s is persistent for %d s, %s says %d", name(e.VIP), e.Persistent, v.Pos.File, v.Persistent)
		}
		for _, d := range e.Dests {
			if !slices.ContainsFunc(v.Reals, func(r ldirectordcf.Real) bool { return r.Addr == d.Addr }) &&
				(v.Fallback == nil || v.Fallback.Addr != d.Addr) {
				c.problems.Warnf(at, "", "a real= line for it, or no rule", "real server %s of %s is not in %s", d.Addr, name(e.VIP), v.Pos.File)
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
