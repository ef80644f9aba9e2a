package check

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// agentLimit is how long an agent may take, within the check's own time.
const agentLimit = time.Second

// askAgent asks the agent of a real server that is up, for what [Result.Agent] has. An agent that
// does not answer is worth a warning.
func askAgent(ctx context.Context, spec Spec, r *Result) {
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	spec.Addr = netip.AddrPortFrom(spec.Addr.Addr(), spec.AgentPort)
	s := newSession(ctx, spec)
	defer s.close()
	text, err := s.agentLine()
	if err == nil {
		r.Agent = printable(clip(text))
		return
	}
	warning := "agent: " + s.failed(err).Reason
	if r.Warning != "" {
		warning = r.Warning + "; " + warning
	}
	r.Warning = warning
}

// agentLine reads what an agent says: up to the first CR or LF, or its hanging up.
func (s *session) agentLine() (string, error) {
	if err := s.openTo("connect", s.spec.Addr, dialTCP); err != nil {
		return "", err
	}
	s.step = "answer"
	var line []byte
	for {
		b, err := s.in.ReadByte()
		switch {
		case err != nil && (len(line) == 0 || isTimeout(err)):
			return "", err
		case err != nil, b == '\r', b == '\n':
			return string(line), nil
		case len(line) == maxEventText:
			return "", errors.New("answer is too long")
		}
		line = append(line, b)
	}
}
