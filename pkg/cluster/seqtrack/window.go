package seqtrack

import (
	"slices"
	"time"
)

// Limits of the original (MAXMISSING, MAXMSGHIST and half of it).
const (
	maxMissing = 500
	maxGap     = 250
)

// ackEvery is how many messages one acknowledgement stands for.
const ackEvery = 10

// minRexmitDelay is the least wait before a missing message is asked for.
const minRexmitDelay = 50 * time.Millisecond

// Verdict says what to do with a message by its sequence number.
type Verdict uint8

// The verdicts.
const (
	Accept    Verdict = iota // new: process it
	Duplicate                // the newest one again: it came over a second link
	Stale                    // an old one again, or one from before we listened: drop it
)

// Offer is what a sequence number means for a [Window].
type Offer struct {
	Verdict Verdict
	// Lost is how many messages between After and the offered one are newly missing.
	Lost, After uint64
	// TooMany says that so many were lost that they are given up.
	TooMany bool
	// Complete says that this was the last missing one.
	Complete bool
	// Ack is the number to acknowledge, 0 for none.
	Ack uint64
}

// Window is what has come of one sender's messages. The zero Window is not usable: see NewWindow.
type Window struct {
	phase    uint64 // acknowledged are numbers ≡ phase mod ackEvery
	maxDelay time.Duration
	rand     *Rand

	last    uint64    // highest seen, 0 for none
	floor   uint64    // all up to it has been seen or given up, although last is not known
	missing []hole    // ascending
	pause   time.Time // nothing is asked for before that
}

type hole struct {
	seq uint64
	ask time.Time // when to ask for it next
}

// NewWindow makes the window of one sender. maxDelay is the directive max_rexmit_delay.
func NewWindow(maxDelay time.Duration, rand *Rand) *Window {
	return &Window{phase: rand.Uint64() % ackEvery, maxDelay: maxDelay, rand: rand}
}

// Last is the highest sequence number seen, 0 for none.
func (w *Window) Last() uint64 { return w.last }

// Missing is how many messages are known to be missing.
func (w *Window) Missing() int { return len(w.missing) }

// FirstMissing is the lowest number known to be missing, 0 for none.
func (w *Window) FirstMissing() uint64 {
	if len(w.missing) == 0 {
		return 0
	}
	return w.missing[0].seq
}

// Forget forgets everything: the sender has restarted, and counts anew.
func (w *Window) Forget() {
	w.last, w.floor, w.missing = 0, 0, nil
}

// Abandon gives up what is missing: the sender is dead. If it is heard again after all, what it
// has sent meanwhile does not count as missing, and what it had sent before is not taken again.
func (w *Window) Abandon() {
	w.last, w.floor, w.missing = 0, max(w.floor, w.last), nil
}

// Offer classifies the message with number seq (> 0) that has come at now, and takes note of it.
func (w *Window) Offer(seq uint64, now time.Time) Offer {
	switch {
	case seq <= w.floor:
		return Offer{Verdict: Stale}
	case w.last == 0 || seq == w.last+1:
		w.last = seq
		o := Offer{Verdict: Accept}
		if len(w.missing) == 0 && seq%ackEvery == w.phase {
			o.Ack = seq
		}
		return o
	case seq == w.last:
		return Offer{Verdict: Duplicate}
	case seq > w.last:
		return w.gap(seq, now)
	}
	at, found := w.find(seq)
	if !found {
		return Offer{Verdict: Stale}
	}
	return w.fill(at)
}

// gap takes a message that comes before earlier ones have.
func (w *Window) gap(seq uint64, now time.Time) Offer {
	o := Offer{Verdict: Accept, Lost: seq - w.last - 1, After: w.last}
	if o.Lost > maxGap || len(w.missing)+int(o.Lost) > maxMissing {
		o.TooMany = true
		w.missing = nil
		w.last = seq
		return o
	}
	for n := w.last + 1; n < seq; n++ {
		w.missing = append(w.missing, hole{seq: n, ask: now.Add(w.firstDelay())})
	}
	w.last = seq
	return o
}

// firstDelay is random, so that several receivers do not ask all at once.
func (w *Window) firstDelay() time.Duration {
	low := minRexmitDelay
	if w.maxDelay < 2*minRexmitDelay {
		low = 0
	}
	span := int64(w.maxDelay - low)
	if span <= 0 {
		return low
	}
	return low + time.Duration(int64(w.rand.Uint64()%uint64(span)))
}

func (w *Window) find(seq uint64) (at int, found bool) {
	return slices.BinarySearchFunc(w.missing, seq, func(h hole, n uint64) int {
		switch {
		case h.seq < n:
			return -1
		case h.seq > n:
			return 1
		}
		return 0
	})
}

// fill removes the missing number at index at.
func (w *Window) fill(at int) Offer {
	seq := w.missing[at].seq
	w.missing = slices.Delete(w.missing, at, at+1)
	o := Offer{Verdict: Accept, Complete: len(w.missing) == 0}
	if at > 0 {
		return o
	}
	upTo := w.last
	if len(w.missing) > 0 {
		upTo = w.missing[0].seq - 1
	}
	// The highest number of our phase that is not above upTo.
	if back := (upTo + ackEvery - w.phase) % ackEvery; back < upTo && upTo-back >= seq {
		o.Ack = upTo - back
	}
	return o
}

// Lost gives up the message with number seq, which its sender no longer has. The Verdict of what
// it returns means nothing.
func (w *Window) Lost(seq uint64) Offer {
	if at, found := w.find(seq); found {
		return w.fill(at)
	}
	return Offer{}
}

// Range is consecutive numbers, both ends included.
type Range struct{ First, Last uint64 }

// Limits of [Window.Ask]: how many requests it makes at once, the pause after each, and how many
// numbers one is for (as many as the original answers at most). A network that loses every
// second packet for minutes would else be given thousands of requests a second to lose.
const (
	maxRanges = 10
	askPause  = 10 * time.Millisecond
	maxRange  = 50
)

// Ask returns the missing numbers that are to be asked for now, and asks for them again later.
// Numbers that follow each other are asked for together. (The original asks for each alone.)
func (w *Window) Ask(now time.Time) []Range {
	if now.Before(w.pause) {
		return nil
	}
	var due []Range
	again := now.Add(max(w.maxDelay, 10*time.Millisecond))
	for i := 0; i < len(w.missing); {
		run := i + 1 // end of the consecutive numbers that begin at i
		isDue := !now.Before(w.missing[i].ask)
		for run < len(w.missing) && run-i < maxRange && w.missing[run].seq == w.missing[run-1].seq+1 {
			isDue = isDue || !now.Before(w.missing[run].ask)
			run++
		}
		if isDue {
			if len(due) == maxRanges {
				break
			}
			due = append(due, Range{w.missing[i].seq, w.missing[run-1].seq})
			for ; i < run; i++ {
				w.missing[i].ask = again
			}
		}
		i = run
	}
	w.pause = now.Add(time.Duration(len(due)) * askPause)
	return due
}

// Deadline is when Ask is due; ok is false if nothing is missing.
func (w *Window) Deadline() (at time.Time, ok bool) {
	for _, h := range w.missing {
		if !ok || h.ask.Before(at) {
			at, ok = h.ask, true
		}
	}
	if at.Before(w.pause) {
		at = w.pause
	}
	return at, ok
}
