package ldirectordcf

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/perlre"
)

// The shapes of a virtual line's value, tried in this order from its first byte.
var (
	virtualName = regexp.MustCompile(`^([A-Za-z0-9._+-]+):([A-Za-z0-9_-]+)`)
	virtualMark = regexp.MustCompile(`^([0-9]+)`)
	virtualV6   = regexp.MustCompile(`^\[([0-9A-Fa-f:]+)\]:([A-Za-z0-9_-]+)`)
)

// readVirtual finds the address or mark of a virtual line. What follows it is ignored.
func (p *parser) readVirtual(s *section) {
	st := s.head
	if m := virtualName.FindStringSubmatch(st.value); m != nil {
		s.addr, s.port = m[1], m[2]
	} else if m := virtualMark.FindString(st.value); m != "" {
		p.readMark(s, m)
		return
	} else if m := virtualV6.FindStringSubmatch(st.value); m != nil {
		if s.family == ipvs.IPv4 {
			const wire = `cannot specify an IPv6 address here. please use "virtual6" instead.`
			p.fail(p.at(st, 0), st.name, wire, "virtual6", "IPv6 address %q", clip(m[1]))
			return
		}
		if _, err := netip.ParseAddr(m[1]); err != nil {
			p.fail(p.at(st, 0), st.name, "invalid ipv6 address for virtual server", "[address]:port", "bad IPv6 address %q", clip(m[1]))
			return
		}
		s.addr, s.port = m[1], m[2]
	} else {
		want := "address:port or a firewall mark"
		if s.family == ipvs.IPv6 {
			want = "[address]:port or a firewall mark"
		}
		p.fail(p.at(st, 0), st.name, "invalid address for virtual server", want, "bad address %q", clip(st.value))
		return
	}
	if s.port == "53" || s.port == "domain" {
		s.v.Protocol = "udp"
	}
}

// readMark takes the digits that a value starts with as a firewall mark, as the original does
// with anything that starts with one and has no port: an address without its port, too.
func (p *parser) readMark(s *section, digits string) {
	st := s.head
	mark, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || mark == 0 {
		p.fail(p.at(st, 0), st.name, "invalid address for virtual server", "a firewall mark from 1 to 4294967295", "bad firewall mark %q", clip(digits))
		return
	}
	if rest := st.value[len(digits):]; rest != "" && !isBlank(rest[0]) {
		p.warn(p.at(st, 0), st.name, "", "address:port, or the number alone", "%q is taken as firewall mark %d", clip(firstField(st.value)), mark)
	}
	s.v.Protocol = "fwm"
	s.v.VIP = ipvs.VIP{FWMark: uint32(mark), Family: s.family}
}

func firstField(s string) string {
	if fields := strings.FieldsFunc(s, isBlankRune); len(fields) > 0 {
		return fields[0]
	}
	return ""
}

// resolve looks up the names of a section at its end, when its protocol is known, in the
// original's order: fallback, virtual, reals, duplicates.
func (p *parser) resolve(s *section) {
	v := &s.v
	if s.fallback != nil {
		v.Fallback = p.resolveFallback(s.fallback, strings.Replace(v.Protocol, "fwm", "", 1))
	}
	if s.addr != "" {
		p.resolveVirtual(s)
	}
	if v.Service == "" {
		v.Service = "none"
		if v.VIP.FWMark == 0 && v.VIP.Addr.IsValid() {
			v.Service = serviceOf(v.VIP.Addr.Port())
		}
		p.defaultLogin(v)
	}
	if v.Fallback != nil && !s.fallback.hasPort && v.VIP.FWMark == 0 {
		v.Fallback.Addr = netip.AddrPortFrom(v.Fallback.Addr.Addr(), v.VIP.Addr.Port())
	}
	v.OnePacket = v.OnePacket && v.Protocol == "udp"
	if _, wrong := schedFlags(v.SchedFlags, v.Scheduler); wrong != "" {
		p.warn(s.flagsAt, "schedflags", "", "flag-1 to flag-3, or SCHEDULER-fallback and SCHEDULER-port of sh and mh",
			"%q is no flag of scheduler %s: not used; ipvsadm would refuse the service", clip(wrong), v.Scheduler)
	}
	if v.Receive != "" {
		p.checkPattern(s, s.receiveAt, "receive", v.Receive)
	}
	for _, st := range s.reals {
		p.readReal(s, st)
	}
	if s.lost || v.VIP == (ipvs.VIP{}) {
		return
	}
	if first, dup := p.ids[v.ID()]; dup {
		p.note(diag.Problem{
			Pos: v.Pos, Sev: diag.Error, Directive: s.head.name, Wire: "duplicate virtual server", WireLine: p.line,
			Want: "one section for each", Msg: fmt.Sprintf("%s is there since line %d", v.ID(), first),
		})
		return
	}
	p.ids[v.ID()] = v.Pos.Line
}

// resolveVirtual turns the address and port of the virtual line into its VIP.
func (p *parser) resolveVirtual(s *section) {
	const wire = "invalid address for virtual service"
	v, st := &s.v, s.head
	port, err := p.port(s.port, v.Protocol)
	if err != nil {
		p.fail(p.at(st, strings.Index(st.value, ":"+s.port)+1), st.name, wire, "a port or a service name", "port %q: %v", clip(s.port), err)
	}
	addr, addrErr := p.host(s.addr, s.family)
	if addrErr != nil {
		p.fail(p.at(st, 0), st.name, wire, "an "+familyName(s.family)+" address or a name that has one", "address %q: %v", clip(s.addr), addrErr)
	}
	if err != nil || addrErr != nil {
		return
	}
	proto := ipvs.TCP
	if v.Protocol == "udp" {
		proto = ipvs.UDP
	}
	v.VIP = ipvs.VIP{Protocol: proto, Addr: netip.AddrPortFrom(addr, port), Family: s.family}
}

// checkPattern compiles a receive string. The original does so at the first check and dies of
// a bad one; where no check would look at it, it only deserves a warning.
func (p *parser) checkPattern(s *section, pos diag.Pos, directive, pattern string) {
	_, err := perlre.Compile(pattern)
	if err == nil {
		return
	}
	v := &s.v
	const want = "a Perl regular expression"
	if (v.CheckType == Negotiate || v.CheckType == Combined) && matchesReceive(v.Service) {
		p.fail(pos, directive, "invalid receive string", want, "%v", err)
		return
	}
	p.warn(pos, directive, "", want, "%v", err)
}

var (
	errNoHost  = errors.New("cannot be resolved")
	errNoPort  = errors.New("no such service")
	errBigPort = errors.New("more than 65535")
)

// host resolves an address or name as getaddrinfo does, in one family: what is in brackets counts,
// the short forms of IPv4 ("10.1", "80") count as addresses.
func (p *parser) host(text string, family ipvs.Family) (netip.Addr, error) {
	if open, end := strings.IndexByte(text, '['), strings.LastIndexByte(text, ']'); open >= 0 && end > open {
		text = text[open+1 : end]
	}
	if family == ipvs.IPv4 {
		if addr, ok := parseIPv4(text); ok {
			return addr, nil
		}
	} else if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Is4() {
			return netip.Addr{}, errNoHost
		}
		return addr, nil
	}
	if p.opts.LookupHost == nil || strings.Trim(text, "0123456789.:") == "" {
		return netip.Addr{}, errNoHost
	}
	addr, err := p.opts.LookupHost(text, family)
	if err == nil && !addr.IsValid() {
		err = errNoHost
	}
	return addr, err
}

// parseIPv4 reads one to four numbers between dots, decimal, octal after 0, or hexadecimal
// after 0x; the last fills what is left of the 32 bits, as inet_aton(3) has it.
func parseIPv4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		if strings.ContainsAny(part, "_bBoO") && !strings.HasPrefix(strings.ToLower(part), "0x") {
			return netip.Addr{}, false // Go's digits, not C's
		}
		limit := uint64(0xff)
		if i == len(parts)-1 {
			limit = 1<<(8*(5-len(parts))) - 1
		}
		n, err := strconv.ParseUint(part, 0, 32)
		if err != nil || n > limit {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			value |= n
		} else {
			value |= n << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// port resolves a number or a service name; proto is "" for any.
func (p *parser) port(text, proto string) (uint16, error) {
	if run(text, isDigit) == text {
		n := number(text)
		if n > 65535 {
			return 0, errBigPort
		}
		return uint16(n), nil
	}
	if p.opts.LookupPort == nil {
		return 0, errNoPort
	}
	return p.opts.LookupPort(text, proto)
}
