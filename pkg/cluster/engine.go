package cluster

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/cluster/seqtrack"
	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

const (
	// startExtra is added to the deadtime that we announce for the first startExtraFor, as other
	// nodes know it from heartbeat's start.
	startExtra    = 2 * time.Second
	startExtraFor = 5 * time.Second
	// reqnodesRetry is how often the node list is asked for.
	reqnodesRetry = time.Second
	// lateStep is how much later than asked for a Step may come before we suspect that the whole
	// process was stopped; wakeGrace is how long we then listen before declaring anybody dead. With
	// a short deadtime less is too late to judge others by, and there is less time to listen.
	lateStep  = 250 * time.Millisecond
	wakeGrace = 250 * time.Millisecond
)

// Engine is one node's heartbeat protocol. It is not safe for use by several goroutines.
type Engine struct {
	cfg  Config
	ring *hbauth.Ring
	now  time.Time
	out  []Action

	table   *liveness.Table
	nodes   []*node // in the table's order
	self    *node
	history *seqtrack.History
	rand    *seqtrack.Rand
	rsc     *takeover.Machine

	started     bool
	begun       time.Time // first Step
	asked       time.Time // when the last Step said the next would be due
	stepped     time.Time // last Step
	lastWall    int64
	deadtime    time.Duration // what we announce
	flowControl bool
	statusAt    time.Time // next periodic status
	calmAt      time.Time // end of the raised deadtime after the start
	scanFrom    time.Time // no death before that: we have just woken
	commUp      bool
	reqnodesAt  time.Time // next request for the node list; zero if none is wanted
	deleted     []string

	restartAt time.Time // restart after a healed partition that nothing else settles

	jobs   []*job
	queue  []notice
	call   *job // whose call is under way
	callID int
	jobID  int

	asking   asking
	unread   []*Regroup  // what has changed in haresources before communication was up
	former   string      // the Sum before the last change of haresources
	early    []Regrouped // lines that the other node gave up for us before haresources changed here
	awaited  []Regrouped // lines of ours that the other node had when haresources changed
	stonith  stonith
	repeater repeater

	end ending

	packets uint64 // numbered ones, so far
	complaints
}

// node is what the engine knows of a node besides its liveness.
type node struct {
	*liveness.Node
	uuid         hamsg.UUID
	generation   uint64
	window       *seqtrack.Window
	windowGen    uint64 // generation of the messages in window
	acked        uint64 // highest of our messages that it has acknowledged
	heard        bool   // packets have come since the start, or since it was declared dead
	statusTime   uint64 // its clock when it sent its last status
	statusSeq    uint64
	reportSeq    uint64 // of its last report of resources
	sum          string // of the haresources that it went by in message sumSeq, or ""
	sumSeq       uint64
	hasResources bool   // legacy mode: it may hold something
	run          uint64 // of its packets, if they are numbered
	weight       int    // hb_setweight: for clients only
	site         string // hb_setsite: likewise
	left         bool   // this run of it has given up everything
	clock        clock
	late, lost   uint64 // heartbeats that came late, messages that were missing
}

// New makes the engine of a starting node. Nothing happens before the first Step, which is
// to be made at once, with a [Tick]: it sends the first status messages.
func New(cfg Config, now time.Time) *Engine {
	e := &Engine{
		cfg:         cfg,
		ring:        cfg.Ring,
		now:         now,
		table:       liveness.New(cfg.Node, cfg.Initdead),
		history:     seqtrack.NewHistory(cfg.MaxRexmitDelay),
		rand:        seqtrack.NewRand(cfg.Seed),
		deadtime:    cfg.Deadtime,
		awaited:     cfg.Awaited,
		flowControl: true,
		complaints:  complaints{quiet: cfg.QuietBadPackets, kinds: map[string]*throttle{}},
	}
	e.tell = e.log
	for _, name := range cfg.Nodes {
		e.addNode(name)
	}
	for _, p := range cfg.Pings {
		if slices.Contains(cfg.Nodes, p.Name) {
			continue // its answers could not be told from the node's packets
		}
		e.nodes = append(e.nodes, &node{
			weight: defaultWeight,
			Node:   e.table.Add(p.Name, true, cfg.Deadping, []string{p.Name}, now),
			window: seqtrack.NewWindow(cfg.MaxRexmitDelay, e.rand),
		})
	}
	if e.self == nil {
		e.addNode(cfg.Node)
	}
	e.rsc = takeover.New(takeover.Config{
		Node:     cfg.Node,
		Failback: cfg.Failback,

		FailbackSync: cfg.FailbackSync,

		Unmanaged: cfg.Unmanaged,
		Many:      len(cfg.Nodes) > 2,
		Restarted: cfg.Restarted,
		Held:      cfg.Held,
	}, (*host)(e))
	return e
}

func (e *Engine) addNode(name string) {
	n := &node{
		weight: defaultWeight,
		Node:   e.table.Add(name, false, e.cfg.Deadtime, e.cfg.Links, e.now),
		window: seqtrack.NewWindow(e.cfg.MaxRexmitDelay, e.rand),
	}
	if name == e.cfg.Node {
		e.self = n
		n.uuid, n.generation, n.windowGen = e.cfg.UUID, e.cfg.Generation, e.cfg.Generation
	}
	e.nodes = append(e.nodes, n)
}

// node is the node of that name, or nil.
func (e *Engine) node(name string) *node {
	for _, n := range e.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Step tells the engine that in happened at now and returns what is to be done. now must not go
// back as far as its monotonic clock is concerned; its wall clock may. The actions belong to
// the caller.
func (e *Engine) Step(now time.Time, in Input) []Action {
	if e.end.over {
		return nil
	}
	e.now, e.complaints.now, e.out = now, now, nil
	if !e.started {
		e.start()
	}
	e.wake()
	switch in := in.(type) {
	case Received:
		if !e.end.silent {
			e.received(in)
		}
	case Sighted:
		if n := e.node(in.Node); n != nil {
			n.run = in.Run
		}
	case Said:
		e.said(in.Text)
	case Done:
		e.done(in)
	case StonithDone:
		e.stonithDone(in)
	case Synced:
		e.rsc.Synced()
	case ClientsStopped:
		e.clientsStopped()
	case Shutdown:
		e.shutdown(in.Restart)
	case Reread:
		e.reread(in)
	}
	e.timers()
	e.runJobs()
	e.asked, _ = e.Deadline()
	e.stepped = now
	return e.out
}

// Decided are the actions of a Step that has panicked, up to there.
func (e *Engine) Decided() []Action { return e.out }

func (e *Engine) emit(a Action) {
	if !e.end.over {
		e.out = append(e.out, a)
	}
}

func (e *Engine) log(l Level, text string) { e.emit(Log{Level: l, Text: text}) }

// start sends the first packets: "init", then "up" twice.
func (e *Engine) start() {
	e.started, e.begun = true, e.now
	e.lastWall = e.wall()
	for _, n := range e.nodes {
		n.Heard = e.now
		for _, l := range n.Links {
			l.Heard = e.now
		}
	}
	e.deadtime += startExtra
	e.calmAt = e.now.Add(startExtraFor)
	e.sendStatus()
	e.setStatus(liveness.Up)
	e.sendStatus()
	e.statusAt = e.now.Add(e.cfg.Keepalive)
}

// wake looks whether we have been asleep: a stopped process, a suspended machine. What we know of
// the others is then old, and what they know of us too.
func (e *Engine) wake() {
	if wall := e.wall(); wall < e.lastWall {
		e.log(Info, "Clock jumped backwards. Compensating.")
		e.lastWall = wall
	} else {
		e.lastWall = wall
	}
	if e.asked.IsZero() || e.now.Sub(e.asked) < min(lateStep, e.cfg.Deadtime/2) {
		return
	}
	if e.now.Sub(e.asked) >= lateStep && e.commUp && !e.end.begun() && e.now.Sub(e.self.Heard) >= e.self.Deadtime && e.table.Alive() > 1 {
		e.fence()
		return
	}
	// The others have not been silent: we have not listened.
	e.scanFrom = e.now.Add(min(wakeGrace, e.cfg.Deadtime))
	e.table.Excuse(e.now.Sub(e.stepped))
}

// wall is the wall clock in Unix seconds.
func (e *Engine) wall() int64 {
	if e.cfg.Wall != nil {
		return e.cfg.Wall(e.now).Unix()
	}
	return e.now.Unix()
}

// timers does all that is due.
func (e *Engine) timers() {
	if due(e.calmAt, e.now) {
		e.calmAt = time.Time{}
		e.deadtime -= startExtra
		e.sendStatus()
	}
	if due(e.statusAt, e.now) {
		e.statusAt = e.now.Add(e.cfg.Keepalive)
		e.sendStatus()
	}
	e.repeat()
	e.scan()
	if due(e.reqnodesAt, e.now) {
		e.reqnodes()
	}
	e.askMissing()
	e.rsc.Tick()
	e.askTimer()
	e.stonithTimers()
	if due(e.restartAt, e.now) {
		e.restartAt = time.Time{}
		e.shutdown(true)
	}
	e.endTimers()
}

// scan declares dead what has been silent too long, nodes before links.
func (e *Engine) scan() {
	if e.now.Before(e.scanFrom) || e.end.silent {
		return
	}
	for {
		silent := e.table.Overdue(e.now)
		if silent == nil {
			break
		}
		e.markDead(e.nodes[slices.IndexFunc(e.nodes, func(n *node) bool { return n.Node == silent })])
	}
	for {
		n, l := e.table.OverdueLink(e.now)
		if n == nil {
			break
		}
		e.linkChanged(n.Name, l)
	}
	e.checkComm()
}

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// Deadline is when the next Step is due at the latest; ok is false if nothing is waited for.
func (e *Engine) Deadline() (at time.Time, ok bool) {
	if e.end.over {
		return time.Time{}, false
	}
	if !e.started {
		return e.now, true
	}
	earlier := func(x time.Time, valid bool) {
		if valid && !x.IsZero() && (!ok || x.Before(at)) {
			at, ok = x, true
		}
	}
	for _, t := range []time.Time{e.statusAt, e.calmAt, e.reqnodesAt, e.restartAt, e.asking.again, e.stonithDeadline(), e.repeatDeadline(), e.end.phaseAt, e.end.emergencyAt} {
		earlier(t, true)
	}
	if t, some := e.table.Deadline(); some && !e.end.silent {
		if t.Before(e.scanFrom) {
			t = e.scanFrom
		}
		earlier(t, true)
	}
	for _, n := range e.nodes {
		if n.alive() {
			earlier(n.window.Deadline())
		}
	}
	earlier(e.rsc.Deadline())
	return at, ok
}

// alive tells whether the node says that it runs.
func (n *node) alive() bool { return n.Status == liveness.Up || n.Status == liveness.Active }
