package cluster

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// askAgain is how long a node waits for the answer to an ip-request before it asks again. (The
// original waits for ever, and a group whose answer is lost stays down.)
const askAgain = 10 * time.Second

// askSoon is the same while a job is under way.
const askSoon = 200 * time.Millisecond

// asking is what a node in legacy mode does to get its own groups: it asks the other node for each.
type asking struct {
	keys  []string // not answered yet
	again time.Time
}

// ask notes that the other node is being asked for these groups of ours.
func (e *Engine) ask(keys []string) {
	e.asking = asking{}
	if len(keys) > 0 {
		e.asking = asking{keys: slices.Clone(keys), again: e.now.Add(askAgain)}
	}
}

// answered notes the answer for one group.
func (e *Engine) answered(m *hamsg.Msg) {
	if m.Get(hamsg.FTo) != e.cfg.Node || len(e.asking.keys) == 0 {
		return
	}
	key := m.Get(hamsg.FIPAddr)
	if e.asks(key) { // and it is taken by the script that gets the answer
		e.awaited = slices.DeleteFunc(e.awaited, func(g Regrouped) bool { return g.Key == key && g.Other == "" })
	}
	e.forget(func(k string) bool { return k == key })
}

// forgetAsked ends the asking for what is not ours any more, since haresources has changed: the other node
// would give it up for nobody.
func (e *Engine) forgetAsked() {
	ours := e.keys(takeover.Local)
	e.forget(func(key string) bool { return !slices.Contains(ours, key) })
}

func (e *Engine) forget(which func(key string) bool) {
	if e.asking.keys = slices.DeleteFunc(e.asking.keys, which); len(e.asking.keys) == 0 {
		e.asking = asking{}
	}
}

// asks tells whether the other node is being asked for a group.
func (e *Engine) asks(key string) bool { return slices.Contains(e.asking.keys, key) }

// ownedAlready is for a group of ours that is running here when the other node is to be asked for
// it. The other is asked all the same: it may have taken the group when an earlier run of this
// daemon was killed. (The original does not ask, and both nodes keep it.)
func (e *Engine) ownedAlready(key string) {
	if e.asks(key) {
		e.send(hamsg.New(hamsg.TIPRequest).Add(hamsg.FIPAddr, key))
	}
}

// askTimer asks again for what was not answered; what a dead node does not answer is
// taken without an answer.
func (e *Engine) askTimer() {
	if due(e.asking.again, e.now) {
		e.reask()
	}
}

func (e *Engine) reask() {
	if len(e.asking.keys) == 0 {
		return
	}
	if e.asking.again = e.now.Add(askAgain); e.rsc.Closing() {
		return
	}
	if len(e.jobs) > 0 || len(e.stonith.resets) > 0 {
		// What a node may still hold that is being reset is not taken before.
		e.asking.again = e.now.Add(askSoon)
		return
	}
	(*host)(e).request(e.asking.keys, e.others(func(n *node) bool { return n.Status != liveness.Dead }) > 0)
}
