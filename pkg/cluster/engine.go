package cluster

import "time"

// Engine is one node's heartbeat protocol. It is not safe for use by several goroutines.
type Engine struct {
	cfg Config
}

// New makes the engine of a starting node. Nothing happens before the first Step, which is
// to be made at once, with a [Tick]: it sends the first status messages.
func New(cfg Config, now time.Time) *Engine {
	return &Engine{cfg: cfg}
}

// Step tells the engine that in happened at now and returns what is to be done. now must not go
// back as far as its monotonic clock is concerned; its wall clock may. The actions belong to
// the caller.
func (e *Engine) Step(now time.Time, in Input) []Action {
	return nil
}

// Deadline is when the next Step is due at the latest; ok is false if nothing is waited for.
func (e *Engine) Deadline() (at time.Time, ok bool) {
	return time.Time{}, false
}

// Status is a copy of the engine's state.
func (e *Engine) Status() Status {
	return Status{}
}
