package hamsg

import (
	"strconv"
	"strings"
)

// netstring reads fields of s from byte i to the end mark into m, and returns where the byte
// after the mark is.
func (d *decoder) netstring(s string, i int, m *Msg, depth int) (int, error) {
	bad := func(reason string) (int, error) { return 0, &SyntaxError{Netstring, i, reason} }
	if depth >= MaxDepth {
		return bad("nested too deep")
	}
	for !strings.HasPrefix(s[i:], netEnd) {
		item, after, ok := cutItem(s[i:])
		if !ok {
			return bad("no field of the form LENGTH:(T)NAME=VALUE, and no end mark")
		}
		kind, ok := kindOf(item)
		if !ok {
			return bad("field without a type from (0) to (5)")
		}
		eq := strings.IndexByte(item, '=')
		if eq < 0 {
			return bad("field without '='")
		}
		f := Field{Name: item[3:eq], Value: item[eq+1:], Kind: kind}
		if !validName(f.Name) {
			return bad("bad field name")
		}
		switch kind {
		case String:
			if strings.IndexByte(f.Value, 0) >= 0 {
				return bad("NUL in a string field")
			}
		case List:
			if !validList(f.Value) {
				return bad("bad list")
			}
		case Struct, Uncompressed:
			start := i + len(s[i:]) - len(after) - 1 - len(f.Value)
			if !strings.HasPrefix(f.Value, netStart) {
				return bad("nested message without start mark")
			}
			f.Sub, f.Value = new(Msg), ""
			end, err := d.netstring(s[:len(s)-len(after)-1], start+len(netStart), f.Sub, depth+1)
			if err != nil {
				return 0, err
			}
			if end != len(s)-len(after)-1 {
				return bad("bytes after a nested message")
			}
		}
		if !d.add(m, f) {
			return bad("too many fields")
		}
		i = len(s) - len(after)
	}
	return i + len(netEnd), nil
}

// AppendNetstring appends the message in netstring form, without an authenticator.
func (m *Msg) AppendNetstring(dst []byte) []byte {
	dst = append(dst, netStart...)
	for i := range m.fields {
		f := &m.fields[i]
		dst = strconv.AppendInt(dst, int64(f.netstringLen()), 10)
		dst = append(dst, ':', '(', '0'+byte(f.Kind), ')')
		dst = append(dst, f.Name...)
		dst = append(dst, '=')
		if f.Sub != nil {
			dst = f.Sub.AppendNetstring(dst)
		} else {
			dst = append(dst, f.Value...)
		}
		dst = append(dst, ',')
	}
	return append(dst, netEnd...)
}

// netstringLen is the length of "(T)name=value".
func (f *Field) netstringLen() int {
	n := len("(T)") + len(f.Name) + len("=")
	if f.Sub == nil {
		return n + len(f.Value)
	}
	n += len(netStart) + len(netEnd)
	for i := range f.Sub.fields {
		sub := f.Sub.fields[i].netstringLen()
		n += decimalLen(sub) + len(":") + sub + len(",")
	}
	return n
}
