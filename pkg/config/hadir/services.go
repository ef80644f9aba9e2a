package hadir

import (
	"path"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// director looks at one ldirectord.cf: what ldirectord accepts, and IPVS or the network will not.
func (c *checker) director(cf *ldirectordcf.Config) {
	groups := c.directorGroups(cf.File)
	c.program(cf.Global.Place("callback"), "callback", cf.Global.Callback)
	c.program(cf.Global.Place("fallbackcommand"), "fallbackcommand", cf.Global.FallbackCommand)
	forwards := true
	if c.machine.Sysctl != nil {
		forwards = c.machine.Sysctl("net.ipv4.ip_forward") != "0"
	}
	for i := range cf.Virtuals {
		v := &cf.Virtuals[i]
		c.virtual(cf, v, groups)
		c.reals(v)
		c.checks(v)
		for _, r := range v.Reals {
			if r.Forward == ipvs.Masq && r.Addr.Addr().Is4() && !forwards {
				c.warn(r.Pos, "real", "sysctl net.ipv4.ip_forward=1", "masq needs a kernel that forwards, and this one does not")
				forwards = true // once is enough
			}
		}
	}
}

// virtual: the service itself.
func (c *checker) virtual(cf *ldirectordcf.Config, v *ldirectordcf.Virtual, groups []int) {
	for _, other := range c.dir.Ldirectord {
		if other == cf {
			break
		}
		if i := slices.IndexFunc(other.Virtuals, func(x ldirectordcf.Virtual) bool { return x.VIP == v.VIP }); i >= 0 {
			c.warn(v.Pos, "virtual", "each service in one file", "%s is in %s too: each undoes what the other does", v.Label(), other.Virtuals[i].Pos)
		}
	}
	if !slices.Contains(ipvs.Schedulers, v.Scheduler) {
		at, _ := v.Place("scheduler")
		c.warn(at, "scheduler", "one of "+strings.Join(ipvs.Schedulers, ", "), "%q is no scheduler of the kernel's: the service will not be added", v.Scheduler)
	}
	if v.Persistent > 0 && v.Quiescent && c.machine.Sysctl != nil && c.machine.Sysctl("net.ipv4.vs.expire_quiescent_template") == "0" {
		at, given := v.Place("quiescent")
		if !given {
			at = cf.Global.Place("quiescent")
		}
		c.warn(at, "quiescent", "quiescent=no, or sysctl net.ipv4.vs.expire_quiescent_template=1", "with persistent, clients stay with a real server that is down")
	}
	if v.VIP.FWMark != 0 {
		return
	}
	if v.VIP.Addr.Port() == 0 && v.Persistent == 0 {
		c.fail(v.Pos, "virtual", "a port, or persistent", "IPVS takes port 0 for persistent services only")
	}
	if c.dir.Groups == nil {
		return
	}
	a := v.VIP.Addr.Addr()
	switch vip, ok := c.vip(a); {
	case !ok && c.linkOf(a) == "":
		c.warn(v.Pos, "virtual", "an IPaddr resource for it in "+c.dir.Resources, "no haresources group brings %s up", a)
	case ok && len(groups) > 0 && !slices.Contains(groups, vip.group):
		c.warn(v.Pos, "virtual", "both in one line", "%s brings %s up, %s runs ldirectord: they may end on different nodes", vip.at, a, c.dir.Groups[groups[0]].Pos)
	}
}

// reals: where the packets are to go.
func (c *checker) reals(v *ldirectordcf.Virtual) {
	if len(v.Reals) == 0 && c.whole(v.Pos.File) {
		what := "nobody answers"
		if v.Fallback != nil {
			what = "only the fallback answers"
		}
		c.warn(v.Pos, "virtual", "a real= line", "no real server: %s", what)
	}
	for i, r := range v.Reals {
		if slices.ContainsFunc(v.Reals[:i], func(x ldirectordcf.Real) bool { return x.Addr == r.Addr }) {
			c.warn(r.Pos, "real", "each real server once", "%s is in this section already: the last line counts", r.Addr)
		}
		if v.VIP.FWMark != 0 {
			continue
		}
		port := v.VIP.Addr.Port()
		switch {
		case r.Addr.Addr() == v.VIP.Addr.Addr():
			c.warn(r.Pos, "real", "the real server's own address", "%s is the virtual service's address", r.Addr.Addr())
		case r.Forward != ipvs.Masq && r.Addr.Port() != 0 && r.Addr.Port() != port && port != 0:
			c.warn(r.Pos, "real", "port "+portText(port)+", or masq", "gate and ipip change no ports: requests arrive at port %d", port)
		}
	}
}

// checks: what is asked of the real servers.
func (c *checker) checks(v *ldirectordcf.Virtual) {
	switch v.CheckedAs() {
	case "none":
		if len(v.Reals) > 0 {
			at, _ := v.Place("service")
			c.warn(at, "service", "a service, or checktype=connect", "negotiate with service none asks nothing: every real server counts as up")
		}
	case "external", "external-perl":
		at, _ := v.Place("checkcommand")
		c.program(at, "checkcommand", v.CheckCommand)
	}
	if at, given := v.Place("fallbackcommand"); given { // else it is the global one
		c.program(at, "fallbackcommand", v.FallbackCommand)
	}
}

// program looks at a command that begins with a path.
func (c *checker) program(at diag.Pos, directive, command string) {
	file, _, _ := strings.Cut(command, " ")
	file = strings.Trim(file, `"`)
	if c.machine.Runnable != nil && path.IsAbs(file) && !c.machine.Runnable(file) {
		c.warn(at, directive, "a program", "%q cannot be executed", file)
	}
}
