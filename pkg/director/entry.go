package director

import (
	"fmt"
	"net/netip"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// ensureService adds the service to the table or changes it. say is whether one that is right
// already gets its line, as at each start and reload of the original.
func (d *Director) ensureService(v *virtual, say bool) {
	changed := line{text: "Changed virtual server: " + v.label}
	have := d.table.service(v)
	if have == nil {
		d.change(v, ipvs.AddService, ipvs.Dest{}, line{text: "Added virtual server: " + v.label})
		return
	}
	if !sameService(*have, v.service) {
		d.change(v, ipvs.EditService, ipvs.Dest{}, changed)
	} else if say {
		d.say("%s", changed.text)
	}
}

func sameService(have, want ipvs.Service) bool {
	return len(ipvs.Plan([]ipvs.Entry{{Service: have}}, []ipvs.Entry{{Service: want}})) == 0
}

// want is what the table should hold of m while it is up.
func (m *member) want() ipvs.Dest {
	if m.drained {
		return m.weightless()
	}
	want := m.dest
	if m.probe != nil {
		want.Weight = m.probe.agent.weight(want.Weight)
	}
	return want
}

// weightless is m without traffic. As ipvsadm is called by the original for it, thresholds go too.
func (m *member) weightless() ipvs.Dest { return ipvs.Dest{Addr: m.dest.Addr, Forward: m.dest.Forward} }

// restore puts a real server that is up into the table with its weight (_restore_service of the
// original).
func (d *Director) restore(m *member) {
	want := m.want()
	text := fmt.Sprintf("real server: %s (%s) (Weight set to %d)", m.name, m.v.label, want.Weight)
	have := d.table.dest(m.v, want.Addr)
	switch {
	case have != nil && sameDest(*have, want):
	case have != nil && have.Weight > 0 && sameForward(*have, want) && m.awaitsAgent():
	case d.actsAsFallback(m): // and is drained
	case m.drained && have != nil:
		d.changeMember(m, ipvs.EditDest, want, line{text: "Draining " + text})
	case m.drained:
		d.changeMember(m, ipvs.AddDest, want, line{text: "Draining " + text})
	case have == nil:
		d.changeMember(m, ipvs.AddDest, want, mailed("Added "+text))
	default:
		d.changeMember(m, ipvs.EditDest, want, mailed("Restored "+text))
	}
}

// sameDest compares what the original compares: weight, method and, of one with weight,
// thresholds. A destination that the kernel shows as local fits any method.
func sameDest(have, want ipvs.Dest) bool {
	return have.Weight == want.Weight && sameForward(have, want) &&
		(want.Weight == 0 || have.UpperThreshold == want.UpperThreshold && have.LowerThreshold == want.LowerThreshold)
}

func sameForward(have, want ipvs.Dest) bool {
	return have.Forward == want.Forward || have.Forward == ipvs.Local
}

// remove takes a real server out of the table, or its weight if the service is quiescent
// (_remove_service of the original). add is whether a quiescent one that is not in the table
// is added without weight. It reports whether there is something to do.
func (d *Director) remove(m *member, add bool) bool {
	v := m.v
	if d.table.service(v) == nil {
		return false
	}
	have := d.table.dest(v, m.dest.Addr)
	if d.actsAsFallback(m) {
		return false
	}
	if !v.config.Quiescent {
		if have != nil {
			d.changeMember(m, ipvs.DelDest, m.dest, mailed(deleted("real", m.name, m.dest.Addr, v)))
		}
		return have != nil
	}
	zero := m.weightless()
	quiescent := fmt.Sprintf("Quiescent real server: %s(%s) (Weight set to 0)", mappedName(m.name, zero.Addr), v.label)
	switch {
	case have == nil && add && d.config.Global.ReaddQuiescent:
		text := "Readd Quiescent real server: " + m.name + " (" + v.label + ") (Weight set to 0)"
		d.changeMember(m, ipvs.AddDest, zero, line{text, "Quiescent real server: " + m.name + " (" + v.label + ") (Weight set to 0)"})
	case have == nil && add:
		d.changeMember(m, ipvs.AddDest, zero, mailed(quiescent))
	case have != nil && !sameDest(*have, zero):
		d.changeMember(m, ipvs.EditDest, zero, mailed(quiescent))
	default:
		return false
	}
	return true
}

func deleted(tag, name string, at netip.AddrPort, v *virtual) string {
	return fmt.Sprintf("Deleted %s server: %s(%s)", tag, mappedName(name, at), v.label)
}

// mappedName is how removals name a server, with the blank that follows.
func mappedName(name string, at netip.AddrPort) string {
	if s := at.String(); s != name {
		return s + " mapped from " + name + " "
	}
	return name + " "
}
