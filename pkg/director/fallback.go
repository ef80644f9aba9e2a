package director

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// balance puts the fallback server into the table if no real server serves, and takes it out if
// one does (fallback_on, fallback_off of the original); the fallbackcommand is told likewise.
func (d *Director) balance(v *virtual) {
	if f := v.fallback; f != nil {
		have := d.table.dest(v, f.Addr)
		text := fmt.Sprintf("fallback server: %s (%s) (Weight set to %d)", v.fallName, v.label, f.Weight)
		switch {
		case v.serving == 0 && have == nil:
			d.change(v, ipvs.AddDest, *f, mailed("Added "+text))
		case v.serving == 0 && !sameDest(*have, *f):
			d.change(v, ipvs.EditDest, *f, mailed("Restored "+text))
		case v.serving > 0 && have != nil:
			d.fallbackOff(v)
		}
	}
	word := "stop"
	if v.serving == 0 {
		word = "start"
	}
	if v.config.FallbackCommand != "" && v.word != word {
		v.word = word
		d.afterwards(FallbackCommand{Virtual: v.config, Word: word})
	}
}

// fallbackOff takes the fallback's entry out of the table, or gives it back to the real server whose it is, too.
func (d *Director) fallbackOff(v *virtual) {
	f := v.fallback
	i := slices.IndexFunc(v.members, func(m *member) bool { return m.dest.Addr == f.Addr })
	switch {
	case i >= 0 && v.members[i].health == Up:
		if v.members[i].drained {
			d.restore(v.members[i])
		}
	case i >= 0 && v.members[i].health == Down && v.config.Quiescent:
		d.remove(v.members[i], false)
	default:
		d.change(v, ipvs.DelDest, *f, mailed(deleted("fallback", v.fallName, f.Addr, v)))
	}
}

// fallbackAt says whether the entry at a is, or should be, the fallback's.
func (v *virtual) fallbackAt(a netip.AddrPort) bool {
	return v.fallback != nil && v.serving == 0 && v.fallback.Addr == a
}

// actsAsFallback says whether a real server that does not serve is in the table all the same, as the fallback.
func (d *Director) actsAsFallback(m *member) bool {
	if !m.v.fallbackAt(m.dest.Addr) {
		return false
	}
	have := d.table.dest(m.v, m.dest.Addr)
	return have != nil && sameDest(*have, *m.v.fallback)
}

// fallbackIn says whether the table has the fallback server because it is the fallback.
func (d *Director) fallbackIn(v *virtual) bool {
	return v.fallback != nil && v.serving == 0 && d.table.dest(v, v.fallback.Addr) != nil
}
