package clustertest

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// single sets the limits for a disturbance that finds the cluster settled, or split in two halves
// that have settled, and that nothing else follows.
func (w *Watch) single(words []string) {
	w.crash, w.mended = 0, 0
	if !w.two() || w.Sim.Loss > 0 || w.tainted() {
		return
	}
	m := w.Sim.Machines[0]
	script, poll := w.slowest()
	work := time.Duration(2*len(w.groups)+2)*script + 4*w.Sim.MaxDelay + 2*poll + 100*time.Millisecond
	switch {
	case words[0] == "poweroff" && len(w.kinds) == 0 && w.Sim.Now.Sub(w.youngest()) > time.Minute:
		w.crash = m.cfg.Deadtime + work
		if m.cfg.Stonith != "" {
			w.crash += resetTime
		}
	case words[0] == "heal" && w.split():
		w.mended = m.cfg.Keepalive + 2*work
	}
}

// youngest is when a daemon was started last.
func (w *Watch) youngest() (at time.Time) {
	for _, m := range w.Sim.Machines {
		if m.began.After(at) {
			at = m.began
		}
	}
	return at
}

// split tells whether both nodes run, hear nothing of each other, and have everything.
func (w *Watch) split() bool {
	a, b := w.Sim.Machines[0], w.Sim.Machines[1]
	if w.Sim.Hears(a, b) || w.Sim.Hears(b, a) {
		return false
	}
	for _, m := range w.Sim.Machines {
		if !w.alike() || !m.Runs() || len(m.Up) != w.count(m) || m.Busy() || w.Sim.Now.Sub(m.began) < time.Minute {
			return false
		}
		if st := m.Engine.Status(); !st.Stable || st.ShuttingDown || len(st.Jobs) > 0 {
			return false
		}
	}
	return true
}

// torn tells whether some packets cannot go their way.
func (w *Watch) torn() bool {
	for i, a := range w.Sim.Machines {
		for _, b := range w.Sim.Machines[i+1:] {
			if !w.Sim.Connected(a, b) {
				return true
			}
		}
	}
	return false
}

// doubt notes whether nodes may be wrong about each other, and until when that may show: until the
// dead time is over in which heartbeats may be missing.
func (w *Watch) doubt() {
	if !w.rough && w.Sim.Loss == 0 && !w.torn() {
		return
	}
	for _, m := range w.Sim.Machines {
		if w.Sim.Loss > 0 {
			w.lossy = max(w.lossy, w.Sim.Elapsed()+m.cfg.Deadtime)
		}
		w.unsure = max(w.unsure, w.Sim.Elapsed()+m.cfg.Deadtime+3*m.cfg.Keepalive+4*w.Sim.MaxDelay+2*m.Poll)
	}
}

// moveBound is how long a planned move may take: the scripts of both nodes, the messages between
// them, and the wait after which groups that nobody owns are taken.
func (w *Watch) moveBound() time.Duration {
	script, poll := w.slowest()
	bound := time.Duration(2*len(w.groups)+3)*script + 10*(w.Sim.MaxDelay+poll) + time.Second
	if w.tainted() {
		bound += stopRetries
	}
	return bound
}

func (w *Watch) tainted() bool {
	return slices.ContainsFunc(w.groups, func(g group) bool { return g.tainted })
}

// slowest is the longest time of a script, and between two looks at what has come.
func (w *Watch) slowest() (script, poll time.Duration) {
	for _, m := range w.Sim.Machines {
		for _, d := range m.CallTime {
			script = max(script, d)
		}
		poll = max(poll, m.Poll)
	}
	return script, poll
}

// settleBound is how long anything may take at most, all of the protocol's own waits one after
// the other.
func (w *Watch) settleBound() time.Duration {
	script, poll := w.slowest()
	var base time.Duration
	for _, m := range w.Sim.Machines {
		base = max(base, m.cfg.Initdead+2*m.cfg.Deadtime)
	}
	if w.tainted() {
		base += standbyDelay + stopRetries + bootTime
	}
	base += 90*time.Second + time.Duration(8*(len(w.groups)+1))*script + 20*(poll+w.Sim.MaxDelay)
	for _, m := range w.Sim.Machines {
		if w.lossy > 0 { // as many notices of nodes that seem to go and come may wait for a slow script
			base += 20 * m.CallTime[cluster.Harc]
		}
	}
	if w.Sim.Loss > 0 {
		base *= 2
	}
	return base
}
