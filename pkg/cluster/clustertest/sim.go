package clustertest

import (
	"container/heap"
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

// Sim is a cluster of machines, each of which may run a node's engine.
type Sim struct {
	// Now is the virtual time.
	Now time.Time
	// Machines in the order of their addition.
	Machines []*Machine
	// Loss and Dup are the probabilities, in thousandths, that a packet is lost, or comes twice.
	Loss, Dup int
	// MinDelay and MaxDelay bound a packet's time on its way.
	MinDelay, MaxDelay time.Duration
	// Reorder lets packets overtake each other on their way.
	Reorder bool
	// OnLog, OnSend and OnChange observe; they may be nil. OnChange is called when a group has
	// come up or gone down on a machine.
	OnLog    func(m *Machine, l cluster.Log)
	OnSend   func(m *Machine, s cluster.Send)
	OnChange func(m *Machine, key string, up bool)

	rand   *seqtrack.Rand
	events eventQueue
	order  uint64
	cuts   map[[2]string]bool
	last   map[[3]string]time.Time // when the last packet of a way arrives
	sent   int
}

// maxSpins is how many events may happen at one moment: an engine that asks for a Step again and
// again without time going on would hang the simulation, and a real machine's processor.
const maxSpins = 10000

// New makes an empty simulation.
func New(seed uint64) *Sim {
	return &Sim{
		Now: Epoch, MinDelay: 100 * time.Microsecond, MaxDelay: 300 * time.Microsecond,
		rand: seqtrack.NewRand(seed), cuts: map[[2]string]bool{}, last: map[[3]string]time.Time{},
	}
}

// Machine is one computer: what survives the end of its daemon.
type Machine struct {
	// Name is the node's name.
	Name string
	// Up are the keys of the groups that are running here, sorted.
	Up []string
	// CallTime is how long a call of each verb takes; Fail makes it end with that status.
	CallTime map[cluster.Verb]time.Duration
	Fail     map[cluster.Verb]int
	// Engine is the running daemon, or nil.
	Engine *cluster.Engine
	// Sent counts messages by type, over all runs.
	Sent map[string]int
	// ClientStop is how long the managed clients take to stop.
	ClientStop time.Duration
	// Poll, if not 0, is how often the daemon looks at what has come (the original: every 0.5 s).
	Poll time.Duration
	// Silent ping nodes and groups do not answer this machine.
	Silent []string

	sim     *Sim
	cfg     cluster.Config
	started time.Time
	run     int // counts starts, so that events of an earlier run are known
	tick    uint64
	frozen  bool
	held    []func() // what came while frozen
	runs    int      // calls under way
	exit    *cluster.Exit
}

// Add adds a machine whose daemon will be given cfg with a new generation at each start.
func (s *Sim) Add(cfg cluster.Config) *Machine {
	m := &Machine{
		Name: cfg.Node, sim: s, cfg: cfg, ClientStop: 10 * time.Millisecond,
		CallTime: map[cluster.Verb]time.Duration{}, Fail: map[cluster.Verb]int{}, Sent: map[string]int{},
	}
	s.Machines = append(s.Machines, m)
	return m
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

// Start starts the daemon.
func (m *Machine) Start() {
	if m.Engine != nil {
		return
	}
	m.run++
	m.started = m.sim.Now
	m.exit, m.frozen, m.held = nil, false, nil
	m.cfg.Generation++
	m.Engine = cluster.New(m.cfg, m.sim.Now)
	m.cfg.Restarted, m.cfg.Held = false, cluster.None
	m.Step(cluster.Tick{})
}

// Kill ends the daemon at once, as kill -9 does; its groups stay up.
func (m *Machine) Kill() {
	m.Engine = nil
	m.run++
}

// PowerOff ends everything at once.
func (m *Machine) PowerOff() {
	m.Kill()
	for _, key := range slices.Clone(m.Up) {
		m.set(key, false)
	}
}

// Freeze stops the daemon (SIGSTOP); what comes meanwhile waits for Thaw.
func (m *Machine) Freeze() { m.frozen = true }

// Thaw lets a frozen daemon go on. It finds its timer due first, then what has come.
func (m *Machine) Thaw() {
	if !m.frozen {
		return
	}
	m.frozen = false
	held := m.held
	m.held = nil
	m.Step(cluster.Tick{})
	for _, f := range held {
		f()
	}
}

// Frozen tells whether the daemon is stopped.
func (m *Machine) Frozen() bool { return m.frozen }

// Exited is how the last run ended by itself, or nil.
func (m *Machine) Exited() *cluster.Exit { return m.exit }

// Busy tells whether a call is under way.
func (m *Machine) Busy() bool { return m.runs > 0 }

// Cut ends, or with cut false restores, the way of packets from one machine to another.
func (s *Sim) Cut(from, to string, cut bool) {
	if cut {
		s.cuts[[2]string{from, to}] = true
	} else {
		delete(s.cuts, [2]string{from, to})
	}
}

// Connected tells whether packets go both ways between two machines.
func (s *Sim) Connected(a, b string) bool {
	return !s.cuts[[2]string{a, b}] && !s.cuts[[2]string{b, a}]
}

// Run lets d pass.
func (s *Sim) Run(d time.Duration) {
	end := s.Now.Add(d)
	for spins := 0; len(s.events) > 0 && !s.events[0].at.After(end); spins++ {
		e := heap.Pop(&s.events).(event)
		if e.at.After(s.Now) {
			spins = 0
		}
		if spins > maxSpins {
			panic("clustertest: time does not go on: " + s.Machines[0].State() + ", " + s.Machines[1].State())
		}
		s.Now = e.at
		e.do()
	}
	s.Now = end
}

// After has f called when d has passed.
func (s *Sim) After(d time.Duration, f func()) {
	s.order++
	heap.Push(&s.events, event{at: s.Now.Add(d), order: s.order, do: f})
}

// later has f called when d has passed, if the same run of the daemon still lasts; while it
// is frozen f waits.
func (m *Machine) later(d time.Duration, f func()) {
	run := m.run
	var do func()
	do = func() {
		switch {
		case m.run != run || m.Engine == nil:
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
	run := m.run
	for _, a := range m.Engine.Step(m.sim.Now, in) {
		if m.run != run {
			return
		}
		m.act(a)
	}
	if m.Engine == nil {
		return
	}
	if at, ok := m.Engine.Deadline(); ok {
		m.tick++
		tick := m.tick
		m.later(max(at.Sub(m.sim.Now), 0), func() {
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
		m.sim.sent++
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
	case cluster.StopClients:
		m.later(m.ClientStop, func() { m.Step(cluster.ClientsStopped{}) })
	case cluster.Exit:
		m.exit = &a
		m.Engine = nil
		m.run++
		if a.Restart {
			m.cfg.Restarted, m.cfg.Held = a.Quick, a.Held
			run := m.run
			m.sim.After(a.Wait+20*time.Millisecond, func() {
				if m.run == run {
					m.Start()
				}
			})
		}
	}
}

// transmit puts a packet on its ways: a broadcast reaches its sender too.
func (m *Machine) transmit(a cluster.Send) {
	if a.Media != "" {
		if !slices.Contains(m.Silent, a.Media) {
			m.deliver(m, a.Media, a.Bytes)
		}
		return
	}
	links := slices.Clone(m.cfg.Links)
	slices.Sort(links)
	for _, to := range m.sim.Machines {
		for i, link := range links {
			if to == m && i > 0 && links[i-1] == link {
				continue // ucast does not come back
			}
			if !m.sim.cuts[[2]string{m.Name, to.Name}] {
				m.deliver(to, link, a.Bytes)
			}
		}
	}
}

func (m *Machine) deliver(to *Machine, link string, packet []byte) {
	s := m.sim
	copies := 1
	if to != m {
		if s.Loss > 0 && s.Rand(1000) < s.Loss {
			copies--
		}
		if s.Dup > 0 && s.Rand(1000) < s.Dup {
			copies++
		}
	}
	way := [3]string{m.Name, to.Name, link}
	for range copies {
		delay := s.MinDelay
		if s.MaxDelay > s.MinDelay {
			delay += time.Duration(s.Rand(int(s.MaxDelay - s.MinDelay)))
		}
		if at := s.Now.Add(delay); at.After(s.last[way]) {
			s.last[way] = at
		} else if !s.Reorder {
			delay = s.last[way].Sub(s.Now)
		}
		if to.Poll > 0 && to != m {
			at := s.Now.Add(delay)
			delay += to.Poll - at.Sub(to.started)%to.Poll
		}
		to.later(delay, func() { to.Step(cluster.Received{Link: link, From: m.Name, Bytes: packet}) })
	}
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

type event struct {
	at    time.Time
	order uint64
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// Decode reads a sent packet; it panics on one that does not decode, for engines send none such.
func Decode(packet []byte) *hamsg.Msg {
	p, err := hamsg.Decode(packet)
	if err != nil {
		panic(err)
	}
	return &p.Msg
}
