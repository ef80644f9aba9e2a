package check

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"time"
)

// checkers holds the checker of each Spec.Service. Each file adds its own.
var checkers = map[string]Checker{}

// For returns the checker of a service or checktype name as Spec.Service has it. A service
// without a checker of its own is probed by a connect; the second result then is false. The
// checker returned measures Took, keeps to Spec.Timeout if ctx has no deadline, and turns a
// panic into a failed check.
func For(service string) (Checker, bool) {
	c, ok := checkers[service]
	if !ok {
		c = checkers["connect"]
	}
	return guarded{c}, ok
}

// defaultTimeout is the time limit of a check for which neither ctx nor Spec has one.
const defaultTimeout = 30 * time.Second

// guarded times and bounds a checker and keeps its panics in.
type guarded struct{ Checker }

func (g guarded) Check(ctx context.Context, s Spec) (r Result) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r = Result{Reason: fmt.Sprintf("checker of %s failed: %v", s.Service, p), Stack: string(debug.Stack())}
		}
		r.Took = time.Since(start)
	}()
	if _, ok := ctx.Deadline(); !ok {
		timeout := s.Timeout
		if timeout <= 0 {
			timeout = defaultTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if r = g.Checker.Check(ctx, s); r.Up && s.AgentPort != 0 {
		askAgent(ctx, s, &r)
	}
	return r
}

// Names are the services and checktypes that have a checker, sorted.
func Names() []string { return slices.Sorted(maps.Keys(checkers)) }
