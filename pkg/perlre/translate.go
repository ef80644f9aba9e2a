package perlre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// translator turns a Perl pattern into the engine's dialect, which is .NET's. It goes through
// the pattern once; what both dialects share passes unchanged.
type translator struct {
	src      string
	pos      int
	out      strings.Builder
	plain    bool   // nothing but literal text so far
	literal  []byte // that text
	atEnd    bool   // an assertion looks at what follows
	groups   int    // capture groups in the whole pattern
	opened   int    // capture groups opened so far
	extended []bool // is (?x) on, for each open group
	atom     bool   // there is something before that a quantifier can follow
	flagged  bool   // the last element was (?flags)
}

// maxDepth bounds the nesting of groups, and with it the engine's recursion when it compiles.
const maxDepth = 250

func (t *translator) translate() error {
	t.groups = countGroups(t.src)
	t.extended = []bool{false}
	for t.pos < len(t.src) {
		c, groups := t.src[t.pos], len(t.extended)
		if err := t.next(); err != nil {
			return err
		}
		t.atom = c != '|' && len(t.extended) <= groups && !t.flagged
		t.flagged = false
	}
	if len(t.extended) > 1 {
		return errors.New("unmatched (")
	}
	return nil
}

// next translates the element at the current position.
func (t *translator) next() error {
	c := t.src[t.pos]
	switch {
	case c == '\\':
		return t.escape()
	case c == '[':
		t.plain = false
		return t.class()
	case c == '(':
		t.plain = false
		return t.group()
	case c == ')':
		if len(t.extended) == 1 {
			return errors.New("unmatched )")
		}
		t.extended = t.extended[:len(t.extended)-1]
		t.keep(1)
	case c == '{':
		return t.brace()
	case c == '$':
		t.atEnd = true
		t.keep(1)
	case strings.IndexByte("^.|*+?", c) >= 0:
		t.keep(1)
	case t.isExtended() && (c == ' ' || c >= '\t' && c <= '\r'):
		t.keep(1)
	case t.isExtended() && c == '#':
		n := strings.IndexByte(t.src[t.pos:], '\n')
		if n < 0 {
			n = len(t.src) - t.pos
		}
		t.pos += n
	default:
		t.byte(c)
		t.pos++
	}
	return nil
}

func (t *translator) isExtended() bool { return t.extended[len(t.extended)-1] }

// keep copies n bytes of pattern syntax.
func (t *translator) keep(n int) {
	t.plain = false
	t.out.WriteString(t.src[t.pos : t.pos+n])
	t.pos += n
}

// put writes syntax of the engine in place of n bytes of the pattern.
func (t *translator) put(n int, syntax string) {
	t.plain = false
	t.out.WriteString(syntax)
	t.pos += n
}

// byte writes one literal byte.
func (t *translator) byte(b byte) {
	t.literal = append(t.literal, b)
	t.out.WriteString(quoteByte(b))
}

// quoteByte is a byte as the engine reads it, inside and outside of classes.
func quoteByte(b byte) string {
	switch {
	case b >= 0x80:
		return string(toRune(b))
	case isWord(b):
		return string(rune(b))
	case b > ' ' && b < 0x7f:
		return `\` + string(rune(b))
	}
	return fmt.Sprintf(`\x%02x`, b)
}

func isWord(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// maxRepeat is the largest number in a quantifier.
const maxRepeat = 65534

// brace translates a quantifier in braces, or a literal brace. Perl allows blanks inside, and a
// missing minimum; a maximum below the minimum never matches.
func (t *translator) brace() error {
	low, high, n := quantifier(t.src[t.pos:])
	if n == 0 || !t.atom {
		t.byte('{')
		t.pos++
		return nil
	}
	least, _ := strconv.Atoi(low)
	most, err := strconv.Atoi(strings.TrimPrefix(high, ","))
	if least > maxRepeat || most > maxRepeat {
		return fmt.Errorf("quantifier above %d", maxRepeat)
	}
	if err == nil && most < least {
		t.put(n, "{0}(?!)")
		return nil
	}
	t.put(n, "{"+low+high+"}")
	return nil
}

// quantifier reads {n}, {n,}, {n,m} or {,m}; high is empty for {n}, else starts with a comma.
// n is its length, 0 if there is none.
func quantifier(s string) (low, high string, n int) {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return "", "", 0
	}
	body := s[1:end]
	low, high, ranged := strings.Cut(body, ",")
	low, high = strings.Trim(low, " \t"), strings.Trim(high, " \t")
	if !isNumber(low) || !isNumber(high) || low == "" && high == "" {
		return "", "", 0
	}
	if low == "" {
		low = "0"
	}
	if ranged {
		high = "," + high
	}
	return low, high, end + 1
}

// isNumber tells a run of at most 9 digits, the empty one included.
func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return len(s) <= 9
}

// countGroups counts the capture groups of a pattern.
func countGroups(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(s, i)
		case '(':
			if captures(s[i+1:]) && !strings.HasSuffix(s[:i], "(?") {
				n++
			}
		}
	}
	return n
}

// captures tells whether what follows an opening parenthesis makes it a capture group.
func captures(s string) bool {
	if strings.HasPrefix(s, "*") {
		return false
	}
	rest, special := strings.CutPrefix(s, "?")
	if !special {
		return true
	}
	rest = strings.TrimPrefix(rest, "P")
	return strings.HasPrefix(rest, "'") || strings.HasPrefix(rest, "<") && !strings.HasPrefix(rest, "<=") && !strings.HasPrefix(rest, "<!")
}

// classEnd is the position of the bracket that closes the class at i, or the end of s.
func classEnd(s string, i int) int {
	i++
	if i < len(s) && s[i] == '^' {
		i++
	}
	for first := true; i < len(s); i, first = i+1, false {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '[' && i+1 < len(s) && s[i+1] == ':':
			if end := strings.Index(s[i+2:], ":]"); end >= 0 {
				i += end + 3
			}
		case s[i] == ']' && !first:
			return i
		}
	}
	return len(s)
}
