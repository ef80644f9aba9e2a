package check

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/systole-ha/systole/pkg/perlre"
)

func init() { checkers["simpletcp"] = script(simpleTCP) }

// simpleTCP sends the request as it stands, and is up as soon as one line of the answer matches
// receive. Over UDP the request is one packet.
func simpleTCP(s *session) error {
	receive, err := patterns.get(s.spec.Receive)
	if err != nil {
		return wrong(err.Error())
	}
	open := s.connect
	if s.spec.Proto == "udp" {
		open = s.connectUDP
	}
	if err := open(); err != nil {
		return err
	}
	request := strings.ReplaceAll(strings.TrimPrefix(s.spec.Request, "/"), `\n`, "\n")
	s.step = ""
	if s.conn.packets {
		return s.simpleUDP(request, receive)
	}
	if request != "" {
		s.trace.sent(request)
		if err := s.write(request); err != nil {
			s.step = "request"
			return err
		}
	}
	if err := s.conn.CloseWrite(); err != nil {
		return err
	}
	lines := lineSearch{session: s, receive: receive}
	for {
		// A line that is longer than the buffer is judged piece by piece.
		line, err := s.in.ReadSlice('\n')
		if found, bad := lines.look(line); found || bad != nil {
			return bad
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return lines.missing(err)
		}
	}
}

// simpleUDP is simpleTCP over packets.
func (s *session) simpleUDP(request string, receive *perlre.Regexp) error {
	lines := lineSearch{session: s, receive: receive}
	judge := func(answer []byte) error {
		for line := range bytes.Lines(answer) {
			if found, err := lines.look(line); found || err != nil {
				return err
			}
		}
		return errNotYet
	}
	if request == "" {
		var buf [maxPacket]byte
		for {
			n, err := s.conn.Read(buf[:])
			if err != nil {
				return lines.missing(err)
			}
			if err := judge(buf[:n]); !errors.Is(err, errNotYet) {
				return err
			}
		}
	}
	s.trace.sent(request)
	if err := s.exchange([]byte(request), judge); err != nil {
		return lines.missing(err)
	}
	return nil
}

// lineSearch looks for receive in one line after the other.
type lineSearch struct {
	*session
	receive *perlre.Regexp
	total   int
	shown   int // lines in the transcript
}

// look tells whether the line is what is waited for.
func (l *lineSearch) look(line []byte) (bool, error) {
	if len(line) == 0 {
		return false, nil
	}
	if err := l.ctx.Err(); err != nil {
		return false, l.missing(err)
	}
	l.total += len(line)
	if l.shown++; l.shown <= maxEvents {
		l.trace.received(string(line[:min(len(line), maxEventText)]))
	}
	if l.receive == nil {
		return true, nil
	}
	found, err := l.receive.Match(line, matchLimit(l.ctx))
	if err != nil {
		return false, wrong(err.Error())
	}
	if !found && l.total > maxSearched {
		return false, l.notFound(l.total)
	}
	return found, nil
}

// missing is the verdict when nothing more comes, for the reason err.
func (l *lineSearch) missing(err error) error {
	var plain wrong
	switch {
	case errors.As(err, &plain):
		return err
	case errors.Is(err, io.EOF) && l.total == 0:
		return wrong("connection closed without an answer")
	case errors.Is(err, io.EOF):
		return l.notFound(l.total)
	case l.total > 0 && isTimeout(err):
		return wrong(l.notFound(l.total).Error() + ", then " + cause(err))
	}
	l.step = "answer"
	return err
}
