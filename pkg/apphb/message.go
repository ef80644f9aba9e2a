package apphb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Kind is what a client wants; the texts are on the wire.
type Kind string

// The kinds. All but Beat are answered by an error number.
const (
	Register    Kind = "reg"
	Unregister  Kind = "unreg"
	Beat        Kind = "hb"
	SetInterval Kind = "setint"  // silence after which the client has failed
	SetWarn     Kind = "setwarn" // silence after which it is late
	SetBoot     Kind = "setboot" // not 0: the machine is rebooted when this client fails
)

// Message is one request. The fields after Kind are used as the kind asks for them.
type Message struct {
	Kind           Kind
	Name, Instance string // Register: up to 255 bytes
	Dir            string // Register: the client's working directory
	PID            int32
	UID, GID       uint32
	Time           time.Duration // Set…: whole milliseconds; for SetBoot any, or none
}

// Sizes of the C structures.
const (
	kindLen = 8
	textLen = 256
	regLen  = kindLen + 3*textLen + 3*4
	timeLen = kindLen + 8
)

// Append appends the message in the form of the C structures, in the machine's byte order.
func (m Message) Append(dst []byte) []byte {
	dst = appendText(dst, string(m.Kind), kindLen)
	switch m.Kind {
	case Register:
		for _, s := range []string{m.Name, m.Instance, m.Dir} {
			dst = appendText(dst, s, textLen)
		}
		dst = binary.NativeEndian.AppendUint32(dst, uint32(m.PID))
		dst = binary.NativeEndian.AppendUint32(dst, m.UID)
		dst = binary.NativeEndian.AppendUint32(dst, m.GID)
	case SetInterval, SetWarn, SetBoot:
		dst = binary.NativeEndian.AppendUint64(dst, uint64(m.Time.Milliseconds()))
	}
	return dst
}

// appendText appends a string and NULs; at least one NUL.
func appendText(dst []byte, s string, size int) []byte {
	if len(s) >= size {
		s = s[:size-1]
	}
	dst = append(dst, s...)
	return append(dst, make([]byte, size-len(s))...)
}

// ErrMessage is what Parse returns for bytes that are no request.
var ErrMessage = errors.New("parse apphb message")

// Parse reads a request. Texts end at their first NUL.
func Parse(b []byte) (Message, error) {
	if len(b) < kindLen {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	m := Message{Kind: Kind(text(b[:kindLen]))}
	switch m.Kind {
	case Register:
		if len(b) < regLen {
			return Message{}, fmt.Errorf("%w: %d bytes for %q", ErrMessage, len(b), m.Kind)
		}
		m.Name = text(b[kindLen:][:textLen])
		m.Instance = text(b[kindLen+textLen:][:textLen])
		m.Dir = text(b[kindLen+2*textLen:][:textLen])
		ids := b[kindLen+3*textLen:]
		m.PID = int32(binary.NativeEndian.Uint32(ids))
		m.UID = binary.NativeEndian.Uint32(ids[4:])
		m.GID = binary.NativeEndian.Uint32(ids[8:])
	case SetInterval, SetWarn, SetBoot:
		if len(b) < timeLen {
			return Message{}, fmt.Errorf("%w: %d bytes for %q", ErrMessage, len(b), m.Kind)
		}
		m.Time = time.Duration(min(binary.NativeEndian.Uint64(b[kindLen:]), maxTime)) * time.Millisecond
	case Unregister, Beat:
	default:
		return Message{}, fmt.Errorf("%w: unknown kind %q", ErrMessage, m.Kind)
	}
	return m, nil
}

// maxTime is the longest time that we reckon with: ten years, in milliseconds.
const maxTime = 10 * 366 * 24 * 3600 * 1000

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
