package seqtrack

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

// phased is a window whose acknowledgements fall on numbers that end in 5.
func phased() *Window {
	w := NewWindow(250*time.Millisecond, NewRand(1))
	w.phase = 5
	return w
}

// TestWindow offers numbers and compares what each means. "d" is a duplicate, "s" stale, "a"
// accepted; then what was found lost, an acknowledgement, the end of a gap.
func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		offers string
		want   string
	}{
		{"1 2 3", "a a a"},
		{"7 8", "a a"}, // we have come late: no gap before the first
		{"4 5 6 15", "a a+ack5 a a+lost8after6"},
		{"1 1 2 1", "a d a s"},
		{"1 4 2 3", "a a+lost2after1 a a+all"},
		{"4 6 5 15", "a a+lost1after4 a+all+ack5 a+lost8after6"}, // filling the gap acknowledges up to it
		{"1 3 2 2", "a a+lost1after1 a+all s"},
		{"1 300", "a a+lost298after1+toomany"},
		{"1 300 2", "a a+lost298after1+toomany s"},
		{"3 5 7 4", "a a+lost1after3 a+lost1after5 a+ack5"}, // up to the next gap
		{"3 5 8 6 4 7", "a a+lost1after3 a+lost2after5 a a+ack5 a+all"},
	} {
		w := phased()
		var got []string
		for _, s := range strings.Fields(tt.offers) {
			var n uint64
			fmt.Sscan(s, &n)
			got = append(got, describe(w.Offer(n, start)))
		}
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.offers, g, tt.want)
		}
	}
}

func describe(o Offer) string {
	s := [...]string{"a", "d", "s"}[o.Verdict]
	if o.Lost > 0 {
		s += fmt.Sprintf("+lost%dafter%d", o.Lost, o.After)
	}
	if o.TooMany {
		s += "+toomany"
	}
	if o.Complete {
		s += "+all"
	}
	if o.Ack > 0 {
		s += fmt.Sprintf("+ack%d", o.Ack)
	}
	return s
}

// TestWindowDeath: after a death nothing is taken twice, and what was sent meanwhile is not missed.
func TestWindowDeath(t *testing.T) {
	w := phased()
	for _, n := range []uint64{1, 2, 4} {
		w.Offer(n, start)
	}
	w.Abandon()
	if w.Missing() != 0 {
		t.Errorf("%d missing after Abandon", w.Missing())
	}
	for _, tt := range []struct {
		seq  uint64
		want string
	}{{2, "s"}, {3, "s"}, {4, "s"}, {20, "a"}, {22, "a+lost1after20"}} {
		if got := describe(w.Offer(tt.seq, start)); got != tt.want {
			t.Errorf("offer %d: %s, want %s", tt.seq, got, tt.want)
		}
	}
	w.Forget()
	if got := describe(w.Offer(1, start)); got != "a" {
		t.Errorf("first of a new run: %s", got)
	}
}

// TestWindowAsk: a missing number is asked for after a random delay, then at a fixed pace, until it
// is filled or its sender says that it is lost.
func TestWindowAsk(t *testing.T) {
	w := phased()
	w.Offer(1, start)
	w.Offer(4, start)
	first, ok := w.Deadline()
	if d := first.Sub(start); !ok || d < 50*time.Millisecond || d > 250*time.Millisecond {
		t.Fatalf("first request after %v", d)
	}
	if got := w.Ask(start.Add(49 * time.Millisecond)); got != nil {
		t.Errorf("asked too early for %v", got)
	}
	at := start.Add(250 * time.Millisecond)
	if got := w.Ask(at); !slices.Equal(got, []Range{{2, 3}}) {
		t.Errorf("asked for %v", got)
	}
	if got := w.Ask(at.Add(249 * time.Millisecond)); got != nil {
		t.Errorf("asked again too early for %v", got)
	}
	w.Offer(2, at)
	if got := w.Ask(at.Add(250 * time.Millisecond)); !slices.Equal(got, []Range{{3, 3}}) {
		t.Errorf("asked for %v", got)
	}
	if o := w.Lost(3); !o.Complete {
		t.Error("not complete when the last missing one is lost")
	}
	if _, ok := w.Deadline(); ok {
		t.Error("still waits")
	}
	if o := w.Lost(3); o != (Offer{}) {
		t.Errorf("a number that is not missing: %+v", o)
	}
}

// TestWindowAskMany: what follows each other is asked for together, and never everything at once.
func TestWindowAskMany(t *testing.T) {
	w := phased()
	w.Offer(1, start)
	w.Offer(130, start)
	late := start.Add(time.Second)
	if got := w.Ask(late); !slices.Equal(got, []Range{{2, 51}, {52, 101}, {102, 129}}) {
		t.Errorf("asked for %v", got)
	}
	w = phased()
	for n := uint64(1); n < 200; n += 2 {
		w.Offer(n, start)
	}
	if got := w.Ask(late); len(got) != maxRanges || got[0] != (Range{2, 2}) {
		t.Errorf("asked for %v", got)
	}
	if got := w.Ask(late.Add(99 * time.Millisecond)); got != nil {
		t.Errorf("asked again too early for %v", got)
	}
	if at, ok := w.Deadline(); !ok || at != late.Add(100*time.Millisecond) {
		t.Errorf("waits until %v", at)
	}
	if got := w.Ask(late.Add(100 * time.Millisecond)); len(got) != maxRanges || got[0] != (Range{22, 22}) {
		t.Errorf("then asked for %v", got)
	}
}

// TestFirstDelay covers the directive's small values.
func TestFirstDelay(t *testing.T) {
	for _, maxDelay := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 99 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		w := NewWindow(maxDelay, NewRand(3))
		for range 100 {
			if d := w.firstDelay(); d < 0 || d > maxDelay && d > 0 {
				t.Errorf("max_rexmit_delay %v: %v", maxDelay, d)
			}
		}
	}
}

// TestWindowAgainstModel offers what a lossy, reordering, duplicating network might deliver, and
// compares with a set of numbers seen.
func TestWindowAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := NewWindow(250*time.Millisecond, NewRand(rapid.Uint64().Draw(t, "seed")))
		next := rapid.Uint64Range(1, 1000).Draw(t, "first")
		first, high := next, uint64(0)
		seen := map[uint64]bool{}
		acked := uint64(0)
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			seq := next
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0, 1: // lost ones before it
				if high == 0 {
					break
				}
				seq += rapid.Uint64Range(1, 20).Draw(t, "gap")
			case 2, 3, 4: // an old one again, or a late one
				if high > first {
					seq = rapid.Uint64Range(first, high).Draw(t, "old")
				}
			}
			o := w.Offer(seq, start)
			switch {
			case seq == high && o.Verdict != Duplicate,
				seq != high && seen[seq] && o.Verdict != Stale,
				!seen[seq] && o.Verdict != Accept:
				t.Fatalf("offer %d (high %d, seen %v): %+v", seq, high, seen[seq], o)
			}
			seen[seq] = true
			high = max(high, seq)
			next = high + 1
			if o.TooMany {
				for n := first; n < high; n++ {
					seen[n] = true // given up
				}
			}
			missing := 0
			for n := first; n <= high; n++ {
				if !seen[n] {
					missing++
				}
			}
			if w.Missing() != missing {
				t.Fatalf("%d missing, want %d", w.Missing(), missing)
			}
			if o.Ack > 0 {
				if o.Ack < acked || o.Ack > high || o.Ack%ackEvery != w.phase {
					t.Fatalf("acknowledged %d after %d, high %d", o.Ack, acked, high)
				}
				for n := first; n <= o.Ack; n++ {
					if !seen[n] {
						t.Fatalf("acknowledged %d without having %d", o.Ack, n)
					}
				}
				acked = o.Ack
			}
		}
	})
}
