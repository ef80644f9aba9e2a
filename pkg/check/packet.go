package check

import (
	"errors"
	"time"
)

// errNotYet says that a packet is not the answer that is waited for.
var errNotYet = errors.New("not the answer")

// Intervals at which an unanswered UDP request is sent again: SIP's (RFC 3261, timer E), which do
// for other protocols as well.
const (
	firstRepeat = 500 * time.Millisecond
	lastRepeat  = 4 * time.Second
)

// maxPacket bounds the answers to requests over UDP, in bytes.
const maxPacket = 4 << 10

// exchange sends a request in a packet, again and again until judge has an answer that is not
// errNotYet.
func (s *session) exchange(request []byte, judge func(answer []byte) error) error {
	var buf [maxPacket]byte
	for wait := firstRepeat; ; wait = min(2*wait, lastRepeat) {
		if _, err := s.conn.Write(request); err != nil {
			return err
		}
		s.patience(wait)
		for {
			n, err := s.conn.Read(buf[:])
			if isTimeout(err) && s.ctx.Err() == nil {
				break // and ask again, unless the check's own deadline has passed
			}
			if err != nil {
				return err
			}
			if err := judge(buf[:n]); !errors.Is(err, errNotYet) {
				return err
			}
		}
		s.trace.happened("no answer after %v, asking again", wait)
	}
}
