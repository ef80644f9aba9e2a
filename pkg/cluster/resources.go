package cluster

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// host is the engine as the takeover machine sees it.
type host Engine

func (h *host) e() *Engine { return (*Engine)(h) }

func (h *host) Now() time.Time      { return h.now }
func (h *host) Info(text string)    { h.e().log(Info, text) }
func (h *host) Warn(text string)    { h.e().log(Warn, text) }
func (h *host) Fail(text string)    { h.e().log(Error, text) }
func (h *host) Debug(text string)   { h.e().log(Debug, text) }
func (h *host) Send(m *hamsg.Msg)   { h.e().send(m) }
func (h *host) Jobs() int           { return len(h.jobs) }
func (h *host) AwaitSync(on bool)   { h.e().emit(AwaitSync{On: on}) }
func (h *host) Restart()            { h.e().shutdown(true) }
func (h *host) ShutDone()           { h.e().shutDone() }
func (h *host) NotifyDead(n string) { h.e().notifyDead(n) }

// Reset has a node reset if there is a device to do it.
func (h *host) Reset(node string, done func()) bool {
	if h.cfg.Stonith == "" {
		return false
	}
	h.e().resetNode(node, done)
	return true
}

func (h *host) Resetting() bool { return len(h.stonith.resets) > 0 }

func (h *host) Releasing() bool {
	return slices.ContainsFunc(h.jobs, func(j *job) bool { return j.move == takeover.Move{Set: takeover.Foreign, Quiet: true} })
}

func (h *host) Stonith(node, result string) {
	h.e().send(hamsg.New(hamsg.TStonith).Add(hamsg.FNode, node).Add(hamsg.FResult, result))
}

func (h *host) GivingUp() {
	h.e().log(Info, "Heartbeat shutdown in progress. ("+strconv.Itoa(h.cfg.PID)+")")
}

// RequestOurs is req_our_resources: one req_resource for each group that is ours by haresources.
func (h *host) RequestOurs() {
	e := h.e()
	// In legacy mode one that is not dead is asked, too: it may have restarted with its resources in hand.
	h.request(e.keys(takeover.Local), e.others(func(n *node) bool {
		return n.Status == liveness.Active || !e.rsc.Nice() && n.Status != liveness.Dead
	}) > 0)
}

// others counts normal nodes but ourselves.
func (e *Engine) others(which func(*node) bool) (count int) {
	for _, n := range e.nodes {
		if n != e.self && !n.Ping && which(n) {
			count++
		}
	}
	return count
}

func (h *host) request(keys []string, ask bool) {
	e := h.e()
	// The name decides what is announced at the end.
	name, env := "req_our_resources(ask)", e.env()
	if !ask {
		name = "req_our_resources"
		env = append(env, "HA_DONTASK=yes")
		e.ask(nil)
	} else if !e.rsc.Nice() {
		e.ask(keys)
	}
	j := e.waiting("req_our_resources", "req_our_resources(ask)")
	if j == nil {
		j = e.fork(name)
	}
	j.name, j.calls = name, nil
	for _, key := range keys {
		j.calls = append(j.calls, Call{Verb: ReqResource, Arg: key, Env: env})
	}
	none := len(j.calls) == 0
	j.end = func() {
		if none {
			e.jobLog(j, Info, "No local resources [/usr/share/heartbeat/ResourceManager listkeys "+e.cfg.Node+"] to acquire.")
		} else {
			e.jobLog(j, Info, "Local Resource acquisition completed.")
		}
		if m := e.rsc.Report(); m != nil {
			e.send(m)
		}
	}
}

// Move is go_standby: takegroup or givegroup for each group of a set.
func (h *host) Move(mv takeover.Move) {
	e := h.e()
	if mv.Quiet && e.moves(mv) {
		return
	}
	j := e.fork("go_standby")
	j.move = mv
	verb, before, after := GiveGroup, "give up ", " HA resource release completed (standby)."
	if mv.Take {
		verb, before, after = TakeGroup, "acquire ", " HA resource acquisition completed (standby)."
	}
	if mv.Set == takeover.None {
		j.start = func() {
			e.jobLog(j, Error, "no resources to "+strings.TrimSpace(before))
		}
		return
	}
	for _, key := range e.keys(mv.Set) {
		j.calls = append(j.calls, Call{Verb: verb, Arg: key, Env: e.env()})
	}
	j.start = func() {
		e.jobLog(j, Info, before+mv.Set.String()+" HA resources (standby).")
		if now := e.keys(mv.Set); mv.Take { // haresources may have changed while it waited
			j.calls = slices.DeleteFunc(j.calls, func(c Call) bool { return !slices.Contains(now, c.Arg) })
		}
	}
	j.end = func() {
		e.jobLog(j, Info, mv.Set.String()+after)
		if e.rsc.MoveEnds(mv) {
			e.send(hamsg.New(hamsg.TAskResources).Add(hamsg.FResources, mv.Report.String()).Add(hamsg.FComment, "done"))
		}
	}
}

// moves tells whether a move waits already, and nothing behind it changes what it does: while a script is slow a
// node may seem to come back again and again.
func (e *Engine) moves(mv takeover.Move) bool {
	for _, j := range slices.Backward(e.jobs) {
		switch {
		case j.move == mv && j.since.IsZero():
			return true
		case !j.move.Quiet, j.move.Set == mv.Set:
			return false
		}
	}
	return false
}

// DropStrays releases groups that still run.
func (h *host) DropStrays(set Hold) {
	e := h.e()
	keys := e.keys(set)
	if len(keys) == 0 {
		return
	}
	j := e.fork("drop_strays")
	for _, key := range keys {
		j.calls = append(j.calls, Call{Verb: DropGroup, Arg: key, Env: e.env()})
	}
}

const giveUpJob = "hb_giveup_resources"

// GiveUpAll is hb_giveup_resources: givegroup for every group, of whichever node.
func (h *host) GiveUpAll() {
	e := h.e()
	j := e.fork(giveUpJob)
	for _, key := range e.keys(takeover.All) {
		j.calls = append(j.calls, Call{Verb: GiveGroup, Arg: key, Env: e.env()})
	}
	j.start = func() { e.jobLog(j, Info, "Giving up all HA resources.") }
	j.end = func() {
		e.jobLog(j, Info, "All HA resources relinquished.")
		e.send(hamsg.New(hamsg.TShutDone).Add(hamsg.FStatus, "dead"))
	}
}

// keys are the groups of a set, in the order of haresources.
func (e *Engine) keys(set Hold) []string {
	var keys []string
	for _, g := range e.cfg.Groups {
		side := takeover.Foreign
		if g.Node == e.cfg.Node {
			side = takeover.Local
		}
		if set.Has(side) {
			keys = append(keys, g.Key)
		}
	}
	return keys
}

// env is what every call gets.
func (e *Engine) env() []string {
	if e.rsc.Nice() {
		return []string{"HA_NICEFAILBACK=yes"}
	}
	return nil
}
