package hamsg

import (
	"errors"
	"fmt"
	"strconv"
)

// Format is one of the two wire forms.
type Format uint8

// The wire forms.
const (
	Netstring Format = iota // ### … %%%
	Text                    // >>> … <<<
)

// String is the form's name as in messages of this package.
func (f Format) String() string {
	if f == Text {
		return "text"
	}
	return "netstring"
}

// Marks that begin and end a message.
const (
	textStart = ">>>\n"
	textEnd   = "<<<"
	netStart  = "###\n"
	netEnd    = "%%%\n"
)

// ErrForeign is returned for bytes that are no message of either form, or fewer than four. The
// original drops such packets without a word.
var ErrForeign = errors.New("decode message: neither text nor netstring form")

// SyntaxError is what is wrong with a packet that begins like a message.
type SyntaxError struct {
	Format Format
	Offset int    // byte of the packet; in a nested text message of the nested one
	Reason string // "no closing comma"
}

// Error says form, place and reason.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("decode %s message at byte %d: %s", e.Format, e.Offset, e.Reason)
}

// Packet is a message as it arrived, with what is needed to check its signature.
type Packet struct {
	Msg
	Format Format
	// Auth is the authenticator, "KEYNUMBER MAC": in netstring form what follows the message,
	// in text form its field "auth". Empty: the packet is not signed.
	Auth string
	// Signed are the bytes that a netstring authenticator covers. It is a part of the slice
	// given to Decode, and nil in text form, where the signature covers AppendSigned.
	Signed []byte
}

// Decode reads one packet: a datagram, a serial or FIFO message, or the content of a local
// frame. Bytes after the message are ignored, as the original does. It accepts whatever the
// original accepts and never more memory than a small multiple of the packet's length. Errors
// are ErrForeign or a *SyntaxError. The message does not keep packet alive, Signed does.
//
// Decoding is not believing: check the signature next (hbauth.Ring.Verify).
func Decode(packet []byte) (*Packet, error) { return decode(packet, MaxMessage) }

func decode(packet []byte, limit int) (*Packet, error) {
	if len(packet) < len(netStart) {
		return nil, ErrForeign
	}
	p := &Packet{Msg: Msg{fields: make([]Field, 0, 16)}}
	d := decoder{left: MaxFields}
	switch string(packet[:len(netStart)]) {
	case netStart:
		if len(packet) >= limit {
			return nil, &SyntaxError{Netstring, limit, "message too long"}
		}
		s := string(packet)
		n, err := d.netstring(s, len(netStart), &p.Msg, 0)
		if err != nil {
			return nil, err
		}
		p.Signed = packet[:n:n]
		p.Auth, _, _ = cutItem(s[n:])
	case textStart:
		if len(packet) >= limit {
			return nil, &SyntaxError{Text, limit, "message too long"}
		}
		p.Format = Text
		if err := d.text(append([]byte(nil), packet...), &p.Msg, 0); err != nil {
			return nil, err
		}
		p.Auth = p.Get(FAuth)
	default:
		return nil, ErrForeign
	}
	return p, nil
}

// AppendWire appends the packet in the form in which it came, authenticator included.
func (p *Packet) AppendWire(dst []byte) ([]byte, error) {
	if p.Format == Text {
		return p.AppendText(dst)
	}
	dst = p.AppendNetstring(dst)
	if p.Auth != "" {
		dst = appendItem(dst, p.Auth)
	}
	return dst, nil
}

// AppendTrailer appends the authenticator of a netstring message: its length, a colon, the
// authenticator and a comma.
func AppendTrailer(dst, auth []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(auth)), 10)
	dst = append(dst, ':')
	dst = append(dst, auth...)
	return append(dst, ',')
}

// decoder counts down the fields that a packet may still have.
type decoder struct{ left int }

func (d *decoder) add(m *Msg, f Field) bool {
	d.left--
	m.fields = append(m.fields, f)
	return d.left >= 0
}

// validName tells whether both forms can carry the name and give it back.
func validName(name string) bool {
	if name == "" || name[0] == '(' {
		return false
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c == '\n' || c == 0 || c == '=' {
			return false
		}
	}
	return true
}

// kindOf reads "(T)" at the front of s.
func kindOf(s string) (Kind, bool) {
	if len(s) < 3 || s[0] != '(' || s[2] != ')' || s[1] < '0' || s[1] > '0'+byte(Uncompressed) {
		return 0, false
	}
	return Kind(s[1] - '0'), true
}

// validList tells whether s is a packed list.
func validList(s string) bool {
	for s != "" {
		var ok bool
		if _, s, ok = cutItem(s); !ok {
			return false
		}
	}
	return true
}

func decimalLen(n int) int {
	var b [20]byte
	return len(strconv.AppendInt(b[:0], int64(n), 10))
}
