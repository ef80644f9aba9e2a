package takeover

import (
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// ask is ask_for_resources of hb_resource.c: one message of a standby exchange. Sets are named
// from the viewpoint of the node that gives.
func (m *Machine) ask(msg *hamsg.Msg, from string) {
	if !m.Nice() {
		m.host.Info("Standby mode only implemented when nice_failback on")
		return
	}
	if m.state == Shutdown {
		return
	}
	set := All
	if msg.Has(hamsg.FResources) {
		set = m.parseHold(msg.Get(hamsg.FResources))
	}
	if !msg.Has(hamsg.FComment) {
		m.host.Fail("Received standby message without info/from")
		return
	}
	word := msg.Get(hamsg.FComment)
	if why := m.refusal(word, from); why != "" {
		m.host.Warn(why)
		if from != m.cfg.Node && !strings.EqualFold(word, "me") && m.still() {
			m.sendHeld(true, "") // so that the other does not wait for us
		}
		return
	}
	us := from == m.cfg.Node
	understood := true
	switch m.standby {
	case NotStandby:
		understood = m.askIdle(msg, word, set, from, us)
	case StandbyMe:
		understood = m.askGiving(word, set, from, us)
	case StandbyOther:
		understood = m.askAnswered(word, set, from, us)
	case StandbyDone:
		understood = m.askFinishing(word, set, us)
	}
	if !understood {
		m.host.Fail("Ignored standby message '" + word + "' from " + from + " in state " + digit(uint8(m.standby)))
	}
	m.settle()
	m.closeIfDue()
}

// refusal says why a request cannot be met now; "" if it can, or if it is none.
func (m *Machine) refusal(word, from string) string {
	now := m.host.Now()
	switch {
	case strings.EqualFold(word, "me") && now.Before(m.standbyUntil):
		left := (m.standbyUntil.Sub(now) + time.Second - 1) / time.Second
		return "Standby in progress- new request from " + from + " ignored [" + strconv.Itoa(int(left)) + " seconds left]"
	case m.standby != NotStandby:
		return ""
	case !m.peerStable:
		return "standby message [" + word + "] from " + from + " ignored.  Other side is in flux."
	case m.state != Stable || m.closing || m.takingOver:
		return "standby message [" + word + "] from " + from + " ignored.  local resources in flux."
	}
	return ""
}

// Refuses tells whether a request of our own to go standby cannot be met now, and logs why. It is
// not to be sent then. (The original sends it, and a peer that finds nothing wrong with it waits an
// hour for what does not come.)
func (m *Machine) Refuses(msg *hamsg.Msg) bool {
	word := msg.Get(hamsg.FComment)
	if !m.Nice() || m.cfg.Unmanaged || !strings.EqualFold(word, "me") {
		return false
	}
	why := m.refusal(word, m.cfg.Node)
	if why != "" {
		m.host.Warn(why)
	}
	return why != ""
}

// askIdle begins an exchange.
func (m *Machine) askIdle(msg *hamsg.Msg, word string, set Hold, from string, us bool) bool {
	if !strings.EqualFold(word, "me") {
		if !us {
			m.sendHeld(true, "") // so that the other does not wait for us
		}
		return false
	}
	m.host.Info(from + " wants to go standby [" + set.String() + "]")
	m.peerStable = false
	if us {
		m.standbySet = set
		m.standbyUntil = m.host.Now().Add(standbyReply)
		m.standby = StandbyMe
		return true
	}
	m.standby = StandbyOther
	m.meSeq, _ = msg.GetHex(hamsg.FSeq)
	m.host.Send(askMessage(set, "other"))
	m.standbyUntil = m.host.Now().Add(standbyWork)
	return true
}

// askGiving is for the node that gives.
func (m *Machine) askGiving(word string, set Hold, from string, us bool) bool {
	switch {
	case !us:
		if !strings.EqualFold(word, "other") {
			return false // of an exchange before
		}
		m.standbySet = set
		m.standbyUntil = m.host.Now().Add(standbyWork)
		m.host.Info("standby: " + from + " can take our " + set.String() + " resources")
		m.move(false, set)
		return true
	case strings.EqualFold(word, "done"):
		m.host.Info("Local standby process completed [" + set.String() + "].")
		m.standby = StandbyDone
		m.held &^= m.standbySet
		m.standbyUntil = m.host.Now().Add(standbyWork)
		return true
	}
	return false
}

// askAnswered is for the node that is to take, until the giver is done.
func (m *Machine) askAnswered(word string, set Hold, from string, us bool) bool {
	switch {
	case us && strings.EqualFold(word, "other"):
		m.standbySet = set
		return true
	case !strings.EqualFold(word, "done"):
		return false
	}
	m.standbyUntil = m.host.Now().Add(standbyWork)
	if us {
		return false
	}
	m.standbySet = set
	m.host.Info("standby: acquire [" + set.String() + "] resources from " + from)
	m.move(true, set)
	m.standby = StandbyDone
	return true
}

// askFinishing is for both nodes, when the giver is done.
func (m *Machine) askFinishing(word string, set Hold, us bool) bool {
	if word != "done" {
		return false
	}
	m.standbyUntil = time.Time{}
	m.standby = NotStandby
	if !us {
		m.host.Info("Other node completed standby takeover of " + set.String() + " resources.")
		m.peer |= set.Other() // its report may come later
		m.sendHeld(true, "")
		return true
	}
	m.standbySet = set
	m.host.Info("Standby resource acquisition done [" + set.String() + "].")
	if m.cfg.Failback == On {
		m.localDone = true
		m.announce("auto_failback")
	}
	m.held |= set.Other()
	m.sendHeld(true, "")
	return true
}

// cancelStandby ends an exchange whose other side is gone.
func (m *Machine) cancelStandby() {
	m.host.Info("Cancelling pending standby operation")
	m.standby, m.standbyUntil, m.forgotten = NotStandby, time.Time{}, false
}

// cancelForgotten ends an exchange that the peer knows nothing of any more, once our own job for
// it has ended. (The original waits an hour.)
func (m *Machine) cancelForgotten() {
	if m.forgotten && m.standby != NotStandby && m.host.Jobs() == 0 {
		m.cancelStandby()
	}
}

// MoveEnds tells the machine that the job of a [Move] has done its work. It tells whether the
// exchange still is on, so that the job has to say "done".
func (m *Machine) MoveEnds(mv Move) (done bool) {
	if !mv.Quiet {
		m.moving = None
	}
	switch {
	case m.closed:
		return !mv.Quiet
	case mv.Quiet:
		if !mv.Take || mv.Set == Foreign {
			m.sendHeld(true, "")
		}
		return false
	case !m.forgotten && (m.standby == StandbyMe && !mv.Take || m.standby == StandbyDone && mv.Take):
		return true
	}
	// The exchange is off, but the work is done.
	if mv.Take {
		m.held |= mv.Set
	} else {
		m.held &^= mv.Set
	}
	if m.standby != NotStandby {
		m.cancelStandby()
	}
	m.sendHeld(true, "")
	return false
}

// peerHasDone shortens our wait in an exchange when the peer says that it is stable: it has given
// the exchange up, or its last message of it is lost. What an original peer's acquisition says at
// its end, in the midst of an exchange too, does not count.
func (m *Machine) peerHasDone(msg *hamsg.Msg) {
	seq, _ := msg.GetHex(hamsg.FSeq)
	waits := m.standby == StandbyOther && seq > m.meSeq || m.standby == StandbyDone && m.moving == None
	limit := m.host.Now().Add(standbyReply)
	if waits && limit.Before(m.standbyUntil) && msg.Get(hamsg.FComment) != acquired {
		m.standbyUntil = limit
	}
}

// peerWorks undoes that: the peer is at work, so its word that it is stable was an older one.
func (m *Machine) peerWorks() {
	if (m.standby == StandbyOther || m.standby == StandbyDone) && !m.standbyUntil.IsZero() {
		m.standbyUntil = m.host.Now().Add(standbyWork)
	}
}

// move is go_standby: give or take the groups of a set, which the giver's viewpoint names.
func (m *Machine) move(take bool, set Hold) {
	mv := Move{Take: take, Set: set, Report: m.standbySet}
	if take {
		mv.Set = set.Other()
	}
	m.moving = mv.Set
	if !take {
		m.peerStable = false
		m.held &^= set
		m.sendHeld(false, "standby")
	}
	m.host.Move(mv)
}

func askMessage(set Hold, word string) *hamsg.Msg {
	return hamsg.New(hamsg.TAskResources).Add(hamsg.FResources, set.String()).Add(hamsg.FComment, word)
}
