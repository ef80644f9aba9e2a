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

var healthNames = [...]string{"unknown", "up", "down"}

// String is "unknown", "up" or "down".
func (h Health) String() string { return healthNames[h] }

// MarshalText is String.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what String says.
func (h *Health) UnmarshalText(text []byte) error {
	i := slices.Index(healthNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown health %q", text)
	}
	*h = Health(i)
	return nil
}

// virtual is one section of the configuration.
type virtual struct {
	config    *ldirectordcf.Virtual
	service   ipvs.Service
	label, id string
	members   []*member // in file order
	serving   int       // members that are Up and not drained
	fallback  *ipvs.Dest
	fallName  string // the fallback's address as configured

	word string // the fallbackcommand's last argument so far: start, stop, or none yet

	dirty   bool            // a change was refused
	stale   bool            // one was refused because somebody else had changed the table
	refused string          // the first refusal since all was well
	told    map[string]bool // refusals that are in the log

	repairs   uint64 // of what somebody else had done
	driftRuns int    // readings of the table in a row that found something to repair
}

// member is a real server in one virtual service.
type member struct {
	v       *virtual
	real    *ldirectordcf.Real
	dest    ipvs.Dest // as in the table while up and not drained
	name    string    // ADDR:PORT as configured
	probe   *probe    // nil if there is nothing to check
	health  Health
	drained bool // by ldirectord drain, or its agent

	// suspended is whether a file in maintenancedir has taken it out, and its end alone brings it
	// back: with checktype=off no check does.
	suspended bool
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
	// With checktype on or off there is only maintenancedir to look at.
	checked := c.CheckType != ldirectordcf.On && c.CheckType != ldirectordcf.Off || d.config.Global.MaintenanceDir != ""
	for _, m := range v.members {
		if checked {
			d.schedule.join(m)
		}
		m.drained = d.isDrained(m)
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

// isMember says whether a is the entry of a real server of the file.
func (v *virtual) isMember(a netip.AddrPort) bool {
	return slices.ContainsFunc(v.members, func(m *member) bool { return m.dest.Addr == a })
}

// inherit gives m what old, the same service of the configuration before or nil, knew of its server.
func (d *Director) inherit(m *member, old *virtual) {
	if old == nil {
		return
	}
	i := slices.IndexFunc(old.members, func(o *member) bool { return o.dest.Addr == m.dest.Addr })
	if i < 0 {
		return
	}
	o := old.members[i]
	switch {
	case m.v.config.CheckType == ldirectordcf.Off:
		m.suspended = o.suspended // what has traffic, the table knows
	case o.probe == m.probe:
		d.setHealth(m, o.health)
	}
}
