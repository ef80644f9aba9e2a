package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// Watch holds a simulation to what must hold. The first breach ends the watch.
//
// Time is cut into episodes. One begins with a command that finds the cluster settled, and ends
// when it has settled again. What is allowed in it depends on what has happened in it:
//
//   - An episode of planned moves (start, stop, standby, takeover, reload; a network that delays,
//     repeats and reorders; clocks that jump) allows nothing: no group has two owners for a moment,
//     no acquisition begins before the other's release has ended, nobody is declared dead, nobody
//     restarts.
//   - A rough one (a kill, a freeze, a cut, losses that made a node seem dead) may have two owners
//     or none until its deadline, which each command puts off. Afterwards every group has one owner
//     again, as far as nodes run and hear each other, and nodes agree on who it is.
type Watch struct {
	Sim  *Sim
	Plan *Plan
	// Err is the first breach.
	Err error
	// Longest are the longest times seen, by name.
	Longest map[string]time.Duration

	groups  []group
	kinds   []string // of the commands of this episode
	since   time.Duration
	until   time.Duration // when all has to be right again
	rough   bool
	planned bool // a restart was asked for
	settled bool
	bound   time.Duration
	gap     time.Duration // how long a group may have no owner in an episode of planned moves
	unsure  time.Duration // until when nodes may not know of each other what is true
	sent    []int         // messages of each machine in this window
	window  time.Duration
	shadows []shadow
}

type group struct {
	key string
	// Since when it has two owners, or none, or none while all goes as planned; -1 if not.
	dual, none, idle time.Duration
	tainted          bool // has failed to start or stop
}

// stormWindow is the time in which messages are counted.
const stormWindow = 10 * time.Second

// NewWatch watches a simulation that has not begun yet.
func NewWatch(sim *Sim, plan *Plan) *Watch {
	w := &Watch{Sim: sim, Plan: plan, Longest: map[string]time.Duration{}, settled: true}
	for _, g := range plan.Groups {
		w.groups = append(w.groups, group{key: g.Key, dual: -1, none: -1, idle: -1})
	}
	w.sent = make([]int, len(sim.Machines))
	for _, m := range sim.Machines {
		w.shadows = append(w.shadows, newShadow(m))
	}
	w.wrap()
	return w
}

// wrap adds the watch to the simulation's observers.
func (w *Watch) wrap() {
	s := w.Sim
	log, send, call, change, step := s.OnLog, s.OnSend, s.OnCall, s.OnChange, s.OnStep
	s.OnLog = func(m *Machine, l cluster.Log) {
		if log != nil {
			log(m, l)
		}
		w.log(m, l)
	}
	s.OnSend = func(m *Machine, a cluster.Send) {
		if send != nil {
			send(m, a)
		}
		w.sent[m.index]++
	}
	s.OnCall = func(m *Machine, c cluster.Call, begins bool) {
		if call != nil {
			call(m, c, begins)
		}
		w.call(m, c, begins)
	}
	s.OnChange = func(m *Machine, key string, up bool) {
		if change != nil {
			change(m, key, up)
		}
		w.owners()
	}
	s.OnStep = func(m *Machine, actions []cluster.Action) {
		if step != nil {
			step(m, actions)
		}
		w.step(m, actions)
	}
}

// two tells whether the resource protocol, which knows one other side, fits this cluster.
func (w *Watch) two() bool { return len(w.Plan.Nodes) == 2 }

func (w *Watch) fail(format string, args ...any) {
	if w.Err == nil {
		w.Err = fmt.Errorf("after %.3f s (%s): %s%s", w.Sim.Elapsed().Seconds(), strings.Join(w.kinds, ", "), fmt.Sprintf(format, args...), w.Sim.State())
	}
}

func (w *Watch) longest(name string, d time.Duration) {
	if d > w.Longest[name] {
		w.Longest[name] = d
	}
}

// roughly are the commands after which nodes may not know of each other.
var roughly = []string{"kill", "poweroff", "freeze", "thaw", "cut", "heal"}

// Command is to be called with each command, before it is carried out.
func (w *Watch) Command(words []string) {
	now := w.Sim.Elapsed()
	if w.isSettled() && now > w.unsure {
		w.kinds, w.since, w.rough, w.planned, w.gap = nil, now, false, false, 0
	}
	w.settled = false
	w.kinds = append(w.kinds, words[0])
	w.rough = w.rough || slices.Contains(roughly, words[0]) || w.torn()
	w.planned = w.planned || words[0] == "restart"
	if words[0] == "nostart" || words[0] == "nostop" {
		for i := range w.groups {
			w.groups[i].tainted = w.groups[i].tainted || w.groups[i].key == words[2]
		}
	}
	w.bound = w.settleBound()
	w.until = now + w.bound
	w.gap += w.moveBound()
	w.doubt()
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
		w.unsure = max(w.unsure, w.Sim.Elapsed()+m.cfg.Deadtime+3*m.cfg.Keepalive+4*w.Sim.MaxDelay+2*m.Poll)
	}
}

// moveBound is how long a planned move may take: the scripts of both nodes, the messages between
// them, and the wait after which groups that nobody owns are taken.
func (w *Watch) moveBound() time.Duration {
	script, poll := w.slowest()
	return time.Duration(2*len(w.groups)+3)*script + 10*(w.Sim.MaxDelay+poll) + time.Second
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
	for _, g := range w.groups {
		if g.tainted {
			base += standbyDelay + stopRetries + bootTime
			break
		}
	}
	base += 90*time.Second + time.Duration(8*(len(w.groups)+1))*script + 20*(poll+w.Sim.MaxDelay)
	if w.Sim.Loss > 0 {
		base *= 2
	}
	return base
}

// log looks at what a daemon logs.
func (w *Watch) log(m *Machine, l cluster.Log) {
	w.shadows[m.index].log(l)
	name, ok := strings.CutPrefix(l.Text, "node ")
	if !ok {
		return
	}
	name, ok = strings.CutSuffix(name, ": is dead")
	if !ok {
		return
	}
	i := slices.Index(w.Plan.Nodes, name)
	if i < 0 || !w.Sim.Machines[i].Runs() || !w.Sim.Hears(w.Sim.Machines[i], m) {
		return
	}
	if w.Sim.Now.Sub(w.Sim.Machines[i].began) < m.cfg.Keepalive+m.Poll {
		return // its first heartbeats are on their way
	}
	if w.Sim.Loss == 0 && !w.rough {
		w.fail("%s has declared %s dead, which runs", m.Name, name)
	}
	w.rough = true
	w.until = max(w.until, w.Sim.Elapsed()+w.bound)
}

// call wants an acquisition to begin after the other's release has ended.
func (w *Watch) call(m *Machine, c cluster.Call, begins bool) {
	if !begins || w.rough || !w.two() || !m.Takes(c) {
		return
	}
	for _, key := range m.keysOf(c) {
		for _, other := range w.Sim.Machines {
			if other == m || slices.Contains(m.Up, key) {
				continue
			}
			if slices.Contains(other.Up, key) || other.Works(key) {
				w.fail("%s begins to take %s, and %s has not released it yet", m.Name, key, other.Name)
			}
		}
	}
}

// step compares what a daemon has logged with what it says of itself.
func (w *Watch) step(m *Machine, actions []cluster.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case cluster.Log, cluster.NodeChanged, cluster.LinkChanged:
			if err := w.shadows[m.index].compare(actions); err != nil {
				w.fail("%s: %v", m.Name, err)
			}
			return
		case cluster.Exit:
			w.exit(m, a)
		}
	}
}

// Exited is to be called when a daemon has ended by itself.
func (w *Watch) exit(m *Machine, x cluster.Exit) {
	switch {
	case x.Code != 0:
		w.fail("%s has ended with status %d", m.Name, x.Code)
	case x.Restart && !x.Quick && !w.rough && !w.planned && w.two():
		w.fail("%s restarts without need", m.Name)
	case !x.Restart && !m.Stopped:
		w.fail("%s has ended unasked", m.Name)
	case !x.Quick && len(m.Up) > 0:
		w.fail("%s has ended and has left up %v", m.Name, m.Up)
	}
}

// owners notes who has what, whenever that changes and from time to time.
func (w *Watch) owners() {
	if w.Err != nil {
		return
	}
	now := w.Sim.Elapsed()
	for i := range w.groups {
		g := &w.groups[i]
		a, b := w.pair(g.key)
		switch {
		case a == nil:
			if g.dual >= 0 {
				w.longest("two owners", now-g.dual)
			}
			g.dual = -1
		case g.dual < 0:
			g.dual = now
		}
		if a != nil {
			w.twoOwners(g, a, b)
		}
		none := len(w.Sim.Owners(g.key)) == 0 && w.healthy(0)
		switch {
		case !none:
			if g.none >= 0 {
				w.longest("no owner", now-g.none)
			}
			g.none = -1
		case g.none < 0:
			g.none = now
		}
		if none && now > w.until && !g.tainted && w.two() {
			w.fail("%s is up nowhere since %.3f s", g.key, g.none.Seconds())
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
	switch {
	case !w.two():
	case !w.rough:
		w.fail("%s is up on %s and %s", g.key, a.Name, b.Name)
	case w.Sim.Elapsed() > w.until && !a.Works(g.key) && !b.Works(g.key) && !g.tainted:
		w.fail("%s is up on %s and %s since %.3f s", g.key, a.Name, b.Name, g.dual.Seconds())
	}
}

// noOwner wants a planned move to be short while a node is there that has long been.
func (w *Watch) noOwner(g *group) {
	owned := len(w.Sim.Owners(g.key)) > 0
	if owned || w.rough || g.tainted || !w.two() || w.Sim.Loss > 0 || !w.healthy(w.bound) {
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

// healthy tells whether some node is there to have the groups, and has been for so long.
func (w *Watch) healthy(long time.Duration) bool {
	return slices.ContainsFunc(w.Sim.Machines, func(m *Machine) bool {
		return m.Runs() && !m.Stopped && w.Sim.Now.Sub(m.began) >= long && !m.Engine.Status().ShuttingDown
	})
}

// Look is to be called from time to time.
func (w *Watch) Look() {
	w.owners()
	w.storm()
	if w.Sim.Loss > 0 || w.torn() {
		w.doubt()
	}
	now := w.Sim.Elapsed()
	if !w.settled && w.isSettled() {
		w.settled = true
		w.longest("to settle", now-w.since)
	}
	if now > w.until && w.two() {
		if err := w.agreement(); err != nil {
			w.fail("%v", err)
		}
	}
}

// storm counts messages.
func (w *Watch) storm() {
	now := w.Sim.Elapsed()
	if now-w.window < stormWindow {
		return
	}
	for i, m := range w.Sim.Machines {
		limit := 1500 + 3*int(stormWindow/m.cfg.Keepalive)
		if w.settled && w.since < w.window && w.Sim.Loss == 0 && now > w.until {
			// A heartbeat each keepalive, an acknowledgement for ten of each other's.
			limit = 12*int(stormWindow/m.cfg.Keepalive+1)/10 + 4
			w.longest("quiet messages", time.Duration(w.sent[i]))
		}
		if w.sent[i] > limit {
			w.fail("%s has sent %d messages within %v", m.Name, w.sent[i], stormWindow)
		}
		w.longest("messages", time.Duration(w.sent[i]))
		w.sent[i] = 0
	}
	w.window = now
}

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
	return w.agreement() == nil
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
	for _, g := range w.groups {
		owners := w.Sim.Owners(g.key)
		if len(owners) != 1 && !g.tainted {
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
	for _, g := range w.Plan.Groups {
		if g.Key == key && g.Node == m.Name {
			side = cluster.Local
		}
	}
	return m.Engine.Status().Held.Has(side)
}

// alone wants a node that hears nobody to have everything.
func (w *Watch) alone() error {
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
