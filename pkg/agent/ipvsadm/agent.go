// Package ipvsadm is the resource "ipvsadm" of a haresources line, in process: it brings the IPVS
// table to what a rule file says and clears it again, in the place of the init script of that
// name. There are three such scripts, with settings and exit statuses of their own, and it does what
// the one would that is installed (spec/resource-manager.md §6).
package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Options is what an Agent works with.
type Options struct {
	// OpenTable opens the table for one operation, after which it is closed.
	OpenTable func() (ipvs.Table, error)
	// Surround says that services can be in the table without their addresses being up, as they can
	// in the kernel's: see [agent.Surrounder].
	Surround bool
	// Loaded tells whether the kernel has IPVS loaded; nil: whether /proc/net/ip_vs is there.
	Loaded func() bool
	// Unload unloads the kernel's IPVS, as Red Hat's script does at a stop; nil: there is nothing to unload.
	Unload func() error
	// Root is put in front of every path; empty outside of tests.
	Root string
	// Names resolves names in rule files; nil: [SystemNames].
	Names func(ctx context.Context) ipvs.Names
}

// Agent serves the resource name ipvsadm.
type Agent struct {
	o Options

	mu     sync.Mutex
	loaded bool // since the last stop
}

var _ agent.Surrounder = (*Agent)(nil)

// New makes an Agent.
func New(o Options) *Agent {
	if o.Names == nil {
		o.Names = SystemNames
	}
	a := &Agent{o: o}
	if a.o.Loaded == nil {
		a.o.Loaded = func() bool {
			_, err := os.Stat(o.Root + "/proc/net/ip_vs")
			return err == nil
		}
	}
	return a
}

// The operations of the init scripts that heartbeat does not ask for. Not every script has all.
const (
	Restart     agent.Op = "restart"
	Reload      agent.Op = "reload"
	ForceReload agent.Op = "force-reload"
	ReloadForce agent.Op = "reload-force" // the source package's word for it
	Save        agent.Op = "save"
	Load        agent.Op = "load"
	Panic       agent.Op = "panic"
	Rate        agent.Op = "rate"
)

// Run carries out an operation of the init script, with its texts and its exit status. Call.Path is
// the script that is stood in for: it tells which of the three it is. With the scripts of the source
// package and of Debian every operation succeeds, whatever happens; what went wrong is in the log.
// The status that heartbeat asks for is the table, which it takes for "not running".
func (a *Agent) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &run{Agent: a, ctx: ctx, log: c.Log, tag: halog.Tag("ipvsadm", "default", c.Log.NextPID())}
	defer r.close()
	op := c.Op
	if op == agent.Monitor {
		op = agent.Status
	}
	code := -1
	switch familyOf(a.o.Root, c.Path) {
	case redHat:
		code = r.redHat(op)
	case debian:
		code = r.debian(op)
	default:
		code = r.source(op)
	}
	result := agent.Result{Code: code, Output: r.output.String()}
	switch {
	case code == noSuchOperation:
		result.Code = 1
		return result, fmt.Errorf("ipvsadm %q: %w", c.Op, ErrNoOperation)
	case code != 0 && op != agent.Status:
		return result, fmt.Errorf("ipvsadm %s: exit status %d", c.Op, code)
	}
	return result, nil
}

// Surrounds is [agent.Surrounder].
func (a *Agent) Surrounds() bool { return a.o.Surround }

// Settle is [agent.Surrounder]: rules are in the table when start returns.
func (a *Agent) Settle(context.Context, agent.Call) {}

// Left is [agent.Surrounder]: the mark of a loaded table is there, and not from this process.
func (a *Agent) Left(context.Context, agent.Call) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.loaded && isThere(a.o.Root, markFile)
}

// ErrNoOperation is the error of an operation that the script does not have.
var ErrNoOperation = errors.New("no such operation")

// noSuchOperation is what the families answer to an operation that their script does not have.
const noSuchOperation = -1

// run is one operation.
type run struct {
	*Agent
	ctx    context.Context
	log    agent.Log
	tag    string
	table  ipvs.Table // once open has opened it
	output strings.Builder
}

// open opens the table if it is not open. Debian's default settings need none.
func (r *run) open() bool {
	if r.table != nil {
		return true
	}
	table, err := r.o.OpenTable()
	if err != nil {
		r.errorf("%v", err)
		return false
	}
	r.table = table
	return true
}

func (r *run) close() {
	if r.table == nil {
		return
	}
	if err := r.table.Close(); err != nil {
		r.errorf("%v", err)
	}
	r.table = nil
}

func (r *run) errorf(format string, args ...any) {
	r.log.Script(r.tag, "ERROR: "+fmt.Sprintf(format, args...))
}

// print is a line that the script would have printed.
func (r *run) print(format string, args ...any) { r.log.Print(fmt.Sprintf(format, args...)) }
