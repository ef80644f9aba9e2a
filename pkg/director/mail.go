package director

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// alert asks for a mail about v if the file wants one in the state s. do is d.do, or
// d.afterwards to keep the order of the log.
func (d *Director) alert(v *virtual, text string, s State, do func(Action)) {
	e := &v.config.Email
	if e.To == "" || e.Status&emailStatus[s] == 0 {
		return
	}
	do(Log{Text: "emailalert: " + text})
	do(Mail{Virtual: v.config, Text: text, State: s})
}

var emailStatus = map[State]ldirectordcf.EmailStatus{
	Starting: ldirectordcf.EmailStarting, Running: ldirectordcf.EmailRunning, Reloading: ldirectordcf.EmailReloading,
	Stopping: ldirectordcf.EmailStopping,
}

// serverKey is a real server of a service across configurations.
type serverKey struct {
	vip  ipvs.VIP
	addr netip.AddrPort // as in the table
}

// reminders say whose absence is told again, every emailalertfreq.
type reminders struct {
	of   map[serverKey]*reminder
	next time.Duration // no later than the first that is due; meaningless without any
}

type reminder struct {
	m    *member
	last time.Duration // when it was told
}

func newReminders() reminders { return reminders{of: map[serverKey]*reminder{}} }

func (m *member) key() serverKey { return serverKey{m.v.service.VIP, m.dest.Addr} }

// startReminder has m's absence told again from now on. A server that is not checked at all is
// out because the file says so.
func (d *Director) startReminder(m *member) {
	freq := m.v.config.Email.Freq
	if freq == 0 || m.v.config.CheckType == ldirectordcf.Off || d.stopping != "" {
		return
	}
	if len(d.reminders.of) == 0 || d.now+freq < d.reminders.next {
		d.reminders.next = d.now + freq
	}
	d.reminders.of[m.key()] = &reminder{m, d.now}
}

func (d *Director) stopReminder(m *member) { delete(d.reminders.of, m.key()) }

func (r *reminders) due() (time.Duration, bool) { return r.next, len(r.of) > 0 }

// remind sends the mails that are due.
func (d *Director) remind() {
	r := &d.reminders
	if len(r.of) == 0 || r.next > d.now {
		return
	}
	var late []*reminder
	r.next = d.now + time.Hour
	for _, one := range r.of {
		freq := one.m.v.config.Email.Freq
		if one.last+freq <= d.now {
			late = append(late, one)
			one.last = d.now
		}
		r.next = min(r.next, one.last+freq)
	}
	slices.SortFunc(late, func(a, b *reminder) int {
		return cmp.Or(cmp.Compare(a.m.v.id, b.m.v.id), a.m.dest.Addr.Compare(b.m.dest.Addr))
	})
	for _, one := range late {
		d.alert(one.m.v, one.m.inaccessible(), d.state, d.afterwards)
	}
}

func (m *member) inaccessible() string {
	return "Inaccessible real server: " + m.name + " (" + m.v.label + ")"
}

// missing tells of a server whose first check failed: it never was in the table, so that no
// line says that it was taken out.
func (d *Director) missing(m *member) {
	d.alert(m.v, m.inaccessible(), d.state, d.afterwards)
	d.startReminder(m)
}

// keepReminders drops, when a configuration comes into force, those of servers that are up or
// gone.
func (d *Director) keepReminders() {
	was := d.reminders
	d.reminders = newReminders()
	for _, v := range d.virtuals {
		for _, m := range v.members {
			if one := was.of[m.key()]; one != nil && m.health == Down && v.config.Email.Freq > 0 {
				d.startReminder(m)
				d.reminders.of[m.key()].last = one.last
				d.reminders.next = min(d.reminders.next, one.last+v.config.Email.Freq)
			}
		}
	}
}
