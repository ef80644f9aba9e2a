package director

import "github.com/systole-ha/systole/pkg/ipvs"

// leftovers are refused deletions of what the file does not know any more. Nothing else would ask
// for them again: what is not in the file, and was not in it before, is somebody else's.
type leftovers []change

// unwanted says whether op is to delete what the configuration in force does not have: a service, or
// a server of one that it has. A server of a service that is to go goes with it.
func (d *Director) unwanted(op ipvs.Op) bool {
	v := d.virtual(op.Service.VIP)
	switch op.Kind {
	case ipvs.DelService:
		return v == nil
	case ipvs.DelDest:
		return v != nil && !v.isMember(op.Dest.Addr) && (v.fallback == nil || v.fallback.Addr != op.Dest.Addr)
	}
	return false
}

// deleteLeftovers asks again for the deletion of what is still in the table and still unwanted, and
// forgets the rest.
func (d *Director) deleteLeftovers() {
	old := d.leftovers
	d.leftovers = nil
	for _, c := range old {
		if d.unwanted(c.op) && d.table.has(c.op) {
			c.v.dirty = false // as settle does for services of the file
			d.ask(c)
		}
	}
}

// has says whether what op deletes is there.
func (t *mirror) has(op ipvs.Op) bool {
	e := t.entries[op.Service.VIP]
	return e != nil && (op.Kind == ipvs.DelService || destIndex(e, op.Dest.Addr) >= 0)
}
