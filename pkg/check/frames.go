package check

import (
	"errors"
	"net"
)

// frames is a connection whose peer sends messages that have their length in front. One that is
// too long ends the connection before anybody reads it: drivers reserve as much memory as a
// server says that they will need.
type frames struct {
	net.Conn
	head  int                                         // bytes before a message's contents
	size  func(head []byte) int                       // of the contents, in bytes
	allow func(head []byte, size int, b [2]byte) bool // b is how the contents begin

	seen    []byte // the current message's head, and up to two bytes of its contents
	left    int    // bytes of the current message to come
	total   int
	refused bool
	lost    error // why nothing more comes
}

// Bounds of what a driver gets, in bytes.
const (
	maxFrame  = 256 << 10
	maxFrames = 2 << 20 // of all messages
)

var errTooLong = errors.New("answer is too long")

// Read reads and looks at what it has read before it gives it away. What comes before a message
// that is not allowed is given.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.read(p)
	if f.lost == nil {
		f.lost = err
	}
	return n, err
}

func (f *frames) read(p []byte) (int, error) {
	if f.refused {
		return 0, errTooLong
	}
	n, err := f.Conn.Read(p)
	good := f.look(p[:n])
	if f.total += n; good < n || f.total > maxFrames {
		f.refused = true
		if n, err = good, nil; n == 0 {
			err = errTooLong
		}
	}
	return n, err
}

// look follows the messages and tells how many bytes are of those that are allowed.
func (f *frames) look(b []byte) int {
	message := 0 // where the current one begins
	for at := 0; at < len(b); {
		if len(f.seen) < f.head {
			n := min(f.head-len(f.seen), len(b)-at)
			f.seen = append(f.seen, b[at:at+n]...)
			if at += n; len(f.seen) < f.head {
				break
			}
			if f.left = f.size(f.seen); f.left < 0 || f.left > maxFrame {
				return message
			}
		}
		// The head is complete. A message is judged once two bytes of it are there, or all.
		for len(f.seen) < f.head+2 && f.left > 0 && at < len(b) {
			f.seen = append(f.seen, b[at])
			at++
			f.left--
			if (len(f.seen) == f.head+2 || f.left == 0) && !f.allowed() {
				return message
			}
		}
		n := min(f.left, len(b)-at)
		f.left -= n
		if at += n; f.left == 0 {
			f.seen, message = f.seen[:0], at
		}
	}
	return len(b)
}

func (f *frames) allowed() bool {
	var begin [2]byte
	n := copy(begin[:], f.seen[f.head:])
	return f.allow(f.seen[:f.head], n+f.left, begin)
}
