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
		case v.serving > 0 && have != nil && !v.isReal(f.Addr):
			d.change(v, ipvs.DelDest, *f, mailed(deleted("fallback", v.fallName, f.Addr, v)))
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

// isReal says whether the entry at a is that of a real server that is up.
func (v *virtual) isReal(a netip.AddrPort) bool {
	return slices.ContainsFunc(v.members, func(m *member) bool { return m.health == Up && m.dest.Addr == a })
}

// fallbackIn says whether the table has the fallback server because it is the fallback.
func (d *Director) fallbackIn(v *virtual) bool {
	return v.fallback != nil && v.serving == 0 && d.table.dest(v, v.fallback.Addr) != nil
}
