package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Options is what a Server works with.
type Options struct {
	Instance Instance
	File     File // as Load read it; its Err is nil
	Load     LoadOptions
	Log      *Log
	// OpenTable opens the IPVS table; it is called again after the table could not be read.
	OpenTable func() (ipvs.Table, error)
	// Checker returns the checker of a service; nil means check.For.
	Checker func(service string) check.Checker
	// Foreground is -d or supervised=yes: no pid file, no control socket.
	Foreground bool
	// Ready, if not nil, is called once when the services are in the table.
	Ready func()
}

// Server is one ldirectord.
type Server struct {
	o     Options
	calls chan func(*loop) // into the owner's goroutine
	done  chan struct{}    // closed when Run returns
}

// New makes a Server. It starts nothing.
func New(o Options) *Server {
	if o.Checker == nil {
		o.Checker = func(service string) check.Checker {
			c, _ := check.For(service)
			return c
		}
	}
	return &Server{o: o, calls: make(chan func(*loop)), done: make(chan struct{})}
}

// ErrDirector is why Run gives up: the director failed again and again.
var ErrDirector = errors.New("director failed too often")

// A director that panics is replaced by a new one, but not more often than this in failWindow.
const (
	failLimit  = 5
	failWindow = time.Minute
)

// Run is the service. It returns nil after [Server.Stop], with the table as cleanstop says;
// when ctx ends, at once, with table and pid file as they are, so that another Run may go on;
// or the error that prevented the start. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.done)
	table, err := s.o.OpenTable()
	if err != nil {
		return fmt.Errorf("open IPVS table: %w", err)
	}
	l := &loop{
		s: s, log: s.o.Log, director: director.New(time.Now()), file: s.o.File,
		worker:  &tableWorker{open: s.o.OpenTable, table: table, jobs: make(chan batch), answers: make(chan batch)},
		loader:  newLoader(s.o.Instance, s.o.Load, s.o.File),
		checked: make(chan checked), checks: newChecks(s.o.Checker, s.o.Log),
	}
	defer l.worker.close()
	if !s.o.Foreground {
		pidFile, err := s.o.Instance.lockPIDFile()
		if err != nil {
			return err
		}
		defer func() {
			if l.stopped {
				pidFile.remove()
			} else {
				pidFile.leave()
			}
		}()
		if l.control, err = listenControl(s.o.Instance.Socket, s.command); err != nil {
			l.stopped = true // nothing was begun: take the pid file away
			return err
		}
	}

	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	helpers.Go(func() { s.o.Log.Run(ctx) })
	helpers.Go(func() { l.worker.run(ctx) })
	helpers.Go(func() { l.loader.run(ctx) })
	if l.control != nil {
		helpers.Go(func() { l.control.run(ctx) })
	}
	l.checks.ctx, l.checks.group, l.checks.events = ctx, &helpers, l.checked
	return l.run(ctx)
}

// Stop ends the service in an orderly way: the table is cleaned unless cleanstop says no.
// signal is what the log names as the reason. Stop waits until Run has returned, or ctx ends;
// it does nothing if Run has returned already.
func (s *Server) Stop(ctx context.Context, signal string) {
	s.call(ctx, func(l *loop) { l.stop(signal) })
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// Reload reads the configuration again, as HUP does. It does not wait for the end of it.
func (s *Server) Reload(ctx context.Context) {
	s.call(ctx, func(l *loop) {
		l.log.Print("Reloading Linux Director Daemon config on signal")
		l.loader.ask()
	})
}

// Status returns a copy of the director's state; false if the server is not running.
func (s *Server) Status(ctx context.Context) (director.Status, bool) {
	answer := make(chan director.Status, 1)
	if !s.call(ctx, func(l *loop) { answer <- l.director.Status() }) {
		return director.Status{}, false
	}
	return <-answer, true
}

// Done is closed when Run has returned.
func (s *Server) Done() <-chan struct{} { return s.done }

// call has f run by the owner. It reports whether it was.
func (s *Server) call(ctx context.Context, f func(*loop)) bool {
	did := make(chan struct{})
	select {
	case s.calls <- func(l *loop) { f(l); close(did) }:
		<-did
		return true
	case <-s.done:
	case <-ctx.Done():
	}
	return false
}

// command carries out what came over the control socket.
func (s *Server) command(verb string) error {
	ctx, cancel := context.WithTimeout(context.Background(), controlLimit)
	defer cancel()
	switch verb {
	case "status":
	case "reload":
		s.Reload(ctx)
	case "stop":
		s.call(ctx, func(l *loop) { l.stop("TERM") })
	default:
		return fmt.Errorf("unknown request %q (want status, reload or stop)", verb)
	}
	return nil
}

// loop is the owner's state; only the goroutine of Server.Run touches it.
type loop struct {
	s        *Server
	log      *Log
	director *director.Director
	file     File // in force

	worker  *tableWorker
	loader  *loader
	control *control
	checks  *checks
	checked chan checked

	generation int         // of the director; answers to its predecessors count for nothing
	failures   []time.Time // of directors
	gaveUp     bool
	stopping   bool
	stopped    bool
	timer      *time.Timer
}

// run is the owner's goroutine: one input at a time.
func (l *loop) run(ctx context.Context) error {
	l.timer = time.NewTimer(time.Hour)
	defer l.timer.Stop()
	l.adopt(l.file)
	for !l.stopped && !l.gaveUp {
		var jobs chan<- batch
		if len(l.worker.backlog.actions) > 0 {
			jobs = l.worker.jobs
		}
		select {
		case <-ctx.Done():
			return nil
		case c := <-l.checked:
			l.checks.ended(c.id)
			l.answer(c.id.generation, director.Checked{ID: c.id.id, Up: c.result.Up, Reason: c.result.Reason})
		case b := <-l.worker.answers:
			for _, in := range b.answers {
				l.answer(b.generation, in)
			}
		case jobs <- l.worker.backlog:
			l.worker.backlog = batch{generation: l.generation}
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
	if l.gaveUp {
		return ErrDirector
	}
	return nil
}

// answer gives the director an answer, unless it is to one of its predecessors.
func (l *loop) answer(generation int, in director.Input) {
	if generation == l.generation {
		l.step(in)
	}
}

// stop begins the orderly end.
func (l *loop) stop(signal string) {
	l.stopping = true
	l.step(director.Stop{Signal: signal})
}

// step feeds the director and does what it asks for.
func (l *loop) step(in director.Input) {
	for _, a := range l.decide(in) {
		switch a := a.(type) {
		case director.Log:
			l.log.Print(a.Text)
		case director.StartCheck:
			l.checks.start(checkID{l.generation, a.ID}, a)
		case director.CancelCheck:
			l.checks.cancel(checkID{l.generation, a.ID})
		case director.Change, director.ReadTable:
			l.worker.backlog.actions = append(l.worker.backlog.actions, a)
			if c, ok := a.(director.Change); ok {
				l.log.Debugf(2, "Running %s", c.Op)
			}
		case director.Ready:
			if l.s.o.Ready != nil {
				l.s.o.Ready()
			}
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

// decide is one step of the director. A director that panics is replaced: the new one finds
// in the table who is up.
func (l *loop) decide(in director.Input) (actions []director.Action) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		l.log.Printf("ERROR: director failed: %v", p)
		l.log.Print(string(debug.Stack()))
		now := time.Now()
		l.failures = append(l.failures, now)
		if n := len(l.failures); n > failLimit {
			l.gaveUp = now.Sub(l.failures[n-failLimit-1]) < failWindow
		}
		l.generation++
		l.checks.cancelAll()
		l.worker.backlog = batch{generation: l.generation}
		l.director = director.New(now)
		if l.stopping {
			l.stopped = true
		} else if !l.gaveUp {
			actions = l.decide(director.ConfigRead{Config: l.file.Config})
		}
	}()
	return l.director.Step(time.Now(), in)
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
		return
	}
	l.adopt(f)
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
		return
	}
	l.log.Print(" - reread new configuration")
	l.loader.ask()
}
