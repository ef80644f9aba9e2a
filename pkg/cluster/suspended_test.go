package cluster

import (
	"testing"
	"time"
)

// TestBehind: how much less time has passed here than at another node, by what its packets say.
func TestBehind(t *testing.T) {
	type packet struct {
		at time.Duration // by our clock
		ts uint64        // by its clock
	}
	for name, c := range map[string]struct {
		packets []packet
		want    time.Duration
	}{
		"nothing heard":            {nil, 0},
		"at the same pace":         {[]packet{{0, 100}, {2 * time.Second, 102}, {4 * time.Second, 104}, {6 * time.Second, 106}, {8 * time.Second, 108}}, 0},
		"a burst after a standing": {[]packet{{0, 100}, {2 * time.Second, 102}, {2 * time.Second, 104}, {2 * time.Second, 106}, {2 * time.Second, 108}}, 6 * time.Second},
		"all lost meanwhile":       {[]packet{{0, 100}, {5 * time.Second, 105}, {6 * time.Second, 136}}, 30 * time.Second},
		"late when a turn begins":  {[]packet{{0, 100}, {5 * time.Second, 105}, {11 * time.Second, 141}}, 30 * time.Second},
		"packets that had waited":  {[]packet{{0, 100}, {10 * time.Second, 102}, {10 * time.Second, 110}, {12 * time.Second, 112}}, 0},
		"its clock set back":       {[]packet{{0, 1000}, {2 * time.Second, 100}}, 0},
		"its clock set by a year":  {[]packet{{0, 1000}, {2 * time.Second, 40000000}}, 0},
	} {
		var n clock
		begin := time.Unix(1, 0)
		now := begin
		for _, p := range c.packets {
			now = begin.Add(p.at)
			n.read(now, p.ts, 5*time.Second)
		}
		if got := max(n.behind(now), 0); got != c.want {
			t.Errorf("%s: %v behind, want %v", name, got, c.want)
		}
	}
}
