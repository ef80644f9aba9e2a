package hamsg

import (
	"strconv"
	"strings"
)

// Kind is the type of a field's value, with the number that both wire forms carry.
type Kind uint8

// Kinds of fields (FT_STRING … FT_UNCOMPRESS in the original).
const (
	String       Kind = iota // text without NUL
	Binary                   // any bytes; a uuid is 16 of them
	Struct                   // a nested message
	List                     // strings
	Compressed               // a nested message, compressed; carried as it is
	Uncompressed             // a nested message that some encoders compress
)

// Limits of one message. Those on size are the original's (ipc.h, ha_msg.h); MaxFields is ours
// and keeps the memory that a hostile packet costs in proportion to its length.
const (
	MaxMessage      = 256 << 10 // bytes of an encoded message, exclusive
	MaxUncompressed = 2 << 20   // bytes of a message after decompression
	MaxDepth        = 16        // nesting of struct fields
	MaxFields       = 4096      // fields of one message, nested ones included
)

// Field is one named value of a message.
type Field struct {
	Name string
	// Value holds the bytes of a String, Binary or Compressed field as they are, and the
	// packed form ("3:abc,4:defg,") of a List; it is empty for a nested message.
	Value string
	// Sub is the nested message of a Struct or Uncompressed field, and nil for other kinds.
	Sub  *Msg
	Kind Kind
}

// Msg is an ordered list of fields. Order counts: the encoders keep it and signatures cover it.
// Names may repeat; a look-up finds the first. The zero Msg is empty and ready for use.
type Msg struct{ fields []Field }

// New is a message of type t that has no other field yet.
func New(t string) *Msg { return new(Msg).Add(FType, t) }

// Fields are all fields in order. The slice belongs to the message: do not change it.
func (m *Msg) Fields() []Field { return m.fields }

// Len is the number of fields.
func (m *Msg) Len() int { return len(m.fields) }

func (m *Msg) index(name string) int {
	for i := range m.fields {
		if m.fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Has tells whether there is a field of that name, of any kind.
func (m *Msg) Has(name string) bool { return m.index(name) >= 0 }

// Lookup is the first field of that name, and whether there is one.
func (m *Msg) Lookup(name string) (Field, bool) {
	if i := m.index(name); i >= 0 {
		return m.fields[i], true
	}
	return Field{}, false
}

// Get is the text of the first field of that name; empty when it is absent or not a String.
func (m *Msg) Get(name string) string {
	if i := m.index(name); i >= 0 && m.fields[i].Kind == String {
		return m.fields[i].Value
	}
	return ""
}

// Type is the message type, the field "t".
func (m *Msg) Type() string { return m.Get(FType) }

// Unsequenced tells whether the message's type is one that carries no sequence number.
func (m *Msg) Unsequenced() bool { return strings.HasPrefix(m.Type(), UnsequencedHead) }

// GetHex reads a String field as a hexadecimal number the way C's sscanf with %lx does: leading
// blanks and 0x are skipped, what follows the digits is ignored. It reports whether the field
// is there and begins with a number; too large a number is not one.
func (m *Msg) GetHex(name string) (uint64, bool) {
	return ParseHex(m.Get(name))
}

// GetInt reads a String field as a decimal number as sscanf with %ld does: leading blanks are
// skipped, a sign is understood, what follows the digits is ignored.
func (m *Msg) GetInt(name string) (int64, bool) {
	s := strings.TrimLeft(m.Get(name), " \t\r\n\v\f")
	n := 0
	if n < len(s) && (s[n] == '-' || s[n] == '+') {
		n++
	}
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(s[:n], 10, 64)
	return v, err == nil
}

// GetUUID reads a Binary field of 16 bytes. An all-zero uuid stands for an unknown one (a node
// that does not know its peer's uuid yet sends that) and is reported as absent.
func (m *Msg) GetUUID(name string) (UUID, bool) {
	var u UUID
	if i := m.index(name); i >= 0 && m.fields[i].Kind == Binary && len(m.fields[i].Value) == len(u) {
		copy(u[:], m.fields[i].Value)
	}
	return u, !u.IsZero()
}

// GetList is the strings of all List fields of that name: a list may come in several pieces.
func (m *Msg) GetList(name string) []string {
	var items []string
	for i := range m.fields {
		if f := &m.fields[i]; f.Kind == List && f.Name == name {
			for rest := f.Value; rest != ""; {
				item, after, ok := cutItem(rest)
				if !ok {
					break
				}
				items, rest = append(items, item), after
			}
		}
	}
	return items
}

// Add appends a String field and returns the message. The name must not be empty, begin with
// '(' or hold '=', LF or NUL; the value must not hold NUL.
func (m *Msg) Add(name, value string) *Msg { return m.AddField(Field{Name: name, Value: value}) }

// AddField appends a field of any kind and returns the message.
func (m *Msg) AddField(f Field) *Msg {
	m.fields = append(m.fields, f)
	return m
}

// AddList appends a List field and returns the message.
func (m *Msg) AddList(name string, items ...string) *Msg {
	var b []byte
	for _, item := range items {
		b = appendItem(b, item)
	}
	return m.AddField(Field{Name: name, Kind: List, Value: string(b)})
}

// AddStruct appends a nested message and returns the message.
func (m *Msg) AddStruct(name string, sub *Msg) *Msg {
	return m.AddField(Field{Name: name, Kind: Struct, Sub: sub})
}

// Set gives a String field its value: in its place when there is a field of that name, else at
// the end. It returns the message.
func (m *Msg) Set(name, value string) *Msg { return m.SetField(Field{Name: name, Value: value}) }

// SetHex sets a String field to a number in lower-case hexadecimal without prefix.
func (m *Msg) SetHex(name string, v uint64) *Msg { return m.Set(name, strconv.FormatUint(v, 16)) }

// SetInt sets a String field to a decimal number.
func (m *Msg) SetInt(name string, v int64) *Msg { return m.Set(name, strconv.FormatInt(v, 10)) }

// SetUUID sets a Binary field to a uuid.
func (m *Msg) SetUUID(name string, u UUID) *Msg {
	return m.SetField(Field{Name: name, Kind: Binary, Value: string(u[:])})
}

// SetField replaces the first field of f's name by f, or appends it.
func (m *Msg) SetField(f Field) *Msg {
	if i := m.index(f.Name); i >= 0 {
		m.fields[i] = f
		return m
	}
	return m.AddField(f)
}

// Del removes every field of that name.
func (m *Msg) Del(name string) {
	kept := m.fields[:0]
	for _, f := range m.fields {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	clear(m.fields[len(kept):])
	m.fields = kept
}

// Clone is a copy that shares nothing that can change with m.
func (m *Msg) Clone() *Msg {
	c := &Msg{fields: append([]Field(nil), m.fields...)}
	for i := range c.fields {
		if c.fields[i].Sub != nil {
			c.fields[i].Sub = c.fields[i].Sub.Clone()
		}
	}
	return c
}

// NetstringOnly tells whether the message has a field for which the original leaves out the
// text form's signature (must_use_netstring in cl_msg.c).
func (m *Msg) NetstringOnly() bool {
	for i := range m.fields {
		switch m.fields[i].Kind {
		case Struct, Compressed, Uncompressed:
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// appendItem packs one string of a list: its decimal length, a colon, itself and a comma.
func appendItem(dst []byte, item string) []byte {
	dst = strconv.AppendInt(dst, int64(len(item)), 10)
	dst = append(dst, ':')
	dst = append(dst, item...)
	return append(dst, ',')
}

// cutItem takes one packed string off the front of s: the inverse of appendItem.
func cutItem[T string | []byte](s T) (item, after T, ok bool) {
	var none T
	n, digits := 0, 0
	for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
		if n = n*10 + int(s[digits]-'0'); n > MaxUncompressed {
			return none, s, false
		}
		digits++
	}
	if digits == 0 || digits == len(s) || s[digits] != ':' {
		return none, s, false
	}
	end := digits + 1 + n
	if end >= len(s) || s[end] != ',' {
		return none, s, false
	}
	return s[digits+1 : end], s[end+1:], true
}

// ParseHex reads a hexadecimal number as GetHex does.
func ParseHex[T string | []byte](s T) (uint64, bool) {
	i := 0
	for i < len(s) && (s[i] == ' ' || '\t' <= s[i] && s[i] <= '\r') {
		i++
	}
	if len(s)-i > 2 && s[i] == '0' && (s[i+1] == 'x' || s[i+1] == 'X') && isHex(s[i+2]) {
		i += 2
	}
	n := i
	for n < len(s) && isHex(s[n]) {
		n++
	}
	v, err := strconv.ParseUint(string(s[i:n]), 16, 64)
	return v, err == nil
}
