package takeover

import "time"

// Close asks for the end: all resources are given up as soon as nothing moves any more
// (hb_giveup_resources).
func (m *Machine) Close() {
	m.closing = true
	m.giveUp()
}

// CloseKeeping notes that the node ends without giving anything up (restart for a changed ha.cf).
func (m *Machine) CloseKeeping() { m.closing = true }

// closeIfDue continues a shutdown that waited for stability (hb_shutdown_if_needed).
func (m *Machine) closeIfDue() {
	if m.mustClose && m.Stable() {
		m.giveUp()
	}
}

func (m *Machine) giveUp() {
	switch {
	case !m.Stable() && !m.closed:
		if !m.mustClose {
			m.mustClose = true
			m.closeAt = m.host.Now().Add(closeWait)
			m.host.Warn("Shutdown delayed until current resource activity finishes.")
		}
		return
	case m.closed:
		m.host.Info("Heartbeat shutdown already underway.")
		return
	}
	m.begin()
}

// begin releases everything and says so.
func (m *Machine) begin() {
	m.release()
	m.sendHeld(false, "shutdown")
	m.host.GivingUp()
	m.host.GiveUpAll()
}

// release claims nothing any more and stops waiting for anything.
func (m *Machine) release() {
	m.closing, m.closed, m.mustClose = true, true, false
	m.standby, m.standbyUntil, m.closeAt = NotStandby, time.Time{}, time.Time{}
	m.conflictAt, m.failbackAt, m.silentEnd = time.Time{}, time.Time{}, time.Time{}
	m.strayAt, m.orphanAt, m.othersAt = time.Time{}, time.Time{}, time.Time{}
	m.takingOver = false
	m.endSync()
	m.moving |= m.held
	m.held = None
	m.state = Shutdown
}

// Fence gives everything up at once, without waiting for stability and without a word to the
// peer, which has taken everything over already.
func (m *Machine) Fence() {
	m.release()
	m.host.GivingUp()
	m.host.GiveUpAll()
}

// settleForDead lets a shutdown go on whose peer has died: nobody is left to be waited for. (The
// original forgets that in some states, and then never ends.)
func (m *Machine) settleForDead() {
	m.peerStable = true
	m.peer = None
	if m.state != Shutdown {
		m.state = Stable
	}
	m.closeIfDue()
}

// closeAnyway goes on with a shutdown that has waited long enough for the peer: with no job of
// our own under way, releasing everything is safe whatever the peer does.
func (m *Machine) closeAnyway() {
	m.closeAt = time.Time{}
	if !m.mustClose {
		return
	}
	if m.host.Jobs() > 0 {
		m.closeAt = m.host.Now().Add(time.Second)
		return
	}
	m.host.Warn("Shutdown waits no longer for the other node.")
	m.begin()
}
