package ldirectord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// Options is what an Agent works with.
type Options struct {
	Paths     ldirectord.Paths
	Load      ldirectord.LoadOptions
	OpenTable func() (ipvs.Table, error)
}

// Agent runs ldirectord instances. They live in [Agent.Serve], not in the calls of Run.
type Agent struct {
	o Options

	mu      sync.Mutex // guards what follows
	serving context.Context
	servers map[string]*ldirectord.Server // by pid file
	group   sync.WaitGroup
}

var _ agent.Agent = (*Agent)(nil)

// New makes an Agent. It starts nothing.
func New(o Options) *Agent { return &Agent{o: o, servers: map[string]*ldirectord.Server{}} }

// How long a start waits for the services to be in the table. The service goes on trying after
// that, as the original does after a start that returned at once.
const readyLimit = 5 * time.Second

var errNotServing = errors.New("agent is not serving")

// Serve owns the instances that Run starts until ctx ends. They then end at once, leaving table
// and pid files as they are: an orderly end is the resource's stop. When heartbeat restarts in
// place, the next Serve may bring back what ran before with [Agent.Resume].
func (a *Agent) Serve(ctx context.Context) {
	a.mu.Lock()
	a.serving = ctx
	a.mu.Unlock()
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
	var stdout, stderr bytes.Buffer
	command := ldirectord.Command{
		Paths: a.o.Paths, Load: a.o.Load, Program: c.Path, Words: words, Stdout: &stdout, Stderr: &stderr,
		Launch: a.launch, Local: a.local,
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

// Resume starts the instances of those configuration names that ran in this very process before
// it restarted in place: their pid files name it. The others it leaves alone.
func (a *Agent) Resume(ctx context.Context, path string, names []string, log agent.Log) error {
	var errs []error
	for _, name := range names {
		in, err := a.o.Paths.Find(name)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(in.PIDFile)
		if err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(os.Getpid()) {
			continue
		}
		var args []string
		if name != "" {
			args = []string{name}
		}
		_, err = a.Run(ctx, agent.Call{Op: agent.Start, Name: "ldirectord", Args: args, Path: path, Log: log})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (a *Agent) local(in ldirectord.Instance) *ldirectord.Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.servers[in.PIDFile]
}

// launch starts a server and waits until its services are in the table.
func (a *Agent) launch(ctx context.Context, l ldirectord.Launch) error {
	ready, ended := make(chan struct{}), make(chan error, 1)
	s := ldirectord.New(ldirectord.Options{
		Instance: l.Instance, File: l.File, Load: a.o.Load, OpenTable: a.o.OpenTable,
		Log:   ldirectord.NewLog(l.Instance, nil, nil),
		Ready: func() { close(ready) },
	})
	a.mu.Lock()
	serving := a.serving
	if serving == nil {
		a.mu.Unlock()
		return errNotServing
	}
	if a.servers[l.Instance.PIDFile] != nil {
		a.mu.Unlock()
		return ldirectord.ErrRunning
	}
	a.servers[l.Instance.PIDFile] = s
	a.group.Go(func() { // ends with the server: after stop, or with Serve
		err := s.Run(serving)
		a.mu.Lock()
		delete(a.servers, l.Instance.PIDFile)
		a.mu.Unlock()
		ended <- err
	})
	a.mu.Unlock()
	timeout := time.NewTimer(readyLimit)
	defer timeout.Stop()
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
