package perlre

import (
	"errors"
	"fmt"
	"strings"
)

var errRecursion = errors.New("recursive subpatterns are not supported")

// group translates an opening parenthesis with what belongs to it.
func (t *translator) group() error {
	if len(t.extended) > maxDepth {
		return errors.New("groups nested too deep")
	}
	rest := t.src[t.pos+1:]
	switch {
	case strings.HasPrefix(rest, "*"):
		return errors.New("backtracking control (*...) is not supported")
	case !strings.HasPrefix(rest, "?"):
		t.opened++
		t.open(1, "(")
		return nil
	}
	rest = rest[1:]
	for _, lead := range []string{":", "=", "!", ">", "<=", "<!"} {
		if strings.HasPrefix(rest, lead) {
			t.atEnd = t.atEnd || lead == "=" || lead == "!"
			t.open(2+len(lead), "(?"+lead)
			return nil
		}
	}
	switch {
	case rest == "":
		return errors.New("unfinished (?")
	case rest[0] == '#':
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			return errors.New("unfinished comment (?#")
		}
		t.put(2+end+1, "(?:)")
		return nil
	case rest[0] == '|':
		return errors.New("branch reset (?|...) is not supported")
	case rest[0] == '{' || strings.HasPrefix(rest, "?{"):
		return errors.New("code in a pattern is not supported")
	case rest[0] == '(':
		return t.conditional(rest)
	case rest[0] == 'R' || rest[0] == '&' || isDigit(rest[0]) || strings.HasPrefix(rest, "P>") ||
		(rest[0] == '+' || rest[0] == '-') && len(rest) > 1 && isDigit(rest[1]):
		return errRecursion
	case strings.HasPrefix(rest, "P="):
		name, n, err := delimited(rest[2:], ')')
		if err != nil {
			return err
		}
		t.put(4+n, `\k<`+name+`>`)
		return nil
	}
	if open := strings.TrimPrefix(rest, "P"); open != "" && (open[0] == '<' || open[0] == '\'' && open == rest) {
		closing := byte('>')
		if open[0] == '\'' {
			closing = '\''
		}
		name, n, err := delimited(open[1:], closing)
		if err != nil {
			return err
		}
		t.opened++
		t.open(2+len(rest)-len(open)+1+n, "(?<"+name+">")
		return nil
	}
	return t.flags(rest)
}

// open writes the start of a group in place of n bytes.
func (t *translator) open(n int, syntax string) {
	t.put(n, syntax)
	t.extended = append(t.extended, t.isExtended())
}

// delimited reads a group's name up to its closing byte; n counts both.
func delimited(s string, closing byte) (name string, n int, err error) {
	end := strings.IndexByte(s, closing)
	if end < 1 || isDigit(s[0]) {
		return "", 0, errors.New("bad group name")
	}
	for i := range end {
		if !isWord(s[i]) {
			return "", 0, errors.New("bad group name")
		}
	}
	return s[:end], end + 1, nil
}

// conditional translates (?(1)yes|no), (?(<name>)yes|no) and (?(?=...)yes|no). rest starts at
// the inner parenthesis.
func (t *translator) conditional(rest string) error {
	inner := rest[1:]
	for _, look := range []string{"?=", "?!", "?<=", "?<!"} {
		if strings.HasPrefix(inner, look) {
			t.open(2, "(?") // the assertion is translated as the group that it is
			return nil
		}
	}
	end := strings.IndexByte(inner, ')')
	if end < 1 {
		return errors.New("bad condition (?(")
	}
	cond := inner[:end]
	switch {
	case isNumber(cond):
	case len(cond) > 2 && (cond[0] == '<' && cond[end-1] == '>' || cond[0] == '\'' && cond[end-1] == '\''):
		cond = cond[1 : end-1]
		if _, _, err := delimited(cond+")", ')'); err != nil {
			return err
		}
	default:
		return fmt.Errorf("condition (?(%s) is not supported", clip(cond))
	}
	t.open(2+1+end+1, "(?("+cond+")")
	return nil
}

// flags translates (?flags) and (?flags:...). Of Perl's flags a, d, l, u and p mean nothing
// here; ^ turns the others off first.
func (t *translator) flags(rest string) error {
	end := strings.IndexAny(rest, ":)")
	if end < 0 {
		return errors.New("unfinished (?")
	}
	var on, off string
	minus := false
	for i := range end {
		c := rest[i]
		switch {
		case c == '^' && i == 0:
			off = "imnsx"
		case c == '-' && !minus:
			minus = true
		case strings.IndexByte("imnsx", c) >= 0 && minus:
			off += string(c)
			on = strings.ReplaceAll(on, string(c), "")
		case strings.IndexByte("imnsx", c) >= 0:
			off = strings.ReplaceAll(off, string(c), "")
			if !strings.Contains(on, string(c)) {
				on += string(c)
			}
		case strings.IndexByte("adlup", c) < 0:
			return fmt.Errorf("unknown group (?%s", clip(rest[:end+1]))
		}
	}
	syntax := "(?" + on
	if off != "" {
		syntax += "-" + off
	}
	extended := t.isExtended()
	switch {
	case strings.Contains(on, "x"):
		extended = true
	case strings.Contains(off, "x"):
		extended = false
	}
	if rest[end] == ':' {
		t.open(2+end+1, syntax+":")
	} else {
		if syntax == "(?" {
			syntax = "(?:"
		}
		t.put(2+end+1, syntax+")")
		t.flagged = true
	}
	t.extended[len(t.extended)-1] = extended
	return nil
}
