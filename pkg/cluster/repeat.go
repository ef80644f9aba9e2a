package cluster

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// repeats is how often a heartbeat is sent again before the next one is due, and lossyFor for how many
// heartbeats that goes on after the last sign of loss.
const (
	repeats  = 3
	lossyFor = 10
)

// repeater sends the last heartbeat again, evenly until the next, while packets are being lost: whoever
// missed it hears that we live before it counts to its deadtime; for all others it is a copy as from a
// second medium. The zero repeater repeats nothing.
type repeater struct {
	lossy time.Time  // until then packets are taken to be lost
	beat  *hamsg.Msg // the last heartbeat
	left  int
	at    time.Time
}

// lossSeen takes note of a packet that was lost on its way, either way: what loses packets in one
// direction mostly does so in the other.
func (e *Engine) lossSeen() { e.repeater.lossy = e.now.Add(lossyFor * e.cfg.Keepalive) }

// toRepeat takes note of a heartbeat that has just been sent.
func (e *Engine) toRepeat(m *hamsg.Msg) {
	e.repeater.beat, e.repeater.left = m, repeats
	e.repeater.at = e.now.Add(e.cfg.Keepalive / (repeats + 1))
}

// repeat sends the last heartbeat again if that is due and of use.
func (e *Engine) repeat() {
	r := &e.repeater
	if !due(r.at, e.now) {
		return
	}
	r.left--
	r.at = e.now.Add(e.cfg.Keepalive / (repeats + 1))
	if e.now.Before(r.lossy) && !e.end.silent {
		e.emit(Send{Bytes: e.resent(r.beat), Type: r.beat.Type()})
	}
	if r.left == 0 {
		r.at = time.Time{}
	}
}

// repeatDeadline is when repeat is due, zero if it has nothing to do.
func (e *Engine) repeatDeadline() time.Time {
	if e.repeater.lossy.Before(e.repeater.at) {
		return time.Time{}
	}
	return e.repeater.at
}
