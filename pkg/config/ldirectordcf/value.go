package ldirectordcf

import (
	"strconv"
	"strings"
	"time"
)

const (
	second   = time.Second
	tabWidth = 4 // columns a tab counts for, anywhere in a section's line
	// maxNumber bounds every count and number of seconds; larger ones are taken as this.
	maxNumber = 1 << 30
)

// isBlank is Perl's \s on a byte.
func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isBlankRune(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func skipBlanks(s string, i int) int {
	for i < len(s) && isBlank(s[i]) {
		i++
	}
	return i
}

// run returns the first run of bytes of a class anywhere in s.
func run(s string, class func(byte) bool) string {
	i := 0
	for i < len(s) && !class(s[i]) {
		i++
	}
	j := i
	for j < len(s) && class(s[j]) {
		j++
	}
	return s[i:j]
}

// firstWord is the first run of letters, digits and underscores.
func firstWord(s string) string { return run(s, isWordByte) }

// clip keeps a quoted piece of a file short enough for a message.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// number is the value of a run of digits, at most maxNumber.
func number(digits string) int {
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > maxNumber {
		return maxNumber
	}
	return int(n)
}

// natural reads a number wherever it stands in the value, as the original does: "5s" and "x5"
// are 5. A first run of digits that is just "0" is refused; "00" is a zero, which the original
// takes and least may not.
func (p *parser) natural(st statement, wire, want string, least int) (int, bool) {
	digits := run(st.value, isDigit)
	if digits == "" || digits == "0" || number(digits) < least {
		p.fail(p.at(st, 0), st.name, wire, want, "bad number %q", clip(st.value))
		return 0, false
	}
	return number(digits), true
}

// seconds is natural for a time.
func (p *parser) seconds(st statement, wire string, least int) (time.Duration, bool) {
	n, ok := p.natural(st, wire, "a number of seconds, 1 or more", least)
	return time.Duration(n) * second, ok
}

// yesNo reads yes or no. The original wants nothing around it, not even a blank; blanks are harmless.
func (p *parser) yesNo(st statement, dst *bool) bool {
	switch strings.TrimFunc(st.value, isBlankRune) {
	case "yes":
		*dst = true
	case "no":
		*dst = false
	default:
		p.fail(p.at(st, 0), st.name, st.name+" must be 'yes' or 'no'", "yes or no", "bad value %q", clip(st.value))
		return false
	}
	return true
}

// quoted reads what stands between the first and the last double quote of a value that starts
// with one. Anything else is an unknown command to the original; unknown is its text.
func (p *parser) quoted(st statement, unknown string) (string, bool) {
	if text, ok := unquote(st.value); ok {
		return text, true
	}
	p.fail(p.at(st, 0), st.name, unknown, `"value"`, "value without double quotes: %q", clip(st.value))
	return "", false
}

// unquote is the original's idea of a quoted string: greedy, no escapes, the rest ignored.
func unquote(s string) (string, bool) {
	last := strings.LastIndexByte(s, '"')
	if last < 1 || s[0] != '"' {
		return "", false
	}
	return s[1:last], true
}

// text reads a value that must not be empty, verbatim.
func (p *parser) text(st statement, wire, want string) (string, bool) {
	if st.value == "" {
		p.fail(p.at(st, 0), st.name, wire, want, "no value")
		return "", false
	}
	return st.value, true
}

// firstSet is the first duration that is not 0.
func firstSet(durations ...time.Duration) time.Duration {
	for _, d := range durations {
		if d != 0 {
			return d
		}
	}
	return 0
}
