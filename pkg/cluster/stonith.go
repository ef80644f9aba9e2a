package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// The pauses of the original: before a reset that has failed is tried again, and between two looks at
// the device.
const (
	stonithRetry  = 5 * time.Second
	stonithStatus = time.Hour
)

// stonith is what the engine has to do with the STONITH device.
type stonith struct {
	lastID   int
	resets   []reset
	status   int // ID of the status operation under way, or 0
	job      int // its job
	statusAt time.Time
}

// reset is a node that is to be reset.
type reset struct {
	node  string
	id    int // of the operation under way, or 0
	job   int
	again time.Time
	done  func() // what follows when it is reset
}

// resetNode has a node reset, and then calls done (Initiate_Reset). Until then nothing of it is taken,
// however long that lasts.
func (e *Engine) resetNode(node string, done func()) {
	if i := slices.IndexFunc(e.stonith.resets, func(r reset) bool { return r.node == node }); i >= 0 {
		e.stonith.resets[i].done = done
		return
	}
	e.stonith.resets = append(e.stonith.resets, reset{node: node, done: done})
	e.shoot(&e.stonith.resets[len(e.stonith.resets)-1])
}

func (e *Engine) shoot(r *reset) {
	e.stonith.lastID++
	e.jobID++
	r.id, r.job, r.again = e.stonith.lastID, e.jobID, time.Time{}
	e.emit(Log{Level: Info, Job: r.job, Text: fmt.Sprintf("Resetting node %s with [%s]", r.node, e.cfg.Stonith)})
	e.emit(Stonith{ID: r.id, Job: r.job, Node: r.node})
}

// stonithDone takes the device's answer.
func (e *Engine) stonithDone(d StonithDone) {
	if d.ID != 0 && d.ID == e.stonith.status {
		e.stonith.status = 0
		if d.Result != StonithOK {
			e.emit(Log{Level: Error, Job: e.stonith.job, Text: "STONITH device " + e.cfg.Stonith + " not operational!"})
		}
		e.deviceEnded("STONITH-stat", d)
		if d.Result != StonithOK {
			e.log(Error, "STONITH status operation failed.")
			e.log(Info, "This may mean that the STONITH device has failed!")
		}
		return
	}
	i := slices.IndexFunc(e.stonith.resets, func(r reset) bool { return r.id != 0 && r.id == d.ID })
	if i < 0 {
		return
	}
	r := &e.stonith.resets[i]
	r.id = 0
	result := "bad"
	switch d.Result {
	case StonithOK:
		result = "OK"
		e.emit(Log{Level: Info, Job: r.job, Text: "node " + r.node + " now reset."})
	case StonithBadHost:
		result = "badhost"
		e.emit(Log{Level: Error, Job: r.job, Text: fmt.Sprintf("Device %s cannot reset host %s.", e.cfg.Stonith, r.node)})
	default:
		e.emit(Log{Level: Error, Job: r.job, Text: "Host " + r.node + " not reset!"})
	}
	e.send(hamsg.New(hamsg.TStonith).Add(hamsg.FNode, r.node).Add(hamsg.FResult, result))
	e.deviceEnded("STONITH "+r.node, d)
	if d.Result != StonithOK {
		e.log(Error, "STONITH of "+r.node+" failed.  Retrying...")
		r.again = e.now.Add(stonithRetry)
		return
	}
	done := r.done
	e.stonith.resets = slices.Delete(e.stonith.resets, i, i+1)
	done()
}

// deviceEnded is what the original's process tracker logs of the child that asked the device.
func (e *Engine) deviceEnded(name string, d StonithDone) {
	level, code := Info, [...]int{StonithOK: 0, StonithBadHost: 100, StonithFailed: 1}[d.Result]
	if code != 0 {
		level = Warn
	}
	e.log(level, fmt.Sprintf("Managed %s process %d exited with return code %d.", name, d.PID, code))
}

// stonithTimers looks at the device once an hour, and tries again what has failed. A node that has
// come back meanwhile is not shot. (The original shoots it.)
func (e *Engine) stonithTimers() {
	if e.end.begun() {
		return
	}
	if due(e.stonith.statusAt, e.now) {
		e.checkDevice()
	}
	for i := 0; i < len(e.stonith.resets); i++ {
		r := &e.stonith.resets[i]
		if !due(r.again, e.now) {
			continue
		}
		if n := e.node(r.node); n != nil && n.alive() {
			e.log(Info, "node "+r.node+" has come back: it is not reset")
			e.stonith.resets = slices.Delete(e.stonith.resets, i, i+1)
			i--
			e.rsc.NotReset()
			e.takeLeft()
			e.askAwaited()
			continue
		}
		e.shoot(r)
	}
}

// checkDevice asks the device whether it works.
func (e *Engine) checkDevice() {
	e.stonith.statusAt = e.now.Add(stonithStatus)
	if e.stonith.status != 0 {
		return
	}
	e.stonith.lastID++
	e.jobID++
	e.stonith.status, e.stonith.job = e.stonith.lastID, e.jobID
	e.emit(Log{Level: Info, Job: e.stonith.job, Text: "Checking status of STONITH device [" + e.cfg.Stonith + "]"})
	e.emit(Stonith{ID: e.stonith.status, Job: e.stonith.job})
}

// stonithDeadline is when stonithTimers is due.
func (e *Engine) stonithDeadline() (at time.Time) {
	if e.end.begun() {
		return time.Time{}
	}
	at = e.stonith.statusAt
	for _, r := range e.stonith.resets {
		if !r.again.IsZero() && (at.IsZero() || r.again.Before(at)) {
			at = r.again
		}
	}
	return at
}
