package takeover

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// Handle takes a message of the resource protocol: starting, resource, ask_resources, shutdone.
// from is the node that sent it. Messages of other types are not the machine's.
func (m *Machine) Handle(msg *hamsg.Msg, from string) {
	if m.cfg.Unmanaged {
		return
	}
	defer m.watch()
	switch msg.Type() {
	case hamsg.TStarting, hamsg.TResources:
		m.resources(msg, from)
	case hamsg.TShutDone:
		m.resources(msg, from)
		m.shutDone(from)
	case hamsg.TAskResources:
		m.ask(msg, from)
	}
}

// resources is process_resources of hb_resource.c: what a message changes in who holds what.
func (m *Machine) resources(msg *hamsg.Msg, from string) {
	m.closeIfDue()
	if !m.Nice() {
		return
	}
	if m.cfg.Restarted && !m.resumed {
		// Once. (The original does so at every message, even when it has given everything up.)
		m.resumed = true
		m.state = Stable
	}
	us := from == m.cfg.Node
	next, ok := m.state, true
	switch msg.Type() {
	case hamsg.TStarting:
		if !us {
			next, ok = m.peerStarting()
		}
	case hamsg.TResources:
		next, ok = m.resource(msg, us)
	case hamsg.TShutDone:
		next = m.shutDoneHold(us)
	}
	if !ok {
		return
	}
	m.state = next
	if next == Received && !m.localTakeoverSet {
		m.localTakeoverSet = true
		m.localTakeoverAt = m.host.Now().Add(localTakeoverDelay)
	}
	m.audit()
	m.cancelForgotten()
	m.settle()
	m.closeIfDue()
}

// peerStarting answers the peer's "starting" with what we hold.
func (m *Machine) peerStarting() (next State, ok bool) {
	next = m.state
	switch m.state {
	case Starting:
		next = BothStarting
		m.foreignDone = true
		m.announce("HB_R_BOTHSTARTING")
	case Init, BothStarting:
		m.host.Fail("Received 'starting' message in state " + digit(uint8(m.state)))
		return next, false
	}
	m.peerStable, m.peerLeaves = false, false
	m.peerIsNew()
	m.forgotten = m.standby != NotStandby
	if m.takingOver {
		m.host.Warn("T_STARTING received during takeover.")
	}
	// What a job of an exchange that the peer has forgotten takes, or has not released yet, is ours
	// until it ends. (The original says that it is stable, and the peer takes it too.)
	if m.state != Shutdown {
		m.held |= m.moving
	}
	m.host.Send(m.report(m.held|m.moving, m.still(), ""))
	return next, true
}

// resource takes a report of what a node holds.
func (m *Machine) resource(msg *hamsg.Msg, us bool) (next State, ok bool) {
	next = m.state
	if !msg.Has(hamsg.FResources) {
		m.host.Fail("resource message without rsc_hold field.")
		return next, false
	}
	hold := m.parseHold(msg.Get(hamsg.FResources))
	switch m.state {
	case Starting, BothStarting:
		next = Received
		if m.cfg.Failback == Off {
			m.foreignDone = true
			m.announce("T_RESOURCES")
		}
	case Init:
		m.host.Fail("resource message received in state " + digit(uint8(m.state)))
		return next, false
	}
	full := msg.Get(hamsg.FResType) == "full"
	if us {
		return m.ownReport(msg, update(m.held, hold, full), next), true
	}
	m.peer = update(m.peer, hold, full)
	m.peerLeaves = m.peerLeaves || msg.Get(hamsg.FComment) == "shutdown"
	if stable, said := msg.Lookup(hamsg.FIsStable); said {
		if stable.Value == "1" {
			m.peerHasDone(msg)
			m.peerIsStable()
		} else {
			m.peerStable = false
			m.peerWorks()
		}
	}
	if m.state != Stable && m.state != Shutdown && m.peerStable {
		m.host.Info("remote resource transition completed.")
		m.requestOurs(false)
		next = Stable
		m.sendHeld(true, "")
		m.failback()
		m.foreignDone = true
		if m.cfg.Failback == Off && m.peer.Has(Foreign) {
			m.localDone = true
		}
		m.announce("T_RESOURCES(them)")
	}
	return next, true
}

// update is what a report makes of a known set: a full one replaces it, "none" empties it, any
// other adds to it.
func update(known, said Hold, full bool) Hold {
	if full || said == None {
		return said
	}
	return known | said
}

// peerIsStable notes that the peer has ended its transition, and answers.
func (m *Machine) peerIsStable() {
	if m.peerStable {
		return
	}
	m.host.Info("remote resource transition completed.")
	m.peerStable = true
	m.sendHeld(m.still(), "")
	m.failback()
}

// ownReport takes our own report, as it comes back to us.
func (m *Machine) ownReport(msg *hamsg.Msg, hold Hold, next State) State {
	if m.closed {
		return next // it tells what is not released yet; nothing is claimed any more
	}
	m.held = hold
	if m.held.Has(Local) {
		m.localDone = true
		m.announce("T_RESOURCES(us)")
	}
	switch msg.Get(hamsg.FComment) {
	case "mach_down":
		m.host.Info("mach_down takeover complete.")
		m.takingOver = false
		m.held |= Foreign
		m.needFailback = true
		m.peerStable = true
		m.foreignDone = true
		m.announce("mach_down")
	case "shutdown":
		next = Shutdown
	}
	return next
}

// shutDoneHold is what a shutdone changes at once. The peer's leaves all its groups to us.
func (m *Machine) shutDoneHold(us bool) State {
	if us {
		m.held, m.moving = None, None
		return Shutdown
	}
	m.peerStable, m.peerLeaves = true, false
	m.peer = None
	m.peerIsNew()
	if m.held != All && !m.closing {
		set := All
		if m.held != None {
			set = m.held.Other()
		}
		m.standby = StandbyDone
		m.move(true, set)
	}
	return m.state
}

// shutDone is HBDoMsg_T_SHUTDONE: what else a shutdone begins.
func (m *Machine) shutDone(from string) {
	if from == m.cfg.Node {
		m.host.ShutDone()
		return
	}
	m.peerStable = false
	m.peer = None
	if !m.Nice() {
		m.conflictAt = time.Time{} // it has given up what both had
	}
	m.host.Info("Received shutdown notice from '" + from + "'.")
	m.takeoverFrom(from)
}

func digit(n uint8) string { return string(rune('0' + n)) }
