package hadir

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/diag"
)

// nodes: haresources is for two (hacf warns of a third), and what is named twice counts twice.
func (c *checker) nodes() {
	nodes := c.dir.HA.Nodes
	if len(nodes) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, n := range nodes {
		if seen[n.Name] {
			c.warn(n.Pos, "node", "each node once", "%q is a node already; the original counts it twice", n.Name)
		}
		seen[n.Name] = true
	}
	last := nodes[len(nodes)-1]
	if len(seen) == 1 {
		c.warn(last.Pos, "node", "two nodes", "%q is the only node: there is nobody to take over", last.Name)
	}
	for _, m := range c.dir.HA.Media {
		if m.Ping() && seen[m.Name] {
			c.warn(m.Pos, m.Kind, "a host that is no node", "%q is a node of the cluster too", m.Name)
		}
	}
}

// media: interfaces that are not there or down, media twice, and media that reach nobody.
func (c *checker) media() {
	all := c.dir.HA.Media
	if len(all) == 0 {
		return
	}
	reaching := 0
	var toSelf *hacf.Medium // every ucast file that is the same on both nodes has one
	for i, m := range all {
		if m.Ping() {
			continue
		}
		if slices.ContainsFunc(all[:i], func(x hacf.Medium) bool { return x.Kind == m.Kind && x.Name == m.Name && slices.Equal(x.Args, m.Args) }) {
			c.warn(m.Pos, m.Kind, "each medium once", "the same is above: every message goes out twice")
		}
		if m.Kind == "serial" {
			reaching++
			continue
		}
		link, ok := c.machine.Links[m.Name]
		switch {
		case c.machine.Links == nil:
		case !ok:
			c.fail(m.Pos, m.Kind, c.linkNames(), "no interface %q here", m.Name)
		case link.Down:
			c.warn(m.Pos, m.Kind, "ip link set "+m.Name+" up", "interface %q is down", m.Name)
		}
		if m.Name == "lo" && !strings.HasPrefix(m.Kind, "ucast") || c.peerIsSelf(m) {
			if toSelf == nil {
				toSelf = &all[i]
			}
			continue
		}
		reaching++
	}
	switch {
	case reaching > 0 || c.dir.HA.MediaLost():
	case toSelf == nil:
		c.fail(all[0].Pos, "", "bcast, ucast, mcast or serial", "nothing but ping media: the nodes cannot hear each other")
	case toSelf.Name == "lo":
		c.fail(toSelf.Pos, toSelf.Kind, "an interface of the network", "nobody else hears what goes out on lo, and nothing else reaches the other node")
	default:
		c.fail(toSelf.Pos, toSelf.Kind, "the other node's address", "%s is this node's own address, and nothing else reaches the other node", toSelf.Args[0])
	}
	c.ports()
}

// peerIsSelf tells a ucast to this node, and warns of other peers that are not the other node.
func (c *checker) peerIsSelf(m hacf.Medium) bool {
	if !strings.HasPrefix(m.Kind, "ucast") {
		return false
	}
	a, err := netip.ParseAddr(m.Args[0])
	if err != nil {
		return false // a name
	}
	if _, moves := c.vip(a); moves {
		c.warn(m.Pos, m.Kind, "the other node's own address", "%s is in haresources: it moves between the nodes", a)
		return false
	}
	if c.linkOf(a) != "" {
		return true
	}
	link, ok := c.machine.Links[m.Name]
	if ok && len(link.Addrs) > 0 && !c.reachable(a, m.Name) && !a.IsLinkLocalUnicast() {
		c.warn(m.Pos, m.Kind, "an address in a network of "+m.Name, "%s is in no network of %q", a, m.Name)
	}
	return false
}

// ports: a port that another program has taken, as rpc programs do with 694.
func (c *checker) ports() {
	if c.machine.PortUser == nil {
		return
	}
	asked := map[int]bool{}
	for _, m := range c.dir.HA.Media {
		if m.Port == 0 || asked[m.Port] {
			continue
		}
		asked[m.Port] = true
		if user := c.machine.PortUser(m.Port); user != "" {
			c.warn(m.Pos, m.Kind, "another udpport on both nodes, or "+user+" on another port", "UDP port %d is in use by %s", m.Port, user)
		}
	}
}

// pings: a ping node that answers whatever happens to the network tells ipfail nothing.
func (c *checker) pings() {
	for _, m := range c.dir.HA.Media {
		if !m.Ping() {
			continue
		}
		hosts := []string{m.Name}
		if m.Kind == "ping_group" {
			hosts = m.Args
		}
		for _, h := range hosts {
			a, err := netip.ParseAddr(h)
			if err != nil {
				continue
			}
			if _, moves := c.vip(a); moves {
				c.warn(m.Pos, m.Kind, "a router or switch", "%s is in haresources: its owner always reaches it", a)
			} else if c.linkOf(a) != "" {
				c.warn(m.Pos, m.Kind, "a router or switch", "%s is this node's own address: it always answers", a)
			}
		}
	}
}

// clients: what respawn starts, and ipfail, which needs more than its line.
func (c *checker) clients() {
	ha := c.dir.HA
	for i, cl := range ha.Clients {
		same := func(x hacf.Client) bool { return x.Command == cl.Command && x.User == cl.User }
		if slices.ContainsFunc(ha.Clients[:i], same) {
			c.warn(cl.Pos, clientDirective(cl), "each client once", "%q is above already", cl.Command)
			continue
		}
		program, _, _ := strings.Cut(cl.Command, " ")
		if path.Base(program) != "ipfail" {
			continue
		}
		if ha.Failback == hacf.Legacy {
			c.warn(cl.Pos, clientDirective(cl), "auto_failback on or off", "ipfail ends at once with auto_failback legacy")
		}
		if !slices.ContainsFunc(ha.Media, hacf.Medium.Ping) && !ha.MediaLost() {
			c.warn(cl.Pos, clientDirective(cl), "a ping or ping_group line", "ipfail has nothing to compare without ping nodes")
		}
		c.mayIpfail(cl)
	}
}

// mayIpfail: the original's ipfail signs on as the user of its respawn line.
func (c *checker) mayIpfail(cl hacf.Client) {
	var at diag.Pos
	var users, groups []string
	for _, a := range c.dir.HA.Access() {
		if a.Client == "ipfail" {
			at, users, groups = a.Pos, a.UIDs, a.GIDs
		}
	}
	if slices.Contains(users, cl.User) || len(groups) > 0 || cl.User == "root" && slices.Contains(users, "0") {
		return // a group may have the user: who knows
	}
	if at == (diag.Pos{}) {
		at = cl.Pos
	}
	c.warn(at, "apiauth", "apiauth ipfail uid="+cl.User, "%q, which runs ipfail, is not among its users: the original's ipfail cannot sign on", cl.User)
}

func clientDirective(cl hacf.Client) string {
	if cl.Failfast {
		return "failfast"
	}
	return "respawn"
}

// paths: devices and directories that are not there. The original says so, or nothing, when it runs.
func (c *checker) paths() {
	if c.machine.Exists == nil {
		return
	}
	ha := c.dir.HA
	if ha.Watchdog != "" && !c.machine.Exists(ha.Watchdog) {
		c.warn(ha.Place("watchdog"), "watchdog", "a device; the module softdog makes /dev/watchdog", "no device %q", ha.Watchdog)
	}
	for _, f := range []struct{ directive, file string }{{"logfile", ha.LogFile}, {"debugfile", ha.DebugFile}} {
		if dir := path.Dir(f.file); f.file != "" && !c.machine.Exists(dir) {
			c.warn(ha.Place(f.directive), f.directive, "a file in a directory that is there", "no directory %q", dir)
		}
	}
}
