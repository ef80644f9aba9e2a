package ipvs

import "strings"

// Refusal is why a table did not carry out an operation. Reason is one of the sentinels
// (ErrExists, ...) or nil, Cause what the kernel said or nil; errors.Is finds both.
type Refusal struct {
	Op     Op
	Reason error
	Cause  error
}

// Error is "op object: cause".
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(r.Op.String())
	switch {
	case r.Reason != nil:
		b.WriteString(": " + r.Reason.Error())
	case r.Cause != nil:
		b.WriteString(": " + r.Cause.Error())
	}
	return b.String()
}

// Unwrap gives errors.Is the sentinel and the errno.
func (r *Refusal) Unwrap() []error {
	var errs []error
	for _, err := range []error{r.Reason, r.Cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// String names an operation and its object: "add service tcp:10.0.0.1:80",
// "delete real server 10.0.0.2:80 of tcp:10.0.0.1:80", "clear the table".
func (o Op) String() string {
	service := " service " + o.Service.VIP.ID()
	dest := " real server " + o.Dest.Addr.String() + " of " + o.Service.VIP.ID()
	switch o.Kind {
	case AddService:
		return "add" + service
	case EditService:
		return "change" + service
	case DelService:
		return "delete" + service
	case AddDest:
		return "add" + dest
	case EditDest:
		return "change" + dest
	case DelDest:
		return "delete" + dest
	case Zero:
		if o.Service.VIP == (VIP{}) {
			return "zero all counters"
		}
		return "zero counters of" + service
	}
	return "clear the table"
}
