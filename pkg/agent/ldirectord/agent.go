package ldirectord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ldirectord"
	"github.com/systole-ha/systole/pkg/realtime"
)

// Options is what an Agent works with.
type Options struct {
	Paths     ldirectord.Paths
	Load      ldirectord.LoadOptions
	OpenTable func() (ipvs.Table, error)
	// Surround says that services can be in the table without their addresses being up, as they can
	// in the kernel's: see [agent.Surrounder].
	Surround bool
}

// Agent runs ldirectord instances. They live in [Agent.Serve], not in the calls of Run.
type Agent struct {
	o     Options
	begun chan struct{} // closed by Serve

	mu      sync.Mutex // guards what follows
	serving context.Context
	running map[string]instance // by pid file
	group   sync.WaitGroup

	back sync.Mutex // held while something that ran before is brought back, or given up
}

// instance is a server and the end of its goroutine.
type instance struct {
	ldirectord.Instance
	server *ldirectord.Server
	gone   chan struct{}
}

var _ agent.Surrounder = (*Agent)(nil)

// New makes an Agent. It starts nothing.
func New(o Options) *Agent {
	return &Agent{o: o, begun: make(chan struct{}), running: map[string]instance{}}
}

// How long a start waits for the services to be in the table. The service goes on trying after
// that, as the original does after a start that returned at once.
const readyLimit = 5 * time.Second

var errNotServing = errors.New("agent is not serving")

// Serve owns the instances that Run starts until ctx ends. They then end at once, leaving table
// and pid files as they are: an orderly end is the resource's stop. When heartbeat restarts in
// place, the next process may bring back what ran before with [Agent.Resume]. It may be called
// once.
func (a *Agent) Serve(ctx context.Context) {
	a.mu.Lock()
	a.serving = ctx
	a.mu.Unlock()
	close(a.begun)
	<-ctx.Done()
	a.mu.Lock()
	a.serving = nil
	a.mu.Unlock()
	a.group.Wait()
}

// Run carries out start, stop, status or monitor of the instance that c.Args[0] names.
func (a *Agent) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	action := string(c.Op)
	if c.Op == agent.Monitor {
		action = string(agent.Status)
	}
	words := append(append([]string{}, c.Args...), action)
	if len(c.Args) > 1 { // the program takes its second word for the action
		words = append([]string{c.Args[0], action}, c.Args[1:]...)
	}
	if c.Op == agent.Stop {
		a.giveUp(ctx, c)
	}
	var stdout, stderr bytes.Buffer
	command := ldirectord.Command{
		Paths: a.o.Paths, Load: a.o.Load, Program: c.Path, Words: words, Stdout: &stdout, Stderr: &stderr,
		Launch: a.launch, Local: a.local, Execute: a.execute,
	}
	code := command.Run(ctx)
	c.Log.Print(stderr.String())
	r := agent.Result{Code: code, Output: stdout.String()}
	if c.Op == agent.Status || c.Op == agent.Monitor {
		r.State = agent.Stopped
		if code == 0 {
			r.State = agent.Running
		}
		return r, nil
	}
	if code != 0 {
		return r, fmt.Errorf("%s %s: %s", c.Op, c.Name, strings.TrimSpace(stderr.String()))
	}
	return r, nil
}

// execute carries out an action of a configuration that another one names (execute=), in this process.
func (a *Agent) execute(ctx context.Context, name, action string) int {
	command := ldirectord.Command{
		Paths: a.o.Paths, Load: a.o.Load, Program: "ldirectord", Words: []string{name, action}, Stdout: io.Discard, Stderr: io.Discard,
		Launch: a.launch, Local: a.local, Execute: a.execute,
	}
	return command.Run(ctx)
}

// Surrounds is [agent.Surrounder].
func (a *Agent) Surrounds() bool { return a.o.Surround }

// Settle is [agent.Surrounder]: it returns when every real server of the instance has had its first
// check and the table shows it.
func (a *Agent) Settle(ctx context.Context, c agent.Call) {
	in, err := a.find(c)
	if err != nil {
		return
	}
	if s := a.local(in); s != nil {
		select {
		case <-s.Settled():
		case <-s.Done():
		case <-ctx.Done():
		}
	}
}

// Left is [agent.Surrounder]: a pid file names a process that is gone. An orderly end removes it.
func (a *Agent) Left(_ context.Context, c agent.Call) bool {
	in, _ := a.find(c)
	pid, stale := in.Running()
	return pid == 0 && stale
}

// giveUp cleans up after an instance that does not run, but did. One that waits to be brought back does
// not come back then, whatever its file has become.
func (a *Agent) giveUp(ctx context.Context, c agent.Call) {
	a.back.Lock()
	defer a.back.Unlock()
	if !a.Left(ctx, c) {
		return
	}
	in, _ := a.find(c) // its pid file has its name without a configuration
	waits := a.waits(in)
	err := a.clean(ctx, c)
	if err != nil && waits {
		if gone := os.Remove(in.PIDFile); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		c.Log.Print(err.Error() + "\n")
	}
}

// clean takes the services of an instance that was killed out of the table, and its pid file away: a
// stop has nobody to ask for it. Of a broken file it takes what can be made out, and keeps the pid file
// so that the next stop tries again.
func (a *Agent) clean(ctx context.Context, c agent.Call) error {
	in, err := a.find(c)
	if err != nil {
		return fmt.Errorf("services of an ldirectord that was killed are left in the table: %w", err)
	}
	f := ldirectord.Load(ctx, in, a.o.Load)
	table, err := a.o.OpenTable()
	if err != nil {
		return err
	}
	defer table.Close()
	var errs []error
	for i := range f.Config.Virtuals {
		v := &f.Config.Virtuals[i]
		if !v.CleanStop {
			continue
		}
		if err := table.Do(ctx, ipvs.Op{Kind: ipvs.DelService, Service: v.IPVS()}); !errors.Is(err, ipvs.ErrNoService) {
			errs = append(errs, err)
		}
	}
	if f.Err != nil { // the stop itself prints what is wrong with it
		left := fmt.Errorf("services of an ldirectord that was killed may be left in the table: %s is broken", in.Config)
		return errors.Join(append(errs, left)...)
	}
	return errors.Join(append(errs, os.Remove(in.PIDFile))...)
}

// find is the instance that a call is about.
func (a *Agent) find(c agent.Call) (ldirectord.Instance, error) {
	name := ""
	if len(c.Args) > 0 {
		name = c.Args[0]
	}
	return a.o.Paths.Find(name)
}

// Resumable says what would keep [Agent.Resume] from bringing back what runs now: configurations that are
// broken or gone. Names in them are resolved, which may take time.
func (a *Agent) Resumable(ctx context.Context) error {
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.running))
	a.mu.Unlock()
	var errs []error
	for _, in := range all {
		errs = append(errs, a.sound(ctx, in.Instance))
	}
	return errors.Join(errs...)
}

// sound says in one line why an instance could not be started from its file.
func (a *Agent) sound(ctx context.Context, in ldirectord.Instance) error {
	o := a.o.Load
	o.Test = true
	if err := ldirectord.Load(ctx, in, o).Err; err != nil {
		return fmt.Errorf("ldirectord: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// waits tells whether an instance ran in this very process before it restarted in place, and has not
// been brought back yet: its pid file names the process.
func (a *Agent) waits(in ldirectord.Instance) bool {
	text, err := os.ReadFile(in.PIDFile)
	return err == nil && strings.TrimSpace(string(text)) == fmt.Sprint(os.Getpid()) && a.local(in) == nil
}

// Resume starts the instances of those configuration names that ran in this very process before
// it restarted in place. The others it leaves alone. It returns when all of them run, have been stopped,
// or ctx ends: one that cannot be started, because its file is broken or gone, is tried again each second,
// and report is told why, once for each reason.
func (a *Agent) Resume(ctx context.Context, path string, names []string, log agent.Log, report func(error)) {
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() { a.resume(ctx, path, name, log, report) })
	}
	all.Wait()
}

// resumeAgain is how long after a failure an instance is tried again.
const resumeAgain = time.Second

func (a *Agent) resume(ctx context.Context, path, name string, log agent.Log, report func(error)) {
	tick := time.NewTicker(resumeAgain)
	defer tick.Stop()
	for told := ""; ; {
		in, err := a.o.Paths.Find(name)
		if !a.waits(in) {
			return
		}
		if err == nil {
			if err = a.sound(ctx, in); err == nil {
				err = a.bringBack(ctx, in, path, name, log)
			}
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		if err.Error() != told {
			told = err.Error()
			report(fmt.Errorf("%w; nothing is checked until it can be started", err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// bringBack starts an instance, unless it has been stopped meanwhile.
func (a *Agent) bringBack(ctx context.Context, in ldirectord.Instance, path, name string, log agent.Log) error {
	a.back.Lock()
	defer a.back.Unlock()
	if !a.waits(in) {
		return nil
	}
	var args []string
	if name != "" {
		args = []string{name}
	}
	_, err := a.Run(ctx, agent.Call{Op: agent.Start, Name: "ldirectord", Args: args, Path: path, Log: log})
	return err
}

func (a *Agent) local(in ldirectord.Instance) *ldirectord.Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running[in.PIDFile].server
}

// launch starts a server and waits until its services are in the table.
func (a *Agent) launch(ctx context.Context, l ldirectord.Launch) error {
	timeout := time.NewTimer(readyLimit)
	defer timeout.Stop()
	select {
	case <-a.begun:
	case <-timeout.C:
		return errNotServing
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	s := ldirectord.New(ldirectord.Options{
		Instance: l.Instance, File: l.File, Load: a.o.Load, OpenTable: a.o.OpenTable,
		Log:     ldirectord.NewLog(l.Instance, nil, nil),
		Ready:   func() { close(ready) },
		Execute: a.execute,
	})
	if err := a.run(ctx, l.Instance, s, ended); err != nil {
		return err
	}
	select {
	case <-ready:
	case err := <-ended:
		return err
	case <-timeout.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// run runs s in a goroutine of its own, which ends after stop or with Serve. The server's error
// goes to ended.
func (a *Agent) run(ctx context.Context, in ldirectord.Instance, s *ldirectord.Server, ended chan<- error) error {
	for {
		a.mu.Lock()
		before, exists := a.running[in.PIDFile]
		if !exists {
			break
		}
		a.mu.Unlock()
		// It was told to stop and has not quite ended, or another start is under way.
		select {
		case <-before.gone:
		case <-time.After(10 * time.Millisecond):
			if pid, _ := in.Running(); pid != 0 {
				return ldirectord.ErrRunning
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer a.mu.Unlock()
	serving := a.serving
	if serving == nil {
		return errNotServing
	}
	gone := make(chan struct{})
	a.running[in.PIDFile] = instance{in, s, gone}
	a.group.Go(func() {
		defer realtime.Many()()
		err := s.Run(serving)
		a.mu.Lock()
		delete(a.running, in.PIDFile)
		a.mu.Unlock()
		close(gone)
		ended <- err
	})
	return nil
}
