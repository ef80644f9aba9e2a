package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Regroup says that haresources has changed. What neither leaves nor joins is not touched.
type Regroup struct {
	// Groups are all lines, in order.
	Groups []Group
	// Sum stands for what they say: see [Config].
	Sum string
	// Leaving are lines, or parts of lines, that their node has no more, each by its first resource.
	// Other is the node that has it now, or "".
	Leaving []Regrouped
	// Joining are lines of which a resource is new to their node. Other is the node that had one, or "".
	Joining []Regrouped

	was string // the Sum before
}

// Regrouped is a line of haresources, or a part of one.
type Regrouped struct {
	Node, Key, Other string
	// Whole says of one that leaves that it is a whole line.
	Whole bool
}

const regroupJob = "regroup"

// regroup gives up what has left haresources and takes what has come, if it is ours to do so; when the
// jobs before it are done, as these decide what we hold. Nodes reread one after the other, and much may
// happen in between. So a line that the other node had is awaited until that one says that it goes by the
// same file, and so has not got it any more.
func (e *Engine) regroup(r *Regroup) {
	e.log(Info, fmt.Sprintf("Rereading haresources: %d lines or parts of lines have gone, %d have come.", len(r.Leaving), len(r.Joining)))
	r.was = e.cfg.Sum
	e.former, e.cfg.Groups, e.cfg.Sum = e.cfg.Sum, r.Groups, r.Sum
	e.forgetAsked()
	switch {
	case e.cfg.Unmanaged:
	case e.commUp || e.end.begun():
		e.forkRegroup(r)
	default:
		e.unread = append(e.unread, r) // who holds what is known when communication is up
	}
}

// readLate does what has waited for that, or for an end that has come before it.
func (e *Engine) readLate() {
	for _, r := range e.unread {
		e.forkRegroup(r)
	}
	e.unread = nil
}

func (e *Engine) forkRegroup(r *Regroup) {
	// What is under way, or is about to be, goes by lines as they were.
	astride := len(e.jobs)+len(e.queue) > 0
	j := e.fork(regroupJob)
	var moved []Regrouped
	j.start = func() {
		e.awaitAnew(r.Joining)
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
		for _, g := range e.early {
			came := slices.ContainsFunc(r.Leaving, func(l Regrouped) bool { return l.Key == g.Key && l.Other == e.cfg.Node })
			if !came && !e.holds(g.Node) { // the file was changed once more, or back
				j.calls = append(j.calls, Call{Verb: GiveGroup, Arg: g.Key, Env: e.env()})
			}
		}
		e.early = nil
		for _, g := range r.Joining {
			switch {
			case e.leaves() || !e.holds(g.Node) || !e.current(g) || e.awaits(g.Key):
			case len(e.stonith.resets) > 0, e.asks(g.Key):
				e.awaited = append(e.awaited, g)
			case g.Other != "" && !e.holds(g.Other):
				e.jobLog(j, Info, fmt.Sprintf("%s is taken when %s has given it up.", g.Key, g.Other))
				e.awaited = append(e.awaited, g)
			default:
				e.takeOrAsk(j, g)
			}
		}
		knows := e.commUp || e.cfg.Restarted // who has what
		givesUp := slices.ContainsFunc(e.jobs, func(x *job) bool { return x.name == giveUpJob })
		if (astride || !e.rsc.Nice()) && knows && !givesUp {
			e.enforce(j)
		}
	}
	j.end = func() {
		for _, g := range moved {
			// What a node says that was asked for a group: an original takes it then.
			m := hamsg.New(hamsg.TIPRequestResp).Add(hamsg.FTo, g.Other).Add(hamsg.FIPAddr, g.Key).Add("weown", "yes").Add(hamsg.FOK, "OK").Add(hamsg.FSum, r.Sum)
			if g.Whole {
				m.Add(hamsg.FWas, r.was)
			}
			e.send(m)
		}
		if e.commUp {
			e.send(e.sumMessage(r.Sum))
		}
	}
}

// takeOrAsk takes a line of which no node had anything by our file. In legacy mode the other node's file may have
// named it before ours did, while we were away: it has it then, as a dead node's, until it is asked for it.
func (e *Engine) takeOrAsk(j *job, g Regrouped) {
	if e.rsc.Nice() || g.Node != e.cfg.Node || e.others(func(n *node) bool { return n.alive() && !n.left }) == 0 {
		j.calls = append(j.calls, Call{Verb: TakeGroup, Arg: g.Key, Env: e.env()})
		return
	}
	e.asking = asking{keys: append(e.asking.keys, g.Key), again: e.now.Add(askAgain)}
	e.awaited = append(e.awaited, g)
	j.calls = append(j.calls, Call{Verb: ReqResource, Arg: g.Key, Env: e.env()})
}

// enforce takes all lines that are ours to hold, and gives the others up, but for those that are to be
// taken, or are asked for, already: what was under way may have gone by another file. In legacy mode what the other
// node asks for goes by its file, too, and nodes never say what they hold.
func (e *Engine) enforce(j *job) {
	for _, g := range e.cfg.Groups {
		known := slices.ContainsFunc(j.calls, func(c Call) bool { return c.Arg == g.Key && takes(c) }) ||
			e.awaits(g.Key) || e.asks(g.Key)
		switch {
		case e.rsc.Closing() && !e.end.quick, !e.holds(g.Node): // one that is waited for, too: what was under way may have left a part of it
			j.calls = append(j.calls, Call{Verb: DropGroup, Arg: g.Key, Env: e.env()})
		case known:
		case e.mayTake():
			e.takeOrAsk(j, Regrouped{Node: g.Node, Key: g.Key})
		}
	}
}

// awaitAnew waits for lines as they are now: what was waited for may be part of any line of its node. (Of those that
// are there still, too: only their first resources are known.) One that joins may have another node to be awaited of.
func (e *Engine) awaitAnew(joining []Regrouped) {
	was := e.awaited
	e.awaited = slices.DeleteFunc(slices.Clone(was), func(g Regrouped) bool { return !e.current(g) })
	for _, g := range was {
		for _, now := range e.cfg.Groups {
			if now.Node == g.Node && !e.awaits(now.Key) {
				e.awaited = append(e.awaited, Regrouped{Node: now.Node, Key: now.Key, Other: g.Other})
			}
		}
	}
	for i, g := range e.awaited {
		for _, now := range joining {
			if now.Key == g.Key && now.Node == g.Node && now.Other != "" {
				e.awaited[i].Other = now.Other
			}
		}
	}
}

// current tells whether a line is in the file.
func (e *Engine) current(g Regrouped) bool {
	return slices.Contains(e.cfg.Groups, Group{g.Node, g.Key})
}

// awaits tells whether a line is waited for.
func (e *Engine) awaits(key string) bool {
	return slices.ContainsFunc(e.awaited, func(g Regrouped) bool { return g.Key == key })
}

// sumMessage says which haresources we go by.
func (e *Engine) sumMessage(sum string) *hamsg.Msg {
	m := hamsg.New(hamsg.THaresources).Add(hamsg.FSum, sum)
	if len(e.awaited) > 0 {
		var keys []string
		for _, g := range e.awaited {
			keys = append(keys, g.Key)
		}
		m.Add(hamsg.FAsked, strings.Join(keys, " "))
	}
	return m
}

// askAwaited asks again for what is waited for: the other node may have been away when it was asked.
func (e *Engine) askAwaited() {
	if len(e.awaited) > 0 {
		e.send(e.sumMessage(e.cfg.Sum))
	}
}

// regrouped takes another node's word that it goes by the same haresources as we do: what it does not hold
// is not up there. It is answered if it waits for lines of its own.
func (e *Engine) regrouped(n *node, m *hamsg.Msg) {
	caughtUp := false // in legacy mode, what was asked for before went by another file: see enforce
	if seq, _ := m.GetHex(hamsg.FSeq); seq > n.sumSeq {
		caughtUp = !e.rsc.Nice() && n.sum != "" && n.sum != m.Get(hamsg.FSum)
		n.sum, n.sumSeq = m.Get(hamsg.FSum), seq
	}
	asked, sum := strings.Fields(m.Get(hamsg.FAsked)), e.cfg.Sum
	given := m.Get(hamsg.FIPAddr)
	if m.Get(hamsg.FSum) != sum {
		// One that we have had ourselves meanwhile is not to come: the file was changed back.
		if sum != "" && m.Get(hamsg.FWas) == sum && m.Get(hamsg.FSum) != e.former {
			e.takeEarly(n.Name, given, sum)
		}
		return
	}
	if len(asked)+len(e.awaited)+len(given) == 0 && !caughtUp {
		return
	}
	j := e.fork(regroupJob)
	j.start = func() {
		for _, g := range e.cfg.Groups {
			if slices.Contains(asked, g.Key) && !e.holds(g.Node) {
				j.calls = append(j.calls, Call{Verb: DropGroup, Arg: g.Key, Env: e.env()})
			}
		}
		if given != "" && len(e.awaited) == 0 && e.holds(e.cfg.Node) && e.mayTake() {
			// We have not waited for it: we have begun with the new file.
			j.calls = append(j.calls, Call{Verb: TakeGroup, Arg: given, Env: e.env()})
		}
		if n.left { // it answers nothing that it was asked for before
			e.forget(e.awaits)
		}
		e.takeAwaited(j, func(Regrouped) bool { return true })
		if caughtUp && !e.leaves() {
			e.enforce(j)
		}
	}
	j.end = func() {
		if len(asked) > 0 {
			e.send(hamsg.New(hamsg.THaresources).Add(hamsg.FSum, sum))
		}
	}
}

// takeEarly takes a line of the other node's that this one has given up for us, before we know of that: nobody
// else has it. (Of a part of a line it would be too much: we only know the whole.)
func (e *Engine) takeEarly(from, key, sum string) {
	j := e.fork(regroupJob)
	j.start = func() {
		if e.cfg.Sum == sum && e.holds(e.cfg.Node) && e.mayTake() {
			e.early = append(e.early, Regrouped{Node: from, Key: key})
			j.calls = append(j.calls, Call{Verb: TakeGroup, Arg: key, Env: e.env()})
		}
	}
}

// takeLeft takes what is waited for when what the other node had is ours, too: it has died, or has gone standby,
// and when a reset was waited for.
func (e *Engine) takeLeft() {
	left := func(g Regrouped) bool { return g.Other == "" || e.holds(g.Other) }
	if len(e.jobs) > 0 || !slices.ContainsFunc(e.awaited, func(g Regrouped) bool { return left(g) && e.holds(g.Node) && !e.asks(g.Key) }) || !e.mayTake() {
		return
	}
	j := e.fork(regroupJob)
	j.start = func() { e.takeAwaited(j, left) }
}

func (e *Engine) takeAwaited(j *job, which func(Regrouped) bool) {
	e.awaited = slices.DeleteFunc(e.awaited, func(g Regrouped) bool {
		if !e.mayTake() || !e.holds(g.Node) || e.asks(g.Key) || !which(g) {
			return false
		}
		j.calls = append(j.calls, Call{Verb: TakeGroup, Arg: g.Key, Env: e.env()})
		return true
	})
}

// mayTake tells whether we go on holding what we take, and no other node may have it: one that is to be reset, or, in
// legacy mode, one that we do not hear yet, and to which we may have seemed dead.
func (e *Engine) mayTake() bool {
	return !e.leaves() && len(e.stonith.resets) == 0 && (e.rsc.Nice() || e.commUp)
}

// leaves tells whether we do not hold anything yet, or will not much longer.
func (e *Engine) leaves() bool {
	return !e.commUp && !e.cfg.Restarted || e.rsc.Closing() && !e.end.quick
}

// holds tells whether a node's groups are ours now.
func (e *Engine) holds(node string) bool {
	n := e.node(node)
	switch {
	case n == nil:
		return false // a ping node's line, or that of a node that has left: nobody's
	case !e.rsc.Nice():
		// Before communication is up nothing is known of the others, and what is being reset has its own still.
		if n == e.self {
			return e.commUp || e.cfg.Restarted
		}
		return e.commUp && (!n.alive() || n.left) && len(e.stonith.resets) == 0
	case n == e.self:
		return e.rsc.Held().Has(takeover.Local)
	}
	return e.rsc.Held().Has(takeover.Foreign)
}
