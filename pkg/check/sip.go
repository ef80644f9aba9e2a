package check

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

func init() { checkers["sip"] = script(sip) }

// sip asks a SIP server for its options, over the virtual service's protocol.
func sip(s *session) error {
	open := s.connect
	if s.spec.Proto == "udp" {
		open = s.connectUDP
	}
	if err := open(); err != nil {
		return err
	}
	s.step = "OPTIONS"
	request := sipOptions(oneLine(s.spec.Login), s.conn.local().String())
	for line := range strings.SplitSeq(strings.TrimSpace(request), "\r\n") {
		s.trace.sent(line)
	}
	if s.conn.packets {
		return s.exchange([]byte(request), func(answer []byte) error {
			s.in.Reset(strings.NewReader(string(answer)))
			return s.sipAnswer()
		})
	}
	if err := s.write(request); err != nil {
		return err
	}
	return s.sipAnswer()
}

// sipAnswer reads an answer up to the empty line after its head, and passes over interim ones.
func (s *session) sipAnswer() error {
	for {
		status, err := s.hear()
		if err != nil {
			return err
		}
		for line := status; line != ""; {
			if line, err = s.hear(); err != nil {
				if errors.Is(err, io.EOF) && s.conn.packets {
					err = wrong("answer without an end")
				}
				return err
			}
		}
		if strings.HasPrefix(status, "SIP/2.0 1") {
			if s.conn.packets {
				return errNotYet
			}
			continue
		}
		return expected(status, "SIP/2.0 200 OK")
	}
}

// sipOptions is the request, as the original words it.
func sipOptions(login, local string) string {
	return strings.Join([]string{
		"OPTIONS sip:" + login + " SIP/2.0",
		"Via: SIP/2.0/UDP " + local + ";branch=z9hG4bKhjhs8ass877",
		"Max-Forwards: 70",
		"To: <sip:" + login + ">",
		"From: <sip:" + login + ">;tag=1928301774",
		fmt.Sprintf("Call-ID: %016x", rand.Uint64()),
		"CSeq: 63104 OPTIONS",
		"Contact: <sip:" + login + ">",
		"Accept: application/sdp",
		"Content-Length: 0",
		"", "",
	}, "\r\n")
}
