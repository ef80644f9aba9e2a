package clustertest

import (
	"fmt"
	"slices"

	"github.com/systole-ha/systole/pkg/cluster"
)

// isSettled tells whether every node that is to run does, all hear each other, agree, and each
// group has one owner.
func (w *Watch) isSettled() bool {
	for i, a := range w.Sim.Machines {
		if a.Engine == nil && (!a.Stopped || len(a.Up) > 0) || a.frozen {
			return false
		}
		for _, b := range w.Sim.Machines[i+1:] {
			if a.Engine != nil && b.Engine != nil && !w.Sim.Connected(a, b) {
				return false
			}
		}
	}
	return w.alike() && w.agreement() == nil
}

// agreement tells what is wrong with nodes that have had the time to agree. Those that are frozen,
// down, or do not hear each other are left out.
func (w *Watch) agreement() error {
	var run []*Machine
	for _, m := range w.Sim.Machines {
		if m.Engine == nil && m.Stopped {
			continue
		}
		if !m.Runs() {
			return w.alone()
		}
		run = append(run, m)
	}
	for i, a := range run {
		for _, b := range run[i+1:] {
			if !w.Sim.Connected(a, b) {
				return w.alone()
			}
		}
	}
	for _, m := range run {
		st := m.Engine.Status()
		switch {
		case st.State != "active":
			return fmt.Errorf("%s is %s", m.Name, st.State)
		case st.ShuttingDown:
			return fmt.Errorf("%s has not ended yet", m.Name)
		case w.two() && !st.Stable || len(st.Jobs) > 0:
			return fmt.Errorf("%s is not stable", m.Name)
		}
		for _, n := range st.Nodes {
			if n.Missing > 0 && w.Sim.Loss == 0 {
				return fmt.Errorf("%s still misses %d messages of %s", m.Name, n.Missing, n.Name)
			}
		}
	}
	return w.claims(run)
}

// claims compares what nodes claim with each other and with what is up.
func (w *Watch) claims(run []*Machine) error {
	if len(run) == 0 {
		return nil
	}
	if !w.two() {
		return nil
	}
	legacy := run[0].cfg.Failback == cluster.FailbackLegacy
	for i := range w.groups {
		g := &w.groups[i]
		listed, agreed := w.listed(g)
		if !agreed {
			continue
		}
		var owners []string // what a killed daemon has left up does not count
		for _, m := range run {
			if slices.Contains(m.Up, g.key) {
				owners = append(owners, m.Name)
			}
		}
		if !listed && len(owners) > 0 && !g.tainted {
			return fmt.Errorf("%s is up on %v, and in no file", g.key, owners)
		}
		if !listed {
			continue
		}
		if len(owners) != 1 && !g.tainted && !w.disarmed() {
			return fmt.Errorf("%s is up on %v", g.key, owners)
		}
		for _, m := range run {
			if legacy || g.tainted {
				continue
			}
			if w.claimed(m, g.key) != slices.Contains(m.Up, g.key) {
				return fmt.Errorf("%s claims %s, and %s is up on %v", m.Name, m.Engine.Status().Held, g.key, owners)
			}
		}
	}
	if legacy || len(run) < 2 {
		return nil
	}
	a, b := run[0].Engine.Status(), run[1].Engine.Status()
	if a.Held != b.PeerHeld || b.Held != a.PeerHeld || a.Held.Other()|b.Held != cluster.All || a.Held.Other()&b.Held != 0 {
		return fmt.Errorf("the two do not agree on who holds what")
	}
	return nil
}

// claimed tells whether a node claims a group.
func (w *Watch) claimed(m *Machine, key string) bool {
	side := cluster.Foreign
	if nodeOf(m.lines(), key) == m.Name {
		side = cluster.Local
	}
	return m.Engine.Status().Held.Has(side)
}

// alone wants a node that hears nobody to have everything.
func (w *Watch) alone() error {
	if w.disarmed() {
		return nil
	}
	for _, m := range w.Sim.Machines {
		if !m.Runs() || m.Stopped || m.cfg.Failback == cluster.FailbackLegacy {
			continue
		}
		deaf := true
		for _, other := range w.Sim.Machines {
			deaf = deaf && (other == m || !other.Runs() || !w.Sim.Hears(other, m))
		}
		if st := m.Engine.Status(); deaf && st.Held != cluster.All {
			return fmt.Errorf("%s hears nobody and does not hold everything", m.Name)
		}
	}
	return nil
}
