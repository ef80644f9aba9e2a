package ldirectordcf

import (
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// maxReals bounds the real servers of a file: a range of half the Internet is a mistake.
const maxReals = 1 << 16

// What a real line is made of. Each part is searched for, unanchored, in what the part before
// it left over; what stands before a match is dropped, as in the original.
var (
	realAddress = regexp.MustCompile(addressShape + `(?:->` + addressShape + `)?(?::([A-Za-z0-9_-]+))?[\s\v]+(.*)`)
	realMethod  = regexp.MustCompile(`[0-9A-Za-z_]+`)
	realWeight  = regexp.MustCompile(`[\s\v]+([0-9]+)`)
	realPair    = regexp.MustCompile(`[\s\v]+"(.*)"[\s\v,][\s\v]*"(.*)"`)
	realLower   = regexp.MustCompile(`[\s\v]+l:([0-9]+)`)
	realUpper   = regexp.MustCompile(`[\s\v]+u:([0-9]+)`)
	quotedText  = regexp.MustCompile(`"[^"]*"`)
)

const addressShape = `([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:\[\]]+\])`

// realLine keeps a real line for the section's end; its name must fit the section's family.
func (p *parser) realLine(s *section, st statement) bool {
	if !p.familyFits(s, st, "real") {
		return false
	}
	s.reals = append(s.reals, st)
	return true
}

// familyFits refuses NAME6 in an IPv4 section and NAME in an IPv6 one.
func (p *parser) familyFits(s *section, st statement, name string) bool {
	want := name
	if s.family == ipvs.IPv6 {
		want += "6"
	}
	if st.name == want {
		return true
	}
	wire := `cannot specify "` + st.name + `" here.  please use "` + want + `" instead`
	p.fail(p.pos(st), st.name, wire, want, "wrong family in an %s section", familyName(s.family))
	return false
}

// readReal takes a real line apart and adds its servers to the section.
func (p *parser) readReal(s *section, st statement) {
	m := realAddress.FindStringSubmatchIndex(st.value)
	if m == nil {
		const wire = "invalid address for real server (wrong format)"
		if realMethod.MatchString(st.value) && strings.IndexFunc(st.value, isBlankRune) < 0 {
			p.fail(p.at(st, len(st.value)), st.name, wire, "gate, masq or ipip after the address", "no forwarding method after %q", clip(st.value))
			return
		}
		p.fail(p.at(st, 0), st.name, wire, "address[->address][:port] gate|masq|ipip", "no address in %q", clip(st.value))
		return
	}
	if before := st.value[:m[0]]; before != "" {
		// An address that starts after a colon is the port of the one that was meant, as in
		// 10.0.0.2::80 and 10.0.0.2:80->10.0.0.3:80, which the original misreads.
		if strings.HasSuffix(before, ":") {
			const wire = "invalid address for real server (wrong format)"
			p.fail(p.at(st, 0), st.name, wire, "address[->address][:port] gate|masq|ipip", "bad address %q", clip(firstField(st.value)))
			return
		}
		p.warn(p.at(st, 0), st.name, "", "one address", "%q before the address is ignored", clip(before))
	}
	part := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return st.value[m[2*i]:m[2*i+1]]
	}
	first, last, port, ok := p.realAddresses(s, st, m, part(1), part(2), part(3))
	if !ok {
		return
	}
	r, ok := p.realOptions(s, st, m[8], part(4))
	if !ok {
		return
	}
	r.Pos = p.pos(st)
	r.CheckPort = s.v.CheckPort
	if r.CheckPort == 0 {
		r.CheckPort = port
	}
	if r.CheckPort == 0 {
		r.CheckPort = portOf(s.v.Service)
	}
	if r.OwnPair && r.Receive != "" {
		p.checkPattern(s, p.at(st, m[8]), st.name, r.Receive)
	}
	for addr := first; ; addr = addr.Next() {
		if p.reals++; p.reals > maxReals {
			if p.reals == maxReals+1 {
				p.fail(p.at(st, 0), st.name, "", "at most 65536 in a file", "too many real servers")
			}
			return
		}
		r.Addr = netip.AddrPortFrom(addr, port)
		r.URL = s.v.url(&r)
		r.ID = s.v.realID(&r)
		s.v.Reals = append(s.v.Reals, r)
		if addr == last {
			return
		}
	}
}

// realAddresses resolves the address, the port and the range's end, in this order.
func (p *parser) realAddresses(s *section, st statement, m []int, from, to, portText string) (first, last netip.Addr, port uint16, ok bool) {
	want := "an " + familyName(s.family) + " address or a name that has one"
	first, err := p.host(from, s.family)
	if err != nil {
		wire := "invalid address (" + from + ") for real server (could not resolve host)"
		p.fail(p.at(st, m[2]), st.name, wire, want, "address %q: %v", clip(from), err)
		return first, last, 0, false
	}
	if portText != "" {
		port, err = p.port(portText, "")
		if err != nil {
			wire := "invalid port (" + portText + ") for real server (could not resolve port)"
			p.fail(p.at(st, m[6]), st.name, wire, "a port or a service name", "port %q: %v", clip(portText), err)
			return first, last, 0, false
		}
	}
	if to == "" {
		return first, first, port, true
	}
	last, err = p.host(to, s.family)
	switch {
	case err != nil:
		wire := "invalid address (" + to + ") for real server (could not resolve end host)"
		p.fail(p.at(st, m[4]), st.name, wire, want, "end of the range %q: %v", clip(to), err)
	case s.family == ipvs.IPv6:
		p.fail(p.at(st, m[2]), st.name, "Address range for IPv6 is not supported yet", "one address a line", "range of IPv6 addresses")
	case last.Less(first):
		wire := "Invalid Range: " + first.String() + "-" + last.String() + ": First value must be greater than or equal to the second value"
		p.fail(p.at(st, m[2]), st.name, wire, "the lower address first", "range from %s down to %s", first, last)
	default:
		return first, last, port, true
	}
	return first, last, 0, false
}

// realOptions reads what follows the address; at is its offset in the value.
func (p *parser) realOptions(s *section, st statement, at int, rest string) (Real, bool) {
	r := Real{Weight: 1, Request: s.v.Request, Receive: s.v.Receive}
	method := realMethod.FindStringIndex(rest)
	if method == nil {
		method = []int{0, 0}
	}
	forward, ok := forwards[rest[method[0]:method[1]]]
	if !ok {
		p.fail(p.at(st, at), st.name, badMethodWire, "gate, masq or ipip", "bad forwarding method %q", clip(firstField(rest)))
		return r, false
	}
	r.Forward = forward
	o := options{p: p, st: st, at: at + method[1], text: rest[method[1]:]}
	if m := realWeight.FindStringSubmatchIndex(maskQuotes(o.text)); m != nil {
		r.Weight = int32(o.number(m, math.MaxInt32))
		o.drop(m, "-w", "weight=")
	}
	if m := realPair.FindStringSubmatchIndex(o.text); m != nil {
		r.pair = o.text[m[2]:m[3]]
		if strings.HasPrefix(r.pair, "/") {
			// The original loses the receive string of such a pair and then uses neither.
			p.warn(p.at(st, o.at+m[2]), st.name, "", `"request" without its leading slash`,
				"the pair of a request that starts with a slash is not used, as by the original: the section's request and receive are")
		} else {
			r.OwnPair = true
			r.Request, r.Receive = withSlash(r.pair), o.text[m[4]:m[5]]
		}
		o.drop(m)
	}
	lower, upper := realLower.FindStringSubmatchIndex(o.text), realUpper.FindStringSubmatchIndex(o.text)
	if lower != nil {
		r.Lower = uint32(o.number(lower, math.MaxUint32))
	}
	if upper != nil {
		r.Upper = uint32(o.number(upper, math.MaxUint32))
	}
	switch {
	case lower != nil && upper != nil && upper[0] < lower[0]:
		o.drop(upper)
		o.drop(realLower.FindStringSubmatchIndex(o.text))
	case lower != nil:
		o.drop(lower)
		if upper != nil {
			o.drop(realUpper.FindStringSubmatchIndex(o.text))
		}
	case upper != nil:
		o.drop(upper)
	}
	if i := skipBlanks(o.text, 0); i < len(o.text) {
		wire := `Invalid real server line, around "` + o.text + `"`
		p.fail(p.at(st, o.at+i), st.name, wire, `[weight] ["request", "receive"] [l:lower] [u:upper]`, "unknown option %q", clip(o.text[i:]))
		return r, false
	}
	return r, true
}

// options is the rest of a real line that is not read yet.
type options struct {
	p    *parser
	st   statement
	at   int // offset of text in the value
	text string
}

// number is the first submatch of m, at most most.
func (o *options) number(m []int, most uint64) uint64 {
	n, err := strconv.ParseUint(o.text[m[2]:m[3]], 10, 64)
	if err != nil || n > most {
		o.p.warn(o.p.at(o.st, o.at+m[2]), o.st.name, "", "", "number %s is taken as %d", clip(o.text[m[2]:m[3]]), most)
		return most
	}
	return n
}

// drop goes on after m. What stands before it is lost, silently only if it is one of fillers.
func (o *options) drop(m []int, fillers ...string) {
	before := strings.TrimFunc(o.text[:m[0]], isBlankRune)
	known := before == ""
	for _, f := range fillers {
		known = known || before == f
	}
	if !known {
		o.p.warn(o.p.at(o.st, o.at+skipBlanks(o.text, 0)), o.st.name, "", `[weight] ["request", "receive"] [l:lower] [u:upper]`,
			"%q is ignored, as by the original", clip(before))
	}
	o.at += m[1]
	o.text = o.text[m[1]:]
}

// maskQuotes blots out quoted strings, keeping all offsets.
func maskQuotes(s string) string {
	return quotedText.ReplaceAllStringFunc(s, func(q string) string { return strings.Repeat(`"`, len(q)) })
}

// forwards is the forwarding methods of the file.
var forwards = map[string]ipvs.Forward{"gate": ipvs.Route, "masq": ipvs.Masq, "ipip": ipvs.Tunnel}

const badMethodWire = "forward method must be gate, masq or ipip"

// url is what a check of r asks for (spec/ldirectord.md 1.10).
func (v *Virtual) url(r *Real) string {
	if !isHTTP(v.Service) {
		return ""
	}
	target := strings.TrimPrefix(r.Request, "/")
	if r.OwnPair && strings.Contains(target, "://") {
		return target
	}
	if v.Service == "http_proxy" && !r.OwnPair {
		return target
	}
	scheme := "http"
	if v.Service == "https" {
		scheme = "https"
	}
	return scheme + "://" + addrText(r.Addr.Addr()) + ":" + strconv.Itoa(int(r.CheckPort)) + "/" + target
}
