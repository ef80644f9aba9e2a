package clustertest

import (
	"slices"
	"time"
)

// owners notes who has what, whenever that changes and from time to time.
func (w *Watch) owners() {
	if w.Err != nil {
		return
	}
	now := w.Sim.Elapsed()
	for i := range w.groups {
		g := &w.groups[i]
		listed, agreed := w.listed(g)
		if !agreed {
			g.dual, g.none, g.idle = -1, -1, -1
			continue
		}
		if !listed {
			w.unlisted(g)
			continue
		}
		a, b := w.pair(g.key)
		switch {
		case a == nil:
			if g.dual >= 0 {
				w.longest("two owners", now-g.dual)
				if w.mended > 0 {
					w.longest("two owners after a partition", now-w.told)
				}
			}
			g.dual = -1
		case g.dual < 0:
			g.dual = now
		}
		if a != nil {
			w.twoOwners(g, a, b)
		}
		none := len(w.Sim.Owners(g.key)) == 0 && w.healthy(0) && !w.disarmed()
		switch {
		case !none:
			if g.none >= 0 {
				w.longest("no owner", now-g.none)
				if w.crash > 0 {
					w.longest("no owner after a crash", now-g.none)
				}
			}
			g.none = -1
		case g.none < 0:
			g.none = now
		}
		if none && now > w.until && !g.tainted && w.two() {
			w.fail("%s is up nowhere since %.3f s", g.key, g.none.Seconds())
		}
		if none && w.crash > 0 && now > w.told+w.crash && !g.tainted {
			w.fail("%s is up nowhere %v after a machine died", g.key, now-w.told)
		}
		w.noOwner(g)
	}
}

// pair are two machines that hear of each other and both have a group.
func (w *Watch) pair(key string) (a, b *Machine) {
	for i, a := range w.Sim.Machines {
		if !a.Runs() || !slices.Contains(a.Up, key) {
			continue
		}
		for _, b := range w.Sim.Machines[i+1:] {
			if b.Runs() && slices.Contains(b.Up, key) && (w.Sim.Hears(a, b) || w.Sim.Hears(b, a)) {
				return a, b
			}
		}
	}
	return nil, nil
}

func (w *Watch) twoOwners(g *group, a, b *Machine) {
	now := w.Sim.Elapsed()
	switch {
	case !w.two():
	case !w.rough && g.changes && (a.atWork() || b.atWork()):
		// It came while their files differed.
	case !w.rough:
		w.fail("%s is up on %s and %s", g.key, a.Name, b.Name)
	case w.mended > 0 && !w.torn() && now > w.told+w.mended && !g.tainted:
		w.fail("%s is still up on %s and %s %v after a partition has healed", g.key, a.Name, b.Name, now-w.told)
	case w.Sim.Elapsed() > w.until && !a.Works(g.key) && !b.Works(g.key) && !g.tainted:
		w.fail("%s is up on %s and %s since %.3f s", g.key, a.Name, b.Name, g.dual.Seconds())
	}
}

// unlisted wants a group that is in no file any more to be up nowhere.
func (w *Watch) unlisted(g *group) {
	g.dual, g.none, g.idle = -1, -1, -1
	for _, m := range w.Sim.Machines {
		if w.two() && w.Sim.Elapsed() > w.until && m.Runs() && slices.Contains(m.Up, g.key) && !m.Works(g.key) && !g.tainted {
			w.fail("%s is up on %s, and in no file", g.key, m.Name)
		}
	}
}

// noOwner wants a planned move to be short while a node is there that has long been.
func (w *Watch) noOwner(g *group) {
	owned := len(w.Sim.Owners(g.key)) > 0
	differ := g.changes && !w.alike() // nodes wait for each other until they have the same file
	if owned || differ || w.rough || g.tainted || !w.two() || w.Sim.Loss > 0 || !w.healthy(w.bound) || w.disarmed() {
		if g.idle >= 0 && owned && !w.rough {
			w.longest("planned gap", w.Sim.Elapsed()-g.idle)
		}
		g.idle = -1
		return
	}
	if g.idle < 0 {
		g.idle = w.Sim.Elapsed()
	}
	if idle := w.Sim.Elapsed() - g.idle; idle > w.gap {
		w.fail("%s is up nowhere for %v since %.3f s in a planned move", g.key, idle, g.idle.Seconds())
	}
}

// disarmed tells whether a STONITH device fails: then nothing of a dead node is taken.
func (w *Watch) disarmed() bool {
	return slices.ContainsFunc(w.Sim.Machines, func(m *Machine) bool { return m.NoReset && m.cfg.Stonith != "" })
}

// healthy tells whether some node is there to have the groups, and has been for so long.
func (w *Watch) healthy(long time.Duration) bool {
	return slices.ContainsFunc(w.Sim.Machines, func(m *Machine) bool {
		return m.Runs() && !m.Stopped && w.Sim.Now.Sub(m.began) >= long && !m.Engine.Status().ShuttingDown
	})
}
