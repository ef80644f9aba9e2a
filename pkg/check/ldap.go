package check

import (
	"fmt"
	"strconv"
	"strings"
)

func init() {
	checkers["ldap"] = script(ldap)
	checkers["ldaps"] = script(overTLS(ldap))
}

// Tags of LDAP messages (RFC 4511) and the universal ones in them.
const (
	berBoolean, berInteger, berEnumerated, berSequence = 0x01, 0x02, 0x0a, 0x30

	ldapBind, ldapBindAnswer     = 0x60, 0x61
	ldapUnbind                   = 0x42
	ldapSearch, ldapEntry        = 0x63, 0x64
	ldapSearchDone, ldapReferral = 0x65, 0x73
	ldapSimple, ldapPresent      = 0x80, 0x87
)

// maxLDAP bounds a message from the server, in bytes; maxDN what is kept of a name in it.
const (
	maxLDAP = 4 << 20
	maxDN   = 8 << 10
)

// ldap binds, anonymously unless there are login and passwd, and reads the entry that request
// names, or the root. It is up if receive is found in the entry's name.
func ldap(s *session) error {
	receive, err := patterns.get(s.spec.Receive)
	if err != nil {
		return wrong(err.Error())
	}
	s.monitor = "Connection failed"
	if err := s.connect(); err != nil {
		return err
	}
	s.monitor = "Bind failed"
	if err := s.ldapBind(); err != nil {
		return err
	}
	s.monitor = "No answer received"
	names, err := s.ldapRead(strings.TrimPrefix(s.spec.Request, "/"))
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return wrong(fmt.Sprintf("%d entries", len(names)))
	}
	if receive != nil {
		s.monitor = "Response mismatch"
		found, err := receive.Match([]byte(names[0]), matchLimit(s.ctx))
		if err != nil {
			return wrong(err.Error())
		}
		if !found {
			return wrong("receive " + strconv.Quote(s.spec.Receive) + " is not in " + strconv.Quote(names[0]))
		}
	}
	s.monitor = "Success"
	_ = s.ldapSay(3, berTLV(ldapUnbind)) // the verdict stands
	return nil
}

func (s *session) ldapBind() error {
	login, password := s.spec.Login, s.spec.Password
	s.step = "bind as " + login
	if login == "" || password == "" {
		login, password = "", ""
		s.step = "bind anonymously"
	}
	s.trace.sent(s.step)
	if err := s.ldapSay(1, berTLV(ldapBind, berTLV(berInteger, []byte{3}), berString(0x04, login), berString(ldapSimple, password))); err != nil {
		return err
	}
	_, answer, err := s.ldapHear(1)
	if err != nil {
		return err
	}
	return s.ldapResult(answer)
}

// ldapRead returns the names of the entries that a search for one entry brings, two at most.
func (s *session) ldapRead(base string) (names []string, err error) {
	s.step = "search " + strconv.Quote(base)
	s.trace.sent(s.step)
	const scopeBase, derefFinding = 0, 2
	err = s.ldapSay(2, berTLV(ldapSearch,
		berString(0x04, base), berTLV(berEnumerated, []byte{scopeBase}), berTLV(berEnumerated, []byte{derefFinding}),
		berTLV(berInteger, []byte{0}), berTLV(berInteger, []byte{0}), berTLV(berBoolean, []byte{0}),
		berString(ldapPresent, "objectClass"), berTLV(berSequence)))
	for err == nil {
		var tag byte
		var answer berReader
		if tag, answer, err = s.ldapHear(2); err != nil {
			break
		}
		switch tag {
		case ldapSearchDone:
			return names, s.ldapResult(answer)
		case ldapEntry:
			var name string
			if name, err = answer.text(maxDN); err != nil {
				break
			}
			if s.trace.received("entry " + strconv.Quote(name)); len(names) < 2 {
				names = append(names, name)
			}
		}
		if err == nil {
			err = answer.skip()
		}
	}
	return nil, err
}

// ldapSay sends a message.
func (s *session) ldapSay(id byte, operation []byte) error {
	_, err := s.stream.Write(berTLV(berSequence, berTLV(berInteger, []byte{id}), operation))
	return err
}

// ldapHear reads the head of the next answer to the message of that id.
func (s *session) ldapHear(id int) (tag byte, answer berReader, err error) {
	for {
		stream := berReader{in: s.in, left: maxLDAP}
		_, message, err := stream.enter(berSequence)
		if err != nil {
			return 0, answer, err
		}
		got, err := message.number(berInteger)
		if err != nil {
			return 0, answer, err
		}
		if got != id && got != 0 {
			if err := message.skip(); err != nil {
				return 0, answer, err
			}
			continue
		}
		tag, answer, err := message.enter(0)
		if err != nil {
			return 0, answer, err
		}
		if got == 0 { // the server says that it hangs up
			if err := s.ldapResult(answer); err != nil {
				return 0, answer, err
			}
			return 0, answer, wrong("disconnected")
		}
		// What follows the operation is controls, which were not asked for.
		answer.after = message.left
		return tag, answer, nil
	}
}

// ldapResult reads a result code and what the server says to it, to the end of the message.
func (s *session) ldapResult(answer berReader) error {
	code, err := answer.number(berEnumerated)
	if err != nil {
		return err
	}
	if _, err := answer.text(maxDN); err != nil { // the name that matched
		return err
	}
	text, err := answer.text(maxEventText)
	if err != nil {
		return err
	}
	if err := answer.skip(); err != nil {
		return err
	}
	name := ldapResults[code]
	if name == "" {
		name = "result " + strconv.Itoa(code)
	}
	if s.trace.received(name + " " + text); code == 0 {
		return nil
	}
	return wrong(strings.TrimSuffix(name+": "+text, ": "))
}

// ldapResults are the results that a check may meet.
var ldapResults = map[int]string{
	0: "success", 1: "operationsError", 2: "protocolError", 7: "authMethodNotSupported", 8: "strongerAuthRequired", 10: "referral",
	13: "confidentialityRequired", 32: "noSuchObject", 34: "invalidDNSyntax", 48: "inappropriateAuthentication",
	49: "invalidCredentials", 50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform", 80: "other",
}
