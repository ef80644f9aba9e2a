// Package getopt parses argument vectors as the original programs do: with getopt_long(3), with
// popt (ipvsadm) or with Perl's Getopt::Long (ldirectord). Options may follow operands, short
// options may be clustered and may have their values attached (-w1), long options may be
// shortened to a unique beginning and may have their values after "=". It is driven by a table and
// keeps the order of what was given, which some of the programs depend on.
package getopt

import (
	"fmt"
	"strings"
)

// Value says whether an option takes a value.
type Value uint8

// The three answers. An Optional value has to be attached (-p300, --persistent=300), unless the
// program's grammar says TakesNumber.
const (
	None Value = iota
	Required
	Optional
	// TakesNumber is an optional value that may also be the next argument if that begins with a
	// digit: ipvsadm's -p [timeout].
	TakesNumber
)

// Opt is an option of the table. Short is 0 for a long option alone, Long "" for a short one alone.
type Opt struct {
	Short byte
	Long  string
	Value Value
}

// Found is an option as it was given.
type Found struct {
	Opt      *Opt
	Given    string // as written, without its value: "-w", "--wei"
	Value    string
	HasValue bool
}

// Result is what an argument vector says, in its order.
type Result struct {
	Options  []Found
	Operands []string
}

// Has tells whether an option was given, by its short or long name.
func (r Result) Has(name string) bool { return r.Count(name) > 0 }

// Count is how often an option was given, by its short or long name.
func (r Result) Count(name string) int {
	n := 0
	for _, f := range r.Options {
		if f.Opt.is(name) {
			n++
		}
	}
	return n
}

// Value is the value of the last option of that short or long name; ok is false if none was given.
func (r Result) Value(name string) (value string, ok bool) {
	for _, f := range r.Options {
		if f.Opt.is(name) {
			value, ok = f.Value, true
		}
	}
	return value, ok
}

func (o *Opt) is(name string) bool {
	return o.Long != "" && o.Long == name || o.Short != 0 && len(name) == 1 && o.Short == name[0]
}

// Grammar is how the arguments of a program are read.
type Grammar struct {
	Opts []Opt
	// StopAtOperand ends option parsing at the first operand, as POSIX has it; the default is to
	// look on, as GNU, popt and Getopt::Long do.
	StopAtOperand bool
	// SingleDash lets long options begin with one dash too (Getopt::Long without bundling). Short
	// options are then not clustered.
	SingleDash bool
	// IgnoreCase compares long options without case (Getopt::Long's default).
	IgnoreCase bool
}

// Kind is what is wrong with an argument.
type Kind uint8

// The mistakes.
const (
	Unknown   Kind = iota // no such option
	Ambiguous             // the beginning of several long options
	Missing               // a value is required
	Unwanted              // a value is given to an option without one
)

// Error is a mistake in the arguments. Its text is GNU's without the program's name.
type Error struct {
	Kind  Kind
	Given string   // the option as written, with its dashes, without a value
	Could []string // Ambiguous: the long options it could be
}

// Error is the text of getopt_long(3).
func (e *Error) Error() string {
	short := strings.HasPrefix(e.Given, "-") && !strings.HasPrefix(e.Given, "--") && len(e.Given) == 2
	switch {
	case e.Kind == Missing && short:
		return fmt.Sprintf("option requires an argument -- '%s'", e.Given[1:])
	case e.Kind == Missing:
		return fmt.Sprintf("option '%s' requires an argument", e.Given)
	case e.Kind == Unwanted:
		return fmt.Sprintf("option '%s' doesn't allow an argument", e.Given)
	case e.Kind == Ambiguous:
		var b strings.Builder
		fmt.Fprintf(&b, "option '%s' is ambiguous; possibilities:", e.Given)
		for _, c := range e.Could {
			fmt.Fprintf(&b, " '--%s'", c)
		}
		return b.String()
	case short:
		return fmt.Sprintf("invalid option -- '%s'", e.Given[1:])
	}
	return fmt.Sprintf("unrecognized option '%s'", e.Given)
}

// Parse reads args, which exclude the program's name. On a mistake it returns what was read before
// it, and an *Error.
func (g Grammar) Parse(args []string) (Result, error) {
	var r Result
	for i := 0; i < len(args); {
		a := args[i]
		switch {
		case a == "--":
			r.Operands = append(r.Operands, args[i+1:]...)
			return r, nil
		case strings.HasPrefix(a, "--"), g.SingleDash && len(a) > 1 && a[0] == '-':
			n, err := g.long(&r, args[i:])
			if err != nil {
				return r, err
			}
			i += n
		case len(a) > 1 && a[0] == '-':
			n, err := g.cluster(&r, args[i:])
			if err != nil {
				return r, err
			}
			i += n
		case g.StopAtOperand:
			r.Operands = append(r.Operands, args[i:]...)
			return r, nil
		default:
			r.Operands = append(r.Operands, a)
			i++
		}
	}
	return r, nil
}

// long reads args[0] as a long option and says how many arguments it took.
func (g Grammar) long(r *Result, args []string) (taken int, err error) {
	given, value, attached := strings.Cut(args[0], "=")
	o, err := g.findLong(given)
	if err != nil {
		return 0, err
	}
	f := Found{Opt: o, Given: given, Value: value, HasValue: attached}
	taken = 1
	switch {
	case o.Value == None && attached:
		return 0, &Error{Kind: Unwanted, Given: given}
	case o.Value == Required && !attached:
		if len(args) < 2 {
			return 0, &Error{Kind: Missing, Given: given}
		}
		f.Value, f.HasValue, taken = args[1], true, 2
	case o.Value == TakesNumber && !attached && len(args) > 1 && isNumber(args[1]):
		f.Value, f.HasValue, taken = args[1], true, 2
	}
	r.Options = append(r.Options, f)
	return taken, nil
}

// findLong finds a long option by its name or by a unique beginning of it.
func (g Grammar) findLong(given string) (*Opt, error) {
	name := strings.TrimLeft(given, "-")
	same := func(a, b string) bool { return a == b || g.IgnoreCase && strings.EqualFold(a, b) }
	var found *Opt
	var could []string
	for i := range g.Opts {
		o := &g.Opts[i]
		if g.SingleDash && len(name) == 1 && o.Short == name[0] || o.Long != "" && same(o.Long, name) {
			return o, nil
		}
		if name != "" && len(o.Long) > len(name) && same(o.Long[:len(name)], name) {
			found = o
			could = append(could, o.Long)
		}
	}
	switch len(could) {
	case 0:
		return nil, &Error{Kind: Unknown, Given: given}
	case 1:
		return found, nil
	}
	return nil, &Error{Kind: Ambiguous, Given: given, Could: could}
}

// cluster reads args[0] as short options and says how many arguments they took.
func (g Grammar) cluster(r *Result, args []string) (taken int, err error) {
	letters := args[0][1:]
	for i := 0; i < len(letters); i++ {
		given := "-" + letters[i:i+1]
		o := g.findShort(letters[i])
		if o == nil {
			return 0, &Error{Kind: Unknown, Given: given}
		}
		f := Found{Opt: o, Given: given}
		rest := letters[i+1:]
		switch {
		case o.Value == None:
			r.Options = append(r.Options, f)
			continue
		case rest != "" && (o.Value != TakesNumber || isNumber(rest)):
			f.Value, f.HasValue = rest, true
			r.Options = append(r.Options, f)
			return 1, nil
		case rest != "": // TakesNumber, and letters follow: more options
			r.Options = append(r.Options, f)
			continue
		case o.Value == Required && len(args) < 2:
			return 0, &Error{Kind: Missing, Given: given}
		case o.Value == Required, o.Value == TakesNumber && len(args) > 1 && isNumber(args[1]):
			f.Value, f.HasValue = args[1], true
			r.Options = append(r.Options, f)
			return 2, nil
		}
		r.Options = append(r.Options, f)
	}
	return 1, nil
}

func (g Grammar) findShort(c byte) *Opt {
	for i := range g.Opts {
		if g.Opts[i].Short == c {
			return &g.Opts[i]
		}
	}
	return nil
}

func isNumber(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }
