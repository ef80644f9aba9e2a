package hbauth

import (
	"crypto/subtle"
	"fmt"
	"strconv"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// MaxKeys is how many keys there may be; they are numbered from 0 (MAXAUTH).
const MaxKeys = 16

// Ring is the keys of one authkeys file: those that a peer may sign with, and the one that we
// sign with. It never changes once made, so any number of goroutines may use it.
type Ring struct {
	keys     [MaxKeys]Key
	defined  [MaxKeys]bool
	selected int
}

// NewRing makes a ring of numbered keys. The selected one signs.
func NewRing(keys map[int]Key, selected int) (*Ring, error) {
	r := &Ring{selected: selected}
	for n, k := range keys {
		switch {
		case n < 0 || n >= MaxKeys:
			return nil, fmt.Errorf("make key ring: key %d: number is not from 0 to %d", n, MaxKeys-1)
		case int(k.Method) >= len(methodNames):
			return nil, fmt.Errorf("make key ring: key %d: no such method", n)
		case k.Method.NeedsText() && k.Text == "":
			return nil, fmt.Errorf("make key ring: key %d: %s needs a key text", n, k.Method)
		}
		r.keys[n], r.defined[n] = k, true
	}
	if selected < 0 || selected >= MaxKeys || !r.defined[selected] {
		return nil, fmt.Errorf("make key ring: selected key %d is not defined", selected)
	}
	return r, nil
}

// Selected is the number of the key that signs, and the key.
func (r *Ring) Selected() (int, Key) { return r.selected, r.keys[r.selected] }

// Key is the key of that number, if it is defined.
func (r *Ring) Key(number int) (Key, bool) {
	if number < 0 || number >= MaxKeys {
		return Key{}, false
	}
	return r.keys[number], r.defined[number]
}

// appendAuth appends the selected key's authenticator over data.
func (r *Ring) appendAuth(dst, data []byte) []byte {
	dst = strconv.AppendInt(dst, int64(r.selected), 10)
	dst = append(dst, ' ')
	return r.keys[r.selected].AppendMAC(dst, data)
}

// Stamp sets the field "auth" of m to the signature over all its other fields: what the
// original does to each message under msgfmt classic and to what a serial line carries. m must
// not have nested fields (hamsg.Msg.NetstringOnly).
func (r *Ring) Stamp(m *hamsg.Msg) {
	var text [scratchSize]byte
	var auth [maxMAC + 8]byte
	m.Set(hamsg.FAuth, string(r.appendAuth(auth[:0], m.AppendSigned(text[:0]))))
}

// AppendWire appends m as a datagram: in netstring form, signed. For a peer under msgfmt
// classic the message has been stamped before.
func (r *Ring) AppendWire(dst []byte, m *hamsg.Msg) []byte {
	start := len(dst)
	dst = m.AppendNetstring(dst)
	var auth [maxMAC + 8]byte
	return hamsg.AppendTrailer(dst, r.appendAuth(auth[:0], dst[start:]))
}

// Reason says why a packet was refused.
type Reason uint8

// Reasons, each with its own lines in the original's log.
const (
	Unsigned   Reason = iota // no authenticator, or not "NUMBER MAC"
	UnknownKey               // no key of that number here
	Mismatch                 // the MAC is not ours
)

// Error is a packet's failure to verify.
type Error struct {
	Reason Reason
	Key    int    // key number that the packet names; -1 when Unsigned
	Got    string // the packet's MAC
	Want   string // the MAC that the original would have computed; in a log only
}

// Error says what is wrong; it keeps the expected MAC to itself.
func (e *Error) Error() string {
	switch e.Reason {
	case UnknownKey:
		return fmt.Sprintf("verify message: key %d is not in authkeys", e.Key)
	case Mismatch:
		return fmt.Sprintf("verify message: signature with key %d does not match", e.Key)
	default:
		return "verify message: no signature"
	}
}

// Verify checks the signature of a packet, in constant time for its MAC, and returns nil or an
// *Error.
//
// A packet passes if the key that it names made its MAC. One in netstring form passes too if
// the method that it names made it with the text of our selected key: that, and only that, is
// what the original checks, so nothing that it accepts is refused here, while nodes of this
// kind understand each other through a change of keys that takes one node at a time.
func (r *Ring) Verify(p *hamsg.Packet) error {
	number, mac, ok := cutAuth(p.Auth)
	if !ok {
		return &Error{Reason: Unsigned, Key: -1}
	}
	key, ok := r.Key(number)
	if !ok {
		return &Error{Reason: UnknownKey, Key: number, Got: mac}
	}
	original, data := r.originals(key), p.Signed
	if p.Format == hamsg.Text {
		var text [scratchSize]byte
		original, data = key, p.AppendSigned(text[:0])
	}
	if matches(mac, data, key, original) {
		return nil
	}
	return &Error{Reason: Mismatch, Key: number, Got: mac, Want: string(original.AppendMAC(nil, data))}
}

// Signed tells whether a netstring packet passes Verify, and by which method, from its signed bytes
// and its authenticator alone: without memory, for one that may be the work of anybody.
func (r *Ring) Signed(data, auth []byte) (Method, bool) {
	number, mac, ok := cutAuth(auth)
	if !ok {
		return 0, false
	}
	key, ok := r.Key(number)
	return key.Method, ok && matches(mac, data, key, r.originals(key))
}

// Named is the method of the key that an authenticator names; crc if there is no such key.
func (r *Ring) Named(auth string) Method {
	number, _, _ := cutAuth(auth)
	key, _ := r.Key(number)
	return key.Method
}

// Numbered tells whether what we sign is to be numbered.
func (r *Ring) Numbered() bool { return r.keys[r.selected].Method.Numbered() }

// originals is the key that the original would take for a netstring packet that names key: where there
// may be an original, and where its key has a text that a peer could have taken.
func (r *Ring) originals(key Key) Key {
	selected := r.keys[r.selected]
	if selected.Text == "" || key.Method == SHA256 || selected.Method == SHA256 {
		return key
	}
	return Key{Method: key.Method, Text: selected.Text}
}

// matches tells whether one of the keys makes mac of data.
func matches[T string | []byte](mac T, data []byte, key, original Key) bool {
	var got, want [maxMAC]byte
	n := copy(got[:], mac)
	if n < len(mac) {
		return false
	}
	return subtle.ConstantTimeCompare(got[:n], key.AppendMAC(want[:0], data)) == 1 ||
		original != key && subtle.ConstantTimeCompare(got[:n], original.AppendMAC(want[:0], data)) == 1
}

// cutAuth reads "NUMBER MAC" as the original does with "%d %s": blanks around both are
// skipped, and what follows the MAC's word.
func cutAuth[T string | []byte](auth T) (number int, mac T, ok bool) {
	blank := func(i int) bool { return auth[i] == ' ' || '\t' <= auth[i] && auth[i] <= '\r' }
	var bound [4]int // of the two words
	i := 0
	for word := range 2 {
		for i < len(auth) && blank(i) {
			i++
		}
		bound[2*word] = i
		for i < len(auth) && !blank(i) {
			i++
		}
		bound[2*word+1] = i
	}
	number, err := strconv.Atoi(string(auth[bound[0]:bound[1]]))
	mac = auth[bound[2]:bound[3]]
	return number, mac, err == nil && len(mac) > 0
}
