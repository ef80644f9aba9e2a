package cluster

import (
	"fmt"

	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Regroup says that haresources has changed. What neither leaves nor joins is not touched.
type Regroup struct {
	// Groups are all lines, in order.
	Groups []Group
	// Leaving are lines, or parts of lines, that their node has no more, each by its first resource.
	// Other is the node that has it now, or "".
	Leaving []Regrouped
	// Joining are lines of which a resource is new to their node. Other is the node that had one, or "".
	Joining []Regrouped
}

// Regrouped is a line of haresources, or a part of one.
type Regrouped struct{ Node, Key, Other string }

const regroupJob = "regroup"

// regroup gives up what has left haresources and takes what has come, if it is ours to do so; when the
// jobs before it are done, as these decide what we hold.
func (e *Engine) regroup(r *Regroup) {
	e.log(Info, fmt.Sprintf("Rereading haresources: %d lines or parts of lines have gone, %d have come.", len(r.Leaving), len(r.Joining)))
	e.cfg.Groups = r.Groups
	if e.cfg.Unmanaged || len(r.Leaving)+len(r.Joining) == 0 {
		return
	}
	j := e.fork(regroupJob)
	var moved []Regrouped
	j.start = func() {
		for _, g := range r.Leaving {
			switch {
			case g.Other != "" && e.holds(g.Other):
				// It stays here, or has come already: the other node was quicker.
				j.calls = append(j.calls, Call{Verb: KeepGroup, Arg: g.Key, Env: e.env()})
			case e.holds(g.Node):
				j.calls = append(j.calls, Call{Verb: GiveGroup, Arg: g.Key, Env: e.env()})
				if g.Other != "" {
					moved = append(moved, g)
				}
			default:
				j.calls = append(j.calls, Call{Verb: DropGroup, Arg: g.Key, Env: e.env()})
			}
		}
		for _, g := range r.Joining {
			switch {
			case e.rsc.Closing() || !e.holds(g.Node):
			case g.Other != "" && !e.holds(g.Other):
				e.jobLog(j, Info, fmt.Sprintf("%s is taken when %s has given it up.", g.Key, g.Other))
			default:
				j.calls = append(j.calls, Call{Verb: TakeGroup, Arg: g.Key, Env: e.env()})
			}
		}
	}
	j.end = func() {
		for _, g := range moved {
			// What a node says that was asked for a group.
			e.send(hamsg.New(hamsg.TIPRequestResp).Add(hamsg.FTo, g.Other).Add(hamsg.FIPAddr, g.Key).Add("weown", "yes").Add(hamsg.FOK, "OK"))
		}
	}
}

// holds tells whether a node's groups are ours now.
func (e *Engine) holds(node string) bool {
	n := e.node(node)
	switch {
	case n == nil:
		return false // a ping node's line, or that of a node that has left: nobody's
	case !e.rsc.Nice():
		return n == e.self || !n.alive()
	case n == e.self:
		return e.rsc.Held().Has(takeover.Local)
	}
	return e.rsc.Held().Has(takeover.Foreign)
}
