package director

import (
	"net/netip"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Director is ldirectord's decisions. It is not safe for use by several goroutines.
type Director struct {
	epoch time.Time
	now   time.Duration // of the Step that is under way; all times are since epoch
	out   []Action

	state    State
	stopping string               // the signal of Stop
	next     *ConfigRead          // in force with the next TableRead
	config   *ldirectordcf.Config // in force
	virtuals []*virtual           // in file order
	unknown  int                  // members without a verdict
	drained  map[Server]bool

	schedule  schedule
	table     *mirror
	leftovers leftovers
	reminders reminders
	muted     bool // changes asked for now get no lines
	ready     bool // Ready was given
	stopped   bool
}

// New makes a director that knows nothing yet. It is to be given a [ConfigRead] first. now is
// the origin of its timers.
func New(now time.Time) *Director {
	return &Director{epoch: now, schedule: newSchedule(), table: newMirror(), reminders: newReminders()}
}

// Step tells the director that in happened at now and returns what is to be done. Only now's
// monotonic clock counts. The actions belong to the caller.
func (d *Director) Step(now time.Time, in Input) []Action {
	d.now = max(d.now, now.Sub(d.epoch))
	d.out = nil
	switch in := in.(type) {
	case ConfigRead:
		if d.stopping == "" {
			d.next = &in
			d.table.readAt = d.now
		}
	case TableRead:
		d.tableRead(in)
	case Changed:
		d.changed(in.Err)
	case Checked:
		d.checked(in)
	case Drain:
		d.drain(in.Servers)
	case Refresh:
		d.table.readAt, d.table.again = d.now, d.table.reading
	case Stop:
		d.stop(in.Signal)
	}
	d.tick()
	return d.out
}

// Deadline is when a [Tick] is due at the latest; ok is false if nothing is waited for.
func (d *Director) Deadline() (at time.Time, ok bool) {
	if d.stopping != "" {
		return time.Time{}, false
	}
	due, ok := d.schedule.due()
	if at, waits := d.reminders.due(); waits && (!ok || at < due) {
		due, ok = at, true
	}
	if !d.table.reading && (d.next != nil || d.config != nil) && (!ok || d.table.readAt < due) {
		due, ok = d.table.readAt, true
	}
	return d.epoch.Add(due), ok
}

// Settled reports whether every server has its verdict and every change asked for has its answer.
func (d *Director) Settled() bool {
	return d.config != nil && d.unknown == 0 && len(d.table.pending) == 0
}

// tick does what is due.
func (d *Director) tick() {
	if d.stopping != "" {
		return
	}
	if !d.table.reading && (d.next != nil || d.config != nil) && d.table.readAt <= d.now {
		d.table.reading, d.table.askedAt = true, d.now
		d.do(ReadTable{})
	}
	d.remind()
	for p := d.schedule.take(d.now); p != nil; p = d.schedule.take(d.now) {
		first := p.members[0]
		connect := p.beginCombined()
		timeout := p.key.timeout
		if connect {
			timeout = p.key.connectTimeout
		}
		d.do(StartCheck{
			ID: p.running, Virtual: first.v.config, Real: first.real, Connect: connect, At: d.epoch.Add(d.now), Timeout: timeout,
		})
	}
}

func (d *Director) do(a Action) { d.out = append(d.out, a) }

// adopt puts d.next in force, comparing it with the table (ld_start of the original).
func (d *Director) adopt() {
	old := d.virtuals
	if d.config != nil {
		d.state = Reloading
	}
	d.config, d.drained = d.next.Config, serverSet(d.next.Drained)
	d.next = nil
	d.virtuals, d.unknown = nil, 0
	before := map[ipvs.VIP]*virtual{}
	for _, v := range old {
		before[v.service.VIP] = v
	}
	d.schedule.mark()
	for i := range d.config.Virtuals {
		v := d.newVirtual(&d.config.Virtuals[i])
		d.virtuals = append(d.virtuals, v)
		d.adoptVirtual(v, before[v.service.VIP])
		delete(before, v.service.VIP)
	}
	for _, id := range d.schedule.sweep(d.now) {
		d.do(CancelCheck{ID: id})
	}
	for _, v := range old {
		if before[v.service.VIP] == v && d.table.service(v) != nil {
			d.change(v, ipvs.DelService, ipvs.Dest{}, line{text: "Purged virtual server (start): " + v.label})
		}
	}
	d.keepReminders()
	d.settleState()
}

// adoptVirtual brings one service and its table entry together. Servers that have traffic keep
// it; others wait for their check.
func (d *Director) adoptVirtual(v, old *virtual) {
	d.ensureService(v, true)
	wanted := map[netip.AddrPort]bool{}
	if v.fallback != nil {
		wanted[v.fallback.Addr] = true
	}
	for _, m := range v.members {
		wanted[m.dest.Addr] = true
		d.unknown++ // as a new member is
		have := d.table.dest(v, m.dest.Addr)
		d.inherit(m, old)
		switch {
		// With maintenancedir one of checktype=on has a probe, too.
		case v.config.CheckType == ldirectordcf.On && m.probe == nil, m.health == Unknown && have != nil && have.Weight > 0:
			d.setHealth(m, Up)
		case m.suspended && m.probe == nil: // there is no maintenancedir any more
			d.setHealth(m, Up)
			m.suspended = false
		case v.config.CheckType == ldirectordcf.Off && m.health == Unknown:
			d.setHealth(m, Down)
		}
		switch m.health {
		case Up:
			d.restore(m)
		case Down:
			d.remove(m, true)
		case Unknown:
			m.probe.urgent = true
		}
	}
	for _, have := range d.table.strangers(v, wanted) {
		d.change(v, ipvs.DelDest, have, mailed("Purged real server (start): "+have.Addr.String()+" ("+v.label+")"))
	}
	d.balance(v)
}

// stop gives the table back (ld_stop of the original).
func (d *Director) stop(signal string) {
	if d.stopping != "" {
		return
	}
	d.stopping, d.state, d.next = signal, Stopping, nil
	for _, id := range d.schedule.clear() {
		d.do(CancelCheck{ID: id})
	}
	for _, c := range d.leftovers {
		d.ask(c)
	}
	d.leftovers = nil
	for _, v := range d.virtuals {
		if !v.config.CleanStop || d.table.service(v) == nil {
			continue
		}
		var lines []line
		for _, m := range v.members {
			if m.health == Up {
				lines = append(lines, mailed("Purged real server (stop): "+m.name+" ("+v.label+")"))
			}
		}
		// The destinations go with their service.
		d.change(v, ipvs.DelService, ipvs.Dest{}, append(lines, line{text: "Purged virtual server (stop): " + v.label})...)
	}
	d.say("Linux Director Daemon terminated on signal: %s", signal)
	d.settled()
}
