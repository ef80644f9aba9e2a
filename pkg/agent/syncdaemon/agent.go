// Package syncdaemon is the resource "LVSSyncDaemonSwap" of a haresources line, in process: who holds
// the group sends its connection table to the other director (the kernel's sync master), and who
// does not takes it in (the backup), so that connections outlive a fail-over.
//
//	ha-master LVSSyncDaemonSwap::master IPaddr2::172.16.60.111 ldirectord::ldirectord.cf
//	ha-master LVSSyncDaemonSwap::master::eth1::7 ...
//
// heartbeat 2.1.3 came with a script of that name, 3.0.6 does not (spec/resource-manager.md); the files
// that name it are still there.
package syncdaemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Name is the resource's name.
const Name = "LVSSyncDaemonSwap"

// Options is what an Agent works with.
type Options struct {
	// OpenTable opens the table for one operation, after which it is closed.
	OpenTable func() (ipvs.Table, error)
	// Iface and SyncID are taken where the resource has no argument for them; no Iface is eth0,
	// as with ipvsadm.
	Iface  string
	SyncID uint8
	// Note is the file that remembers the kernel's threshold while Hurry has changed it. It has to go with a
	// reboot, as the threshold does. None is [DefaultNote].
	Note string
}

// DefaultNote is Options.Note where that is empty.
const DefaultNote = "/run/heartbeat.sync_threshold"

// Agent serves the resource name LVSSyncDaemonSwap.
type Agent struct {
	o  Options
	mu sync.Mutex // one change of roles at a time
}

var _ agent.Agent = (*Agent)(nil)

// New makes an Agent. It starts nothing.
func New(o Options) *Agent {
	if o.Iface == "" {
		o.Iface = "eth0"
	}
	if o.Note == "" {
		o.Note = DefaultNote
	}
	return &Agent{o: o}
}

// words are the roles as ipvsadm names them.
var words = map[ipvs.SyncRole]string{ipvs.SyncMaster: "master", ipvs.SyncBackup: "backup"}

// other is the role that a director has while it does not have this one.
func other(r ipvs.SyncRole) ipvs.SyncRole {
	return ipvs.SyncMaster + ipvs.SyncBackup - r
}

// wanted reads a resource's arguments: the role, then an interface and a syncid in any order.
func (a *Agent) wanted(args []string) (ipvs.SyncDaemon, error) {
	d := ipvs.SyncDaemon{Iface: a.o.Iface, SyncID: a.o.SyncID}
	if len(args) == 0 {
		return d, fmt.Errorf("%s: no role (want master or backup)", Name)
	}
	switch args[0] {
	case "master":
		d.Role = ipvs.SyncMaster
	case "backup":
		d.Role = ipvs.SyncBackup
	default:
		return d, fmt.Errorf("%s: bad role %q (want master or backup)", Name, args[0])
	}
	for _, arg := range args[1:] {
		if arg == "" {
			continue
		}
		if strings.Trim(arg, "0123456789") != "" {
			d.Iface = arg
			continue
		}
		id, err := strconv.ParseUint(arg, 10, 8)
		if err != nil {
			return d, fmt.Errorf("%s: bad syncid %q (want 0 to 255)", Name, arg)
		}
		d.SyncID = uint8(id)
	}
	return d, nil
}

// Run carries out start, stop, status or monitor. A start takes the role of the first argument and
// gives up the other one; a stop is the reverse. Roles that are as wanted are left alone, so that a
// running daemon loses nothing.
func (a *Agent) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	d, err := a.wanted(c.Args)
	if err != nil {
		return failed(c, err)
	}
	switch c.Op {
	case agent.Start:
		err = a.swap(ctx, d)
	case agent.Stop:
		d.Role = other(d.Role)
		err = a.swap(ctx, d)
	case agent.Status, agent.Monitor:
		return a.status(ctx, d)
	default:
		err = fmt.Errorf("%s: no operation %q", Name, c.Op)
	}
	switch {
	case errors.Is(err, errNoSync):
		c.Log.Script(tag(c), "WARN: "+err.Error())
	case err != nil:
		return failed(c, err)
	}
	return agent.Result{}, nil
}

// errNoSync is for tables without connections that another director could go on with: a group with
// an address is worth more than none.
var errNoSync = errors.New("nothing to synchronise")

func tag(c agent.Call) string { return halog.Tag(Name, strings.Join(c.Args, "::"), c.Log.NextPID()) }

// failed says why in ha-log.
func failed(c agent.Call, err error) (agent.Result, error) {
	c.Log.Script(tag(c), "ERROR: "+err.Error())
	return agent.Result{Code: 1}, err
}

// StandBy starts the role of a director that does not hold the group, if no sync daemon runs at
// all: after a boot nobody else does. It puts back what a killed process has left: see Calm. A resource whose
// arguments are wrong is told of at its start.
func (a *Agent) StandBy(ctx context.Context, args []string) error {
	d, err := a.wanted(args)
	if err != nil {
		return nil
	}
	d.Role = other(d.Role)
	return a.with(func(t ipvs.SyncTable) error {
		if err := a.calm(ctx, t); err != nil {
			return err
		}
		have, err := t.SyncDaemons(ctx)
		if err != nil || len(have) > 0 {
			return err
		}
		return start(ctx, t, d)
	})
}

// swap makes d run, and the daemon of the other role end.
func (a *Agent) swap(ctx context.Context, d ipvs.SyncDaemon) error {
	return a.with(func(t ipvs.SyncTable) error {
		if err := a.calm(ctx, t); err != nil {
			return err
		}
		have, err := t.SyncDaemons(ctx)
		if err != nil {
			return err
		}
		runs := false
		for _, h := range have {
			if h.Role == d.Role && h.Iface == d.Iface && h.SyncID == d.SyncID {
				runs = true
				continue
			}
			if err := t.StopSync(ctx, h); err != nil && !errors.Is(err, ipvs.ErrNoDaemon) {
				return err
			}
		}
		if runs {
			return nil
		}
		return start(ctx, t, d)
	})
}

func start(ctx context.Context, t ipvs.SyncTable, d ipvs.SyncDaemon) error {
	if err := t.StartSync(ctx, d); err != nil && !errors.Is(err, ipvs.ErrExists) {
		return fmt.Errorf("%s on %s: %w", words[d.Role], d.Iface, err)
	}
	return nil
}

// status is owned while the role's daemon runs, wherever it sends to.
func (a *Agent) status(ctx context.Context, d ipvs.SyncDaemon) (agent.Result, error) {
	var have []ipvs.SyncDaemon
	err := a.with(func(t ipvs.SyncTable) (err error) {
		have, err = t.SyncDaemons(ctx)
		return err
	})
	if err != nil && !errors.Is(err, errNoSync) {
		return agent.Result{Code: 1, State: agent.Unknown}, err
	}
	r := agent.Result{Code: 3, State: agent.Stopped, Output: words[d.Role] + " stopped\n"}
	if slices.ContainsFunc(have, func(h ipvs.SyncDaemon) bool { return h.Role == d.Role }) {
		r = agent.Result{State: agent.Running, Output: words[d.Role] + " running\n"}
	}
	for _, h := range have {
		r.Output += fmt.Sprintf("(ipvs sync%s on %s, syncid %d)\n", words[h.Role], h.Iface, h.SyncID)
	}
	return r, nil
}

// with opens the table for f.
func (a *Agent) with(f func(ipvs.SyncTable) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	table, err := a.o.OpenTable()
	if err != nil {
		return err
	}
	defer table.Close()
	t, ok := table.(ipvs.SyncTable)
	if !ok {
		return fmt.Errorf("%s: the %s table: %w", Name, table.Caps().Name, errNoSync)
	}
	return f(t)
}
