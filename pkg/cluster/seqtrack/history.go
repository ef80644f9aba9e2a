package seqtrack

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// historySize is how many sent messages are kept (MAXMSGHIST).
const historySize = 500

// Sizes at which the original complains that acknowledgements do not come.
const (
	fillingWarn  = 375
	fillingError = 450
)

// keepFor is how long a message is kept although all have acknowledged it.
const keepFor = 2500 * time.Millisecond

// resendGap is how much less than max_rexmit_delay must have passed before a message is resent.
const resendGap = 10 * time.Millisecond

// maxResend is how many messages one request gets at most.
const maxResend = 50

// refuseGap is the least time between two refusals of the same message: a request is repeated every
// max_rexmit_delay until it is answered, and on a slow network a dozen of them are under way by then.
const refuseGap = time.Second

// History is what we have sent and may have to send again.
type History struct {
	slots  [historySize]sent
	refuse [historySize]refusal
	high   uint64 // last sent
	low    uint64 // highest that is no longer kept
	acked  uint64 // acknowledged by every live node
	resend time.Duration
}

type sent struct {
	seq    uint64
	msg    *hamsg.Msg
	at     time.Time
	resent time.Time
}

type refusal struct {
	seq uint64
	at  time.Time
}

// NewHistory makes an empty history. maxDelay is the directive max_rexmit_delay.
func NewHistory(maxDelay time.Duration) *History {
	return &History{resend: maxDelay - resendGap}
}

// High is the number of the last message, Acked the highest that all have acknowledged.
func (h *History) High() uint64 { return h.high }

// Acked is the highest number that every live node has acknowledged.
func (h *History) Acked() uint64 { return h.acked }

// Filling says how full a history is.
type Filling uint8

// The degrees of filling that are worth a log line.
const (
	NotFilling Filling = iota
	FillingWarn
	FillingError
)

// Add keeps the message just sent, whose number is High()+1, and returns how many unacknowledged
// messages are kept, and the degree if this message has reached it.
func (h *History) Add(msg *hamsg.Msg, now time.Time) (kept uint64, f Filling) {
	h.high++
	h.slots[h.high%historySize] = sent{seq: h.high, msg: msg, at: now}
	if h.high > historySize && h.low < h.high-historySize {
		h.low = h.high - historySize
	}
	for h.low < h.acked {
		s := &h.slots[(h.low+1)%historySize]
		if now.Sub(s.at) < keepFor {
			break
		}
		*s = sent{}
		h.low++
	}
	switch kept = h.high - h.low; kept {
	case fillingWarn + 1:
		f = FillingWarn
	case fillingError + 1:
		f = FillingError
	}
	return kept, f
}

// Ack notes that every live node has acknowledged all up to seq.
func (h *History) Ack(seq uint64) {
	if seq > h.acked && seq <= h.high {
		h.acked = seq
	}
}

// Answer is what a request for one number gets.
type Answer struct {
	Seq uint64
	// Msg is to be sent again; it is nil if the answer is that it cannot.
	Msg *hamsg.Msg
	// Refusal is the reason if Msg is nil.
	Refusal string
}

// Request answers a node that asks for the numbers from first to last. beyond says that last has
// never been sent. What a node asks for it gets, whatever it has acknowledged: the acknowledgement
// may have been for an earlier run of ours. (The original goes by the acknowledgement, and is then
// asked for ever.) A refusal, which all nodes hear, is repeated after a second at the earliest. (The original
// repeats it at once.)
func (h *History) Request(first, last uint64, now time.Time) (answers []Answer, beyond bool) {
	if last > h.high {
		beyond, last = true, h.high
	}
	for seq := first; seq <= last && len(answers) < maxResend; seq++ {
		s := &h.slots[seq%historySize]
		switch {
		case seq <= h.low || s.seq != seq:
			r := &h.refuse[seq%historySize]
			if r.seq == seq && now.Sub(r.at) < refuseGap {
				continue
			}
			*r = refusal{seq: seq, at: now}
			why := "seqno not found"
			if seq <= h.low {
				why = "seqno too low"
			}
			answers = append(answers, Answer{Seq: seq, Refusal: why})
		case s.resent.IsZero() || now.Sub(s.resent) >= h.resend:
			s.resent = now
			answers = append(answers, Answer{Seq: seq, Msg: s.msg})
		}
	}
	return answers, beyond
}
