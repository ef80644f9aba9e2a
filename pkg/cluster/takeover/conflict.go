package takeover

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// The original complains when both nodes claim a resource, or none does, and leaves it at that;
// after a partition it restarts both nodes. Here each node acts by one rule that needs no vote:
// what both claim stays with the node that haresources names. An original peer plays along
// without knowing: it answers "starting" with what it holds, and believes our reports.

// Healed is to be called when a node that was declared dead is heard again and has never been
// away: both may hold everything. Each side asks the other what it holds; settle does the rest.
// In legacy mode nothing is asked: every group belongs to its own node while that is there.
func (m *Machine) Healed() {
	if m.cfg.Unmanaged || m.closing || !m.Settles() {
		return
	}
	if !m.Nice() {
		m.conflictAt = time.Time{}
		m.host.Move(Move{Set: Foreign, Quiet: true})
		if !m.host.Resetting() { // else it may have kept ours: NotReset asks for them
			m.host.Move(Move{Take: true, Set: Local, Quiet: true})
		}
		return
	}
	if m.standby != NotStandby {
		return
	}
	m.needFailback = false
	m.failbackAt = time.Time{}
	m.peerStable = false
	m.host.Send(hamsg.New(hamsg.TStarting))
}

// Buried is to be called when the peer says that it has declared us dead, although we hear it: it
// takes what we hold. Reports tell that too, but in legacy mode there are none.
func (m *Machine) Buried() {
	if m.cfg.Unmanaged || m.closing || !m.Settles() || m.Nice() || !m.conflictAt.IsZero() {
		return
	}
	m.host.Fail("Both machines own our resources!")
	m.conflictAt = m.host.Now().Add(conflictWait)
}

// Heard is to be called when the peer has answered something of ours: it does not take us for dead
// any more.
func (m *Machine) Heard() {
	if !m.Nice() {
		m.conflictAt = time.Time{}
	}
}

// watch keeps an eye on a protocol that does not get on: the original waits for ever when a
// message is lost for good. "starting" makes any peer say again what it holds.
func (m *Machine) watch() {
	if !m.held.Has(Foreign) || !m.needFailback {
		m.endSync() // somebody else has moved the resources
	}
	waits := !m.peerStable || m.state == Starting || m.state == BothStarting
	if !m.Nice() || m.closing || m.state == Init || !waits || m.standby != NotStandby || m.host.Jobs() > 0 {
		m.resyncAt = time.Time{}
		return
	}
	if m.resyncAt.IsZero() {
		m.resyncAt = m.host.Now().Add(resyncDelay)
	}
}

// settle puts right, once nothing moves any more, what both nodes claim or none.
func (m *Machine) settle() {
	if !m.Nice() || !m.Settles() || m.closing || m.state != Stable || !m.Stable() || m.host.Resetting() {
		m.orphanAt, m.othersAt = time.Time{}, time.Time{}
		return
	}
	disputed := m.held.Has(Local) && m.peer.Has(Foreign)
	switch {
	case disputed && m.conflictAt.IsZero():
		m.conflictAt = m.host.Now().Add(conflictWait)
	case !disputed && !m.conflictAt.IsZero():
		m.conflictAt = time.Time{}
		if m.held.Has(Local) {
			// The peer has had our address too: the network has to hear of us again.
			m.host.Move(Move{Take: true, Set: Local, Quiet: true})
			return
		}
	}
	if m.held.Has(Foreign) && m.peer.Has(Local) {
		m.held &^= Foreign
		m.needFailback = false
		m.sendHeld(false, "standby")
		m.host.Move(Move{Set: Foreign, Quiet: true})
	}
	m.lookForOrphans()
	m.lookForStrays()
}

// lookForOrphans notes groups that nobody owns.
func (m *Machine) lookForOrphans() {
	note := func(at *time.Time, owned bool, wait time.Duration) {
		switch {
		case owned:
			*at = time.Time{}
		case at.IsZero():
			*at = m.host.Now().Add(wait)
		}
	}
	note(&m.orphanAt, m.held.Has(Local) || m.peer.Has(Foreign), orphanWait)
	note(&m.othersAt, m.held.Has(Foreign) || m.peer.Has(Local), orphanPatience)
}

// adopt takes the groups that nobody owns.
func (m *Machine) adopt(set Hold) {
	if set == Local {
		m.requestOurs(false)
		m.sendHeld(true, "")
		return
	}
	m.held |= Foreign
	m.needFailback = true
	m.sendHeld(false, "standby")
	m.host.Move(Move{Take: true, Set: Foreign, Quiet: true})
}

// lookForStrays has dropStrays run once, some time after the first stable moment.
func (m *Machine) lookForStrays() {
	if m.strayDone || !m.strayAt.IsZero() {
		return
	}
	m.strayAt = m.host.Now().Add(strayDelay)
	if !m.held.Has(Foreign) && m.peer.Has(Local) && (m.held.Has(Local) || m.cfg.Failback == Off) {
		// It will not come to us. While it is here, clients may find the wrong one of two
		// machines with one address, so it goes while the owner still announces itself.
		m.strayAt = m.host.Now().Add(straySoon)
	}
}

// PeerActive is to be called when the peer has become active. In legacy mode it asks us for its
// groups then; what it has not asked for some time later is not ours all the same.
func (m *Machine) PeerActive() {
	if !m.Nice() && m.Settles() && !m.cfg.Unmanaged && !m.closing {
		m.strayAt = m.host.Now().Add(strayDelay)
	}
}

// dropStrays releases what runs here but is not ours to hold: the daemon was killed and started
// again while the peer had taken over.
func (m *Machine) dropStrays() {
	if m.closing {
		return
	}
	if !m.Nice() {
		m.host.DropStrays(Foreign)
		return
	}
	if !m.Stable() || m.state != Stable {
		m.strayAt = m.host.Now().Add(strayDelay)
		return
	}
	m.strayDone = true
	if set := All &^ m.held; set != None {
		m.host.DropStrays(set)
	}
}

// conflictLost gives in: the peer, an original one that has not noticed the conflict or one that
// cannot hear us, goes on holding what is ours.
func (m *Machine) conflictLost() {
	if m.closing || m.Nice() && (!m.held.Has(Local) || !m.peer.Has(Foreign)) {
		return
	}
	m.host.Fail("Both machines still own our resources. Restarting.")
	m.host.Restart()
}
