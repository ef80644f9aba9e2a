package ipvs

import "strings"

// scanner takes an argv apart as popt(3) does: options and operands mix, short options bundle,
// a value is attached ("-w1", "-w=1", "--weight=1") or the next word, "--" ends options. Unlike
// getopt it knows no abbreviations and reports the whole word in which an option went wrong.
type scanner struct {
	args   []string
	next   int // the word that comes next
	bundle string
	rest   bool  // "--" was seen
	left   []int // operands
}

// optError is popt's complaint about the word at index arg.
type optError struct {
	arg  int
	text string
}

const (
	unknownOption  = "unknown option"
	missingValue   = "missing argument"
	unwantedValue  = "option does not take an argument"
	endOfArguments = -1
)

// scan returns the next option, its value, and the index of the word that the option was in;
// o is nil at the end. given tells "-p" from "-p ”".
func (s *scanner) scan() (o *option, value string, given bool, at int, err *optError) {
	attached := false
	for s.bundle == "" {
		if s.next == len(s.args) {
			return nil, "", false, endOfArguments, nil
		}
		word := s.args[s.next]
		s.next++
		switch {
		case s.rest || !strings.HasPrefix(word, "-") || word == "-":
			s.left = append(s.left, s.next-1)
			continue
		case word == "--":
			s.rest = true
			continue
		case !strings.HasPrefix(word, "--"):
			s.bundle = word[1:]
			continue
		}
		name, v, has := strings.Cut(word[2:], "=")
		if o = longOption(name); o == nil {
			return nil, "", false, 0, &optError{s.next - 1, unknownOption}
		}
		value, attached = v, has
		break
	}
	at = s.next - 1
	if o == nil {
		if o = shortOption(s.bundle[0]); o == nil {
			return nil, "", false, 0, &optError{at, unknownOption}
		}
		s.bundle = s.bundle[1:]
		if after, ok := strings.CutPrefix(s.bundle, "="); ok {
			value, attached, s.bundle = after, true, ""
		} else if o.value != noValue && s.bundle != "" {
			value, attached, s.bundle = s.bundle, true, ""
		}
	}
	switch {
	case o.value == noValue && attached:
		return nil, "", false, 0, &optError{at, unwantedValue}
	case o.value == noValue || attached:
		return o, value, attached, at, nil
	case s.next == len(s.args) && o.value == needsValue:
		return nil, "", false, 0, &optError{at, missingValue}
	case s.next == len(s.args) || o.value == mayHaveValue && strings.HasPrefix(s.args[s.next], "-"):
		return o, "", false, at, nil
	}
	s.next++
	return o, s.args[s.next-1], true, at, nil
}
