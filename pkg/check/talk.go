package check

import (
	"errors"
	"io"
	"strings"
	"time"
)

// This file is the engine of protocols that are talked in lines. Each is a script of a few steps;
// every step has a name, which a failure's reason begins with, and everything said is in the
// transcript.

// maxTalk bounds what a peer may send in lines, in bytes.
const maxTalk = 64 << 10

// say sends a line.
func (s *session) say(line string) error { return s.sayHiding(line, line) }

// sayHiding sends a line, of which the transcript has another form.
func (s *session) sayHiding(line, shown string) error {
	s.step, _, _ = strings.Cut(shown, " ")
	s.trace.sent(shown)
	return s.write(line + "\r\n")
}

func (s *session) write(text string) error {
	_, err := io.WriteString(s.stream, text)
	return err
}

// hear reads a line, without its end. A last line that the peer did not end counts.
func (s *session) hear() (string, error) {
	text, err := readLine(s.in, &s.budget)
	line := string(text)
	if errors.Is(err, errLongHead) {
		err = errTooLong
	}
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		if line != "" {
			s.trace.received(line)
		}
		return "", err
	}
	s.trace.received(line)
	return line, nil
}

// numbered reads a reply as SMTP and FTP have it: "250 text", or "250-text" and further lines up
// to one that begins with "250 ". It returns the last line.
func (s *session) numbered() (string, error) {
	line, err := s.hear()
	if err != nil {
		return "", err
	}
	if len(line) < 4 || line[3] != '-' {
		return line, nil
	}
	end := line[:3]
	for {
		line, err = s.hear()
		if err != nil {
			return "", err
		}
		if line == end || strings.HasPrefix(line, end+" ") {
			return line, nil
		}
	}
}

// expect reads a numbered reply, which must begin with want.
func (s *session) expect(want string) error {
	line, err := s.numbered()
	if err != nil {
		return err
	}
	return expected(line, want)
}

// greeted reads the greeting, a numbered reply.
func (s *session) greeted(want string) error {
	s.step = "greeting"
	return s.expect(want)
}

// ask sends a command and expects a numbered reply that begins with want.
func (s *session) ask(command, want string) error {
	if err := s.say(command); err != nil {
		return err
	}
	return s.expect(want)
}

// bye sends a last command, whose reply is waited for and not judged: a server that is cut off
// complains in its log.
func (s *session) bye(command string) {
	if s.say(command) == nil {
		s.patience(byeGrace)
		_, _ = s.numbered()
	}
}

// byeGrace is how long the reply to a last command is waited for.
const byeGrace = time.Second

// patience has what comes wait no longer than that.
func (s *session) patience(d time.Duration) { s.conn.setReadDeadline(s.ctx, time.Now().Add(d)) }

// expected is nil if line begins with want.
func expected(line, want string) error {
	if strings.HasPrefix(line, want) {
		return nil
	}
	return wrong(line)
}
