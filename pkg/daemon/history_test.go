package daemon

import (
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

func TestHistory(t *testing.T) {
	t0 := time.Unix(1000, 0)
	h := newHistory(t0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	h.moved(at(1), cluster.Local, false)
	if len(h.moves) != 0 || h.held != cluster.Local {
		t.Fatalf("what it began with is a move: %+v", h.moves)
	}
	h.action(at(10), cluster.NodeChanged{Node: "silas", Status: "dead"})
	h.moved(at(11), cluster.All, true)
	h.action(at(11), cluster.Run{ID: 7, Call: cluster.Call{Verb: cluster.TakeGroup, Arg: "10.0.0.1"}})
	h.input(at(13), cluster.Done{ID: 7, Code: 1})
	h.input(at(13), cluster.Done{ID: 8}) // another verb's
	h.moved(at(13), cluster.All, true)
	if m := h.moves[0]; m.Took != 0 {
		t.Errorf("over while it goes on: %+v", m)
	}
	h.moved(at(14), cluster.All, false)
	h.moved(at(15), cluster.All, false)
	if want := (Move{At: at(11), From: "local", To: "all", Why: "node silas is dead", Took: 3}); h.moves[0] != want {
		t.Errorf("%+v, want %+v", h.moves[0], want)
	}
	if h.takeover != 1 || h.deaths["silas"] != 1 || h.since["silas"] != at(10) {
		t.Errorf("%+v", h)
	}
	if o := h.done[operation{"10.0.0.1", "takegroup"}]; o == nil || *o != (Operation{Group: "10.0.0.1", Verb: "takegroup", Count: 1, Failed: 1, Last: 2, Total: 2}) {
		t.Errorf("%+v", o)
	}
	h.action(at(20), cluster.Log{Text: "silas wants to go standby [foreign]"})
	h.moved(at(20), cluster.Local, true)
	h.input(at(21), cluster.Shutdown{})
	h.moved(at(21), cluster.None, true)
	if m := h.moves[1:]; len(m) != 2 || m[0].Why != "silas wants to go standby [foreign]" || m[0].Took != 1 || m[1].Why != "shutdown of this node" {
		t.Errorf("%+v", m)
	}
	for i := range 100 {
		h.moved(at(30+i), []cluster.Hold{cluster.Local, cluster.None}[i%2], false)
	}
	if len(h.moves) != keptMoves {
		t.Errorf("%d moves are kept", len(h.moves))
	}
}
