package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// job is what the original forks a child for: some calls, one after the other, with log lines and
// messages around them. Several jobs may be under way; their calls are made one at a time, in
// the order in which the jobs were begun. (The original's children run side by side and step on
// each other's feet.)
type job struct {
	id    int
	name  string
	since time.Time // when its first call, or its start, was made; zero before
	calls []Call
	next  int
	start func() // may be nil
	end   func() // may be nil
	// move is what a go_standby job moves.
	move takeover.Move
	// death says that it is the notification that a dead node's groups are taken over by.
	death bool
}

// notice is a message that waits to be passed to a script.
type notice struct {
	call  Call
	death bool
}

// fork begins a job. It runs when the engine has done with what it is at.
func (e *Engine) fork(name string) *job {
	e.jobID++
	j := &job{id: e.jobID, name: name}
	e.jobs = append(e.jobs, j)
	return j
}

// waiting is the last of several jobs of these names that have not begun, or nil: a node that seems
// to die again and again while a script is slow is not to make ever more of them.
func (e *Engine) waiting(names ...string) (last *job) {
	count := 0
	for _, j := range e.jobs {
		if j.since.IsZero() && slices.Contains(names, j.name) {
			last = j
			count++
		}
	}
	if count < 2 {
		return nil
	}
	return last
}

func (e *Engine) jobLog(j *job, l Level, text string) {
	e.emit(Log{Level: l, Text: text, Job: j.id})
}

// maxQueue is how many notices may wait while a script hangs; a death is never left out.
const maxQueue = 1000

// notify queues a message for the script of its type, if there is one (QueueRemoteRscReq).
func (e *Engine) notify(m *hamsg.Msg) {
	if len(e.queue) >= maxQueue {
		if e.allow("queue", Warn) {
			e.log(Warn, "A script hangs: no more notices are queued for rc.d.")
		}
		return
	}
	call, ok := e.harc(m)
	again := m.Type() == hamsg.TIPRequest || m.Type() == hamsg.TIPRequestResp // one answer is enough
	if !ok || (again || len(e.queue) >= longQueue) && slices.ContainsFunc(e.queue, func(q notice) bool { return sameNews(q.call, call) }) {
		return
	}
	e.queue = append(e.queue, notice{call: call})
	e.startNotice()
}

// longQueue is how many notices wait when no more of the same news are added.
const longQueue = 20

// sameNews tells whether two notices say the same of the same node.
func sameNews(a, b Call) bool {
	return a.Arg == b.Arg && !slices.ContainsFunc([]string{"HA_src", "HA_dest", "HA_st", "HA_ipaddr", "HA_" + hamsg.FGeneration}, func(name string) bool {
		return a.Getenv(name) != b.Getenv(name)
	})
}

// notifyDead queues the notice that a node is dead.
func (e *Engine) notifyDead(name string) {
	n := e.node(name)
	if n == nil {
		return
	}
	if call, ok := e.harc(e.deadNotice(n)); ok {
		if slices.ContainsFunc(e.queue, func(q notice) bool { return q.death && q.call.Getenv("HA_src") == name }) {
			return
		}
		e.queue = append(e.queue, notice{call: call, death: true})
		e.startNotice()
		return
	}
	e.log(Error, "Nothing can be taken over from "+name+": there is no script rc.d/status.")
	e.rsc.NotificationEnded()
}

// harc is the call for a message; ok is false if no script is there for it.
func (e *Engine) harc(m *hamsg.Msg) (c Call, ok bool) {
	if len(m.Type()) >= 32 || !slices.Contains(e.cfg.Hooks, m.Type()) {
		return Call{}, false
	}
	var env []string
	for _, f := range m.Fields() {
		if f.Kind == hamsg.String {
			env = append(env, "HA_"+f.Name+"="+f.Value)
		}
	}
	env = append(env, "HA_OSTATUS="+e.self.Status)
	return Call{Verb: Harc, Arg: strings.ToLower(m.Type()), Env: append(env, e.env()...)}, true
}

// startNotice begins the job for the next notice, if nothing else runs (StartNextRemoteRscReq).
func (e *Engine) startNotice() {
	for len(e.jobs) == 0 && len(e.queue) > 0 && e.stale(e.queue[0]) {
		death := e.queue[0].death
		if e.queue = e.queue[1:]; death {
			e.rsc.NotificationEnded()
		}
	}
	if len(e.jobs) > 0 || len(e.queue) == 0 {
		return
	}
	n := e.queue[0]
	e.queue = e.queue[1:]
	j := e.fork(n.call.Arg)
	j.death = n.death
	j.calls = []Call{n.call}
}

// stale tells whether a notice would take groups that are not ours any more: our own go-ahead for
// one that we have given away since, or the death of a node that has come back and has its groups
// again. (The original takes them all the same, and then both nodes have them.) And when everything
// is to be given up a shutdown does not wait for scripts that have not begun.
func (e *Engine) stale(n notice) bool {
	switch {
	case e.rsc.Closing():
		return true
	case n.death && e.rsc.Nice():
		return !e.rsc.Held().Has(takeover.Foreign)
	case n.death:
		src := e.node(n.call.Getenv("HA_src"))
		return src != nil && src.alive() && !src.left
	case n.call.Arg == hamsg.TIPRequest:
		src := e.node(n.call.Getenv("HA_src"))
		gen, _ := strconv.ParseUint(n.call.Getenv("HA_"+hamsg.FGeneration), 16, 64)
		if src != nil && (!src.alive() || src.left || gen < src.generation) {
			return true // it asks again when it is back
		}
		// It asked for a line of its own, before it had the same haresources as we have: now it is not its own.
		seq, _ := strconv.ParseUint(n.call.Getenv("HA_"+hamsg.FSeq), 16, 64)
		return src != nil && seq < src.sumSeq && src.sum == e.cfg.Sum && !slices.Contains(e.cfg.Groups, Group{src.Name, n.call.Getenv("HA_ipaddr")})
	case n.call.Arg == hamsg.TIPRequestResp && n.call.Getenv("HA_dest") == e.cfg.Node && !slices.Contains(e.keys(takeover.Local), n.call.Getenv("HA_ipaddr")):
		return true // haresources has changed: it stands for another node's line now, or for none
	}
	return e.rsc.Nice() && n.call.Arg == hamsg.TIPRequestResp && n.call.Getenv("HA_dest") == e.cfg.Node &&
		n.call.Getenv("HA_src") == e.cfg.Node && !e.rsc.Held().Has(takeover.Local)
}

// runJobs carries the jobs on until a call is under way or nothing is left to do.
func (e *Engine) runJobs() {
	for e.call == nil && !e.end.over {
		e.startNotice()
		if len(e.jobs) == 0 {
			return
		}
		j := e.jobs[0]
		if j.since.IsZero() {
			j.since = e.now
			if j.start != nil {
				j.start()
			}
		}
		if j.next < len(j.calls) {
			e.call = j
			e.callID++
			e.emit(Run{ID: e.callID, Job: j.id, Call: j.calls[j.next]})
			return
		}
		e.endJob(j)
	}
}

// endJob is the end of the original's child: its last message first, then what its death brings.
func (e *Engine) endJob(j *job) {
	if j.end != nil {
		j.end()
	}
	e.jobs = slices.DeleteFunc(e.jobs, func(x *job) bool { return x == j })
	e.rsc.JobEnded(j.name, e.allAlive())
	if j.death {
		e.rsc.NotificationEnded()
	}
	e.startNotice()
	e.rsc.Idle()
	e.takeLeft()
	e.quickIfDue()
	if e.end.jobsLast {
		e.finishIdle()
	}
}

// done takes the end of a call.
func (e *Engine) done(d Done) {
	j := e.call
	if j == nil || d.ID != e.callID {
		return
	}
	e.call = nil
	call := j.calls[j.next]
	j.next++
	for _, text := range d.Say {
		e.said(text)
	}
	if call.Verb == ReqResource && len(d.Say) == 0 && d.Code == 0 && d.Signal == 0 {
		e.ownedAlready(call.Arg)
	}
	if call.Verb == Harc {
		return
	}
	switch {
	case d.Signal != 0:
		e.jobLog(j, Error, fmt.Sprintf("%s killed by signal %d", call, d.Signal))
	case d.Code != 0:
		e.jobLog(j, Error, fmt.Sprintf("%s exited with return code %d", call, d.Code))
	}
}

// dropJobs forgets all jobs and notices but the call under way, whose end is still awaited, and what
// a new haresources has to be given up for: nothing else knows of that.
func (e *Engine) dropJobs() {
	e.queue = nil
	e.jobs = slices.DeleteFunc(e.jobs, func(x *job) bool { return x != e.call && x.name != regroupJob })
	for _, j := range e.jobs {
		j.end = nil
		switch {
		case j.name != regroupJob:
			j.calls = j.calls[:j.next+1]
		case j.since.IsZero():
			begin := j.start
			j.start = func() {
				begin()
				j.calls = slices.DeleteFunc(j.calls, takes)
			}
		default:
			at := j.next
			if j == e.call {
				at++
			}
			j.calls = append(j.calls[:at:at], slices.DeleteFunc(j.calls[at:], takes)...)
		}
	}
}

func takes(c Call) bool { return c.Verb == TakeGroup }
