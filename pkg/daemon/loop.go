package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/realtime"
)

// queueLen bounds the inputs that wait for the loop. Whoever has one more waits for room; packets wait
// in the buffers of their sockets then.
const queueLen = 1024

// loop owns the engine. Every field is used by the goroutine of run alone, but for the queue.
type loop struct {
	engine  *cluster.Engine
	queue   chan cluster.Input
	core    *halog.Logger         // lines of the master control process
	jobs    map[int]*halog.Logger // lines of its children, by job
	out     func(cluster.Send)
	runCall func(cluster.Run)
	device  *device // nil if there is none
	clients *clients
	api     *clientAPI
	deleted *deletedFile
	sync    *failbackSync
	pulse   *pulse
	alarm   *realtime.Alarm
	keeper  *realtime.Keeper
	history *history
	exit    *cluster.Exit
	busy    bool // the engine is at work, or what it wants is being carried out
	// pending are inputs that arose while actions were carried out: the engine gets them when it
	// is done with what it has.
	pending []cluster.Input
}

// post hands the loop an input and waits for room; it gives up when ctx ends.
func (l *loop) post(ctx context.Context, in cluster.Input) {
	select {
	case l.queue <- in:
	case <-ctx.Done():
	}
}

// run feeds the engine until it says Exit or ctx ends. A timer that is due goes before any
// waiting input, so that a flood of packets delays no heartbeat.
func (l *loop) run(ctx context.Context) {
	l.step(cluster.Tick{})
	var set time.Time // what the alarm is set to
	for l.exit == nil {
		if len(l.pending) > 0 {
			in := l.pending[0]
			l.pending = l.pending[1:]
			l.step(in)
			continue
		}
		now := time.Now()
		if at, ok := l.engine.Deadline(); ok && !now.Before(at) {
			l.step(cluster.Tick{})
			continue
		}
		if at, ok := l.clients.deadline(); ok && !now.Before(at) {
			l.clients.tick(now)
			continue
		}
		if at, ok := l.api.deadline(); ok && !now.Before(at) {
			l.api.step(broker.Tick{})
			continue
		}
		if at, ok := l.pulse.deadline(); ok && !now.Before(at) {
			l.pulse.beat(now)
		}
		l.keeper.Look(now)
		if at := l.due(now); !at.Equal(set) {
			l.alarm.Set(at)
			set = at
		}
		select {
		case in := <-l.queue:
			l.step(in)
		case f := <-l.clients.events:
			f()
		case in := <-l.api.inputs:
			l.api.step(in)
		case <-l.alarm.C:
			set = time.Time{}
		case <-ctx.Done():
			return
		}
	}
}

// due is when something is due next.
func (l *loop) due(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, deadline := range []func() (time.Time, bool){l.engine.Deadline, l.clients.deadline, l.api.deadline, l.pulse.deadline} {
		if at, ok := deadline(); ok && at.Before(next) {
			next = at
		}
	}
	return next
}

// step feeds one input and carries out what follows from it.
func (l *loop) step(in cluster.Input) {
	l.busy = true
	now := time.Now()
	l.history.input(now, in)
	for _, a := range l.decide(in) {
		l.history.action(now, a)
		l.act(a)
	}
	held, _, moving := l.engine.Resources()
	l.history.moved(time.Now(), held, moving)
	l.busy = false
	l.api.flow()
}

// say has the engine send a local program's message: now, or when it is done with what it has.
func (l *loop) say(text []byte) {
	in := cluster.Said{Text: text}
	if l.busy {
		l.pending = append(l.pending, in)
		return
	}
	l.step(in)
}

// decide is the engine's Step behind a wall: a fault in it costs the input that met it, not the
// node's heartbeat and its addresses. What had been decided by then the engine takes for done.
func (l *loop) decide(in cluster.Input) (actions []cluster.Action) {
	defer func() {
		if p := recover(); p != nil {
			l.core.Logf(halog.Crit, "internal error on %T: %v; the input is dropped", in, p)
			l.core.Logf(halog.Debug, "%s", debug.Stack())
			actions = l.engine.Decided()
		}
	}()
	return l.engine.Step(time.Now(), in)
}

func (l *loop) act(a cluster.Action) {
	switch a := a.(type) {
	case cluster.Send:
		l.out(a)
	case cluster.Log:
		l.logger(a.Job).Log(halog.Prio(a.Level), a.Text)
	case cluster.Run:
		l.runCall(a)
	case cluster.Stonith:
		l.device.operate(a, l.logger(a.Job))
	case cluster.Deliver:
		l.clients.deliver(time.Now(), a)
		l.api.step(broker.Delivered(a))
		if a.Kind == cluster.Kept && a.Msg.Type() == hamsg.TConnections && l.sync.heard(a.Msg) {
			l.pending = append(l.pending, cluster.Synced{})
		}
	case cluster.CommUp:
		l.api.open()
		l.clients.start(time.Now())
	case cluster.StopClients:
		l.clients.stop()
	case cluster.Exit:
		l.exit = &a
	case cluster.SaveDeleted:
		l.deleted.save(a.Nodes)
	case cluster.AwaitSync:
		l.sync.await(a.On)
	case cluster.NodeChanged, cluster.LinkChanged:
		// Status() has them.
	default:
		l.core.Log(halog.Error, fmt.Sprintf("internal error: no idea how to %T", a))
	}
}

// logger gives each job a number of its own where the original has the child's pid.
func (l *loop) logger(job int) *halog.Logger {
	if job == 0 {
		return l.core
	}
	g := l.jobs[job]
	if g == nil {
		g = l.core.Child()
		l.jobs[job] = g
		delete(l.jobs, job-64) // long done
	}
	return g
}
