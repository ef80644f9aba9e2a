package check

func init() { checkers["nntp"] = script(nntp) }

// nntp waits for the greeting of a news server.
func nntp(s *session) error {
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.greeted("2"); err != nil {
		return err
	}
	s.bye("QUIT")
	return nil
}
