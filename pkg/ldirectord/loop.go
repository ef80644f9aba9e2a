package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
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

	mailer   *mailer
	monitors *monitorFiles
	programs *programs
	executed *executed

	drained  drainedServers
	loaded   time.Time // when file was put in force
	rejected []string  // why the last one that was read was not
	sticky   []string  // services that are quiescent and persistent
	looks    []look
	reading  bool // the table, for the director

	begun      bool   // the director has a configuration
	tableKnown bool   // the director has seen the table, or that it cannot be read
	signal     string // of the stop that was asked for
	ready      bool   // the first configuration is in the table
	changed    bool   // the file is being read because it changed on disk: callback= follows
	stopped    bool
	timer      *time.Timer
}

func newLoop(s *Server, w *tableWorker, f File) *loop {
	log := s.o.Log
	p := newPrograms(log)
	return &loop{
		s: s, log: log, director: director.New(time.Now()), file: f,
		worker: w, jobs: make(chan batch), answers: make(chan batch),
		loader: newLoader(s.o.Instance, s.o.Load, f),
		checks: newChecks(s.o.Checker, log),
		mailer: newMailer(log), monitors: newMonitorFiles(log), programs: p,
		drained:  drainedServers{path: s.o.Instance.Drained},
		executed: &executed{run: s.o.Execute, own: s.o.Instance.Name, jobs: p},
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
	helpers.Go(guarded(l.mailer.run))
	written := make(chan struct{})
	go func() {
		defer close(written)
		guarded(func() { l.monitors.run(ctx) })()
	}()
	l.checks.ctx, l.checks.group = ctx, &helpers
	guarded(func() { l.run(ctx, delay) })()
	cancel(nil)
	orderly := l.stopped || l.s.stopping && errors.As(context.Cause(ctx), new(*failure)) // there is no next try
	mails := time.Duration(0)
	if orderly {
		mails = mailGrace
	}
	l.mailer.finish(mails)
	l.programs.wait(orderly)
	helpers.Wait()
	select {
	case <-written:
	case <-time.After(monitorGrace): // on a file server that is gone
	}
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
	if err := l.drained.load(); err != nil { // calls come before begin does
		l.log.Print(err.Error())
	}
	for !l.stopped {
		var jobs chan<- batch
		if len(l.backlog.actions) > 0 {
			jobs = l.jobs
		}
		select {
		case <-ctx.Done():
			return
		case <-begin.C:
			l.begin()
		case c := <-l.checks.answers:
			l.checks.ended(c.id)
			l.step(c.input())
		case b := <-l.answers:
			l.answered(b.answers)
		case jobs <- l.backlog:
			l.backlog = batch{}
		case f := <-l.loader.files:
			l.read(f)
		case text := <-l.loader.changes:
			l.fileChanged(text)
		case f := <-l.s.calls:
			f(l)
		case <-l.timer.C:
			l.step(director.Tick{})
		}
	}
}

// begin gives the director the file of the start, unless a reload was quicker.
func (l *loop) begin() {
	if !l.begun {
		l.adopt(l.file)
	}
}

// answered takes what the table said.
func (l *loop) answered(answers []director.Input) {
	for _, in := range answers {
		_, read := in.(director.TableRead)
		l.reading = l.reading && !read
		l.step(in)
		if read {
			l.looked()
			l.tableKnown = true
			l.end()
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
			l.log.debugOp(a.Op)
		case director.ReadTable:
			l.reading = true
			l.backlog.actions = append(l.backlog.actions, a)
		case director.Mail:
			l.mailer.post(a)
		case director.Monitor:
			l.monitors.write(a)
		case director.FallbackCommand:
			l.programs.fallbackCommand(a)
		case director.Ready:
			if !l.s.ready && l.s.o.Ready != nil {
				l.s.o.Ready()
			}
			l.s.ready, l.ready = true, true
			if !l.s.stopping {
				l.executed.use(l.file.Config.Global.Execute)
			}
		case director.Stopped:
			l.stopped = true
		}
	}
	if l.director.Settled() {
		l.s.settle()
	}
	if at, ok := l.director.Deadline(); ok {
		l.timer.Reset(time.Until(at))
	} else {
		l.timer.Stop()
	}
}

// stop begins the orderly end. What is to be taken out of the table is known when it was read first.
func (l *loop) stop(signal string) {
	l.s.stopping, l.signal = true, signal
	l.executed.stop()
	l.begin()
	l.end()
}

// end tells the director of a stop that was asked for, as soon as it knows the table.
func (l *loop) end() {
	if l.s.stopping && l.tableKnown {
		l.step(director.Stop{Signal: l.signal})
	}
}

// look is somebody who waits for the table to be read.
type look struct {
	reads int // that are to end first
	done  chan struct{}
}

// look has the table read, and then closes done.
func (l *loop) look(done chan struct{}) {
	reads := 1
	if l.reading {
		reads = 2 // what is under way may be too old
	}
	l.looks = append(l.looks, look{reads, done})
	l.step(director.Refresh{})
}

// looked tells those who wait that the table was read.
func (l *loop) looked() {
	kept := l.looks[:0]
	for _, w := range l.looks {
		if w.reads--; w.reads == 0 {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	l.looks = kept
}

// read puts a file that was read again in force, or says why not. One that comes too late for that must
// not start what the end has stopped (execute=).
func (l *loop) read(f File) {
	if l.s.stopping {
		return
	}
	for _, w := range f.Warnings {
		l.log.Print(w)
	}
	var refused []string
	if err := new(ConfigError); errors.As(f.Err, &err) {
		refused = err.Lines
	} else if l.changed && len(f.Config.Virtuals) == 0 && len(l.file.Config.Virtuals) > 0 {
		// An editor or a copy that ran out of disk must not cost all services.
		refused = []string{"Warning [" + strconv.Itoa(os.Getpid()) + "] file " + f.Config.File + " has no virtual services any more: only taken with \"reload\""}
	}
	if refused == nil {
		l.adopt(f)
	} else {
		l.rejected = refused
		for _, line := range refused {
			l.log.Print(line)
		}
		l.log.Printf("Configuration %s not reloaded: what was in force stays in force", l.s.o.Instance.Config)
	}
	if l.changed {
		l.callback()
	}
}

// adopt puts a configuration in force.
func (l *loop) adopt(f File) {
	l.file, l.loaded, l.rejected, l.begun = f, time.Now(), nil, true
	l.log.Use(f.Config)
	dropped, err := l.drained.drop(f.Config)
	if err != nil {
		l.log.Print(err.Error())
	}
	for _, d := range dropped {
		l.log.Printf("Real server %s (%s) is no longer drained: it is not in %s", d.Real, d.Virtual, f.Config.File)
	}
	if dir := f.Config.Global.MaintenanceDir; l.checks.maintenance == nil || l.checks.maintenance.dir != dir {
		l.checks.maintenance = newMaintenance(l.checks.ctx, l.checks.group, dir, l.s.o.Load.Resolver)
	}
	if l.ready {
		l.executed.use(f.Config.Global.Execute)
	}
	l.warnSticky()
	l.step(director.ConfigRead{Config: f.Config, Drained: l.drained.servers})
}

// warnSticky tells, when the list of them changes, which services send clients to dead servers:
// persistence outlives a server's weight unless the kernel is told otherwise.
func (l *loop) warnSticky() {
	var sticky []string
	for i := range l.file.Config.Virtuals {
		if v := &l.file.Config.Virtuals[i]; v.Quiescent && v.Persistent > 0 {
			sticky = append(sticky, v.ID())
		}
	}
	if slices.Equal(sticky, l.sticky) {
		return
	}
	l.sticky = sticky
	if len(sticky) > 0 && !expiresQuiescent() {
		l.log.Printf("Warning [%d]: clients of persistent services return to quiescent real servers until their time is over "+
			"(sysctl net.ipv4.vs.expire_quiescent_template=1 ends that): %s", os.Getpid(), strings.Join(sticky, " "))
	}
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
	l.programs.shell("callback", program+" "+file)
}
