package clustertest

import (
	"slices"
	"testing"
	"time"
)

func pair(seed uint64) *Sim {
	nodes := []string{"alpha", "bravo"}
	s := New(seed)
	for _, n := range nodes {
		s.Add(Config(n, seed, nodes, ParseGroups("alpha A rest\n\nbravo B")))
	}
	return s
}

// TestOrder: packets of one way keep their order unless told otherwise.
func TestOrder(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		s := pair(1)
		s.Reorder, s.MaxDelay = reorder, time.Second
		a, b := s.Machine("alpha"), s.Machine("bravo")
		for i := range 20 {
			a.deliver(b, "eth0", &a.ways[1][0], []byte{byte(i)})
		}
		slices.SortFunc(s.events, func(x, y event) int { return int(x.order) - int(y.order) })
		sorted := slices.IsSortedFunc(s.events, func(x, y event) int { return int(x.at - y.at) })
		if len(s.events) != 20 || sorted == reorder {
			t.Errorf("reorder %v: in order %v, %d packets", reorder, sorted, len(s.events))
		}
	}
}

// TestFreeze: a stopped daemon does nothing, and catches up when it goes on.
func TestFreeze(t *testing.T) {
	s := pair(1)
	a, b := s.Machine("alpha"), s.Machine("bravo")
	a.Start()
	b.Start()
	s.Run(20 * time.Second)
	a.Freeze()
	before := a.Sent["status"]
	s.Run(4 * time.Second)
	if a.Sent["status"] != before || !a.Frozen() {
		t.Error("a frozen daemon has sent something")
	}
	a.Thaw()
	s.Run(time.Second)
	if a.Sent["status"] == before {
		t.Error("a thawed daemon has not sent anything")
	}
	if !s.Connected(a, b) {
		t.Error("not connected")
	}
	s.Cut("alpha", "bravo", "", true)
	s.Run(10 * time.Second)
	if s.Connected(a, b) || !slices.Equal(s.Owners("A"), []string{"alpha", "bravo"}) {
		t.Errorf("A, one way cut: %v", s.Owners("A"))
	}
}
