package hamsg

import "bytes"

// Splitter finds whole text messages in a stream of bytes: the FIFO, a serial line. Whatever is
// not between a line that begins with >>> and one that begins with <<< is skipped, and so is a
// message that a new >>> cuts short (two writers mixed) or that grows to MaxMessage. The zero
// Splitter is ready for use.
type Splitter struct {
	line    []byte // bytes of a line whose end has not come yet
	message []byte // lines since >>>; empty outside a message
	ready   [][]byte
	skipped int
}

// Write takes the next bytes of the stream. It never fails.
func (s *Splitter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		lf := bytes.IndexByte(rest, '\n')
		if lf < 0 {
			s.line = append(s.line, rest...)
			if len(s.line) >= MaxMessage {
				s.skip(&s.line)
				s.skip(&s.message)
			}
			break
		}
		s.line = append(s.line, rest[:lf+1]...)
		rest = rest[lf+1:]
		s.endLine(bytes.TrimLeft(s.line, "\x00"))
		s.line = s.line[:0]
	}
	return len(p), nil
}

func (s *Splitter) endLine(line []byte) {
	switch {
	case bytes.HasPrefix(line, []byte(">>>")):
		s.skip(&s.message)
		s.message = append(s.message, textStart...)
	case len(s.message) == 0 || len(s.message)+len(line) >= MaxMessage:
		s.skipped += len(line)
		s.skip(&s.message)
	case bytes.HasPrefix(line, []byte(textEnd)):
		s.ready = append(s.ready, append(s.message, textEnd+"\n"...))
		s.message = nil
	default:
		s.message = append(s.message, line...)
	}
}

func (s *Splitter) skip(b *[]byte) {
	s.skipped += len(*b)
	*b = (*b)[:0]
}

// Next is the next whole message, from >>> to <<< with its line end, or nil when more bytes are
// needed. It belongs to the caller.
func (s *Splitter) Next() []byte {
	if len(s.ready) == 0 {
		return nil
	}
	next := s.ready[0]
	s.ready = s.ready[1:]
	return next
}

// Skipped is how many bytes belonged to no whole message so far.
func (s *Splitter) Skipped() int { return s.skipped }
