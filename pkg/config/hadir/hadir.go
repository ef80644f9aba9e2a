// Package hadir holds the files of an /etc/ha.d directory against each other and against the
// machine: what each parser alone cannot know. It does no I/O; texts and facts come in.
package hadir

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Dir is the parsed files. Nil and empty parts are not looked at.
type Dir struct {
	HA         *hacf.Config
	Resources  string // the file's name
	Groups     []haresources.Group
	Ldirectord []*ldirectordcf.Config
	Services   []systolecf.Service // of systole.cf
	Rules      *Rules              // nil unless the ipvsadm resource loads any
	// Flawed are files with errors: what they lack may be lacking because of those.
	Flawed []string
}

// Rules are the rules that the ipvsadm resource loads.
type Rules struct {
	Table []ipvs.Entry // what they make of an empty table
	// At is where a service (with an invalid dest) or a destination is added.
	At func(service ipvs.VIP, dest netip.AddrPort) diag.Pos
}

// Machine is what is asked about this machine. Nil parts are not asked.
type Machine struct {
	Links map[string]Link // interfaces by name
	// Script finds the program of a resource as the scripts do.
	Script func(name string) Script
	// Builtin tells whether a resource is served in process, so that no program is needed.
	Builtin func(name string) bool
	// PortUser is the program that has a UDP port, if it is no heartbeat; "" is nobody.
	PortUser func(port int) string
	// Exists tells whether there is something at a path, Runnable whether it can be executed.
	Exists, Runnable func(path string) bool
	// Sysctl is a kernel setting by its name ("net.ipv4.ip_forward"); "" is one that is not there.
	Sysctl func(name string) string
	// NoIPVS tells that the agents are to work on the kernel's table, and the kernel has none and
	// cannot load it.
	NoIPVS bool
	// Running tells whether a heartbeat runs here, which may have brought addresses up.
	Running bool
}

// Link is an interface.
type Link struct {
	Addrs []netip.Prefix
	Down  bool
}

// Script is what was found for a resource.
type Script struct {
	Path  string // "" is nothing
	Bare  bool   // a file that nobody may execute
	Stock bool   // it comes with heartbeat, ipvsadm or ldirectord, or is ours
}

// Check returns what does not fit together. Only what surely fails is an error.
func Check(d Dir, m Machine) diag.List {
	c := checker{dir: d, machine: m}
	c.vips = c.findVIPs()
	if d.HA != nil {
		c.nodes()
		c.media()
		c.pings()
		c.clients()
		c.paths()
	}
	c.scripts()
	c.addresses()
	c.order()
	c.table()
	for _, cf := range d.Ldirectord {
		c.director(cf)
	}
	c.services()
	c.rules()
	return c.problems
}

type checker struct {
	dir      Dir
	machine  Machine
	vips     []address // what haresources brings up
	problems diag.List
}

func (c *checker) warn(at diag.Pos, directive, want, format string, args ...any) {
	c.problems.Warnf(at, directive, want, format, args...)
}

func (c *checker) fail(at diag.Pos, directive, want, format string, args ...any) {
	c.problems.Errorf(at, directive, want, format, args...)
}

// services looks whether the service lines of systole.cf are about services that there are.
func (c *checker) services() {
	for _, cf := range c.dir.Ldirectord {
		if !c.whole(cf.File) {
			return // it may be among what was not understood
		}
	}
	told := map[string]bool{}
	for _, s := range c.dir.Services {
		known := s.Name == "*" || told[s.Name]
		for _, cf := range c.dir.Ldirectord {
			known = known || slices.ContainsFunc(cf.Virtuals, func(v ldirectordcf.Virtual) bool { return s.Names(v.ID(), v.Label()) })
		}
		if !known {
			told[s.Name] = true
			c.warn(s.Pos, "service", "a virtual service of ldirectord, as address:port, tcp:address:port or mark", "%s is not a virtual service of any configuration here", s.Name)
		}
	}
}

// whole tells whether all of a file was understood.
func (c *checker) whole(file string) bool { return !slices.Contains(c.dir.Flawed, file) }

// linkNames are this machine's interfaces, as what is wanted instead of one that is not there.
func (c *checker) linkNames() string {
	return "one of " + strings.Join(slices.Sorted(maps.Keys(c.machine.Links)), ", ")
}

// linkOf is the interface that has an address; "" if none has.
func (c *checker) linkOf(a netip.Addr) string {
	for _, name := range slices.Sorted(maps.Keys(c.machine.Links)) {
		for _, p := range c.machine.Links[name].Addrs {
			if p.Addr() == a {
				return name
			}
		}
	}
	return ""
}

// reachable tells whether an address is in a network of this node: of one interface, or of any if
// link is "".
func (c *checker) reachable(a netip.Addr, link string) bool {
	for name, l := range c.machine.Links {
		for _, p := range l.Addrs {
			if (link == "" || name == link) && p.Masked().Contains(a) {
				return true
			}
		}
	}
	return false
}

// vip is the place in haresources of an address that moves between the nodes.
func (c *checker) vip(a netip.Addr) (address, bool) {
	i := slices.IndexFunc(c.vips, func(v address) bool { return v.addr == a })
	if i < 0 {
		return address{}, false
	}
	return c.vips[i], true
}
