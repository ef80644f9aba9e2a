package check

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/systole-ha/systole/pkg/perlre"
)

func init() { checkers["dns"] = script(dns) }

// dns asks for the name in request: its addresses, or, if it is an address, its name. It is up if
// receive is found in one of the answers' addresses or names; without receive if there is one.
// Asked for ".", which is what request is by default, and without receive, any answer without an
// error will do.
func dns(s *session) error {
	receive, err := patterns.get(s.spec.Receive)
	if err != nil {
		return wrong(err.Error())
	}
	s.monitor = "Connection timed out" // the original says so of everything
	names, kind := dnsQuestion(strings.TrimPrefix(s.spec.Request, "/"))
	udp := s.spec.Proto != "tcp"
	err = s.dnsConnect(udp)
	for _, name := range names {
		if err != nil {
			return err
		}
		q := dnsQuery{session: s, receive: receive, kind: kind}
		if q.name, err = dnsmessage.NewName(name); err != nil {
			return wrong("bad name " + strconv.Quote(name))
		}
		err = q.ask(udp)
		if errors.Is(err, errTruncated) {
			if err = s.dnsConnect(false); err == nil {
				err = q.ask(false)
			}
		}
		if err == nil || q.answered {
			break
		}
		if missing := wrong(""); errors.As(err, &missing) && name != names[len(names)-1] {
			err = nil // the next in the search list may be there
		}
	}
	return err
}

func (s *session) dnsConnect(udp bool) error {
	if udp {
		return s.connectUDP()
	}
	return s.connect()
}

// dnsQuestion is the names to ask for, one after the other, and what of them.
func dnsQuestion(request string) (names []string, kind dnsmessage.Type) {
	if addr, err := netip.ParseAddr(request); err == nil {
		return []string{reverseName(addr)}, dnsmessage.TypePTR
	}
	name := strings.TrimSuffix(request, ".") + "."
	if !strings.Contains(request, ".") && request != "" {
		for _, domain := range searchDomains() {
			names = append(names, name+strings.Trim(domain, ".")+".")
		}
	}
	return append(names, name), dnsmessage.TypeA
}

// reverseName is where the name of an address is.
func reverseName(addr netip.Addr) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	if addr.Is4() {
		bytes := addr.As4()
		for i := 3; i >= 0; i-- {
			b.WriteString(strconv.Itoa(int(bytes[i])) + ".")
		}
		return b.String() + "in-addr.arpa."
	}
	bytes := addr.As16()
	for i := 15; i >= 0; i-- {
		b.WriteString(string([]byte{hex[bytes[i]&15], '.', hex[bytes[i]>>4], '.'}))
	}
	return b.String() + "ip6.arpa."
}

// resolvConf is where the search list is.
var resolvConf = "/etc/resolv.conf"

// searchDomains is the search list of the system, which a name without a dot is looked up in.
func searchDomains() []string {
	const most = 6 // as the C library
	f, err := os.Open(resolvConf)
	if err != nil {
		return nil
	}
	defer f.Close()
	var domains []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 1 && (words[0] == "search" || words[0] == "domain") {
			domains = words[1:]
		}
	}
	return domains[:min(len(domains), most)]
}

// dnsQuery is one question.
type dnsQuery struct {
	*session
	receive  *perlre.Regexp
	name     dnsmessage.Name
	kind     dnsmessage.Type
	id       uint16
	answered bool // there were answers, of the right kind
}

var errTruncated = errors.New("answer does not fit a packet")

func (q *dnsQuery) ask(udp bool) error {
	q.step = strings.TrimPrefix(q.kind.String(), "Type") + " of " + q.name.String()
	q.id = uint16(rand.Uint32())
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: q.name, Type: q.kind, Class: dnsmessage.ClassINET}},
	}
	packet, err := query.Pack()
	if err != nil {
		return err
	}
	q.trace.sent(q.step)
	if udp {
		return q.exchange(packet, q.judge)
	}
	if _, err := q.stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		return err
	}
	var size [2]byte
	var answer []byte
	for {
		if _, err := io.ReadFull(q.in, size[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		answer = slices.Grow(answer[:0], n)[:n]
		if _, err := io.ReadFull(q.in, answer); err != nil {
			return err
		}
		if err := q.judge(answer); !errors.Is(err, errNotYet) {
			return err
		}
	}
}

// judge gives the verdict on a packet.
func (q *dnsQuery) judge(packet []byte) error {
	var p dnsmessage.Parser
	head, err := p.Start(packet)
	if err != nil || head.ID != q.id || !head.Response {
		return errNotYet
	}
	if err := p.SkipAllQuestions(); err != nil {
		return wrong("bad answer: " + err.Error())
	}
	if head.RCode != dnsmessage.RCodeSuccess {
		code := rcodeNames[head.RCode]
		if code == "" {
			code = head.RCode.String()
		}
		q.trace.received(code)
		return wrong(code)
	}
	if q.receive == nil && q.name.String() == "." {
		q.monitor = "Success"
		return nil
	}
	for {
		text, err := nextAnswer(&p)
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return wrong("bad answer: " + err.Error())
		}
		if text == "" {
			continue
		}
		q.answered, q.monitor = true, "Response mismatch"
		q.trace.received(text)
		found := q.receive == nil
		if !found {
			if found, err = q.receive.Match([]byte(text), matchLimit(q.ctx)); err != nil {
				return wrong(err.Error())
			}
		}
		if found {
			q.monitor = "Success"
			return nil
		}
	}
	switch {
	case head.Truncated && q.conn.packets:
		return errTruncated
	case !q.answered:
		return wrong("no such record")
	}
	return wrong("receive " + strconv.Quote(q.spec.Receive) + " is in no answer")
}

// nextAnswer is the next record's address or name; empty if it has none.
func nextAnswer(p *dnsmessage.Parser) (string, error) {
	head, err := p.AnswerHeader()
	if err != nil {
		return "", err
	}
	switch head.Type {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return netip.AddrFrom4(r.A).String(), err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return netip.AddrFrom16(r.AAAA).String(), err
	case dnsmessage.TypePTR:
		r, err := p.PTRResource()
		return strings.TrimSuffix(r.PTR.String(), "."), err
	}
	return "", p.SkipAnswer()
}

var rcodeNames = map[dnsmessage.RCode]string{
	dnsmessage.RCodeFormatError: "FORMERR", dnsmessage.RCodeServerFailure: "SERVFAIL", dnsmessage.RCodeNameError: "NXDOMAIN",
	dnsmessage.RCodeNotImplemented: "NOTIMP", dnsmessage.RCodeRefused: "REFUSED",
}
