// Package getopt parses argument vectors as the original programs do: with getopt_long(3), with
// getopt(3), or with Perl's Getopt::Long as ldirectord sets it up. Short options may be clustered and may have their
// values attached (-w1), long options may have theirs after "=". It is driven by a table and keeps
// the order of what was given, which some of the programs depend on.
//
// ipvsadm's arguments are read by pkg/ipvs, as they are the rule text, too.
package getopt

import (
	"errors"
	"fmt"
	"strings"
)

// Value says whether an option takes a value.
type Value uint8

// The two answers.
const (
	None Value = iota
	Required
)

// Opt is an option of the table. Short is 0 for a long option alone, Long "" for a short one alone.
type Opt struct {
	Short byte
	Long  string
	Value Value
}

// Found is an option as it was given.
type Found struct {
	Opt   *Opt
	Given string // as written, without its value: "-w", "--wei"
	Value string
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

// Dialect is whose habits are followed.
type Dialect uint8

const (
	// GNU is getopt_long(3): options may follow operands, long ones may be shortened to a beginning
	// that no other has; the first mistake ends the parsing.
	GNU Dialect = iota
	// Perl is Getopt::Long with bundling and require_order, without auto_abbrev: options come before
	// the operands, long ones in any case and in full; all mistakes are reported.
	Perl
	// Short is getopt(3), which knows no long options: "--x" is the letters - and x. All mistakes are
	// reported.
	Short
)

// Grammar is how the arguments of a program are read.
type Grammar struct {
	Opts    []Opt
	Dialect Dialect
	// InOrder says that the first operand ends the options, as it does with Perl.
	InOrder bool
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

// Error is a mistake in the arguments.
type Error struct {
	Kind    Kind
	Given   string   // the option as written, with its dashes, without a value
	Could   []string // Ambiguous: the long options it could be
	Dialect Dialect  // of the text
}

// Error is the text of getopt_long(3) or getopt(3) without the program's name, or of Getopt::Long.
func (e *Error) Error() string {
	name := strings.TrimLeft(e.Given, "-")
	if e.Dialect == Perl {
		switch e.Kind {
		case Missing:
			return fmt.Sprintf("Option %s requires an argument", name)
		case Unwanted:
			return fmt.Sprintf("Option %s does not take an argument", name)
		}
		return "Unknown option: " + name
	}
	short := len(e.Given) == 2 && e.Given != "--"
	if e.Dialect == Short {
		name, short = e.Given[1:], true
	}
	switch {
	case e.Kind == Missing && short:
		return fmt.Sprintf("option requires an argument -- '%s'", name)
	case e.Kind == Missing:
		return fmt.Sprintf("option '%s' requires an argument", e.Given)
	case e.Kind == Unwanted:
		return fmt.Sprintf("option '%s' doesn't allow an argument", e.Given)
	case e.Kind == Ambiguous:
		return fmt.Sprintf("option '%s' is ambiguous; possibilities: '--%s'", e.Given, strings.Join(e.Could, "' '--"))
	case short:
		return fmt.Sprintf("invalid option -- '%s'", name)
	}
	return fmt.Sprintf("unrecognized option '%s'", e.Given)
}

// Parse reads args, which exclude the program's name. On a mistake it returns what else was read,
// and one *Error or several joined, one a line.
func (g Grammar) Parse(args []string) (Result, error) {
	p := parser{Grammar: g}
	for len(args) > 0 && (len(p.errs) == 0 || g.Dialect != GNU) {
		a := args[0]
		switch {
		case a == "--":
			p.Operands = append(p.Operands, args[1:]...)
			args = nil
		case strings.HasPrefix(a, "--") && g.Dialect != Short:
			args = args[p.long(args):]
		case len(a) > 1 && a[0] == '-':
			args = args[p.cluster(args):]
		case g.Dialect == Perl || g.InOrder:
			p.Operands = append(p.Operands, args...)
			args = nil
		default:
			p.Operands = append(p.Operands, a)
			args = args[1:]
		}
	}
	return p.Result, errors.Join(p.errs...)
}

// parser is one run of Parse.
type parser struct {
	Grammar
	Result
	errs []error
}

func (p *parser) fail(kind Kind, given string, could ...string) {
	p.errs = append(p.errs, &Error{Kind: kind, Given: given, Could: could, Dialect: p.Dialect})
}

// long reads args[0] as a long option and says how many arguments it took.
func (p *parser) long(args []string) (taken int) {
	given, value, attached := strings.Cut(args[0], "=")
	o := p.findLong(given)
	switch {
	case o == nil:
		return 1
	case o.Value == None && attached:
		p.fail(Unwanted, given)
		return 1
	case o.Value == Required && !attached && len(args) < 2:
		p.fail(Missing, given)
		return 1
	}
	taken = 1
	if o.Value == Required && !attached {
		value, taken = args[1], 2
	}
	p.Options = append(p.Options, Found{Opt: o, Given: given, Value: value})
	return taken
}

// findLong finds a long option by its name, or by a beginning that only one has; it reports what
// it does not find.
func (p *parser) findLong(given string) *Opt {
	name := given[2:]
	var found *Opt
	var could []string
	for i := range p.Opts {
		o := &p.Opts[i]
		switch {
		case o.Long == "":
		case o.Long == name, p.Dialect == Perl && strings.EqualFold(o.Long, name):
			return o
		case p.Dialect == GNU && strings.HasPrefix(o.Long, name):
			found = o
			could = append(could, o.Long)
		}
	}
	switch len(could) {
	case 0:
		p.fail(Unknown, given)
		return nil
	case 1:
		return found
	}
	p.fail(Ambiguous, given, could...)
	return nil
}

// cluster reads args[0] as short options and says how many arguments they took.
func (p *parser) cluster(args []string) (taken int) {
	for letters := args[0][1:]; letters != ""; letters = letters[1:] {
		given := "-" + letters[:1]
		i := 0
		for i < len(p.Opts) && p.Opts[i].Short != letters[0] {
			i++
		}
		if i == len(p.Opts) {
			if p.fail(Unknown, given); p.Dialect == GNU {
				return 1
			}
			continue
		}
		f := Found{Opt: &p.Opts[i], Given: given}
		switch {
		case f.Opt.Value == None:
			p.Options = append(p.Options, f)
			continue
		case len(letters) > 1:
			f.Value, taken = letters[1:], 1
		case len(args) > 1:
			f.Value, taken = args[1], 2
		default:
			p.fail(Missing, given)
			return 1
		}
		p.Options = append(p.Options, f)
		return taken
	}
	return 1
}
