package takeover

import "time"

// Failback is the auto_failback directive.
type Failback uint8

// Its values. Legacy is what a ha.cf without the directive means.
const (
	Legacy Failback = iota
	On
	Off
)

// failback asks the peer to take its groups back, if they were taken over while it was away
// (PerformAutoFailback).
func (m *Machine) failback() {
	m.failbackAt = time.Time{}
	if m.closing || !m.held.Has(Foreign) || !m.needFailback || m.cfg.Failback != On {
		m.needFailback = false
		m.endSync()
		m.closeIfDue()
		return
	}
	if m.standby != NotStandby || !m.peerStable || m.state != Stable || m.takingOver {
		m.host.Debug("Auto failback delayed.")
		m.failbackAt = m.host.Now().Add(failbackRetry)
		return
	}
	if m.waitsStill() {
		m.failbackAt = m.syncUntil
		return
	}
	m.endSync()
	m.standbySet = Foreign
	m.host.Send(askMessage(Foreign, "me"))
	m.needFailback = false
}

// waitsStill tells whether the failback has to wait until the peer, which has just returned, knows the
// connections that we have. (The original does not wait, and those that the peer does not know end.)
func (m *Machine) waitsStill() bool {
	if m.cfg.FailbackSync == 0 || m.synced {
		return false
	}
	if m.syncUntil.IsZero() {
		m.syncUntil = m.host.Now().Add(m.cfg.FailbackSync)
		m.host.Info("Auto failback waits at most " + m.cfg.FailbackSync.String() + " for the other node's connection table.")
		m.host.AwaitSync(true)
	}
	if m.host.Now().Before(m.syncUntil) {
		return true
	}
	m.host.Warn("The other node's connection table is not in sync after " + m.cfg.FailbackSync.String() + ": auto failback all the same.")
	return false
}

// AwaitsSync tells whether a failback waits for [Machine.Synced].
func (m *Machine) AwaitsSync() bool { return !m.syncUntil.IsZero() }

// Synced tells the machine that what [Host.AwaitSync] was asked for has come.
func (m *Machine) Synced() {
	if m.syncUntil.IsZero() {
		return // too late
	}
	m.synced = true
	m.failback()
	m.watch()
}

// endSync ends the wait.
func (m *Machine) endSync() {
	if m.syncUntil.IsZero() {
		return
	}
	m.syncUntil, m.synced = time.Time{}, false
	m.host.AwaitSync(false)
}

// peerIsNew ends the wait for a peer that is gone, or that knows nothing any more: it begins anew when
// it is stable.
func (m *Machine) peerIsNew() {
	if !m.syncUntil.IsZero() {
		m.failbackAt = time.Time{}
		m.endSync()
	}
}
