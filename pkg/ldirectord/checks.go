package ldirectord

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/director"
)

// checks runs checks, each in a goroutine that ends with its check. Only the owner calls its
// methods.
type checks struct {
	checker func(service string) check.Checker
	log     *Log
	ctx     context.Context
	group   *sync.WaitGroup
	answers chan checked

	maintenance *maintenance // nil finds nothing

	limit   int // of checks at a time: one takes up to two descriptors
	running int
	cancels map[uint64]context.CancelFunc // of those under way that somebody waits for
	waiting []director.StartCheck
	told    sync.Map // services whose checker's panic is in the log
}

// checked is the answer to a check.
type checked struct {
	id          uint64
	result      check.Result
	maintenance string // the file that takes the server out; then there is no result
}

// Descriptors that checks leave to others.
const reservedFiles = 128

func newChecks(checker func(string) check.Checker, log *Log) *checks {
	c := &checks{
		checker: checker, log: log, answers: make(chan checked), limit: 1 << 18, cancels: map[uint64]context.CancelFunc{},
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < 1<<20 {
		c.limit = max(8, (int(files.Cur)-reservedFiles)/2)
	}
	return c
}

// start begins a check, or keeps it until another has ended if there are too many. Each server
// has one at a time, so that hung servers delay others only when descriptors run out.
func (c *checks) start(a director.StartCheck) {
	if c.running >= c.limit {
		c.waiting = append(c.waiting, a)
		return
	}
	c.running++
	spec := check.SpecOf(a.Virtual, a.Real)
	if a.Connect {
		spec = spec.AsConnect(a.Virtual)
	}
	c.log.debugStart(a, spec)
	ctx, cancel := context.WithTimeout(c.ctx, a.Timeout)
	c.cancels[a.ID] = cancel
	checker, maintenance := c.checker(spec.Service), c.maintenance
	c.group.Go(func() {
		defer cancel()
		if file := maintenance.file(a.Real.Addr); file != "" {
			c.log.Debugf(2, "Server maintenance: Found file %s", file)
			c.answer(checked{id: a.ID, maintenance: file})
			return
		}
		r := c.guard(ctx, checker, spec)
		c.log.debugEnd(a, spec, r)
		c.answer(checked{id: a.ID, result: r})
	})
}

func (c *checks) answer(a checked) {
	select {
	case c.answers <- a:
	case <-c.ctx.Done():
	}
}

// input is the answer as the director wants it.
func (c checked) input() director.Checked {
	return director.Checked{
		ID: c.id, Up: c.result.Up, Reason: c.result.Reason, Maintenance: c.maintenance, Took: c.result.Took, Monitor: c.result.Monitor, Trace: c.result.Trace,
		Warning: c.result.Warning, Agent: c.result.Agent, Log: c.result.Log,
	}
}

// guard keeps a checker's panic in; it counts as a failed check, and is logged once a service.
func (c *checks) guard(ctx context.Context, checker check.Checker, spec check.Spec) (r check.Result) {
	defer func() {
		if p := recover(); p != nil {
			r = check.Result{Reason: fmt.Sprintf("checker failed: %v", p), Stack: string(debug.Stack())}
		}
		if r.Stack == "" {
			return
		}
		if _, told := c.told.LoadOrStore(spec.Service, true); !told {
			c.log.Printf("ERROR: check %s of %s: %s\n%s", spec.Service, spec.Addr, r.Reason, r.Stack)
		}
	}()
	return checker.Check(ctx, spec)
}

// ended takes note that a check has answered, and starts one that waits.
func (c *checks) ended(id uint64) {
	delete(c.cancels, id)
	c.running--
	if len(c.waiting) > 0 && c.running < c.limit {
		next := c.waiting[0]
		c.waiting = c.waiting[1:]
		c.start(next)
	}
}

// cancel ends a check that nobody waits for.
func (c *checks) cancel(id uint64) {
	if end := c.cancels[id]; end != nil {
		end()
		delete(c.cancels, id)
		return
	}
	c.waiting = slices.DeleteFunc(c.waiting, func(a director.StartCheck) bool { return a.ID == id })
}
