// Package frame is how messages are told apart on heartbeat's local stream sockets (the client API,
// dopd, apphbd, ha_logd): eight bytes go before each, its length and a fixed number, both in the
// machine's byte order (struct SOCKET_MSG_HEAD of cluster-glue's ipcsocket.c).
package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Max is the longest body, in bytes (MAXMSG of cluster-glue's ipc.h).
const Max = 256 << 10

const (
	headLen = 8
	magic   = 0xabcd
)

// ErrMagic is what [Read] returns for a head without the fixed number.
var ErrMagic = errors.New("read frame: bad magic number")

// ErrLength is what [Read] returns for a head with a length that is negative or above Max.
var ErrLength = errors.New("read frame: bad length")

// Append appends a frame with that body, which may have up to Max bytes.
func Append(dst, body []byte) []byte {
	dst = binary.NativeEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.NativeEndian.AppendUint32(dst, magic)
	return append(dst, body...)
}

// Read reads one frame and returns its body, which may be empty. It returns io.EOF at the end of
// r, io.ErrUnexpectedEOF for an end within a frame, and ErrMagic or ErrLength for what is no
// frame; nothing that follows makes sense then. Memory is taken as the bytes come, not by what the
// head promises.
func Read(r io.Reader) ([]byte, error) {
	var head [headLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint32(head[4:]) != magic {
		return nil, ErrMagic
	}
	size := int32(binary.NativeEndian.Uint32(head[:]))
	if size < 0 || size > Max {
		return nil, fmt.Errorf("%w %d", ErrLength, size)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(size)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body.Bytes(), nil
}

// Buffer takes a stream piece by piece and gives its frames. The zero Buffer is empty.
type Buffer struct{ data []byte }

// Append adds what came in.
func (b *Buffer) Append(p []byte) { b.data = append(b.data, p...) }

// Next takes the first frame out and returns its body; ok is false when it is not there in full.
// Errors are those of [Read].
func (b *Buffer) Next() (body []byte, ok bool, err error) {
	if len(b.data) < headLen {
		return nil, false, nil
	}
	body, err = Read(bytes.NewReader(b.data))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	if b.data = b.data[headLen+len(body):]; len(b.data) == 0 {
		b.data = nil
	}
	return body, true, nil
}
