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
//   - A group that a new haresources has come, go or move may have two owners or none while the machines'
//     files differ on it. Once they agree it has one owner, and two only while scripts run; one that is in no
//     file any more is up nowhere at the deadline. The bound of a planned move is for times in which the files
//     are the same: nodes compare the whole of them before a line that moves is taken.
//   - A rough one (a kill, a freeze, a suspended machine, a cut, losses that made a node seem dead) may have two owners
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
	calm    time.Duration // since when it has been settled
	bound   time.Duration
	gap     time.Duration // how long a group may have no owner in an episode of planned moves
	// How long a group may have no owner when all that has happened is that a machine died, and two
	// when all that has happened is that a partition has healed; 0 for anything else.
	crash, mended time.Duration
	told          time.Duration // when the last command came
	lossy         time.Duration // until when lost heartbeats may be missed
	unsure        time.Duration // until when nodes may not know of each other what is true
	sent          []int         // messages of each machine in this window
	window        time.Duration
	shadows       []shadow
	newest        []cluster.Group // haresources as last changed on some machine; nil if never
}

type group struct {
	key string
	// Since when it has two owners, or none, or none while all goes as planned; -1 if not.
	dual, none, idle time.Duration
	tainted          bool // has failed to start or stop
	changes          bool // a new haresources in this episode has it come, go or move
}

func newGroup(key string) group { return group{key: key, dual: -1, none: -1, idle: -1} }

// stormWindow is the time in which messages are counted.
const stormWindow = 10 * time.Second

// NewWatch watches a simulation that has not begun yet.
func NewWatch(sim *Sim, plan *Plan) *Watch {
	w := &Watch{Sim: sim, Plan: plan, Longest: map[string]time.Duration{}, settled: true}
	for _, g := range plan.Groups {
		for _, key := range members(g) {
			w.group(key)
		}
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
	s.OnExit = w.exit
	s.OnReboot = func(m *Machine) {
		w.kinds = append(w.kinds, "reboot of "+m.Name)
		w.rough = true
		w.crash, w.mended = 0, 0
		w.until = max(w.until, s.Elapsed()+w.bound)
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
var roughly = []string{"kill", "poweroff", "freeze", "suspend", "thaw", "cut", "heal"}

// Command is to be called with each command, before it is carried out.
func (w *Watch) Command(words []string) {
	now := w.Sim.Elapsed()
	if w.isSettled() && now > w.unsure {
		w.kinds, w.since, w.rough, w.planned, w.gap = nil, now, false, false, 0
		w.forget()
	}
	w.single(words)
	w.told = now
	w.until = max(w.until, now+w.bound)
	w.settled = false
	w.kinds = append(w.kinds, words[0])
	w.rough = w.rough || slices.Contains(roughly, words[0]) || w.torn()
	w.planned = w.planned || words[0] == "restart"
	if words[0] == "haresources" {
		w.rewrite(words)
	}
	if words[0] == "nostart" || words[0] == "nostop" {
		for i := range w.groups {
			w.groups[i].tainted = w.groups[i].tainted || w.groups[i].key == words[2]
		}
	}
	if w.newest != nil {
		w.spread()
	}
}

// Commanded is to be called when a command has been carried out.
func (w *Watch) Commanded() {
	w.bound = w.settleBound()
	w.until = w.Sim.Elapsed() + w.bound
	w.gap += w.moveBound()
	w.doubt()
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
	if w.Sim.Now.Sub(w.Sim.Machines[i].began) < m.cfg.Keepalive+m.Poll+w.Sim.MaxDelay {
		return // its first heartbeats are on their way
	}
	if w.Sim.Loss == 0 && w.Sim.Elapsed() > w.lossy && !w.rough {
		w.fail("%s has declared %s dead, which runs", m.Name, name)
	}
	w.rough = true
	w.until = max(w.until, w.Sim.Elapsed()+w.bound)
}

// call wants an acquisition to begin after the other's release has ended.
func (w *Watch) call(m *Machine, c cluster.Call, begins bool) {
	// With a STONITH device it holds whatever happens, but for what a killed daemon has left up.
	fenced := m.cfg.Stonith != "" && !slices.Contains(w.kinds, "kill")
	if !begins || w.rough && !fenced || !w.two() || !m.Takes(c) {
		return
	}
	for _, key := range m.keysOf(c) {
		for _, other := range w.Sim.Machines {
			if other == m || slices.Contains(m.Up, key) {
				continue
			}
			if _, agreed := w.listed(w.group(key)); agreed && (slices.Contains(other.Up, key) || other.Works(key)) && !(w.group(key).changes && other.atWork()) {
				w.fail("%s begins to take %s, and %s has not released it yet", m.Name, key, other.Name)
			}
		}
	}
}

// step compares what a daemon has logged with what it says of itself.
func (w *Watch) step(m *Machine, actions []cluster.Action) {
	for _, a := range actions {
		switch a.(type) {
		case cluster.Log, cluster.NodeChanged, cluster.LinkChanged:
			if err := w.shadows[m.index].compare(actions); err != nil {
				w.fail("%s: %v", m.Name, err)
			}
			return
		}
	}
}

// exit looks at a daemon that ends by itself.
func (w *Watch) exit(m *Machine, x cluster.Exit) {
	active := m.Engine.Status().State == "active" // earlier it holds nothing, and knows of nothing that was left here
	switch {
	case x.Code != 0:
		w.fail("%s has ended with status %d", m.Name, x.Code)
	case active && x.Restart && !x.Quick && !w.rough && !w.planned && w.two():
		w.fail("%s restarts without need", m.Name)
	case !x.Restart && !m.Stopped:
		w.fail("%s has ended unasked", m.Name)
	case active && !x.Quick && len(m.Up) > 0:
		w.fail("%s has ended and has left up %v", m.Name, m.Up)
	}
}

// Look is to be called from time to time.
func (w *Watch) Look() {
	w.owners()
	w.storm()
	if w.Sim.Loss > 0 || w.torn() {
		w.doubt()
	}
	now := w.Sim.Elapsed()
	if settled := w.isSettled(); settled != w.settled {
		if w.settled, w.calm = settled, now; settled {
			w.longest("to settle", now-w.since)
		}
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
	calm := now - w.calm
	for _, m := range w.Sim.Machines { // a reboot may come between two looks
		calm = min(calm, w.Sim.Now.Sub(m.began))
	}
	for i, m := range w.Sim.Machines {
		limit := 1500 + 6*int(stormWindow/m.cfg.Keepalive) // each heartbeat four times while packets are lost
		if w.Sim.MaxDelay > time.Second/2 && w.lossy > 0 {
			limit *= 2 // what is missing is asked for again and again before an answer can have come
		}
		repeating := 10 * m.cfg.Keepalive // after the last loss that it saw
		if w.two() && w.settled && calm > now-w.window+6*time.Second+repeating && w.Sim.Loss == 0 && !w.tainted() && w.Sim.MaxDelay < m.cfg.Keepalive/2 {
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
