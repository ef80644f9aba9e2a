// Package ipfail decides what the ipfail client decides: when this node sees fewer ping nodes
// than its partner, it gives its resources up. It knows exactly two normal nodes, as
// contrib/ipfail does (spec/heartbeat-api.md, ipfail). It is pure: the daemon feeds it what a
// client of that name would be told, and sends what it answers.
package ipfail

import (
	"fmt"
	"strconv"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// View answers fresh questions to the daemon.
type View interface {
	PingNodes() []string // ping nodes with status "ping", in the order of a node walk
	Stable() bool        // resources are not in transition
	HoldsForeign() bool  // this node holds resources that are at home at the partner
	AwaitsSync() bool    // the daemon's own failback waits for the partner's connection table
}

// Config is fixed at sign-on.
type Config struct {
	Self, Peer   string
	AutoFailback bool
	Keepalive    time.Duration // the delay before giving up is twice this
	PID          int           // for the log; the daemon's own, since ipfail is in process
	Nodes        []NodeStatus  // the node walk, last configured first
}

// Input is something that a client named ipfail would be told.
type Input interface{ isInput() }

// NodeStatus is a change of a node's status: up, active, dead, ping.
type NodeStatus struct{ Node, Status string }

// LinkStatus is a change of a link: up or dead.
type LinkStatus struct{ Node, Link, Status string }

// ClientJoined says that an ipfail signed on at another node.
type ClientJoined struct{ Node string }

// Resource is a resource message of the partner. Stable is "1", "0" or empty.
type Resource struct{ From, Stable, Info string }

// PingCount is the partner's number of visible ping nodes.
type PingCount struct {
	From  string
	Count int
}

// YouAreDead is the partner's word that it sees more.
type YouAreDead struct{}

// AbortGiveup is the partner's word that the counts are equal.
type AbortGiveup struct{}

// Tick tells that time passed; see [Machine.Deadline].
type Tick struct{}

func (NodeStatus) isInput()   {}
func (LinkStatus) isInput()   {}
func (ClientJoined) isInput() {}
func (Resource) isInput()     {}
func (PingCount) isInput()    {}
func (YouAreDead) isInput()   {}
func (AbortGiveup) isInput()  {}
func (Tick) isInput()         {}

// Read is what a message that a client named ipfail gets means for it; nil is nothing. An error is
// a message that cannot be understood.
func Read(m *hamsg.Msg) (Input, error) {
	get := m.Get
	switch m.Type() {
	case hamsg.TStatus, hamsg.TPingStatus:
		return NodeStatus{Node: get(hamsg.FOrig), Status: get(hamsg.FStatus)}, nil
	case hamsg.TIfStatus:
		return LinkStatus{Node: get(hamsg.FNode), Link: get(hamsg.FIfName), Status: get(hamsg.FStatus)}, nil
	case hamsg.TClientStatus:
		if get(hamsg.FStatus) == "join" {
			return ClientJoined{Node: get(hamsg.FOrig)}, nil
		}
	case hamsg.TResources:
		return Resource{From: get(hamsg.FOrig), Stable: get(hamsg.FIsStable), Info: get(hamsg.FComment)}, nil
	case "num_ping_nodes":
		n, err := strconv.Atoi(get("num_ping"))
		if err != nil {
			return nil, fmt.Errorf("num_ping %q of %s is no number: ignored", get("num_ping"), get(hamsg.FOrig))
		}
		return PingCount{From: get(hamsg.FOrig), Count: n}, nil
	case "you_are_dead":
		return YouAreDead{}, nil
	case "abort_giveup":
		return AbortGiveup{}, nil
	}
	return nil, nil
}

// Action is something to do, in order.
type Action interface{ isAction() }

// Log is a line of entity "ipfail". Debug lines go to the debug file only.
type Log struct {
	Debug bool
	Text  string
}

// Field is a field of a message, in order.
type Field struct{ Name, Value string }

// Tell is a message to the ipfail of the partner node.
type Tell struct {
	Dest   string
	Fields []Field
}

// Broadcast is a message to the cluster; every daemon acts on it.
type Broadcast struct{ Fields []Field }

// Message is the message of the fields.
func Message(fields []Field) *hamsg.Msg {
	m := new(hamsg.Msg)
	for _, f := range fields {
		m.Add(f.Name, f.Value)
	}
	return m
}

func (Log) isAction()       {}
func (Tell) isAction()      {}
func (Broadcast) isAction() {}

// Machine is one ipfail.
type Machine struct {
	cfg         Config
	out         []Action
	needStandby bool
	timer       time.Time // when the delayed giveup happens; zero is none
	timerID     int
	set         string    // what it gives up: all or foreign
	askAt       time.Time // when to ask again after a standby that had to wait; zero is never
	backAt      time.Time // when to try again a fail-back that resources in transition held up; zero is never
}

// Start signs on and returns what is logged then.
func Start(cfg Config) (*Machine, []Action) {
	m := &Machine{cfg: cfg}
	m.debugf("PID=%d", cfg.PID)
	m.debugf("Signing in with heartbeat")
	m.debugf("[We are %s]", cfg.Self)
	onoff, n := "off", 0
	if cfg.AutoFailback {
		onoff, n = "on", 1
	}
	m.debugf("auto_failback -> %d (%s)", n, onoff)
	m.debugf("Setting message filter mode")
	m.debugf("Starting node walk")
	for _, node := range cfg.Nodes {
		m.debugf("Cluster node: %s: status: %s", node.Node, node.Status)
		if node.Node == cfg.Peer {
			m.debugf("[They are %s]", cfg.Peer)
		}
	}
	m.debugf("Setting message signal")
	m.debugf("Waiting for messages...")
	return m, m.take()
}

// Deadline is when Step wants a Tick; ok is false when never.
func (m *Machine) Deadline() (at time.Time, ok bool) {
	for _, t := range []time.Time{m.timer, m.askAt, m.backAt} {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at, !at.IsZero()
}

// Step takes one input and returns what follows from it.
func (m *Machine) Step(now time.Time, in Input, v View) []Action {
	switch in := in.(type) {
	case NodeStatus:
		m.nodeStatus(in, v)
	case LinkStatus:
		m.linkStatus(in, v)
	case ClientJoined:
		if in.Node != m.cfg.Self {
			m.debugf("Got join message from another ipfail client. (%s)", in.Node)
			m.ask(m.count(v))
		}
	case Resource:
		m.resource(now, in)
	case PingCount:
		if in.From == m.cfg.Peer {
			m.compare(now, in.Count, v)
		}
	case YouAreDead:
		m.infof("Giving up because we were told that we have less ping nodes.")
		m.delay(now, "all")
	case AbortGiveup:
		m.abort(v)
	case Tick:
		m.tick(now, v)
	}
	return m.take()
}

func (m *Machine) nodeStatus(in NodeStatus, v View) {
	m.infof("Status update: Node %s now has status %s", in.Node, in.Status)
	switch in.Status {
	case "dead":
		if in.Node == m.cfg.Peer {
			m.backAt = time.Time{}
		}
		if m.count(v) > 0 {
			m.infof("NS: We are still alive!")
		} else {
			m.infof("NS: We are dead. :<")
		}
	case "ping":
		m.infof("A ping node just came up.")
		m.ask(m.count(v))
	}
}

func (m *Machine) linkStatus(in LinkStatus, v View) {
	m.infof("Link Status update: Link %s/%s now has status %s", in.Node, in.Link, in.Status)
	if in.Status != "dead" {
		return
	}
	if n := m.count(v); n > 0 {
		m.ask(n)
		m.infof("Checking remote count of ping nodes.")
	} else {
		m.infof("We are dead. :<")
		m.ask(0)
	}
}

// resource follows the partner's transitions. A standby that came at a bad moment is not lost:
// ten seconds after the partner settled the counts are compared again.
func (m *Machine) resource(now time.Time, in Resource) {
	if in.From != m.cfg.Peer {
		return
	}
	switch {
	case in.Stable == "1" && in.Info == "":
		m.debugf("Other side is now stable.")
		if m.needStandby {
			m.askAt = now.Add(10 * time.Second)
		}
	case in.Stable == "0":
		m.debugf("Other side is unstable.")
	}
}

func (m *Machine) compare(now time.Time, theirs int, v View) {
	m.debugf("Got asked for num_ping.")
	ours := m.count(v)
	m.backAt = time.Time{}
	switch {
	case ours > theirs:
		m.infof("Telling other node that we have more visible ping nodes.")
		m.debugf("Sending you_are_dead.")
		m.tell("you_are_dead")
		m.debugf("Message [you_are_dead] sent.")
	case ours < theirs:
		m.infof("Giving up because we have less visible ping nodes.")
		m.delay(now, "all")
	default:
		m.infof("Ping node count is balanced.")
		m.tell("abort_giveup")
		m.debugf("Abort message sent.")
		if m.timer.IsZero() {
			m.giveBack(now, v)
		} else {
			m.abort(v)
		}
	}
}

// giveBack begins a fail-back, now that both see the same ping nodes: at once, or when resources are no longer in
// transition. The original's is lost in the second case.
func (m *Machine) giveBack(now time.Time, v View) {
	switch {
	case !m.cfg.AutoFailback || v.AwaitsSync():
	case v.Stable():
		m.infof("Giving up foreign resources (auto_failback).")
		m.delay(now, "foreign")
	default:
		m.backAt = now.Add(2 * m.cfg.Keepalive)
	}
}

func (m *Machine) tick(now time.Time, v View) {
	if !m.timer.IsZero() && !now.Before(m.timer) {
		m.timer = time.Time{}
		m.infof("giveup() called (timeout worked)")
		switch {
		case v.Stable():
			m.out = append(m.out, Broadcast{Fields: []Field{
				{"t", "ask_resources"}, {"rsc_hold", m.set}, {"src", m.cfg.Self}, {"info", "me"},
			}})
			m.debugf("Message [ask_resources] sent.")
			m.needStandby, m.askAt = false, time.Time{}
		case m.set == "foreign":
			m.backAt = now.Add(2 * m.cfg.Keepalive)
		default:
			m.needStandby = true
		}
		m.debugf("giveup timeout has been destroyed.")
	}
	if !m.backAt.IsZero() && !now.Before(m.backAt) {
		m.backAt = time.Time{}
		if !v.Stable() || v.HoldsForeign() {
			m.giveBack(now, v)
		}
	}
	if !m.askAt.IsZero() && !now.Before(m.askAt) {
		m.askAt = time.Time{}
		m.needStandby = false
		m.ask(m.count(v))
	}
}

func (m *Machine) count(v View) int {
	nodes := v.PingNodes()
	for _, n := range nodes {
		m.debugf("Found ping node %s!", n)
	}
	return len(nodes)
}

func (m *Machine) ask(n int) {
	m.infof("Asking other side for ping node count.")
	m.out = append(m.out, Tell{Dest: m.cfg.Peer, Fields: []Field{
		{"t", "num_ping_nodes"}, {"src", m.cfg.Self}, {"num_ping", fmt.Sprint(n)}, {"dest", m.cfg.Peer},
	}})
	m.debugf("Message [num_ping] sent.")
}

func (m *Machine) tell(kind string) {
	m.out = append(m.out, Tell{Dest: m.cfg.Peer, Fields: []Field{
		{"t", kind}, {"src", m.cfg.Self}, {"dest", m.cfg.Peer},
	}})
}

func (m *Machine) delay(now time.Time, set string) {
	d := 2 * m.cfg.Keepalive
	m.infof("Delayed giveup in %d seconds.", d/time.Second)
	if !m.timer.IsZero() {
		m.debugf("Detected existing delay timer, overriding")
		m.debugf("giveup timeout has been destroyed.")
	}
	m.timerID++
	m.timer, m.set, m.backAt = now.Add(d), set, time.Time{}
}

// abort ends a give-up, but not a fail-back of what is held. The original's ends that as well: being told twice that the
// counts are equal, as after a cable is back with its ping nodes, it gives nothing back.
func (m *Machine) abort(v View) {
	if m.timer.IsZero() || m.set == "foreign" && v.HoldsForeign() {
		m.infof("No giveup timer to abort.")
		return
	}
	m.infof("Aborted delayed giveup (%d)", m.timerID)
	m.timer = time.Time{}
}

func (m *Machine) infof(format string, args ...any) {
	m.out = append(m.out, Log{Text: fmt.Sprintf(format, args...)})
}

func (m *Machine) debugf(format string, args ...any) {
	m.out = append(m.out, Log{Debug: true, Text: fmt.Sprintf(format, args...)})
}

func (m *Machine) take() []Action {
	out := m.out
	m.out = nil
	return out
}
