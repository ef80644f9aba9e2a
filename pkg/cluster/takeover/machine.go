package takeover

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// State is how far a node has come (HB_R_INIT … in hb_resource.c). Its number is printed in log lines.
type State uint8

// The states in their order.
const (
	Init         State = iota
	Starting           // has said "starting"
	BothStarting       // the peer has said so too
	Received           // has heard of some node's resources
	Stable             // has what it is to have
	Shutdown           // gives up, or has given up
)

// String is the original's name without its prefix.
func (s State) String() string {
	return [...]string{"INIT", "STARTING", "BOTHSTARTING", "RSCRCVD", "STABLE", "SHUTDOWN"}[s]
}

// Standby is how far a standby exchange has come (going_standby). Its number is printed in log lines.
type Standby uint8

// The states of a standby exchange.
const (
	NotStandby   Standby = iota
	StandbyMe            // we give
	StandbyOther         // the peer gives, we have answered
	StandbyDone          // the giver is done
)

// String is a word for the state.
func (s Standby) String() string {
	return [...]string{"not", "me", "other", "done"}[s]
}

// The delays of the protocol that a peer can notice.
const (
	// localTakeoverDelay is how long a starting node waits for its peer to say that it is stable.
	localTakeoverDelay = 10 * time.Second
	// standbyReply is how long a standby request waits for the peer's answer.
	standbyReply = 10 * time.Second
	// standbyWork is how long either side may work on its groups.
	standbyWork = time.Hour
	// failbackRetry is the pause before an automatic failback is tried again.
	failbackRetry = time.Second
	// machDownGrace is how long after the end of the takeover's notification its report may come
	// (a script writes it to the FIFO, which is another way than its exit status takes).
	machDownGrace = 5 * time.Second
	// conflictWait is how long a node waits for the other to release what both hold, when it is
	// the other that has to.
	conflictWait = 10 * time.Second
	// orphanWait is how long groups of ours have to seem to be nobody's before we take them: a report
	// of the peer that was lost is asked for and sent again within that.
	orphanWait = 600 * time.Millisecond
	// orphanPatience is the same for groups of the peer, which is to take them itself first: one of
	// ours will, an original one may not.
	orphanPatience = 15 * time.Second
	// strayDelay is how long after the first stable moment a node looks for groups that it does
	// not hold but that still run: an automatic failback would claim them first.
	strayDelay = 3 * time.Second
	// straySoon is the same for what the peer holds and will keep.
	straySoon = 500 * time.Millisecond
	// resyncDelay is how long the peer may seem unstable, with nothing under way, before it is
	// asked again: the message that would have said so has been lost for good.
	resyncDelay = 15 * time.Second
	// closeWait is how long a shutdown waits for the peer; it waits for our own jobs without limit.
	closeWait = 30 * time.Second
)

// Config is what the machine is told once.
type Config struct {
	// Node is the own name.
	Node string
	// Failback is auto_failback.
	Failback Failback
	// FailbackSync is how long an automatic failback may wait for [Machine.Synced].
	FailbackSync time.Duration
	// Unmanaged turns the machine off.
	Unmanaged bool
	// Many says that there are more than two normal nodes. What the protocol knows of "the other
	// side" is then not enough to settle conflicts by, and they are left as the original leaves them.
	Many bool
	// Restarted and Held: see cluster.Config.
	Restarted bool
	Held      Hold
}

// Machine is one node's part in the resource protocol. The protocol is made for two nodes and
// keeps one picture of "the other side"; so does the machine.
type Machine struct {
	cfg  Config
	host Host

	state      State
	held       Hold // what we claim
	peer       Hold // what the peer claims, from its viewpoint
	peerLeaves bool // the peer is giving everything up
	peerStable bool // the peer has finished its transition, or is dead
	takingOver bool // a dead node's notification is under way
	silentEnd  time.Time

	begun      bool   // communication is up
	resetEarly string // a node that was reset before that

	standby      Standby
	standbyUntil time.Time
	standbySet   Hold   // the set that the last standby message named
	moving       Hold   // what the job of the exchange takes or gives, from our own viewpoint
	meSeq        uint64 // number of the message by which the peer began
	forgotten    bool   // the peer has restarted since, and knows nothing of the exchange

	needFailback bool // the peer's groups were taken over since it was last up
	failbackAt   time.Time
	syncUntil    time.Time // end of the failback's wait for the peer's connection table; zero: none
	synced       bool      // the table is in sync

	localDone, foreignDone, announced bool
	localTakeoverAt                   time.Time
	localTakeoverSet                  bool

	resumed bool // the state of a run that kept its resources is restored

	closing   bool // a shutdown was asked for
	mustClose bool // and waits for stability
	closed    bool // the resources are being given up
	closeAt   time.Time

	conflictAt time.Time // when we give in if the peer has not released what both hold
	orphanAt   time.Time // when we take groups of ours that nobody owns
	othersAt   time.Time // when we take groups of the peer that nobody owns
	resyncAt   time.Time // when the peer is asked again what it holds

	strayAt   time.Time // when to look for what an earlier run has left behind
	strayDone bool
}

// New makes the machine of a starting node.
func New(cfg Config, host Host) *Machine {
	return &Machine{cfg: cfg, host: host, held: cfg.Held, standbySet: All}
}

// Nice tells whether the protocol with resource messages is in use (auto_failback on or off).
func (m *Machine) Nice() bool { return m.cfg.Failback != Legacy }

// Settles tells whether conflicts are settled by the rule of this package.
func (m *Machine) Settles() bool { return !m.cfg.Many }

// Held is what we claim, PeerHeld what the peer claims from its own viewpoint.
func (m *Machine) Held() Hold { return m.held }

// PeerHeld is what the peer claims, from its own viewpoint.
func (m *Machine) PeerHeld() Hold { return m.peer }

// State is how far the node has come.
func (m *Machine) State() State { return m.state }

// Standby is how far a standby exchange has come.
func (m *Machine) Standby() Standby { return m.standby }

// Closing tells whether a shutdown was asked for.
func (m *Machine) Closing() bool { return m.closing }

// Closed tells whether the resources are being, or have been, given up.
func (m *Machine) Closed() bool { return m.closed }

// Stable tells whether no movement of resources is under way, here or at the peer.
func (m *Machine) Stable() bool {
	if !m.Nice() {
		return m.host.Jobs() == 0
	}
	if m.closing && m.state == Init {
		return true
	}
	settled := m.state == Stable || m.state == Shutdown || m.state == Init
	return settled && m.peerStable && !m.takingOver && m.standby == NotStandby && m.standbyUntil.IsZero() && m.host.Jobs() == 0
}

// still tells whether we are stable, and nothing that the peer may take on our word is being moved.
func (m *Machine) still() bool { return m.state == Stable && m.moving == None && !m.host.Releasing() }

// CommUp begins the protocol. allAlive says that no normal node is dead, alone that there is none
// but ourselves.
func (m *Machine) CommUp(allAlive, alone bool) {
	if m.cfg.Unmanaged {
		return
	}
	m.begun = true
	defer m.watch()
	if allAlive {
		m.foreignDone = true
	} else if m.resetEarly != "" && !m.host.Resetting() {
		defer m.takeoverFrom(m.resetEarly)
	}
	if m.Nice() {
		m.host.Send(hamsg.New(hamsg.TStarting))
		m.state = Starting
		if alone {
			// Nobody will ever say that it is stable.
			m.state = Stable
			m.peerStable = true
			m.requestOurs(false)
		}
		return
	}
	// Also after a restart that keeps the resources: it may have come before they were acquired.
	m.requestOurs(false)
}

// sendHeld tells everybody what we hold.
func (m *Machine) sendHeld(stable bool, info string) {
	if !m.Nice() {
		return
	}
	m.host.Send(m.report(m.held, stable, info))
}

// Report is the message with which the job of [Host.RequestOurs] ends; nil if none is to be sent.
func (m *Machine) Report() *hamsg.Msg {
	if !m.Nice() {
		return nil
	}
	return m.report(m.held, m.standby == NotStandby, acquired)
}

// acquired is the comment of the report with which an acquisition ends.
const acquired = "req_our_resources()"

func (m *Machine) report(h Hold, stable bool, info string) *hamsg.Msg {
	msg := hamsg.New(hamsg.TResources).Add(hamsg.FResources, h.String()).Add(hamsg.FResType, "full")
	if stable {
		msg.Add(hamsg.FIsStable, "1")
	} else {
		msg.Add(hamsg.FIsStable, "0")
	}
	if info != "" {
		msg.Add(hamsg.FComment, info)
	}
	return msg
}

// parseHold reads a message's set, complaining of an unknown word, which counts as none.
func (m *Machine) parseHold(word string) Hold {
	h, ok := ParseHold(word)
	if !ok {
		m.host.Fail("encode_resources: bad resource type [" + word + "]")
	}
	return h
}

// announce logs, once, that the first acquisition is over.
func (m *Machine) announce(reason string) {
	if m.announced || !m.localDone || !m.foreignDone {
		return
	}
	m.announced = true
	m.host.Info("Initial resource acquisition complete (" + reason + ")")
}

// audit complains of what should not be.
func (m *Machine) audit() {
	if !m.Nice() {
		return
	}
	if m.held.Has(Local) && m.peer.Has(Foreign) {
		m.host.Fail("Both machines own our resources!")
	}
	if m.held.Has(Foreign) && m.peer.Has(Local) {
		m.host.Fail("Both machines own foreign resources!")
	}
	if m.closing || m.state == Shutdown || !m.Stable() {
		return
	}
	if !m.held.Has(Local) && !m.peer.Has(Foreign) {
		m.host.Fail("No one owns our local resources!")
	}
	if !m.held.Has(Foreign) && !m.peer.Has(Local) {
		m.host.Fail("No one owns foreign resources!")
	}
}

// requestOurs claims and asks for our own groups (req_our_resources in hb_resource.c).
func (m *Machine) requestOurs(forced bool) {
	if m.cfg.Unmanaged || m.closing || m.host.Resetting() {
		return // a node that is to be reset may have them
	}
	if m.Nice() && !forced && (m.peer.Has(Foreign) || m.held.Has(Local)) && m.standby == NotStandby {
		m.host.Info("Local Resource acquisition completed. (none)")
		return
	}
	if m.Nice() {
		m.held |= Local
	}
	m.host.RequestOurs()
}
