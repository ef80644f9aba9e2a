package director

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// mirror is the table as it will be when the changes asked for are made.
type mirror struct {
	entries map[ipvs.VIP]*ipvs.Entry
	pending []change // asked for and not answered, in order

	reading    bool          // a ReadTable has no answer yet
	askedAt    time.Duration // when it was asked for
	readAt     time.Duration // when the next one is due
	again      bool          // at once after that which is under way
	retry      time.Duration // how long to wait after the next refusal
	unreadable string        // why the last reading failed
}

// change is one operation without an answer.
type change struct {
	v     *virtual
	m     *member // whose reminders depend on it; nil for other changes
	state State   // when it was asked for
	op    ipvs.Op
	tries int      // so far, at a stop
	done  []line   // to log when it was carried out
	then  []Action // to do after it in any case: lines whose order counts
}

// line is a log line, and what the mail about the same says, if there is to be one.
type line struct{ text, subject string }

func mailed(text string) line { return line{text, text} }

// How soon a refused change is tried again: at once, then after the first of these, doubling up
// to the last, or checkinterval if that is less.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// At a stop a refused change is tried this often, and then left.
const stopTries = 3

// A table that takes long to read is read less often: for a tenth of the time, but no less often
// than every 10 s or checkinterval.
const (
	readShare = 10
	readMost  = 10 * time.Second
)

func newMirror() *mirror { return &mirror{entries: map[ipvs.VIP]*ipvs.Entry{}} }

// service is v's in the table, or nil.
func (t *mirror) service(v *virtual) *ipvs.Service {
	if e := t.entries[v.service.VIP]; e != nil {
		return &e.Service
	}
	return nil
}

// dest is the destination of v with that address, or nil.
func (t *mirror) dest(v *virtual, a netip.AddrPort) *ipvs.Dest {
	if e := t.entry(v, a); e != nil {
		return &e.Dest
	}
	return nil
}

// entry is dest with what the table counts for it.
func (t *mirror) entry(v *virtual, a netip.AddrPort) *ipvs.DestEntry {
	if e := t.entries[v.service.VIP]; e != nil {
		if i := destIndex(e, a); i >= 0 {
			return &e.Dests[i]
		}
	}
	return nil
}

// strangers are the destinations of v that are not wanted.
func (t *mirror) strangers(v *virtual, wanted map[netip.AddrPort]bool) []ipvs.Dest {
	var out []ipvs.Dest
	if e := t.entries[v.service.VIP]; e != nil {
		for _, d := range e.Dests {
			if !wanted[d.Addr] {
				out = append(out, d.Dest)
			}
		}
	}
	return out
}

func destIndex(e *ipvs.Entry, a netip.AddrPort) int {
	return slices.IndexFunc(e.Dests, func(d ipvs.DestEntry) bool { return d.Addr == a })
}

// read takes what is in the table and adds the changes that are still to be made.
func (t *mirror) read(entries []ipvs.Entry) {
	clear(t.entries)
	for i := range entries {
		t.entries[entries[i].VIP] = &entries[i]
	}
	for _, c := range t.pending {
		t.apply(c.op)
	}
}

func (t *mirror) apply(op ipvs.Op) {
	e := t.entries[op.Service.VIP]
	if op.Kind == ipvs.AddService && e == nil {
		t.entries[op.Service.VIP] = &ipvs.Entry{Service: op.Service}
		return
	}
	if e == nil {
		return
	}
	i := destIndex(e, op.Dest.Addr)
	switch op.Kind {
	case ipvs.EditService:
		e.Service = op.Service
	case ipvs.DelService:
		delete(t.entries, op.Service.VIP)
	case ipvs.AddDest, ipvs.EditDest:
		if i >= 0 {
			e.Dests[i].Dest = op.Dest
		} else {
			e.Dests = append(e.Dests, ipvs.DestEntry{Dest: op.Dest})
		}
	case ipvs.DelDest:
		if i >= 0 {
			e.Dests = slices.Delete(e.Dests, i, i+1)
		}
	}
}

// change asks for an operation on v's entry; lines are logged when it has been carried out.
func (d *Director) change(v *virtual, kind ipvs.OpKind, dest ipvs.Dest, lines ...line) {
	d.ask(change{v: v, op: ipvs.Op{Kind: kind, Service: v.service, Dest: dest}, done: lines})
}

// changeMember is change for a real server, whose reminders depend on it.
func (d *Director) changeMember(m *member, kind ipvs.OpKind, dest ipvs.Dest, lines ...line) {
	d.ask(change{v: m.v, m: m, op: ipvs.Op{Kind: kind, Service: m.v.service, Dest: dest}, done: lines})
}

func (d *Director) ask(c change) {
	c.state = d.state
	if d.muted {
		c.done = nil
	}
	d.table.apply(c.op)
	d.table.pending = append(d.table.pending, c)
	d.do(Change{Op: c.op})
}

// say logs a line, after those of the changes that were asked for before.
func (d *Director) say(format string, args ...any) {
	if !d.muted {
		d.afterwards(Log{Text: fmt.Sprintf(format, args...)})
	}
}

// afterwards does something when the changes asked for before have been answered.
func (d *Director) afterwards(a Action) {
	if n := len(d.table.pending); n > 0 {
		d.table.pending[n-1].then = append(d.table.pending[n-1].then, a)
		return
	}
	d.do(a)
}

// changed takes the answer to the oldest change.
func (d *Director) changed(err error) {
	t := d.table
	if len(t.pending) == 0 {
		return
	}
	c := t.pending[0]
	t.pending = t.pending[1:]
	switch {
	case err == nil:
		d.carriedOut(c)
	case d.doneAlready(c.op, err):
		t.apply(ipvs.Op{Kind: ipvs.DelDest, Service: c.op.Service, Dest: c.op.Dest})
	case d.stopping != "" && c.tries+1 < stopTries:
		c.tries++
		t.pending = append(t.pending, c)
		d.do(Change{Op: c.op})
		return
	default:
		d.refused(c, err)
	}
	d.out = append(d.out, c.then...)
	d.settled()
}

// carriedOut tells of a change that the table has taken.
func (d *Director) carriedOut(c change) {
	for _, l := range c.done {
		d.do(Log{Text: l.text})
		if l.subject != "" {
			d.alert(c.v, l.subject, c.state, d.do)
		}
	}
	m := d.current(c.m)
	switch {
	case m == nil:
	case m.health == Down:
		d.startReminder(m)
	default:
		d.stopReminder(m)
	}
}

// current is what the configuration in force has in the place of m, or nil.
func (d *Director) current(m *member) *member {
	if m == nil {
		return nil
	}
	v := d.virtual(m.v.service.VIP)
	switch {
	case v == nil:
		return nil
	case v == m.v:
		return m
	}
	i := slices.IndexFunc(v.members, func(o *member) bool { return o.dest.Addr == m.dest.Addr })
	if i < 0 {
		return nil
	}
	return v.members[i]
}

// virtual is the service of the configuration in force, or nil.
func (d *Director) virtual(vip ipvs.VIP) *virtual {
	i := slices.IndexFunc(d.virtuals, func(v *virtual) bool { return v.service.VIP == vip })
	if i < 0 {
		return nil
	}
	return d.virtuals[i]
}

// doneAlready says whether a refusal means that somebody else was quicker and it is as it should
// be: what is to be taken out is not there, or a server that is to lose its weight was taken out
// and is not to come back.
func (d *Director) doneAlready(op ipvs.Op, err error) bool {
	switch op.Kind {
	case ipvs.DelService:
		return errors.Is(err, ipvs.ErrNoService)
	case ipvs.DelDest:
		return errors.Is(err, ipvs.ErrNoDest) || errors.Is(err, ipvs.ErrNoService)
	case ipvs.EditDest:
		return errors.Is(err, ipvs.ErrNoDest) && op.Dest.Weight == 0 && !d.config.Global.ReaddQuiescent
	}
	return false
}

// refused notes that c's service is not as it should be in the table, which is read again. A
// refusal because the table was changed by somebody else is not worth a line unless it comes again.
// Of those of one round only the first is looked at, as others follow from it, and each is logged
// once until all is well.
func (d *Director) refused(c change, err error) {
	v := d.virtual(c.op.Service.VIP) // c may have been asked for by the configuration before
	if v == nil {
		v = c.v
	}
	outdated := errors.Is(err, ipvs.ErrExists) || errors.Is(err, ipvs.ErrNoService) || errors.Is(err, ipvs.ErrNoDest)
	if text := err.Error(); !v.dirty && (v.stale || !outdated) {
		v.refused = text
		if v.told == nil {
			v.told = map[string]bool{}
		}
		if !v.told[text] {
			v.told[text] = true
			d.do(Log{Text: "Failed to " + text})
		}
	}
	v.dirty, v.stale = true, v.stale || outdated
	if d.unwanted(c.op) {
		c.then = nil // done by now
		d.leftovers = append(d.leftovers, c)
	}
	d.retrySoon()
}

// retrySoon has the table read again, later each time until all is well.
func (d *Director) retrySoon() {
	t := d.table
	t.readAt = min(t.readAt, d.now+t.retry)
	t.retry = max(firstRetry, min(2*t.retry, lastRetry, d.interval()))
}

// settled gives what waits for the last change.
func (d *Director) settled() {
	if len(d.table.pending) > 0 {
		return
	}
	if !d.ready && d.config != nil && d.stopping == "" {
		d.ready = true
		d.do(Ready{})
	}
	if d.stopping != "" && !d.stopped {
		d.stopped = true
		d.do(Stopped{})
	}
	dirty := len(d.leftovers) > 0
	for _, v := range d.virtuals {
		dirty = dirty || v.dirty
		if !v.dirty {
			v.refused, v.told, v.stale = "", nil, false
		}
	}
	if !dirty {
		d.table.retry = 0
	}
}

// tableRead compares the table with what it should be.
func (d *Director) tableRead(in TableRead) {
	t := d.table
	t.reading = false
	if d.stopping != "" {
		return
	}
	if in.Err != nil {
		if text := in.Err.Error(); text != t.unreadable {
			t.unreadable = text
			d.say("Failed to read the table: %s", text)
		}
		t.readAt = d.now + d.interval()
		d.retrySoon()
		return
	}
	t.unreadable = ""
	defer d.readAgain()
	t.readAt = d.now + max(d.interval(), min(readShare*(d.now-t.askedAt), readMost))
	t.read(in.Entries)
	if d.next != nil {
		d.adopt()
	} else {
		for _, v := range d.virtuals {
			d.repair(v)
		}
	}
	d.deleteLeftovers()
	d.settled()
}

// readAgain has the table read once more if somebody asked for it meanwhile.
func (d *Director) readAgain() {
	if d.table.again {
		d.table.again, d.table.readAt = false, d.now
	}
}

// interval is how often the table is looked at.
func (d *Director) interval() time.Duration {
	if d.config != nil {
		return d.config.Global.CheckInterval
	}
	return d.next.Config.Global.CheckInterval
}
