package director

import "time"

// Status is a copy of what a director knows.
type Status struct {
	State    State
	Virtuals []VirtualStatus // in file order
}

// State is what the director is doing, by the words of emailalertstatus.
type State uint8

// The states.
const (
	Starting State = iota
	Running
	Reloading
	Stopping
)

// String is the word that the original uses in mails.
func (s State) String() string {
	return [...]string{"starting", "running", "reloading", "stopping"}[s]
}

// VirtualStatus is one virtual service.
type VirtualStatus struct {
	ID       string // "tcp:10.0.0.1:80"
	Reals    []RealStatus
	Fallback bool   // the fallback server is in the table
	Repairs  uint64 // entries that vanished from the table and were put back
	Error    string // why the table refused the last change; empty after one that was carried out
}

// RealStatus is one real server of a virtual service.
type RealStatus struct {
	Addr     string // "10.0.0.2:80", as configured
	Health   Health
	Failures int       // in a row
	Checked  time.Time // when the last check was answered; zero if none was
	Reason   string    // of the last failed check
}

// Status returns a copy of the director's state.
func (d *Director) Status() Status {
	s := Status{State: d.state}
	for _, v := range d.virtuals {
		vs := VirtualStatus{ID: v.id, Fallback: d.fallbackIn(v), Repairs: v.repairs, Error: v.refused}
		for _, m := range v.members {
			r := RealStatus{Addr: m.name, Health: m.health}
			if m.probe != nil {
				r.Failures, r.Reason = m.probe.failures, m.probe.reason
				if m.probe.checks > 0 {
					r.Checked = d.epoch.Add(m.probe.answered)
				}
			}
			vs.Reals = append(vs.Reals, r)
		}
		s.Virtuals = append(s.Virtuals, vs)
	}
	return s
}
