package cluster

import (
	"testing"

	"pgregory.net/rapid"
)

// The window against one that remembers everything.
func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w numbers
		start := rapid.Uint64Range(1, 1<<40).Draw(t, "start")
		w.from(start)
		high, passed := start, map[uint64]bool{}
		for range rapid.IntRange(1, 400).Draw(t, "packets") {
			step := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(-1100, 1100), rapid.Int64Range(-5000, 5000)).Draw(t, "step")
			n := uint64(max(int64(high)+step, 1))
			want := n > start && !passed[n] && (n > high || high-n < maxNumbers)
			if got := w.take(n); got != want {
				t.Fatalf("number %d, newest %d of a run that we heard from %d on: passes %t", n, high, start, got)
			}
			if want {
				passed[n], high = true, max(high, n)
			}
		}
	})
}
