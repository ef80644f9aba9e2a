package clustertest

import (
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// Scripts is what the original's scripts do on a machine, on groups that are only names.
type Scripts struct {
	// Up are the keys of the groups that are running here, sorted.
	Up []string
	// CallTime is how long a call of each verb takes; Fail makes it end with that status.
	CallTime map[cluster.Verb]time.Duration
	Fail     map[cluster.Verb]int
	// NoStart and NoStop are the groups that cannot be started, or not be stopped.
	NoStart, NoStop map[string]bool

	running int      // calls under way
	calls   []string // keys of the groups that calls are working on
	tainted []string // groups that failed to start or stop here
}

func newScripts() Scripts {
	return Scripts{
		CallTime: map[cluster.Verb]time.Duration{}, Fail: map[cluster.Verb]int{},
		NoStart: map[string]bool{}, NoStop: map[string]bool{},
	}
}

// The times of the resource manager: from a failed start to hb_standby, the retries of a stop that
// fails, and the boot of a machine that has rebooted for that.
const (
	standbyDelay = 30 * time.Second
	stopRetries  = 11 * time.Second
	bootTime     = 40 * time.Second
)

// Busy tells whether a call is under way.
func (m *Machine) Busy() bool { return m.running > 0 }

// atWork tells whether its daemon has something to do that scripts do: now, or when it has come up.
func (m *Machine) atWork() bool {
	if m.Busy() || m.Engine == nil {
		return m.Busy()
	}
	status := m.Engine.Status()
	return len(status.Jobs) > 0 || status.State != "active"
}

// Works tells whether a call is under way that takes or gives a group.
func (m *Machine) Works(key string) bool { return slices.Contains(m.calls, key) }

// call makes one call of the engine.
func (m *Machine) call(r cluster.Run) {
	m.running++
	run, boot := m.run, m.boot
	if r.Call.Verb == cluster.GiveGroup || r.Call.Verb == cluster.DropGroup {
		m.leaves(r.Call.Arg)
	}
	keys := m.keysOf(r.Call)
	m.calls = append(m.calls, keys...)
	if m.sim.OnCall != nil {
		m.sim.OnCall(m, r.Call, true)
	}
	end := func() {
		if m.boot != boot {
			return
		}
		m.running--
		for _, k := range keys {
			i := slices.Index(m.calls, k)
			m.calls = slices.Delete(m.calls, i, i+1)
		}
		if m.run != run {
			return
		}
		code, say := m.script(r.Call)
		if m.sim.OnCall != nil {
			m.sim.OnCall(m, r.Call, false)
		}
		if m.run == run {
			m.Step(cluster.Done{ID: r.ID, Code: code, Say: say})
		}
	}
	d := max(m.CallTime[r.Call.Verb], 1)
	if r.Call.Verb == cluster.GiveGroup && slices.ContainsFunc(keys, func(key string) bool { return m.NoStop[key] }) {
		d += stopRetries
	}
	m.sim.After(d, func() {
		if m.frozen && m.run == run {
			m.held = append(m.held, end)
			return
		}
		end()
	})
}

// keysOf are the groups that a call takes or gives.
func (m *Machine) keysOf(c cluster.Call) (keys []string) {
	switch {
	case c.Verb == cluster.TakeGroup:
		return slices.Clone(m.lineOf(c.Arg))
	case c.Verb == cluster.GiveGroup, c.Verb == cluster.DropGroup:
		return m.upOf(c.Arg)
	case c.Verb != cluster.Harc:
	case c.Arg == "status" && m.machDown(c):
		for _, g := range m.known() {
			if g.Node == c.Getenv("HA_src") {
				keys = append(keys, members(g)...)
			}
		}
	case c.Arg == "ip-request-resp" && c.Getenv("HA_dest") == m.Name && c.Getenv("HA_ok") == "OK",
		c.Arg == "ip-request" && slices.Contains(m.Up, c.Getenv("HA_ipaddr")):
		return slices.Clone(m.lineOf(c.Getenv("HA_ipaddr")))
	}
	return keys
}

// upOf are the members of the line that a key stands for and that are up.
func (m *Machine) upOf(key string) []string {
	return slices.DeleteFunc(slices.Clone(m.lineOf(key)), func(key string) bool { return !slices.Contains(m.Up, key) })
}

// Takes tells whether the call takes groups.
func (m *Machine) Takes(c cluster.Call) bool {
	return c.Verb == cluster.TakeGroup || c.Verb == cluster.Harc && (c.Arg == "status" || c.Arg == "ip-request-resp")
}

// machDown tells whether a call of rc.d/status is for a dead node.
func (m *Machine) machDown(c cluster.Call) bool {
	return c.Getenv("HA_st") == "dead" && !strings.Contains(c.Getenv("HA_info"), "ping") && c.Getenv("HA_src") != m.Name
}

// script does the work of one call.
func (m *Machine) script(c cluster.Call) (code int, say [][]byte) {
	code = m.Fail[c.Verb]
	switch c.Verb {
	case cluster.ReqResource:
		switch {
		case slices.Contains(m.Up, c.Arg) && len(m.upOf(c.Arg)) == len(m.lineOf(c.Arg)):
		case c.Getenv("HA_NICEFAILBACK") == "yes" || c.Getenv("HA_DONTASK") == "yes":
			say = append(say, text("t=ip-request-resp", "dest="+m.Name, "ipaddr="+c.Arg, "weown=yes", "ok=OK"))
		default:
			say = append(say, text("t=ip-request", "ipaddr="+c.Arg))
		}
	case cluster.TakeGroup:
		if code == 0 {
			m.take(c.Arg)
		}
	case cluster.GiveGroup, cluster.DropGroup:
		m.give(c.Arg)
		m.given(c.Arg)
	case cluster.KeepGroup:
		m.given(c.Arg)
	case cluster.Harc:
		say = m.harc(c)
	}
	return code, say
}

// take is ResourceManager takegroup: a group with a member that cannot be started is given up, and the
// standby that it asks for comes later.
func (m *Machine) take(key string) {
	g, ok := m.line(key)
	if !ok {
		return
	}
	all := members(g)
	for _, key := range all {
		switch {
		case slices.Contains(m.Up, key): // renewed
		case !m.NoStart[key]:
			m.set(key, true)
		default:
			what := "foreign"
			if g.Node == m.Name {
				what = "local"
			}
			for _, key := range all {
				m.taint(key)
			}
			if len(all) > 1 {
				m.give(key)
			}
			m.later(standbyDelay, func() { m.Tell("t=ask_resources", "rsc_hold="+what, "info=me") })
			return
		}
	}
}

// give is ResourceManager givegroup: a member that cannot be stopped makes the machine reboot.
func (m *Machine) give(key string) {
	for _, key := range m.lineOf(key) {
		if !m.NoStop[key] || !slices.Contains(m.Up, key) {
			m.set(key, false)
			continue
		}
		m.taint(key)
		if m.sim.OnReboot != nil {
			m.sim.OnReboot(m)
		}
		m.reboot()
		m.NoStop[key] = false
		return
	}
}

func (m *Machine) taint(key string) {
	if !slices.Contains(m.tainted, key) {
		m.tainted = append(m.tainted, key)
	}
}

// harc does what the stock rc.d scripts do.
func (m *Machine) harc(c cluster.Call) (say [][]byte) {
	key, src := c.Getenv("HA_ipaddr"), c.Getenv("HA_src")
	switch c.Arg {
	case "status":
		if !m.machDown(c) {
			return nil
		}
		for _, g := range m.known() {
			if g.Node == src {
				m.take(first(g))
			}
		}
		if c.Getenv("HA_NICEFAILBACK") == "yes" {
			say = append(say, text("t=resource", "rsc_hold=foreign", "info=mach_down"))
		}
	case "ip-request":
		if src == m.Name {
			return nil
		}
		own := "no"
		if slices.Contains(m.Up, key) {
			own = "yes"
			m.give(key)
		}
		say = append(say, text("t=ip-request-resp", "dest="+src, "ipaddr="+key, "weown="+own, "ok=OK"))
	case "ip-request-resp":
		if c.Getenv("HA_dest") == m.Name && c.Getenv("HA_ok") == "OK" {
			m.take(key)
		}
	case "hb_takeover":
		if src == m.Name {
			return nil
		}
		hold := map[string]string{"all": "all", "local": "foreign", "foreign": "local"}[c.Getenv("HA_rsc_hold")]
		if hold == "" {
			hold = "all"
		}
		say = append(say, text("t=ask_resources", "rsc_hold="+hold, "info=me"))
	}
	return say
}

// set brings a group up or down.
func (m *Machine) set(key string, up bool) {
	i, is := slices.BinarySearch(m.Up, key)
	switch {
	case up == is:
		return
	case up:
		m.Up = slices.Insert(m.Up, i, key)
	default:
		m.Up = slices.Delete(m.Up, i, i+1)
	}
	if m.sim.OnChange != nil {
		m.sim.OnChange(m, key, up)
	}
}

// Owners are the names of the machines on which a group is up.
func (s *Sim) Owners(key string) []string {
	var names []string
	for _, m := range s.Machines {
		if slices.Contains(m.Up, key) {
			names = append(names, m.Name)
		}
	}
	return names
}
