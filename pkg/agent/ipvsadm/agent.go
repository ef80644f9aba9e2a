// Package ipvsadm is the resource "ipvsadm" of a haresources line, in process: it brings the IPVS
// table to what a rule file says and clears it again, in the place of the init script of that
// name. The original's three init scripts and their settings are in spec/resource-manager.md §6.
package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// Options is what an Agent works with.
type Options struct {
	// OpenTable opens the table for one operation, after which it is closed.
	OpenTable func() (ipvs.Table, error)
	// Surround says that services can be in the table without their addresses being up, as they can
	// in the kernel's: see [agent.Surrounder].
	Surround bool
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
	return &Agent{o: o}
}

// lockFile marks the resource as started, where the directory exists (Red Hat's convention).
const lockFile = "/var/lock/subsys/ipvsadm"

// Run carries out start, stop, status or monitor. Start and stop succeed whatever happens, as the
// source package's init script does: what went wrong is in the log. Status prints the table,
// which heartbeat takes for "not running".
func (a *Agent) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &run{Agent: a, ctx: ctx, log: c.Log, tag: halog.Tag("ipvsadm", "default", c.Log.NextPID())}
	switch c.Op {
	case agent.Start, agent.Stop, agent.Status, agent.Monitor:
	default:
		return agent.Result{Code: 1}, fmt.Errorf("ipvsadm: no operation %q", c.Op)
	}
	defer r.close()
	switch c.Op {
	case agent.Start:
		r.start()
	case agent.Stop:
		r.stop()
	default:
		return agent.Result{Output: r.status()}, nil
	}
	return agent.Result{}, nil
}

// Surrounds is [agent.Surrounder].
func (a *Agent) Surrounds() bool { return a.o.Surround }

// Settle is [agent.Surrounder]: rules are in the table when start returns.
func (a *Agent) Settle(context.Context, agent.Call) {}

// run is one operation.
type run struct {
	*Agent
	ctx   context.Context
	log   agent.Log
	tag   string
	table ipvs.Table // once open has opened it
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
}

func (r *run) errorf(format string, args ...any) {
	r.log.Script(r.tag, "ERROR: "+fmt.Sprintf(format, args...))
}

func (r *run) start() {
	s, debian := r.settings()
	if !debian {
		ok := r.load()
		r.log.Print("Clearing the current IPVS table:" + outcome(ok))
		r.log.Print("Applying IPVS configuration: " + outcome(ok))
		return
	}
	if s["AUTO"] == "true" {
		r.load()
		r.log.Print("Clearing the current IPVS table...done.")
		r.log.Print("Loading IPVS configuration...done.")
	}
	if !r.eachDaemon(s, ipvs.SyncTable.StartSync, ipvs.ErrExists) {
		r.log.Print("ipvsadm is not configured to run. Please edit /etc/default/ipvsadm.")
	}
}

func (r *run) stop() {
	s, debian := r.settings()
	if !debian {
		r.log.Print("Clearing the current IPVS table:" + outcome(r.clear()))
		return
	}
	if !r.eachDaemon(s, ipvs.SyncTable.StopSync, ipvs.ErrNoDaemon) {
		r.log.Print("ipvsadm is not configured to run. Please run dpkg-reconfigure ipvsadm.")
	}
	if s["AUTO"] == "true" {
		r.clear()
		r.log.Print("Clearing the current IPVS table...done.")
	}
}

func outcome(ok bool) string {
	if ok {
		return " [  OK  ]"
	}
	return " [FAILED]"
}

// status is what `ipvsadm -L -n` prints.
func (r *run) status() string {
	if !r.open() {
		return ""
	}
	entries, err := r.table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%v", err)
		return ""
	}
	info := ipvs.Info{Version: [3]uint8{1, 2, 1}, ConnSize: 4096}
	if t, ok := r.table.(ipvs.Informer); ok {
		if info, err = t.Info(r.ctx); err != nil {
			r.errorf("%v", err)
			return ""
		}
	}
	ipvs.SortEntries(entries)
	return string(ipvs.AppendListing(nil, &info, entries, ipvs.Format{}, ipvs.Names{}))
}

// load brings the table to what the rule file says, by the difference only. A table that this
// resource has filled before, and that ldirectord works on since, is left alone.
func (r *run) load() bool {
	if !r.open() {
		return false
	}
	have, err := r.table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%v", err)
		return false
	}
	if len(have) > 0 && (r.loaded || r.locked()) {
		r.log.Print("ipvsadm: the table was loaded before and is left as it is")
		return true
	}
	w, ok := r.wanted()
	for _, op := range ipvs.Plan(have, w.entries) {
		if err := r.table.Do(r.ctx, op); err != nil {
			r.errorf("%v", err)
			ok = false
		}
	}
	for _, f := range w.rest {
		if err := f(); err != nil {
			r.errorf("%v", err)
			ok = false
		}
	}
	r.loaded = true
	r.lock()
	return ok
}

func (r *run) clear() bool {
	r.loaded = false
	if err := os.Remove(r.path(lockFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf("%v", err)
	}
	if !r.open() {
		return false
	}
	if err := r.table.Do(r.ctx, ipvs.Op{Kind: ipvs.Flush}); err != nil {
		r.errorf("%v", err)
		return false
	}
	return true
}

func (r *run) path(name string) string { return filepath.Join(r.o.Root, name) }

func (r *run) locked() bool {
	_, err := os.Stat(r.path(lockFile))
	return err == nil
}

func (r *run) lock() {
	err := os.WriteFile(r.path(lockFile), nil, 0o644)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf("%v", err)
	}
}

// wanted is what a rule file makes of an empty table.
type wanted struct {
	entries []ipvs.Entry
	rest    []func() error // settings and daemons, which are not of the table
}

// wanted reads the rule file. What it complains of is logged; rules before a line that ipvsadm
// would stop at count.
func (r *run) wanted() (w wanted, ok bool) {
	file, rules := r.rules()
	ok = true
	table := model.New()
	for _, rule := range rules {
		if rule.Err != nil {
			r.errorf("%v", rule.Problem)
			ok = false
			if rule.Err.Goes {
				continue
			}
			break
		}
		switch c := rule.Command; {
		case c.ChangesTable():
			if err := table.Do(r.ctx, c.Op); err != nil {
				r.errorf("%v: %v", rule.Pos, err)
				ok = false
			}
		case c.Kind == ipvs.CmdSetTimeouts:
			w.rest = append(w.rest, func() error { return r.table.SetTimeouts(r.ctx, c.Timeouts) })
		case c.Kind == ipvs.CmdStartDaemon:
			w.rest = append(w.rest, func() error { return r.daemon(ipvs.SyncTable.StartSync, c.Daemon, ipvs.ErrExists) })
		case c.Kind == ipvs.CmdStopDaemon:
			w.rest = append(w.rest, func() error { return r.daemon(ipvs.SyncTable.StopSync, c.Daemon, ipvs.ErrNoDaemon) })
		}
	}
	entries, err := table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%s: %v", file, err)
		return w, false
	}
	for _, e := range entries {
		slices.Reverse(e.Dests) // they are to be added in the file's order
	}
	w.entries = entries
	return w, ok
}

type syncCall func(ipvs.SyncTable, context.Context, ipvs.SyncDaemon) error

// daemon starts or stops a sync daemon; already is the refusal that means that it is so already.
func (r *run) daemon(call syncCall, d ipvs.SyncDaemon, already error) error {
	t, ok := r.table.(ipvs.SyncTable)
	if !ok {
		return fmt.Errorf("sync daemon: %w", syscall.ENOSYS)
	}
	if err := call(t, r.ctx, d); err != nil && !errors.Is(err, already) {
		return err
	}
	return nil
}

// eachDaemon makes a call for the daemons that Debian's settings name; false if they name none.
func (r *run) eachDaemon(s map[string]string, call syncCall, already error) bool {
	roles := map[string][]ipvs.SyncRole{
		"master": {ipvs.SyncMaster}, "backup": {ipvs.SyncBackup}, "both": {ipvs.SyncMaster, ipvs.SyncBackup},
	}[s["DAEMON"]]
	for _, role := range roles {
		if !r.open() {
			break
		}
		d := ipvs.SyncDaemon{Role: role, Iface: s["IFACE"]}
		if d.Iface == "" {
			d.Iface = "eth0"
		}
		if id, err := strconv.ParseUint(s["SYNCID"], 10, 8); err == nil {
			d.SyncID = uint8(id)
		}
		if err := r.daemon(call, d, already); err != nil {
			r.errorf("%v", err)
		}
	}
	return len(roles) > 0
}
