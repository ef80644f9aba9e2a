package check

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

func init() { checkers["radius"] = script(radius) }

// RADIUS packets and attributes (RFC 2865, 2869, 3162).
const (
	radiusRequest, radiusAccept, radiusReject, radiusChallenge = 1, 2, 3, 11

	radiusUser, radiusPassword, radiusNAS, radiusMessage, radiusAuthenticator, radiusNAS6 = 1, 2, 4, 18, 80, 95

	radiusHead = 20 // bytes: code, identifier, length, authenticator
)

// radius asks a RADIUS server to let login in with passwd. It is up if that is accepted.
func radius(s *session) error {
	if err := s.connectUDP(); err != nil {
		return err
	}
	s.step = "Access-Request"
	request := s.radiusRequest()
	s.trace.sent("Access-Request for " + s.spec.Login)
	var forged error
	err := s.exchange(request, func(answer []byte) error {
		verdict, genuine := s.radiusJudge(request, answer)
		if !genuine {
			s.trace.received("an answer that is not made with our secret")
			forged = wrong("the answer is not made with our secret")
			return errNotYet
		}
		return verdict
	})
	if isTimeout(err) && forged != nil {
		return forged
	}
	return err
}

func (s *session) radiusRequest() []byte {
	b := make([]byte, radiusHead, 256)
	_, _ = rand.Read(b[:radiusHead]) // never fails
	b[0] = radiusRequest
	authenticator := bytes.Clone(b[4:radiusHead])
	signature := len(b) + 2
	b = radiusAttribute(b, radiusAuthenticator, make([]byte, md5.Size))
	b = radiusAttribute(b, radiusUser, []byte(s.spec.Login))
	b = radiusAttribute(b, radiusPassword, radiusHide(s.spec.Password, s.spec.Secret, authenticator))
	if local := s.conn.local().Addr().Unmap(); local.Is4() {
		b = radiusAttribute(b, radiusNAS, local.AsSlice())
	} else {
		b = radiusAttribute(b, radiusNAS6, local.AsSlice())
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[signature:], radiusSign(b, s.spec.Secret))
	return b
}

// radiusAttribute appends an attribute, whose value has at most 253 bytes.
func radiusAttribute(b []byte, kind byte, value []byte) []byte {
	value = value[:min(len(value), 253)]
	return append(append(b, kind, byte(len(value)+2)), value...)
}

func radiusSign(packet []byte, secret string) []byte {
	mac := hmac.New(md5.New, []byte(secret))
	mac.Write(packet)
	return mac.Sum(nil)
}

// radiusHide is a password as User-Password has it, of at most 128 bytes.
func radiusHide(password, secret string, authenticator []byte) []byte {
	const most = 128
	out := make([]byte, max(md5.Size, (min(len(password), most)+md5.Size-1)/md5.Size*md5.Size))
	copy(out, password)
	last := authenticator
	for block := out; len(block) > 0; block = block[md5.Size:] {
		pad := md5.Sum(append([]byte(secret), last...))
		for i := range md5.Size {
			block[i] ^= pad[i]
		}
		last = block[:md5.Size]
	}
	return out
}

// radiusJudge gives the verdict on an answer. genuine tells whether it answers the request and
// comes from somebody who knows the secret.
func (s *session) radiusJudge(request, answer []byte) (verdict error, genuine bool) {
	if len(answer) < radiusHead || answer[1] != request[1] {
		return nil, false
	}
	length := int(binary.BigEndian.Uint16(answer[2:]))
	if length < radiusHead || length > len(answer) {
		return nil, false
	}
	answer = answer[:length]
	signed := bytes.Clone(answer)
	copy(signed[4:], request[4:radiusHead])
	sum := md5.Sum(append(bytes.Clone(signed), s.spec.Secret...))
	if !hmac.Equal(sum[:], answer[4:radiusHead]) {
		return nil, false
	}
	var text string
	for rest := signed[radiusHead:]; len(rest) >= 2; {
		n := int(rest[1])
		if n < 2 || n > len(rest) {
			return nil, false
		}
		value := rest[2:n]
		switch rest[0] {
		case radiusMessage:
			text = string(value)
		case radiusAuthenticator:
			if n != 2+md5.Size {
				return nil, false
			}
			theirs := bytes.Clone(value)
			clear(value)
			if !hmac.Equal(theirs, radiusSign(signed, s.spec.Secret)) {
				return nil, false
			}
		}
		rest = rest[n:]
	}
	name := map[byte]string{radiusAccept: "Access-Accept", radiusReject: "Access-Reject", radiusChallenge: "Access-Challenge"}[answer[0]]
	if name == "" {
		name = fmt.Sprintf("packet of code %d", answer[0])
	}
	if text != "" {
		name += ": " + text
	}
	s.trace.received(name)
	if answer[0] != radiusAccept {
		return wrong(name), true
	}
	return nil, true
}
