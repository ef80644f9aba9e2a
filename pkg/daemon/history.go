package daemon

import (
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// keptMoves is how many moves of resources are remembered.
const keptMoves = 16

// keptOperations is of how many groups, twice, operations are counted: peers may ask for any name.
const keptOperations = 2000

// history is what a run remembers besides the engine's status: since when, how often, why. The loop's goroutine tells it
// what happens.
type history struct {
	began time.Time
	since map[string]time.Time // since when nodes ("node") and links ("node link") are as they are
	cause string               // the last thing that may move resources

	known    bool // held is
	held     cluster.Hold
	changed  time.Time // when held did last
	moves    []Move    // the latest last
	open     bool      // the last one goes on
	takeover uint64    // how often foreign resources were taken
	deaths   map[string]uint64

	calls map[int]call // under way, by id
	done  map[operation]*Operation
}

type call struct {
	operation
	begun time.Time
}

type operation struct{ group, verb string }

func newHistory(now time.Time) *history {
	return &history{began: now, since: map[string]time.Time{}, deaths: map[string]uint64{}, calls: map[int]call{}, done: map[operation]*Operation{}}
}

// input notes what may be the cause of what follows.
func (h *history) input(now time.Time, in cluster.Input) {
	switch in := in.(type) {
	case cluster.Shutdown:
		h.cause = "shutdown of this node"
	case cluster.Done:
		c, ok := h.calls[in.ID]
		if !ok {
			return
		}
		delete(h.calls, in.ID)
		o := h.done[c.operation]
		if o == nil && len(h.done) >= keptOperations {
			return
		}
		if o == nil {
			o = &Operation{Group: c.group, Verb: c.verb}
			h.done[c.operation] = o
		}
		o.Count++
		o.Last = now.Sub(c.begun).Seconds()
		o.Total += o.Last
		if in.Code != 0 || in.Signal != 0 {
			o.Failed++
		}
	}
}

// causes are words of log lines that say why resources move: a peer's wishes reach the engine as messages, and these are
// what it makes of them.
var causes = []string{"wants to go standby", "Received shutdown notice", "Both machines own", "Initial resource acquisition complete", "Managed resources", "Heartbeat restart on node", "returning after partition"}

func (h *history) action(now time.Time, a cluster.Action) {
	switch a := a.(type) {
	case cluster.NodeChanged:
		h.since[a.Node] = now
		if a.Status == "dead" {
			h.deaths[a.Node]++
			h.cause = "node " + a.Node + " is dead"
		}
	case cluster.LinkChanged:
		h.since[a.Node+" "+a.Link] = now
	case cluster.Run:
		if a.Call.Verb == cluster.TakeGroup || a.Call.Verb == cluster.GiveGroup {
			h.calls[a.ID] = call{operation{a.Call.Arg, string(a.Call.Verb)}, now}
		}
	case cluster.Log:
		for _, c := range causes {
			if strings.Contains(a.Text, c) {
				h.cause = a.Text
			}
		}
	}
}

// moved compares what is held with what was.
func (h *history) moved(now time.Time, held cluster.Hold, moving bool) {
	if !h.known {
		h.known, h.held, h.changed = true, held, now
	}
	if held != h.held {
		if n := len(h.moves); h.open && n > 0 {
			h.moves[n-1].Took = now.Sub(h.moves[n-1].At).Seconds()
		}
		h.moves = append(h.moves, Move{At: now, From: h.held.String(), To: held.String(), Why: h.cause})
		if len(h.moves) > keptMoves {
			h.moves = h.moves[1:]
		}
		if held.Has(cluster.Foreign) && !h.held.Has(cluster.Foreign) {
			h.takeover++
		}
		h.held, h.changed, h.open = held, now, true
	}
	if h.open && !moving {
		m := &h.moves[len(h.moves)-1]
		m.Took = now.Sub(m.At).Seconds()
		h.open = false
	}
}
