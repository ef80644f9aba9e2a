package ldirectord

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
	// Execute carries out "start", "stop", "reload" or "status" of another configuration (execute=)
	// and returns the exit status. It may take its time. nil runs none.
	Execute func(ctx context.Context, name, action string) int
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

	settled chan struct{} // closed by settle

	began    time.Time
	stopping bool   // the owner's: an end was asked for
	ready    bool   // the owner's: Options.Ready was called
	settle   func() // the owner's: closes settled, once
}

// New makes a Server. It starts nothing.
func New(o Options) *Server {
	if o.Checker == nil {
		o.Checker = func(service string) check.Checker {
			c, _ := check.For(service)
			return c
		}
	}
	s := &Server{o: o, calls: make(chan func(*loop)), done: make(chan struct{}), settled: make(chan struct{})}
	s.settle = sync.OnceFunc(func() { close(s.settled) })
	return s
}

// After a failure of its own code the service starts again, later each time.
const (
	firstRestart = time.Second
	lastRestart  = time.Minute
)

// Run is the service. It returns nil after [Server.Stop], with the table as cleanstop says;
// when ctx ends, at once, with table and pid file as they are, so that another Run may go on;
// or the error that prevented the start. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.done)
	s.began = time.Now()
	table, err := s.o.OpenTable()
	if err != nil {
		return fmt.Errorf("open IPVS table: %w", err)
	}
	worker := &tableWorker{open: s.o.OpenTable, table: table}
	defer worker.close()
	stopped := false
	var control *control
	if !s.o.Foreground {
		pidFile, err := s.o.Instance.lockPIDFile()
		if err != nil {
			return err
		}
		defer func() {
			if stopped {
				pidFile.remove()
			} else {
				pidFile.leave()
			}
		}()
		if control, err = listenControl(s.o.Instance.Socket, s.command); err != nil {
			// Signals still work, and so does everything else.
			s.o.Log.Printf("Warning [%d]: no control socket: %v", os.Getpid(), err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	helpers.Go(func() { s.o.Log.Run(ctx) })
	if control != nil {
		helpers.Go(func() { control.run(ctx) })
	}
	file, delay := s.o.File, time.Duration(0)
	var executed []string
	for {
		l := newLoop(s, worker, file)
		l.executed.names = executed
		err := l.serve(ctx, delay)
		if stopped = l.stopped || s.stopping; err == nil || stopped {
			return err
		}
		s.o.Log.Printf("ERROR: %v", err)
		file, delay = l.file, min(max(2*delay, firstRestart), lastRestart)
		executed = l.executed.names
	}
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
	var status director.Status
	ok := s.call(ctx, func(l *loop) { status = l.director.Status() })
	return status, ok
}

// file is the configuration in force, or that of the start.
func (s *Server) file(ctx context.Context) File {
	f := s.o.File
	s.call(ctx, func(l *loop) { f = l.file })
	return f
}

// Done is closed when Run has returned.
func (s *Server) Done() <-chan struct{} { return s.done }

// Settled is closed when every real server has had its first check and the table shows it.
func (s *Server) Settled() <-chan struct{} { return s.settled }

// call has f run by the owner. It reports whether it was.
func (s *Server) call(ctx context.Context, f func(*loop)) bool {
	did := make(chan struct{})
	select {
	case s.calls <- func(l *loop) { defer close(did); f(l) }:
		<-did
		return true
	case <-s.done:
	case <-ctx.Done():
	}
	return false
}

// Report returns what the service says of itself; false if it is not running. With look the table
// is read for it first.
func (s *Server) Report(ctx context.Context, look bool) (Report, bool) {
	if look {
		read := make(chan struct{})
		if !s.call(ctx, func(l *loop) { l.look(read) }) {
			return Report{}, false
		}
		select {
		case <-read:
		case <-s.done:
		case <-ctx.Done():
		}
	}
	var r Report
	ok := s.call(ctx, func(l *loop) { r = l.report() })
	return r, ok
}

// Drain takes new connections from real servers, or gives them back.
func (s *Server) Drain(ctx context.Context, r DrainRequest) (d Drained, err error) {
	if !s.call(ctx, func(l *loop) { d, err = l.drain(r) }) {
		err = errEnding
	}
	return d, err
}

var errEnding = errors.New("ldirectord is ending")

// command carries out what came over the control socket.
func (s *Server) command(ctx context.Context, verb, argument string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	switch verb {
	case "status", "look":
		r, ok := s.Report(ctx, verb == "look")
		if !ok {
			return nil, errEnding
		}
		return r, nil
	case "reload":
		s.Reload(ctx)
	case "stop":
		s.call(ctx, func(l *loop) { l.stop("TERM") })
	case "drain":
		var r DrainRequest
		if err := json.Unmarshal([]byte(argument), &r); err != nil {
			return nil, fmt.Errorf("drain: %w", err)
		}
		return s.Drain(ctx, r)
	default:
		return nil, fmt.Errorf("unknown request %q (want status, look, reload, stop or drain)", verb)
	}
	return nil, nil
}
