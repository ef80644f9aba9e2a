package clustertest

import (
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster"
)

// call does what the original's scripts do, on groups that are only names.
func (m *Machine) call(r cluster.Run) {
	m.runs++
	run := m.run
	end := func() {
		m.runs--
		if m.run != run {
			return
		}
		m.script(r.Call, func(code int, say [][]byte) {
			m.Step(cluster.Done{ID: r.ID, Code: code, Say: say})
		})
	}
	d := m.CallTime[r.Call.Verb]
	if d == 0 {
		d = 1
	}
	m.sim.After(d, func() {
		if m.frozen && m.run == run {
			m.held = append(m.held, end)
			return
		}
		end()
	})
}

// script does the work of one call and reports it.
func (m *Machine) script(c cluster.Call, done func(code int, say [][]byte)) {
	code := m.Fail[c.Verb]
	var say [][]byte
	switch c.Verb {
	case cluster.ReqResource:
		switch {
		case slices.Contains(m.Up, c.Arg):
		case c.Getenv("HA_NICEFAILBACK") == "yes" || c.Getenv("HA_DONTASK") == "yes":
			say = append(say, text("t=ip-request-resp", "dest="+m.Name, "ipaddr="+c.Arg, "weown=yes", "ok=OK"))
		default:
			say = append(say, text("t=ip-request", "ipaddr="+c.Arg))
		}
	case cluster.TakeGroup:
		if code == 0 {
			m.set(c.Arg, true)
		}
	case cluster.GiveGroup, cluster.DropGroup:
		m.set(c.Arg, false)
	case cluster.Harc:
		say = m.harc(c)
	}
	done(code, say)
}

// harc does what the stock rc.d scripts do.
func (m *Machine) harc(c cluster.Call) (say [][]byte) {
	key, src := c.Getenv("HA_ipaddr"), c.Getenv("HA_src")
	switch c.Arg {
	case "status":
		if c.Getenv("HA_st") != "dead" || strings.Contains(c.Getenv("HA_info"), "ping") || src == m.Name {
			return nil
		}
		for _, g := range m.cfg.Groups {
			if g.Node == src {
				m.set(g.Key, true)
			}
		}
		if c.Getenv("HA_NICEFAILBACK") == "yes" {
			say = append(say, text("t=resource", "rsc_hold=foreign", "info=mach_down"))
		}
	case "ip-request":
		own := "no"
		if slices.Contains(m.Up, key) {
			own = "yes"
			m.set(key, false)
		}
		say = append(say, text("t=ip-request-resp", "dest="+src, "ipaddr="+key, "weown="+own, "ok=OK"))
	case "ip-request-resp":
		if c.Getenv("HA_dest") == m.Name && c.Getenv("HA_ok") == "OK" {
			m.set(key, true)
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
