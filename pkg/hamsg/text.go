package hamsg

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

// escapedLF stands for a line end in the value of a string field.
const escapedLF = 0x13

// nestedLF are the bytes that stand for line ends in a nested message, by depth of the message
// that holds it (SPECIAL_SYMS in cl_msg_types.c).
var nestedLF = [MaxDepth]byte{20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 15, 16, 17, 18}

// text reads the message at the front of b into m. It works in b itself.
func (d *decoder) text(b []byte, m *Msg, depth int) error {
	i := len(textStart)
	bad := func(reason string) error { return &SyntaxError{Text, i, reason} }
	if depth >= MaxDepth {
		return bad("nested too deep")
	}
	if nul := bytes.IndexByte(b, 0); nul >= 0 {
		b = b[:nul]
	}
	for {
		for i < len(b) && b[i] == '\n' {
			i++
		}
		line, _, whole := bytes.Cut(b[i:], []byte{'\n'})
		if string(line) == textEnd {
			return nil
		}
		if !whole {
			return bad("no end mark")
		}
		eq := bytes.IndexByte(line, '=')
		if eq <= 0 {
			return bad("line without '='")
		}
		name, value := string(line[:eq]), line[eq+1:]
		f := Field{Name: name}
		if name[0] == '(' {
			kind, ok := kindOf(name)
			if !ok || kind == String {
				return bad("bad field type")
			}
			f.Kind, f.Name = kind, name[3:]
		}
		if !validName(f.Name) {
			return bad("bad field name")
		}
		switch f.Kind {
		case String:
			replaceByte(value, escapedLF, '\n')
			f.Value = string(value)
		case Binary, Compressed:
			n, err := base64.StdEncoding.Decode(value, value)
			if err != nil {
				return bad("bad base64")
			}
			f.Value = string(value[:n])
		case List:
			if f.Value = string(value); !validList(f.Value) {
				return bad("bad list")
			}
		case Struct, Uncompressed:
			replaceByte(value, nestedLF[depth], '\n')
			if !bytes.HasPrefix(value, []byte(textStart)) {
				return bad("nested message without start mark")
			}
			f.Sub = new(Msg)
			if err := d.text(value, f.Sub, depth+1); err != nil {
				return err
			}
		}
		i += len(line) + 1
		if !d.add(m, f) {
			return bad("too many fields")
		}
	}
}

// AppendText appends the message in text form, without a NUL. It fails on what that form
// cannot carry: nesting deeper than MaxDepth, a control byte where it stands for a line end, a
// line end in a list.
func (m *Msg) AppendText(dst []byte) ([]byte, error) { return m.appendText(dst, 0) }

func (m *Msg) appendText(dst []byte, depth int) ([]byte, error) {
	if depth >= MaxDepth {
		return dst, fmt.Errorf("encode text message: nested deeper than %d", MaxDepth)
	}
	dst = append(dst, textStart...)
	for i := range m.fields {
		f := &m.fields[i]
		if f.Sub == nil {
			if f.Kind == List && strings.IndexByte(f.Value, '\n') >= 0 {
				return dst, fmt.Errorf("encode text message: line end in list field %q", f.Name)
			}
			dst = f.appendLine(dst)
			continue
		}
		dst = append(dst, '(', '0'+byte(f.Kind), ')')
		dst = append(dst, f.Name...)
		dst = append(dst, '=')
		start := len(dst)
		var err error
		if dst, err = f.Sub.appendText(dst, depth+1); err != nil {
			return dst, err
		}
		if bytes.IndexByte(dst[start:], nestedLF[depth]) >= 0 {
			return dst, fmt.Errorf("encode text message: byte %d in nested field %q", nestedLF[depth], f.Name)
		}
		replaceByte(dst[start:], '\n', nestedLF[depth])
		dst = append(dst, '\n')
	}
	return append(dst, textEnd+"\n"...), nil
}

// AppendSigned appends what a text form's signature covers: the lines of all fields but those
// named "auth", without the marks. Nested messages, which no signed text message has, are left out.
func (m *Msg) AppendSigned(dst []byte) []byte {
	for i := range m.fields {
		if f := &m.fields[i]; f.Name != FAuth && f.Sub == nil {
			dst = f.appendLine(dst)
		}
	}
	return dst
}

// appendLine appends a field that is not a nested message as a line of the text form.
func (f *Field) appendLine(dst []byte) []byte {
	if f.Kind != String {
		dst = append(dst, '(', '0'+byte(f.Kind), ')')
	}
	dst = append(dst, f.Name...)
	dst = append(dst, '=')
	switch f.Kind {
	case Binary, Compressed:
		dst = appendBase64(dst, f.Value)
	default:
		start := len(dst)
		dst = append(dst, f.Value...)
		if f.Kind == String {
			replaceByte(dst[start:], '\n', escapedLF)
		}
	}
	return append(dst, '\n')
}

// appendBase64 encodes s in pieces, so that no second copy of it is needed.
func appendBase64(dst []byte, s string) []byte {
	var piece [48]byte
	for len(s) > 0 {
		n := copy(piece[:], s)
		dst = base64.StdEncoding.AppendEncode(dst, piece[:n])
		s = s[n:]
	}
	return dst
}

func replaceByte(b []byte, from, to byte) {
	for i, c := range b {
		if c == from {
			b[i] = to
		}
	}
}
