package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// lockFile marks the resource as started, where the directory exists (Red Hat's convention).
const lockFile = "/var/lock/subsys/ipvsadm"

// markFile says, until the next boot, that the table was loaded from here and not cleared since.
const markFile = "/var/run/ipvsadm.loaded"

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

func (r *run) unlock() {
	if err := os.Remove(r.path(lockFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf("%v", err)
	}
}

func (r *run) mark() {
	if err := os.WriteFile(r.path(markFile), nil, 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf("%v", err)
	}
}

func (r *run) unmark() {
	r.loaded = false
	if err := os.Remove(r.path(markFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf("%v", err)
	}
}

// list is what "ipvsadm -L" prints.
func (r *run) list(format ipvs.Format, names ipvs.Names) (text string, ok bool) {
	if !r.open() {
		return "", false
	}
	entries, err := r.table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%v", err)
		return "", false
	}
	info := ipvs.Info{Version: [3]uint8{1, 2, 1}, ConnSize: 4096}
	if t, ok := r.table.(ipvs.Informer); ok {
		if info, err = t.Info(r.ctx); err != nil {
			r.errorf("%v", err)
			return "", false
		}
	}
	ipvs.SortEntries(entries)
	return string(ipvs.AppendListing(nil, &info, entries, format, names)), true
}

// filled tells whether there is something in the table.
func (r *run) filled() bool {
	if !r.open() {
		return false
	}
	entries, err := r.table.Snapshot(r.ctx)
	return err == nil && len(entries) > 0
}

// save writes the table as rules into a file, after a first line if head is not empty.
func (r *run) save(file, head string) bool {
	if !r.open() {
		return false
	}
	entries, err := r.table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%v", err)
		return false
	}
	ipvs.SortEntries(entries)
	text := []byte(head)
	for _, e := range entries {
		text = ipvs.AppendRule(text, e, ipvs.Names{})
	}
	if err := os.WriteFile(r.path(file), text, 0o644); err != nil {
		r.errorf("%v", err)
		return false
	}
	return true
}

// clear is "ipvsadm -C".
func (r *run) clear() bool {
	r.loaded = false
	r.unlock()
	if !r.open() {
		return false
	}
	if err := r.table.Do(r.ctx, ipvs.Op{Kind: ipvs.Flush}); err != nil {
		r.errorf("%v", err)
		return false
	}
	r.unmark()
	return true
}

// loading is how a load went.
type loading struct {
	clean bool // nothing to complain of
	ended bool // as ipvsadm-restore would: with status 0
}

// load brings the table to what the rule file says, by the difference only. A table that this
// resource has filled before, and that ldirectord works on since, is left alone unless it is a
// reload, which the administrator asks for.
func (r *run) load(file string, reload bool) loading {
	if !r.open() {
		return loading{}
	}
	have, err := r.table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%v", err)
		return loading{}
	}
	if !reload && len(have) > 0 && (r.loaded || r.locked()) {
		r.print("ipvsadm: the table was loaded before and is left as it is")
		return loading{clean: true, ended: true}
	}
	r.mark()
	w := r.wanted(file)
	for _, op := range ipvs.Plan(have, w.entries) {
		if err := r.table.Do(r.ctx, op); err != nil {
			r.errorf("%v", err)
			w.loading = loading{}
		}
	}
	for _, f := range w.rest {
		if err := f(); err != nil {
			r.errorf("%v", err)
			w.loading = loading{}
		}
	}
	r.loaded = true
	r.lock()
	return w.loading
}

// wanted is what a rule file makes of an empty table.
type wanted struct {
	loading
	entries []ipvs.Entry
	rest    []func() error // settings and daemons, which are not of the table
}

// wanted reads the rule file. What it complains of is logged; rules before a line that ipvsadm
// would stop at count. Like ipvsadm-restore it has the status of the last rule.
func (r *run) wanted(file string) wanted {
	rules, isSet := r.rules(file)
	w := wanted{loading: loading{clean: true, ended: isSet}}
	table := model.New()
	for _, rule := range rules {
		if rule.Err != nil {
			r.errorf("%v", rule.Problem)
			w.loading = loading{}
			if rule.Err.Goes {
				continue
			}
			break
		}
		w.ended = true
		switch c := rule.Command; {
		case c.ChangesTable():
			if err := table.Do(r.ctx, c.Op); err != nil {
				r.errorf("%v: %v", rule.Pos, err)
				w.loading = loading{}
			}
		case c.Kind == ipvs.CmdSetTimeouts:
			w.rest = append(w.rest, func() error { return r.table.SetTimeouts(r.ctx, c.Timeouts) })
		case c.Kind == ipvs.CmdStartDaemon:
			w.rest = append(w.rest, func() error { return except(r.daemon(ipvs.SyncTable.StartSync, c.Daemon), ipvs.ErrExists) })
		case c.Kind == ipvs.CmdStopDaemon:
			w.rest = append(w.rest, func() error { return except(r.daemon(ipvs.SyncTable.StopSync, c.Daemon), ipvs.ErrNoDaemon) })
		}
	}
	entries, err := table.Snapshot(r.ctx)
	if err != nil {
		r.errorf("%s: %v", file, err)
		w.loading = loading{}
		return w
	}
	for _, e := range entries {
		slices.Reverse(e.Dests) // they are to be added in the file's order
	}
	w.entries = entries
	return w
}

type syncCall func(ipvs.SyncTable, context.Context, ipvs.SyncDaemon) error

// daemon starts or stops a sync daemon.
func (r *run) daemon(call syncCall, d ipvs.SyncDaemon) error {
	t, ok := r.table.(ipvs.SyncTable)
	if !ok {
		return fmt.Errorf("sync daemon: %w", syscall.ENOSYS)
	}
	return call(t, r.ctx, d)
}

// except is an error, but for the one that means that it is so already.
func except(err, already error) error {
	if errors.Is(err, already) {
		return nil
	}
	return err
}
