package perlre

import (
	"errors"
	"fmt"
	"strings"
)

// byteSet is a character class: which bytes are in it.
type byteSet struct{ in [256]bool }

func (s *byteSet) add(low, high int) {
	for b := low; b <= high; b++ {
		s.in[b] = true
	}
}

func (s *byteSet) union(other *byteSet) {
	for b, in := range other.in {
		s.in[b] = s.in[b] || in
	}
}

func (s *byteSet) complement() *byteSet {
	out := &byteSet{}
	for b, in := range s.in {
		out.in[b] = !in
	}
	return out
}

// syntax is the set as a class of the engine. Negation stays a negation, because (?i) applies
// before it.
func (s *byteSet) syntax(negated bool) string {
	var b strings.Builder
	for low := 0; low < 256; low++ {
		if !s.in[low] {
			continue
		}
		high := low
		for high < 255 && s.in[high+1] && (high+1 != 0x80) {
			high++
		}
		b.WriteString(quoteByte(byte(low)))
		if high > low {
			b.WriteString("-" + quoteByte(byte(high)))
		}
		low = high
	}
	switch {
	case b.Len() == 0 && negated:
		return `[\s\S]`
	case b.Len() == 0:
		return "(?!)"
	case negated:
		return "[^" + b.String() + "]"
	}
	return "[" + b.String() + "]"
}

// namedSet builds the set of the bytes for which in is true.
func namedSet(in func(byte) bool) *byteSet {
	s := &byteSet{}
	for b := range 256 {
		s.in[b] = in(byte(b))
	}
	return s
}

func isAlpha(b byte) bool { return isWord(b) && b != '_' && !isDigit(b) }
func isSpace(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }
func isGraph(b byte) bool { return b > ' ' && b < 0x7f }

// classEscape is the set of a class escape; Perl on bytes knows ASCII in all but \h and \v.
func classEscape(c byte) (*byteSet, bool) {
	switch c {
	case 'd':
		return namedSet(isDigit), true
	case 'w':
		return namedSet(isWord), true
	case 's':
		return namedSet(isSpace), true
	case 'h':
		return namedSet(func(b byte) bool { return b == ' ' || b == '\t' || b == 0xa0 }), true
	case 'v':
		return namedSet(func(b byte) bool { return b >= '\n' && b <= '\r' || b == 0x85 }), true
	case 'D', 'W', 'S', 'H', 'V':
		set, _ := classEscape(c | 0x20)
		return set.complement(), true
	}
	return nil, false
}

// posix is the classes of [[:name:]].
var posix = map[string]func(byte) bool{
	"alnum":  func(b byte) bool { return isAlpha(b) || isDigit(b) },
	"alpha":  isAlpha,
	"ascii":  func(b byte) bool { return b < 0x80 },
	"blank":  func(b byte) bool { return b == ' ' || b == '\t' },
	"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
	"digit":  isDigit,
	"graph":  isGraph,
	"lower":  func(b byte) bool { return b >= 'a' && b <= 'z' },
	"print":  func(b byte) bool { return b == ' ' || isGraph(b) },
	"punct":  func(b byte) bool { return isGraph(b) && !isAlpha(b) && !isDigit(b) },
	"space":  isSpace,
	"upper":  func(b byte) bool { return b >= 'A' && b <= 'Z' },
	"word":   isWord,
	"xdigit": isHex,
}

// class translates a bracketed class: it is read into a set and written anew, as the engine's
// own reading of brackets, ampersands and minus signs inside is another one.
func (t *translator) class() error {
	set := &byteSet{}
	i := t.pos + 1
	negated := i < len(t.src) && t.src[i] == '^'
	if negated {
		i++
	}
	for first := true; ; first = false {
		if i >= len(t.src) {
			return errors.New("unmatched [")
		}
		if t.src[i] == ']' && !first {
			break
		}
		low, n, err := t.classItem(i, set)
		if err != nil {
			return err
		}
		i += n
		if low < 0 || i+1 >= len(t.src) || t.src[i] != '-' || t.src[i+1] == ']' {
			if low >= 0 {
				set.in[low&0xff] = true
			}
			continue
		}
		probe := &byteSet{}
		high, n, err := t.classItem(i+1, probe)
		if err != nil {
			return err
		}
		i += 1 + n
		switch {
		case high == outside: // up to a character above 0xff
			set.add(low, 0xff)
		case high < 0: // a class after a minus sign: the sign is itself
			set.in[low], set.in['-'] = true, true
			set.union(probe)
		case high < low:
			return fmt.Errorf("invalid range %q in a class", t.src[i-n-2:i])
		default:
			set.add(low, high)
		}
	}
	t.put(i+1-t.pos, set.syntax(negated))
	return nil
}

// What classItem returns for an item that is no single byte.
const (
	isSet   = -1 // the item went into the set
	outside = -2 // a character that no byte is
)

// classItem reads one item of a class at i: a byte, or a set that it adds.
func (t *translator) classItem(i int, set *byteSet) (b, n int, err error) {
	s := t.src[i:]
	switch {
	case strings.HasPrefix(s, "[:"):
		if end := strings.Index(s, ":]"); end >= 2 {
			name, negated := strings.CutPrefix(s[2:end], "^")
			in, ok := posix[name]
			if !ok {
				return 0, 0, fmt.Errorf("unknown class [:%s:]", clip(name))
			}
			named := namedSet(in)
			if negated {
				named = named.complement()
			}
			set.union(named)
			return isSet, end + 2, nil
		}
	case strings.HasPrefix(s, "[=") && strings.Contains(s[2:], "=]"), strings.HasPrefix(s, "[.") && strings.Contains(s[2:], ".]"):
		return 0, 0, errors.New("[= =] and [. .] are not supported")
	}
	if s[0] != '\\' {
		return int(s[0]), 1, nil
	}
	if len(s) < 2 {
		return 0, 0, errors.New("unmatched [")
	}
	c := s[1]
	if named, ok := classEscape(c); ok {
		set.union(named)
		return isSet, 2, nil
	}
	switch {
	case c == 'b':
		return '\b', 2, nil
	case c == 'p' || c == 'P':
		named, n, err := property(s[1:])
		if err != nil {
			return 0, 0, err
		}
		set.union(named)
		return isSet, 1 + n, nil
	case c == 'N' && !strings.HasPrefix(s[2:], "{U+"):
		return 0, 0, errors.New(`\N in a class`)
	case c >= '1' && c <= '7':
		n := octalDigits(s[1:], 3)
		v := 0
		for _, d := range []byte(s[1 : 1+n]) {
			v = v*8 + int(d-'0')
		}
		if v > 0xff {
			return outside, 1 + n, nil
		}
		return v, 1 + n, nil
	}
	v, n, ok, err := escapedByte(s[1:])
	switch {
	case err != nil:
		return 0, 0, err
	case !ok:
		return int(c), 2, nil
	case v < 0:
		return outside, 1 + n, nil
	}
	return v, 1 + n, nil
}
