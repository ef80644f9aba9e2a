package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/director"
)

// loop is the owner's state; only the goroutine of Server.Run touches it. After a failure of
// our own code it is thrown away, and a new one finds in the table who is up.
type loop struct {
	s        *Server
	log      *Log
	director *director.Director
	file     File // in force

	worker  *tableWorker
	backlog batch // for the worker
	jobs    chan batch
	answers chan batch
	loader  *loader
	checks  *checks

	changed bool // the file is being read because it changed on disk: callback= follows
	stopped bool
	timer   *time.Timer
}

func newLoop(s *Server, w *tableWorker, f File) *loop {
	return &loop{
		s: s, log: s.o.Log, director: director.New(time.Now()), file: f,
		worker: w, jobs: make(chan batch), answers: make(chan batch),
		loader: newLoader(s.o.Instance, s.o.Load, f),
		checks: newChecks(s.o.Checker, s.o.Log),
	}
}

// failure is a panic of our own code.
type failure struct {
	what  any
	stack []byte
}

// Error is what happened and where.
func (f *failure) Error() string { return fmt.Sprintf("ldirectord failed: %v\n%s", f.what, f.stack) }

// serve begins after delay and runs until the service is stopped (nil), ctx ends (nil), or our
// own code fails.
func (l *loop) serve(ctx context.Context, delay time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var helpers sync.WaitGroup
	guarded := func(f func()) func() {
		return func() {
			defer func() {
				if p := recover(); p != nil {
					cancel(&failure{p, debug.Stack()})
				}
			}()
			f()
		}
	}
	helpers.Go(guarded(func() { l.worker.run(ctx, l.jobs, l.answers) }))
	helpers.Go(guarded(func() { l.loader.run(ctx) }))
	l.checks.ctx, l.checks.group = ctx, &helpers
	guarded(func() { l.run(ctx, delay) })()
	cancel(nil)
	helpers.Wait()
	if f := new(failure); errors.As(context.Cause(ctx), &f) {
		return f
	}
	return nil
}

// run is the owner's goroutine: one input at a time.
func (l *loop) run(ctx context.Context, delay time.Duration) {
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()
	begin := time.NewTimer(delay)
	defer begin.Stop()
	for !l.stopped {
		var jobs chan<- batch
		if len(l.backlog.actions) > 0 {
			jobs = l.jobs
		}
		select {
		case <-ctx.Done():
			return
		case <-begin.C:
			l.adopt(l.file)
		case c := <-l.checks.answers:
			l.checks.ended(c.id)
			l.step(director.Checked{ID: c.id, Up: c.result.Up, Reason: c.result.Reason})
		case b := <-l.answers:
			for _, in := range b.answers {
				l.step(in)
			}
		case jobs <- l.backlog:
			l.backlog = batch{}
		case f := <-l.loader.files:
			l.loaded(f)
		case text := <-l.loader.changes:
			l.fileChanged(text)
		case f := <-l.s.calls:
			f(l)
		case <-l.timer.C:
			l.step(director.Tick{})
		}
	}
}

// step feeds the director and does what it asks for.
func (l *loop) step(in director.Input) {
	for _, a := range l.director.Step(time.Now(), in) {
		switch a := a.(type) {
		case director.Log:
			l.log.Print(a.Text)
		case director.StartCheck:
			l.checks.start(a)
		case director.CancelCheck:
			l.checks.cancel(a.ID)
		case director.Change:
			l.backlog.actions = append(l.backlog.actions, a)
			l.log.Debugf(2, "Running %s", a.Op)
		case director.ReadTable:
			l.backlog.actions = append(l.backlog.actions, a)
		case director.Ready:
			if !l.s.ready && l.s.o.Ready != nil {
				l.s.o.Ready()
			}
			l.s.ready = true
		case director.Stopped:
			l.stopped = true
		}
	}
	if at, ok := l.director.Deadline(); ok {
		l.timer.Reset(time.Until(at))
	} else {
		l.timer.Stop()
	}
}

// stop begins the orderly end.
func (l *loop) stop(signal string) {
	l.s.stopping = true
	l.step(director.Stop{Signal: signal})
}

// loaded puts a file that was read again in force, or says why not.
func (l *loop) loaded(f File) {
	for _, w := range f.Warnings {
		l.log.Print(w)
	}
	if err := new(ConfigError); errors.As(f.Err, &err) {
		for _, line := range err.Lines {
			l.log.Print(line)
		}
		l.log.Printf("Configuration %s not reloaded: what was in force stays in force", l.s.o.Instance.Config)
		if l.changed {
			l.callback()
		}
		return
	}
	l.adopt(f)
	if l.changed {
		l.callback()
	}
}

// adopt puts a configuration in force.
func (l *loop) adopt(f File) {
	l.file = f
	l.log.Use(f.Config)
	for _, w := range f.Config.Pending {
		l.log.Print(original(w, os.Getpid(), l.s.o.Instance.Config))
	}
	l.step(director.ConfigRead{Config: f.Config})
}

// fileChanged is what the loader saw while looking at the file: a change, or that it cannot.
func (l *loop) fileChanged(complaint string) {
	if complaint != "" {
		l.log.Print(complaint)
		return
	}
	l.log.Printf("Configuration file '%s' has changed on disk", l.s.o.Instance.Config)
	if !l.file.Config.Global.AutoReload {
		l.log.Print(" - ignore new configuration")
		l.callback()
		return
	}
	l.log.Print(" - reread new configuration")
	l.changed = true
	l.loader.ask()
}

// callback runs callback= after the file has changed, without waiting for it.
func (l *loop) callback() {
	l.changed = false
	program, file := l.file.Config.Global.Callback, l.s.o.Instance.Config
	if program == "" || unix.Access(program, unix.X_OK) != nil {
		return
	}
	ctx := l.checks.ctx
	l.checks.group.Go(func() {
		if err := exec.CommandContext(ctx, "/bin/sh", "-c", program+" "+file).Run(); err != nil && ctx.Err() == nil {
			l.log.Printf("system(%s %s) failed: %v", program, file, err)
		}
	})
}
