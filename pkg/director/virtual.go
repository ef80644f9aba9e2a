package director

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Health is what is known of a real server.
type Health uint8

// The healths of a real server. Unknown is one that has not been checked and had no traffic
// when it was first seen.
const (
	Unknown Health = iota
	Up
	Down
)

// String is "unknown", "up" or "down".
func (h Health) String() string { return [...]string{"unknown", "up", "down"}[h] }

// virtual is one section of the configuration.
type virtual struct {
	config    *ldirectordcf.Virtual
	service   ipvs.Service
	label, id string
	members   []*member // in file order
	up        int       // members that are Up
	fallback  *ipvs.Dest
	fallName  string // the fallback's address as configured

	dirty   bool   // a change was refused
	stale   bool   // one was refused because somebody else had changed the table
	refused string // why the last one was
	repairs uint64
}

// member is a real server in one virtual service.
type member struct {
	v      *virtual
	real   *ldirectordcf.Real
	dest   ipvs.Dest // as in the table while up
	name   string    // ADDR:PORT as configured
	probe  *probe    // nil if checktype is on or off
	health Health
}

func (d *Director) newVirtual(c *ldirectordcf.Virtual) *virtual {
	v := &virtual{config: c, service: c.IPVS(), label: c.Label(), id: c.ID()}
	if f := c.Fallback; f != nil {
		v.fallName = f.Addr.String()
		v.fallback = &ipvs.Dest{Addr: v.mapped(f.Addr, f.Forward), Forward: f.Forward, Weight: 1}
	}
	at := map[netip.AddrPort]int{}
	for i := range c.Reals {
		m := &member{v: v, real: &c.Reals[i], dest: c.Reals[i].IPVS(), name: c.Reals[i].Addr.String()}
		m.dest.Addr = v.mapped(m.dest.Addr, m.dest.Forward)
		if j, dup := at[m.dest.Addr]; dup {
			// Two lines for one entry of the table: the original lets them fight, the last wins.
			v.members[j] = m
			continue
		}
		at[m.dest.Addr] = len(v.members)
		v.members = append(v.members, m)
	}
	if c.CheckType != ldirectordcf.On && c.CheckType != ldirectordcf.Off {
		for _, m := range v.members {
			d.schedule.join(m)
		}
	}
	return v
}

// mapped is the address under which the table has a server: direct routing and tunnels keep
// the port of the packet, so ipvsadm replaces the server's port by the service's.
func (v *virtual) mapped(a netip.AddrPort, f ipvs.Forward) netip.AddrPort {
	if v.service.Protocol == 0 || f == ipvs.Masq {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), v.service.Addr.Port())
}

// healthOf is what v, the same service of the configuration before, knew of m's server.
func (v *virtual) healthOf(m *member) Health {
	if v == nil {
		return Unknown
	}
	for _, o := range v.members {
		if o.dest.Addr == m.dest.Addr && o.probe == m.probe {
			return o.health
		}
	}
	return Unknown
}

// fallbackIn says whether the table has the fallback server because it is the fallback.
func (d *Director) fallbackIn(v *virtual) bool {
	return v.fallback != nil && v.up == 0 && d.table.dest(v, v.fallback.Addr) != nil
}

// ensureService adds the service to the table or changes it. say is whether one that is right
// already gets its line, as at each start and reload of the original.
func (d *Director) ensureService(v *virtual, say bool) {
	line := "Changed virtual server: " + v.label
	have := d.table.service(v)
	if have == nil {
		d.change(v, ipvs.AddService, ipvs.Dest{}, "Added virtual server: "+v.label)
		return
	}
	if len(ipvs.Plan([]ipvs.Entry{{Service: *have}}, []ipvs.Entry{{Service: v.service}})) > 0 {
		d.change(v, ipvs.EditService, ipvs.Dest{}, line)
	} else if say {
		d.say("%s", line)
	}
}

// restore puts a server into the table with its full weight (_restore_service of the original).
// tag is "real" or "fallback".
func (d *Director) restore(v *virtual, tag, name string, want ipvs.Dest) {
	line := fmt.Sprintf("%s server: %s (%s) (Weight set to %d)", tag, name, v.label, want.Weight)
	have := d.table.dest(v, want.Addr)
	switch {
	case have == nil:
		d.change(v, ipvs.AddDest, want, "Added "+line)
	case !sameDest(*have, want):
		d.change(v, ipvs.EditDest, want, "Restored "+line)
	}
}

// sameDest compares what the original compares: weight, method and thresholds. A destination
// that the kernel shows as local fits any method.
func sameDest(have, want ipvs.Dest) bool {
	return have.Weight == want.Weight && (have.Forward == want.Forward || have.Forward == ipvs.Local) &&
		have.UpperThreshold == want.UpperThreshold && have.LowerThreshold == want.LowerThreshold
}

// remove takes a real server out of the table, or its weight if the service is quiescent
// (_remove_service of the original). add is whether a quiescent one that is not in the table
// is added without weight.
func (d *Director) remove(m *member, add bool) {
	v := m.v
	if d.table.service(v) == nil {
		return
	}
	have := d.table.dest(v, m.dest.Addr)
	if !v.config.Quiescent {
		if have != nil {
			d.deleteDest(v, "real", m.name, m.dest)
		}
		return
	}
	zero := ipvs.Dest{Addr: m.dest.Addr, Forward: m.dest.Forward}
	line := fmt.Sprintf("Quiescent real server: %s(%s) (Weight set to 0)", mappedName(m.name, zero.Addr), v.label)
	switch {
	case have == nil && add && d.config.Global.ReaddQuiescent:
		d.change(v, ipvs.AddDest, zero, "Readd Quiescent real server: "+m.name+" ("+v.label+") (Weight set to 0)")
	case have == nil && add:
		d.change(v, ipvs.AddDest, zero, line)
	case have != nil && (have.Weight != 0 || have.Forward != zero.Forward && have.Forward != ipvs.Local):
		d.change(v, ipvs.EditDest, zero, line)
	}
}

func (d *Director) deleteDest(v *virtual, tag, name string, dest ipvs.Dest) {
	d.change(v, ipvs.DelDest, dest, fmt.Sprintf("Deleted %s server: %s(%s)", tag, mappedName(name, dest.Addr), v.label))
}

// mappedName is how removals name a server, with the blank that follows.
func mappedName(name string, at netip.AddrPort) string {
	if s := at.String(); s != name {
		return s + " mapped from " + name + " "
	}
	return name + " "
}

// balance puts the fallback server into the table if no real server is up, and takes it out if
// one is (fallback_on, fallback_off of the original).
func (d *Director) balance(v *virtual) {
	switch {
	case v.fallback == nil:
	case v.up == 0:
		d.restore(v, "fallback", v.fallName, *v.fallback)
	case d.table.dest(v, v.fallback.Addr) != nil && !slices.ContainsFunc(v.members, func(m *member) bool {
		return m.health == Up && m.dest.Addr == v.fallback.Addr
	}):
		d.deleteDest(v, "fallback", v.fallName, *v.fallback)
	}
}

// settle makes v's entry in the table right after a change was refused, or after the service
// vanished.
func (d *Director) settle(v *virtual) {
	v.dirty = false
	d.ensureService(v, false)
	for _, m := range v.members {
		switch m.health {
		case Up:
			d.restore(v, "real", m.name, m.dest)
		case Down:
			d.remove(m, true)
		}
	}
	d.balance(v)
}

// repair puts back what has vanished from the table. Weights set by hand are left alone, and
// so are servers without weight that were deleted by hand.
func (d *Director) repair(v *virtual) {
	if v.dirty {
		d.settle(v)
		return
	}
	if d.table.service(v) == nil {
		v.repairs++
		d.say("Virtual server %s has vanished from the table: putting it back", v.label)
		d.settle(v)
		return
	}
	for _, m := range v.members {
		if m.health == Up && d.table.dest(v, m.dest.Addr) == nil {
			v.repairs++
			d.restore(v, "real", m.name, m.dest)
		}
	}
	if v.fallback != nil && v.up == 0 && d.table.dest(v, v.fallback.Addr) == nil {
		v.repairs++
		d.balance(v)
	}
}
