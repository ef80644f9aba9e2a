package check

import (
	"crypto/md5"
	"encoding/hex"
	"regexp"
	"strings"
)

func init() {
	checkers["pop"] = script(pop)
	checkers["pops"] = script(overTLS(pop))
}

// pop waits for the greeting of a POP3 server and logs in if there is a login.
func pop(s *session) error {
	if err := s.connect(); err != nil {
		return err
	}
	s.step = "greeting"
	greeting, err := s.popReply()
	if err != nil {
		return err
	}
	if s.spec.Login != "" {
		if err := s.popLogin(greeting); err != nil {
			return err
		}
	}
	s.bye("QUIT")
	return nil
}

// popLogin logs in by USER and PASS. Where a server does not take passwords in the clear, and
// offers APOP, that is used.
func (s *session) popLogin(greeting string) error {
	if err := s.say("USER " + oneLine(s.spec.Login)); err != nil {
		return err
	}
	if _, err := s.popReply(); err != nil {
		stamp := apopStamp.FindString(greeting)
		if stamp == "" {
			return err
		}
		sum := md5.Sum([]byte(stamp + s.spec.Password))
		if err := s.sayHiding("APOP "+oneLine(s.spec.Login)+" "+hex.EncodeToString(sum[:]), "APOP "+s.spec.Login+" "+hidden); err != nil {
			return err
		}
		_, err := s.popReply()
		return err
	}
	if err := s.sayHiding("PASS "+oneLine(s.spec.Password), "PASS "+hidden); err != nil {
		return err
	}
	_, err := s.popReply()
	return err
}

// apopStamp is what APOP's digest is made with.
var apopStamp = regexp.MustCompile(`<[^<>]+@[^<>]*>`)

// popReply reads a reply, which must be "+OK".
func (s *session) popReply() (string, error) {
	line, err := s.hear()
	if err != nil {
		return "", err
	}
	return line, expected(line, "+OK")
}

// oneLine keeps line ends out of what goes into a line.
func oneLine(text string) string { return strings.Map(dropLineEnds, text) }
