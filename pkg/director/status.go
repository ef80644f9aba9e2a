package director

import (
	"fmt"
	"slices"
	"time"
)

// Status is a copy of what a director knows.
type Status struct {
	State    State           `json:"state"`
	Unread   string          `json:"unread"`   // why the table could not be read the last time, and its counters are old; empty if it could
	Virtuals []VirtualStatus `json:"virtuals"` // in file order
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

var stateNames = [...]string{"starting", "running", "reloading", "stopping"}

// String is the word that the original uses in mails.
func (s State) String() string { return stateNames[s] }

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String says.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown state %q", text)
	}
	*s = State(i)
	return nil
}

// VirtualStatus is one virtual service.
type VirtualStatus struct {
	ID       string       `json:"id"` // "tcp:10.0.0.1:80"
	Reals    []RealStatus `json:"reals"`
	Fallback bool         `json:"fallback"` // the fallback server is in the table
	Repairs  uint64       `json:"repairs"`  // entries that somebody else had deleted or changed and that were set right
	Error    string       `json:"error"`    // why the table refused the last change; empty when all is as it should be
}

// RealStatus is one real server of a virtual service.
type RealStatus struct {
	Addr     string    `json:"addr"` // "10.0.0.2:80", as configured
	Health   Health    `json:"health"`
	Drained  bool      `json:"drained"`  // by ldirectord drain, or its agent
	InTable  bool      `json:"in_table"` // as last read or changed
	Weight   int32     `json:"weight"`   // in the table
	Active   uint32    `json:"active"`   // connections when the table was last read
	Inactive uint32    `json:"inactive"`
	Failures int       `json:"failures"` // in a row
	Checks   uint64    `json:"checks"`   // answered since the configuration first had this check
	Failed   uint64    `json:"failed"`   // of these checks
	Took     float64   `json:"took"`     // seconds that the last check took
	Spent    float64   `json:"spent"`    // seconds that all checks took together
	Checked  time.Time `json:"checked"`  // when the last check was answered; zero if none was
	Reason   string    `json:"reason"`   // of the last failed check
	Agent    string    `json:"agent"`    // what its agent said last
	Warning  string    `json:"warning"`  // of the last check: what is wrong although the server may be up
	Recent   []Failure `json:"recent"`   // the last failed checks, the latest last
}

// Failure is a check that failed.
type Failure struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Trace  []string  `json:"trace"` // what was sent and what came back, a line each
}

// Status returns a copy of the director's state.
func (d *Director) Status() Status {
	s := Status{State: d.state, Unread: d.table.unreadable}
	for _, v := range d.virtuals {
		vs := VirtualStatus{ID: v.id, Fallback: d.fallbackIn(v), Repairs: v.repairs, Error: v.refused}
		for _, m := range v.members {
			r := RealStatus{Addr: m.name, Health: m.health, Drained: m.drained}
			if have := d.table.entry(v, m.dest.Addr); have != nil {
				r.InTable, r.Weight, r.Active, r.Inactive = true, have.Weight, have.ActiveConns, have.InactConns
			}
			if p := m.probe; p != nil {
				r.Failures, r.Checks, r.Failed, r.Took, r.Spent = p.failures, p.checks, p.failed, p.took.Seconds(), p.spent.Seconds()
				r.Recent, r.Warning, r.Agent = slices.Clone(p.recent), p.warning, p.agent.text
				if n := len(p.recent); n > 0 {
					r.Reason = p.recent[n-1].Reason
				}
				if p.checks > 0 {
					r.Checked = d.epoch.Add(p.answered)
				}
			}
			vs.Reals = append(vs.Reals, r)
		}
		s.Virtuals = append(s.Virtuals, vs)
	}
	return s
}
