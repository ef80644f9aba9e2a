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
func (m *Machine) Healed() {
	if m.cfg.Unmanaged || m.closing || !m.Settles() || m.standby != NotStandby {
		return
	}
	m.needFailback = false
	m.failbackAt = time.Time{}
	m.peerStable = false
	m.host.Send(hamsg.New(hamsg.TStarting))
}

// watch keeps an eye on a protocol that does not get on: the original waits for ever when a
// message is lost for good. "starting" makes any peer say again what it holds.
func (m *Machine) watch() {
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
	if !m.Settles() || m.closing || m.state != Stable || !m.Stable() {
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
	switch {
	case m.held.Has(Foreign) && m.peer.Has(Local):
		m.held &^= Foreign
		m.needFailback = false
		m.sendHeld(false, "standby")
		m.host.Move(Move{Set: Foreign, Quiet: true})
	case !m.held.Has(Local) && !m.peer.Has(Foreign):
		m.requestOurs(false)
		m.sendHeld(true, "")
	}
	if !m.strayDone && m.strayAt.IsZero() {
		m.strayAt = m.host.Now().Add(strayDelay)
		if !m.held.Has(Foreign) && m.peer.Has(Local) && (m.held.Has(Local) || m.cfg.Failback == Off) {
			// It will not come to us. While it is here, clients may find the wrong one of two
			// machines with one address, so it goes while the owner still announces itself.
			m.strayAt = m.host.Now().Add(straySoon)
		}
	}
}

// dropStrays releases what runs here but is not ours to hold: the daemon was killed and started
// again while the peer had taken over.
func (m *Machine) dropStrays() {
	if m.closing {
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

// Moved tells the machine that a quiet move has ended.
func (m *Machine) Moved(mv Move) {
	if !mv.Take && !m.closing {
		m.sendHeld(true, "")
	}
}

// conflictLost gives in: the peer, an original one that has not noticed the conflict or one that
// cannot hear us, goes on holding what is ours.
func (m *Machine) conflictLost() {
	if m.closing || !m.held.Has(Local) || !m.peer.Has(Foreign) {
		return
	}
	m.host.Fail("Both machines still own our resources. Restarting.")
	m.host.Restart()
}
