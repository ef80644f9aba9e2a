package takeover

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// Death is what is known about a normal node that has been declared dead.
type Death struct {
	Node string
	// Heard says that packets of it have come since it was last declared dead.
	Heard bool
	// HasResources is legacy mode's guess: it may hold something.
	HasResources bool
	// Left says that it has said shutdone.
	Left bool
}

// Dead recovers what a dead node held (hb_rsc_recover_dead_resources).
func (m *Machine) Dead(d Death) {
	if m.cfg.Unmanaged {
		return
	}
	defer m.watch()
	m.peerLeaves = false
	m.peerIsNew()
	if m.standby != NotStandby {
		m.cancelStandby()
		if !m.peerStable && m.held == All {
			m.peerStable = true
		}
		m.closeIfDue()
	}
	m.conflictAt, m.orphanAt, m.othersAt = time.Time{}, time.Time{}, time.Time{}
	if m.closing {
		m.settleForDead()
		return
	}
	m.needFailback = true
	clean := d.Heard && (m.Nice() && m.peer == None || !m.Nice() && !d.HasResources)
	// What it reported last may be old: behind a cut it may have taken its own groups since. With a
	// device to make sure, that counts. (The original believes the report.)
	sure := clean && (m.held == All || d.Left)
	if !sure && m.host.Reset(d.Node, func() { m.wasReset(d.Node) }) {
		return
	}
	if !clean {
		m.host.Stonith(d.Node, "n_stnth")
		m.host.Warn("No STONITH device configured.")
		m.host.Warn("Shared disks are not protected.")
		m.takeoverFrom(d.Node)
		return
	}
	m.host.Info("Dead node " + d.Node + " gave up resources.")
	m.host.Stonith(d.Node, "unneeded")
	switch {
	case !m.Nice():
		m.takeoverFrom(d.Node)
	case m.held == All:
		m.peerStable = true
	default:
		if !m.held.Has(Local) {
			m.requestOurs(true)
		}
		if !m.held.Has(Foreign) {
			m.takeoverFrom(d.Node)
		}
	}
}

// wasReset takes what a node held, now that it certainly does not hold it any more.
func (m *Machine) wasReset(node string) {
	if !m.begun { // a node that we have heard since then: it is dead once more, or alive, when the protocol begins
		m.resetEarly = node
		return
	}
	m.takeoverFrom(node)
	m.watch()
}

// NotReset tells the machine that a node whose reset was waited for has come back.
func (m *Machine) NotReset() {
	if m.cfg.Unmanaged || m.closing {
		return
	}
	if !m.Nice() {
		m.requestOurs(false)
	}
	m.settle()
	m.watch()
}

// takeoverFrom takes all groups, now that a node has left or died (takeover_from_node).
func (m *Machine) takeoverFrom(node string) {
	if m.closing {
		m.host.Info("Resource takeover cancelled - shutdown in progress.")
		m.closeIfDue()
		return
	}
	m.host.Info("Resources being acquired from " + node + ".")
	if !m.Nice() {
		m.strayAt = time.Time{} // what is the peer's is ours now
	} else {
		m.held |= Foreign
		m.peer = None
		m.peerStable = true
		m.takingOver = true
	}
	m.host.NotifyDead(node)
	m.requestOurs(true)
}

// NotificationEnded tells the machine that the notification of a dead node has run. If its
// report (resource info=mach_down) does not follow, the takeover is given up as finished, so
// that a broken script cannot hold up a later shutdown.
func (m *Machine) NotificationEnded() {
	if m.takingOver {
		m.silentEnd = m.host.Now().Add(machDownGrace)
	}
}

// JobEnded tells the machine that a job has ended; name is the original's name of the child.
// allAlive is false if some normal node is dead.
func (m *Machine) JobEnded(name string, allAlive bool) {
	switch {
	case name == "req_our_resources" || name == "ip-request-resp":
		m.localDone = true
		m.announce(name)
	case name == "status" && !m.Nice() && !allAlive:
		m.foreignDone = true
		m.announce(name)
	}
}

// Idle is to be called when a job has ended and what waited has been started.
func (m *Machine) Idle() {
	m.cancelForgotten()
	m.settle()
	m.closeIfDue()
	m.watch()
}

// Deadline is when [Machine.Tick] is due; ok is false if nothing is waited for.
func (m *Machine) Deadline() (at time.Time, ok bool) {
	for _, t := range []time.Time{m.standbyUntil, m.failbackAt, m.localTakeoverDue(), m.silentEnd, m.conflictAt, m.closeAt, m.resyncAt, m.strayAt, m.orphanAt, m.othersAt} {
		if !t.IsZero() && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// localTakeoverDue is when a node that has heard of resources stops waiting for its peer.
func (m *Machine) localTakeoverDue() time.Time {
	if m.state == Received && m.localTakeoverSet && m.Nice() {
		return m.localTakeoverAt
	}
	return time.Time{}
}

// Tick does what is due at now.
func (m *Machine) Tick() {
	now := m.host.Now()
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(m.standbyUntil) {
		m.standbyUntil = time.Time{}
		m.peerStable = !m.peerLeaves
		m.standby = NotStandby
		m.host.Warn("No reply to standby request.  Standby request cancelled.")
		if m.still() {
			m.sendHeld(true, "") // the peer may wait for us
		}
		m.settle()
		m.closeIfDue()
	}
	switch {
	case !due(m.localTakeoverDue()):
	case m.peerLeaves:
		// It is still releasing what we would take, and will say when it has. (The original takes it.)
		m.localTakeoverAt = now.Add(time.Second)
	default:
		m.state = Stable
		m.requestOurs(false)
		m.host.Info("local resource transition completed.")
		m.sendHeld(true, "")
		m.audit()
	}
	if due(m.failbackAt) {
		m.failback()
	}
	if due(m.silentEnd) {
		m.silentEnd = time.Time{}
		if m.takingOver {
			m.host.Fail("rc.d/status has ended without a report of mach_down: takeover taken as complete.")
			m.takingOver = false
			m.Idle()
		}
	}
	if due(m.closeAt) {
		m.closeAnyway()
	}
	if due(m.resyncAt) {
		m.resyncAt = time.Time{}
		m.host.Send(hamsg.New(hamsg.TStarting))
	}
	if due(m.orphanAt) {
		m.orphanAt = time.Time{}
		m.adopt(Local)
	}
	if due(m.othersAt) {
		m.othersAt = time.Time{}
		m.adopt(Foreign)
	}
	if due(m.strayAt) {
		m.strayAt = time.Time{}
		m.dropStrays()
	}
	if due(m.conflictAt) {
		m.conflictAt = time.Time{}
		m.conflictLost()
	}
	m.watch()
}
