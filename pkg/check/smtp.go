package check

import "errors"

func init() {
	checkers["smtp"] = script(smtp)
	checkers["submission"] = script(smtp)
}

// smtp says hello to a mail server.
func smtp(s *session) error {
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.greeted("2"); err != nil {
		return err
	}
	err := s.ask("EHLO localhost.localdomain", "2")
	if refused := wrong(""); errors.As(err, &refused) {
		err = s.ask("HELO localhost.localdomain", "2")
	}
	if err == nil {
		s.bye("QUIT")
	}
	return err
}
