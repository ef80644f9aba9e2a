package perlre

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// propertyAliases is Perl's longer names of what package unicode knows under short ones.
var propertyAliases = map[string]string{
	"Alpha": "L", "Alphabetic": "L", "Letter": "L", "Upper": "Lu", "Uppercase": "Lu", "UppercaseLetter": "Lu", "Lower": "Ll",
	"Lowercase": "Ll", "LowercaseLetter": "Ll", "Digit": "Nd", "Number": "N", "Punct": "P", "Punctuation": "P", "Symbol": "S",
	"Space": "White_Space", "SpacePerl": "White_Space", "XPosixSpace": "White_Space", "Cntrl": "Cc", "Control": "Cc", "L&": "LC",
	"HexDigit": "Hex_Digit", "XDigit": "Hex_Digit",
}

// property reads pL, p{Name} or p{^Name}, or the same with P, into a set; n is its length. A
// property takes bytes for characters of Latin 1, unlike all else in a pattern.
func property(s string) (set *byteSet, n int, err error) {
	if len(s) < 2 {
		return nil, 0, errors.New(`\p without a name`)
	}
	name, n := s[1:2], 2
	if s[1] == '{' {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return nil, 0, errors.New(`unfinished \p{`)
		}
		name, n = strings.TrimSpace(s[2:end]), end+1
	}
	negated := s[0] == 'P'
	if rest, caret := strings.CutPrefix(name, "^"); caret {
		name, negated = rest, !negated
	}
	table, ok := propertyTable(name)
	if !ok {
		return nil, 0, fmt.Errorf("unknown property %q", clip(name))
	}
	set = namedSet(func(b byte) bool { return unicode.Is(table, rune(b)) })
	if negated {
		set = set.complement()
	}
	return set, n, nil
}

func propertyTable(name string) (*unicode.RangeTable, bool) {
	short := strings.TrimPrefix(name, "Is")
	if alias, ok := propertyAliases[strings.ReplaceAll(short, "_", "")]; ok {
		short = alias
	}
	for _, tables := range []map[string]*unicode.RangeTable{unicode.Categories, unicode.Properties, unicode.Scripts} {
		if table, ok := tables[short]; ok {
			return table, true
		}
	}
	return nil, false
}
