package perlre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// escape translates a backslash sequence outside of classes.
func (t *translator) escape() error {
	rest := t.src[t.pos+1:]
	if rest == "" {
		return errors.New("trailing backslash")
	}
	c := rest[0]
	if c >= '1' && c <= '9' {
		return t.backreference(rest)
	}
	if b, n, ok, err := escapedByte(rest); err != nil {
		return err
	} else if ok {
		if b < 0 {
			t.put(1+n, "(?!)") // a character that no byte is
			return nil
		}
		t.byte(byte(b))
		t.pos += 1 + n
		return nil
	}
	switch c {
	case 'd', 'D', 'w', 'W', 's', 'S', 'A', 'G':
		t.keep(2)
	case 'z', 'Z', 'b', 'B':
		if strings.HasPrefix(rest[1:], "{") && c != 'z' && c != 'Z' {
			return fmt.Errorf("\\%c{...} is not supported", c)
		}
		t.atEnd = true
		t.keep(2)
	case 'h', 'H', 'v', 'V':
		set, _ := classEscape(c)
		t.put(2, set.syntax(false))
	case 'N':
		t.put(2, `[^\n]`)
	case 'R':
		t.put(2, `(?>\r\n|[\n-\r`+string(toRune(0x85))+`])`)
	case 'X':
		t.put(2, `(?>\r\n|[\s\S])`)
	case 'K':
		t.put(2, "(?:)") // only moves the start of what matched
	case 'p', 'P':
		set, n, err := property(rest)
		if err != nil {
			return err
		}
		t.put(1+n, set.syntax(false))
	case 'k':
		name, n, err := named(rest[1:])
		if err != nil {
			return err
		}
		t.put(2+n, `\k<`+name+`>`)
	case 'g':
		return t.gReference(rest)
	case 'C':
		return errors.New(`\C is not supported`)
	default:
		t.byte(c) // Perl passes what it does not know
		t.pos += 2
	}
	return nil
}

// backreference translates \1 to \9 and longer numbers, which are octal unless there are as
// many groups.
func (t *translator) backreference(rest string) error {
	n := 1
	for n < len(rest) && isDigit(rest[n]) {
		n++
	}
	num, err := strconv.Atoi(rest[:n])
	if err == nil && num <= t.groups {
		t.put(1+n, `(?:\k<`+strconv.Itoa(num)+`>)`)
		return nil
	}
	if n == 1 {
		return fmt.Errorf("reference to nonexistent group %s", rest[:1])
	}
	n = octalDigits(rest, 3)
	if n == 0 {
		t.byte(rest[0])
		t.pos += 2
		return nil
	}
	value, err := strconv.ParseUint(rest[:n], 8, 16)
	if err != nil || value > 0xff {
		t.put(1+n, "(?!)")
		return nil
	}
	t.byte(byte(value))
	t.pos += 1 + n
	return nil
}

func octalDigits(s string, most int) int {
	n := 0
	for n < len(s) && n < most && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	return n
}

// gReference translates \g1, \g{1}, \g-1, \g{-1} and \g{name}.
func (t *translator) gReference(rest string) error {
	body, n := "", 0
	if strings.HasPrefix(rest[1:], "{") {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return errors.New(`unfinished \g{`)
		}
		body, n = strings.Trim(rest[2:end], " \t"), end+1
	} else {
		n = 1
		if n < len(rest) && rest[n] == '-' {
			n++
		}
		for n < len(rest) && isDigit(rest[n]) {
			n++
		}
		body = rest[1:n]
	}
	num, err := strconv.Atoi(body)
	if err != nil {
		if _, _, err := delimited(body+">", '>'); err != nil {
			return errors.New(`bad reference \g`)
		}
		t.put(1+n, `\k<`+body+`>`)
		return nil
	}
	if num < 0 {
		num += t.opened + 1
	}
	if num < 1 || num > t.groups {
		return fmt.Errorf(`reference to nonexistent group \g%s`, body)
	}
	t.put(1+n, `(?:\k<`+strconv.Itoa(num)+`>)`)
	return nil
}

// named reads <name>, 'name' or {name}; n is its length.
func named(s string) (name string, n int, err error) {
	closers := map[byte]byte{'<': '>', '\'': '\'', '{': '}'}
	if s == "" || closers[s[0]] == 0 {
		return "", 0, errors.New(`\k without a name`)
	}
	name, n, err = delimited(s[1:], closers[s[0]])
	return name, n + 1, err
}

// escapedByte reads an escape that stands for one character: s starts after the backslash, n is
// its length. b is negative for a character above 0xff. ok is false for all other escapes.
func escapedByte(s string) (b, n int, ok bool, err error) {
	switch s[0] {
	case 'a':
		return 7, 1, true, nil
	case 'e':
		return 0x1b, 1, true, nil
	case 'f':
		return '\f', 1, true, nil
	case 'n':
		return '\n', 1, true, nil
	case 'r':
		return '\r', 1, true, nil
	case 't':
		return '\t', 1, true, nil
	case '0':
		n = octalDigits(s, 3)
		v, _ := strconv.ParseUint(s[:n], 8, 16)
		return int(v), n, true, nil
	case 'c':
		if len(s) < 2 || s[1] >= 0x80 {
			return 0, 0, false, errors.New(`\c without a character`)
		}
		return int(upper(s[1]) ^ 0x40), 2, true, nil
	case 'x':
		if strings.HasPrefix(s[1:], "{") {
			return braced(s, 2, 16)
		}
		n = 1
		for n < len(s) && n < 3 && isHex(s[n]) {
			n++
		}
		v, _ := strconv.ParseUint("0"+s[1:n], 16, 16)
		return int(v), n, true, nil
	case 'o':
		if !strings.HasPrefix(s[1:], "{") {
			return 0, 0, false, errors.New(`\o without a brace`)
		}
		return braced(s, 2, 8)
	case 'N':
		switch {
		case strings.HasPrefix(s[1:], "{U+"):
			return braced(s, 4, 16)
		case strings.HasPrefix(s[1:], "{"):
			if _, _, quant := quantifier(s[1:]); quant == 0 {
				return 0, 0, false, errors.New(`\N{name} is not supported`)
			}
		}
	}
	return 0, 0, false, nil
}

// braced reads the number of \x{..}, \o{..} or \N{U+..}, which starts at from.
func braced(s string, from, base int) (b, n int, ok bool, err error) {
	end := strings.IndexByte(s, '}')
	if end < from {
		return 0, 0, false, fmt.Errorf("unfinished \\%c{", s[0])
	}
	digits := strings.ReplaceAll(strings.Trim(s[from:end], " \t"), "_", "")
	valid := 0
	for valid < len(digits) && isHex(digits[valid]) && (base == 16 || digits[valid] <= '7') {
		valid++ // what follows is ignored, with a warning that nobody sees
	}
	v, err := strconv.ParseUint("0"+digits[:valid], base, 64)
	if err != nil || v > 0xff {
		return -1, end + 1, true, nil
	}
	return int(v), end + 1, true, nil
}

func isHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 0x20
	}
	return c
}
