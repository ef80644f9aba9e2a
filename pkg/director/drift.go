package director

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Somebody else's change that comes again at each reading of the table, in one service, gets its
// lines so many times; then it is only set right and counted.
const driftLines = 5

// settle makes v's entry in the table right after a change was refused, or after the service
// vanished.
func (d *Director) settle(v *virtual) {
	v.dirty = false
	d.ensureService(v, false)
	for _, m := range v.members {
		switch m.health {
		case Up:
			d.restore(m)
		case Down:
			d.remove(m, true)
		}
	}
	d.balance(v)
}

// repair undoes what somebody else did to v's entry: what vanished is put back, what was changed
// is changed back. Left alone are servers of which the file knows nothing, until the next reload,
// and servers without weight that were deleted by hand.
func (d *Director) repair(v *virtual) {
	if v.dirty {
		d.settle(v)
		return
	}
	if v.config.Options.LeaveEdits {
		return
	}
	found := d.drift(v)
	if len(found) == 0 {
		v.driftRuns = 0
		return
	}
	v.repairs += uint64(len(found))
	v.driftRuns++
	d.muted = v.driftRuns > driftLines
	for _, what := range found {
		d.say("%s", what)
	}
	if v.driftRuns == driftLines {
		d.say("Virtual server %s is changed by somebody else again and again: setting it right without further lines", v.label)
	}
	d.ensureService(v, false)
	for _, m := range v.members {
		switch m.health {
		case Up:
			d.restore(m)
		case Down:
			d.remove(m, false)
		}
	}
	d.balance(v)
	d.muted = false
}

// drift lists what in v's entry is not as it should be, in words.
func (d *Director) drift(v *virtual) (found []string) {
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	have := d.table.service(v)
	if have == nil {
		return []string{"Virtual server " + v.label + " has vanished from the table: putting it back"}
	}
	if !sameService(*have, v.service) {
		add("Virtual server %s was changed in the table (%s): changing it back", v.label, serviceDifference(*have, v.service))
	}
	for _, m := range v.members {
		have := d.table.dest(v, m.dest.Addr)
		want := m.want()
		if m.health == Down {
			want = m.weightless()
		}
		switch {
		case m.health == Unknown || m.awaitsAgent() && have != nil:
		case v.fallbackAt(m.dest.Addr): // see below
		case m.health == Up && have == nil:
			add("Real server %s (%s) has vanished from the table: putting it back", m.name, v.label)
		case have == nil:
		case m.health == Down && !v.config.Quiescent:
			add("Real server %s (%s) is down and was added to the table: taking it out", m.name, v.label)
		case !sameDest(*have, want):
			add("Real server %s (%s) was changed in the table (%s): changing it back", m.name, v.label, destDifference(*have, want))
		}
	}
	if f := v.fallback; f != nil {
		have := d.table.dest(v, f.Addr)
		switch {
		case v.serving == 0 && have == nil:
			add("Fallback server %s (%s) has vanished from the table: putting it back", v.fallName, v.label)
		case v.serving == 0 && !sameDest(*have, *f):
			add("Fallback server %s (%s) was changed in the table (%s): changing it back", v.fallName, v.label, destDifference(*have, *f))
		case v.serving > 0 && have != nil && !v.isMember(f.Addr):
			add("Fallback server %s (%s) was added to the table: taking it out", v.fallName, v.label)
		}
	}
	return found
}

func serviceDifference(have, want ipvs.Service) string {
	var parts []string
	if have.Scheduler != want.Scheduler {
		parts = append(parts, fmt.Sprintf("scheduler %s, not %s", have.Scheduler, want.Scheduler))
	}
	if have.Persistent != want.Persistent {
		parts = append(parts, fmt.Sprintf("persistent %d, not %d", have.Persistent, want.Persistent))
	}
	if len(parts) == 0 {
		parts = append(parts, "netmask or flags")
	}
	return strings.Join(parts, "; ")
}

func destDifference(have, want ipvs.Dest) string {
	var parts []string
	if have.Weight != want.Weight {
		parts = append(parts, fmt.Sprintf("weight %d, not %d", have.Weight, want.Weight))
	}
	if !sameForward(have, want) {
		parts = append(parts, fmt.Sprintf("%s, not %s", forwardWord(have.Forward), forwardWord(want.Forward)))
	}
	if len(parts) == 0 {
		parts = append(parts, "thresholds")
	}
	return strings.Join(parts, "; ")
}

func forwardWord(f ipvs.Forward) string {
	switch f {
	case ipvs.Masq:
		return "masq"
	case ipvs.Tunnel:
		return "ipip"
	case ipvs.Route:
		return "gate"
	}
	return "another method"
}
