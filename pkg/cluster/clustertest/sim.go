package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/seqtrack"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Epoch is when every simulation begins.
var Epoch = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

// Sim is a cluster of machines, each of which may run a node's daemon.
type Sim struct {
	// Now is the virtual time.
	Now time.Time
	// Machines in the order of their addition.
	Machines []*Machine
	// Network is what is between them.
	Network
	// OnLog, OnSend, OnCall and OnChange observe; they may be nil. OnCall is called when a call
	// begins and when it ends, OnChange when a group has come up or gone down on a machine.
	OnLog    func(m *Machine, l cluster.Log)
	OnSend   func(m *Machine, s cluster.Send)
	OnCall   func(m *Machine, c cluster.Call, begins bool)
	OnChange func(m *Machine, key string, up bool)
	// OnReboot is called when a machine reboots because a group cannot be stopped; it may be nil.
	OnReboot func(m *Machine)
	// OnExit is called when a daemon ends by itself; it may be nil.
	OnExit func(m *Machine, x cluster.Exit)
	// OnStep is called after each Step of a daemon that had actions; it may be nil.
	OnStep func(m *Machine, actions []cluster.Action)

	rand   *seqtrack.Rand
	events eventQueue
	order  uint64
}

// maxSpins is how many events may happen at one moment: an engine that asks for a Step again and
// again without time going on would hang the simulation, and a real machine's processor.
const maxSpins = 20000

// New makes an empty simulation.
func New(seed uint64) *Sim {
	return &Sim{
		Now: Epoch, Network: Network{MinDelay: 100 * time.Microsecond, MaxDelay: 300 * time.Microsecond},
		rand: seqtrack.NewRand(seed),
	}
}

// Machine is the machine of that name; it panics if there is none.
func (s *Sim) Machine(name string) *Machine {
	for _, m := range s.Machines {
		if m.Name == name {
			return m
		}
	}
	panic("clustertest: no machine " + name)
}

// Rand is a random number below n.
func (s *Sim) Rand(n int) int { return int(s.rand.Uint64() % uint64(n)) }

// Elapsed is the virtual time since the beginning.
func (s *Sim) Elapsed() time.Duration { return s.Now.Sub(Epoch) }

// Run lets d pass.
func (s *Sim) Run(d time.Duration) {
	end := s.Elapsed() + d
	for spins := 0; len(s.events) > 0 && s.events[0].at <= end; spins++ {
		e := s.events.pop()
		if now := Epoch.Add(e.at); now.After(s.Now) {
			spins = 0
			s.Now = now
		}
		if spins > maxSpins {
			panic(Stuck{"time does not go on:" + s.State()})
		}
		e.do()
	}
	s.Now = Epoch.Add(end)
}

// Stuck is the panic of a simulation in which time does not go on.
type Stuck struct{ State string }

// State is a line for each machine.
func (s *Sim) State() string {
	var b strings.Builder
	for _, m := range s.Machines {
		b.WriteString("\n" + m.State())
	}
	return b.String()
}

// After has f called when d has passed.
func (s *Sim) After(d time.Duration, f func()) {
	s.order++
	s.events.push(event{at: s.Elapsed() + max(d, 0), order: s.order, do: f})
}

// Daemon is what a machine runs: an engine, or a model of another implementation.
type Daemon interface {
	Step(now time.Time, in cluster.Input) []cluster.Action
	Deadline() (at time.Time, ok bool)
	Status() cluster.Status
}

// maxHeld is how much waits for a frozen daemon: what a socket's buffer holds. What comes later is lost.
const maxHeld = 400

// syncTime is what a node that has returned takes to know the connections of the other.
const syncTime = 3 * time.Second

// Machine is one computer: what survives the end of its daemon.
type Machine struct {
	// Name is the node's name.
	Name string
	// Engine is the running daemon, or nil.
	Engine Daemon
	// Make makes a daemon at a start; nil makes an engine.
	Make func(cfg cluster.Config, now time.Time) Daemon
	// Sent counts messages by type, over all runs.
	Sent map[string]int
	// ClientStop is how long the managed clients take to stop.
	ClientStop time.Duration
	// Poll, if not 0, is how often the daemon looks at what has come (the original: every 0.5 s).
	Poll time.Duration
	// Silent ping nodes and groups do not answer this machine.
	Silent []string
	// Clock is how far the machine's wall clock is from the true time.
	Clock time.Duration
	// Stopped says that the daemon is not to run: it was stopped, killed, or never started. One
	// that ends by itself to start anew is not stopped.
	Stopped bool
	// NoReset makes the STONITH device of this machine fail.
	NoReset bool
	Scripts
	files

	sim    *Sim
	index  int
	cfg    cluster.Config
	links  []string // distinct names, sorted, as they stand in cfg
	ways   [][]way  // to each machine, over each link
	began  time.Time
	run    int // counts starts, so that events of an earlier run are known
	boot   int // counts ends that no call outlives
	tick   uint64
	frozen bool
	held   []func()      // what came while frozen
	behind time.Duration // how far the machine's monotonic clock is behind the true time: it was suspended
	asleep time.Time     // since when it is suspended; zero if it is not
	exit   *cluster.Exit
}

// Add adds a machine whose daemon will be given cfg with a new generation at each start.
func (s *Sim) Add(cfg cluster.Config) *Machine {
	m := &Machine{
		Name: cfg.Node, sim: s, index: len(s.Machines), cfg: cfg, ClientStop: 10 * time.Millisecond,
		Scripts: newScripts(), files: files{file: cfg.Groups}, Sent: map[string]int{}, Stopped: true,
	}
	m.links = slices.Sorted(slices.Values(cfg.Links))
	m.cfg.Wall = func(now time.Time) time.Time { return now.Add(m.Clock) }
	s.Machines = append(s.Machines, m)
	for _, from := range s.Machines {
		for len(from.ways) < len(s.Machines) {
			from.ways = append(from.ways, make([]way, len(from.links)))
		}
	}
	return m
}

// Config is what the daemon is given at its next start.
func (m *Machine) Config() *cluster.Config { return &m.cfg }

// Start starts the daemon.
func (m *Machine) Start() {
	if m.Engine != nil {
		return // one that is ending goes on ending
	}
	m.Stopped = false
	m.run++
	m.began = m.sim.Now
	m.exit, m.frozen, m.held, m.asleep = nil, false, nil, time.Time{}
	m.cfg.Generation++
	if m.killed {
		m.byHand(m.file)
	}
	m.killed = false
	if !m.cfg.Restarted { // else it is told what the run before knew, and then what has changed since
		m.force = m.file
	}
	m.leaving, m.giving = nil, ""
	m.cfg.Groups, m.cfg.Sum = engineGroups(m.force), sum(m.force)
	if m.Make != nil {
		m.Engine = m.Make(m.cfg, m.now())
	} else {
		m.Engine = cluster.New(m.cfg, m.now())
	}
	m.cfg.Restarted, m.cfg.Held, m.cfg.Awaited = false, cluster.None, nil
	m.Step(cluster.Tick{})
	if !slices.Equal(m.force, m.file) {
		m.reread()
	}
	if m.late != nil {
		m.Haresources(m.late)
	}
}

// Stop asks the daemon for an orderly end. One that is being replaced in place is asked again, as heartbeat -k does.
func (m *Machine) Stop() {
	if m.Engine == nil && !m.Stopped && m.cfg.Restarted {
		boot := m.boot
		m.sim.After(time.Second, func() {
			if m.boot == boot {
				m.Stop()
			}
		})
		return
	}
	m.Stopped = true
	m.Step(cluster.Shutdown{})
}

// Kill ends the daemon at once, as kill -9 does; its groups stay up.
func (m *Machine) Kill() {
	m.Stopped = true
	m.killed = m.killed || m.Engine != nil
	m.Engine = nil
	m.run++
	m.boot++
	m.running, m.calls = 0, nil // calls die with it
	m.frozen, m.held, m.asleep = false, nil, time.Time{}
	m.cfg.Restarted, m.cfg.Held, m.cfg.Awaited = false, cluster.None, nil
}

// PowerOff ends everything at once.
func (m *Machine) PowerOff() {
	m.Kill()
	for _, key := range slices.Clone(m.Up) {
		m.set(key, false)
	}
}

// Freeze stops the daemon (SIGSTOP); what comes meanwhile waits for Thaw.
func (m *Machine) Freeze() { m.frozen = m.Engine != nil }

// Suspend stops the whole machine, its clocks too, as a hypervisor's stop does; what is sent to it is lost.
func (m *Machine) Suspend() {
	if m.Freeze(); m.frozen {
		m.asleep = m.sim.Now
	}
}

func (m *Machine) suspended() bool { return !m.asleep.IsZero() }

// now is the machine's monotonic clock.
func (m *Machine) now() time.Time { return m.sim.Now.Add(-m.behind) }

// Thaw lets a frozen daemon, or a suspended machine, go on. It finds its timer due first, then what has come.
func (m *Machine) Thaw() {
	if !m.frozen {
		return
	}
	m.frozen = false
	held := m.held
	m.held = nil
	if m.suspended() {
		m.behind += m.sim.Now.Sub(m.asleep)
		m.asleep = time.Time{}
	}
	m.Step(cluster.Tick{})
	for _, f := range held {
		f()
	}
}

// Frozen tells whether the daemon is stopped.
func (m *Machine) Frozen() bool { return m.frozen }

// Runs tells whether the daemon runs and is not frozen.
func (m *Machine) Runs() bool { return m.Engine != nil && !m.frozen }

// Began is when the daemon was last started.
func (m *Machine) Began() time.Time { return m.began }

// Exited is how the last run ended by itself, or nil.
func (m *Machine) Exited() *cluster.Exit { return m.exit }

// later has f called when d has passed, if the same run of the daemon still lasts; while it
// is frozen f waits.
func (m *Machine) later(d time.Duration, f func()) { m.after(d, false, f) }

// arrive is later for a packet: to a suspended machine it is lost.
func (m *Machine) arrive(d time.Duration, f func()) { m.after(d, true, f) }

func (m *Machine) after(d time.Duration, packet bool, f func()) {
	run := m.run
	var do func()
	do = func() {
		switch {
		case m.run != run || m.Engine == nil:
		case m.frozen && (len(m.held) >= maxHeld || packet && m.suspended()):
		case m.frozen:
			m.held = append(m.held, do)
		default:
			f()
		}
	}
	m.sim.After(d, do)
}

// Step gives the daemon an input and carries out what it wants.
func (m *Machine) Step(in cluster.Input) {
	if m.Engine == nil {
		return
	}
	if m.frozen {
		run := m.run
		m.held = append(m.held, func() {
			if m.run == run {
				m.Step(in)
			}
		})
		return
	}
	run := m.run
	actions := m.Engine.Step(m.now(), in)
	for _, a := range actions {
		if m.run != run {
			return
		}
		m.act(a)
	}
	if m.Engine == nil {
		return
	}
	if m.sim.OnStep != nil && len(actions) > 0 {
		m.sim.OnStep(m, actions)
	}
	if at, ok := m.Engine.Deadline(); ok {
		m.tick++
		tick := m.tick
		m.later(at.Sub(m.now()), func() {
			if tick == m.tick {
				m.Step(cluster.Tick{})
			}
		})
	}
}

func (m *Machine) act(a cluster.Action) {
	switch a := a.(type) {
	case cluster.Send:
		m.Sent[a.Type]++
		if m.sim.OnSend != nil {
			m.sim.OnSend(m, a)
		}
		m.transmit(a)
	case cluster.Log:
		if m.sim.OnLog != nil {
			m.sim.OnLog(m, a)
		}
	case cluster.Run:
		m.call(a)
	case cluster.Stonith:
		m.shoot(a)
	case cluster.AwaitSync:
		if a.On {
			m.later(syncTime, func() { m.Step(cluster.Synced{}) })
		}
	case cluster.StopClients:
		m.later(m.ClientStop, func() { m.Step(cluster.ClientsStopped{}) })
	case cluster.Exit:
		if m.sim.OnExit != nil {
			m.sim.OnExit(m, a)
		}
		m.exit = &a
		m.Engine = nil
		m.run++
		if a.Restart {
			m.cfg.Restarted, m.cfg.Held, m.cfg.Awaited = a.Quick, a.Held, a.Awaited
			run := m.run
			m.sim.After(a.Wait+20*time.Millisecond, func() {
				if m.run == run && !m.Stopped {
					m.Start()
				}
			})
		}
	}
}

// How long a STONITH device takes.
const resetTime = 700 * time.Millisecond

// shoot has the STONITH device reset a machine, which boots and starts its daemon.
func (m *Machine) shoot(a cluster.Stonith) {
	boot := m.boot
	m.sim.After(resetTime, func() {
		if m.boot != boot {
			return
		}
		done := cluster.StonithDone{ID: a.ID, PID: 222}
		switch {
		case m.NoReset:
			done.Result = cluster.StonithFailed
		case a.Node != "":
			victim := m.sim.Machine(a.Node)
			if m.sim.OnReboot != nil {
				m.sim.OnReboot(victim)
			}
			victim.reboot()
		}
		m.later(0, func() { m.Step(done) })
	})
}

// reboot takes the power off for a moment.
func (m *Machine) reboot() {
	stopped := m.Stopped
	m.PowerOff()
	m.Stopped = stopped
	run := m.run
	m.sim.After(bootTime, func() {
		if m.run == run && !stopped {
			m.Start()
		}
	})
}

// Tell writes a message of name=value fields to the machine's FIFO.
func (m *Machine) Tell(fields ...string) {
	m.Step(cluster.Said{Text: text(fields...)})
}

func text(fields ...string) []byte {
	return []byte(">>>\n" + strings.Join(fields, "\n") + "\n<<<\n")
}

// State is one line about the machine.
func (m *Machine) State() string {
	up := strings.Join(m.Up, " ")
	if m.Engine == nil {
		return fmt.Sprintf("%s: down; up: [%s]", m.Name, up)
	}
	st := m.Engine.Status()
	nodes := ""
	for _, n := range st.Nodes {
		nodes += " " + n.Name + "=" + n.Status
	}
	jobs := ""
	for _, j := range st.Jobs {
		jobs += " " + j.Name
	}
	return fmt.Sprintf("%s: %s holds %s, peer %s, standby %s, jobs [%s], stable %v; up: [%s];%s",
		m.Name, st.Phase, st.Held, st.PeerHeld, st.Standby, strings.TrimSpace(jobs), st.Stable, up, nodes)
}

// Decode reads a sent packet; it panics on one that does not decode, for engines send none such.
func Decode(packet []byte) *hamsg.Msg {
	p, err := hamsg.Decode(packet)
	if err != nil {
		panic(err)
	}
	return &p.Msg
}

// event is something that happens at a time after Epoch.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// eventQueue is a heap. (container/heap would box every event.)
type eventQueue []event

func (q *eventQueue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*q = h
}

func (q *eventQueue) pop() event {
	h := *q
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	for i := 0; ; {
		small := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if h[c].before(&h[small]) {
				small = c
			}
		}
		if small == i {
			break
		}
		h[i], h[small] = h[small], h[i]
		i = small
	}
	*q = h
	return first
}
