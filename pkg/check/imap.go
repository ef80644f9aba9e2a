package check

import "strings"

func init() {
	checkers["imap"] = script(imap)
	checkers["imaps"] = script(overTLS(imap))
}

// imap waits for the greeting of an IMAP server and logs in if there is a login.
func imap(s *session) error {
	if err := s.connect(); err != nil {
		return err
	}
	s.step = "greeting"
	line, err := s.hear()
	if err != nil {
		return err
	}
	// A server that knows us by our address is past logging in.
	loggedIn := strings.HasPrefix(line, "* PREAUTH")
	if !loggedIn && expected(line, "* OK") != nil {
		return expected(line, "* OK")
	}
	if s.spec.Login != "" && !loggedIn {
		login := "0 LOGIN " + quoteIMAP(s.spec.Login) + " "
		if err := s.sayHiding(login+quoteIMAP(s.spec.Password), login+hidden); err != nil {
			return err
		}
		s.step = "LOGIN"
		if err := s.tagged("0 "); err != nil {
			return err
		}
	}
	if s.say("1 LOGOUT") == nil {
		s.patience(byeGrace)
		_ = s.tagged("1 ") // the verdict stands
	}
	return nil
}

// tagged reads up to the answer with that tag, which must be OK.
func (s *session) tagged(tag string) error {
	for {
		line, err := s.hear()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, tag) {
			return expected(line, tag+"OK")
		}
		if strings.HasPrefix(line, "* BYE") && tag == "0 " {
			return wrong(line)
		}
	}
}

// quoteIMAP is a string as IMAP has it, quoted only if need be.
func quoteIMAP(text string) string {
	text = oneLine(text)
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) }) < 0 {
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
