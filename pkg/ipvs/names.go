package ipvs

import (
	"net/netip"
	"strconv"
	"strings"
)

// Names resolves the host and service names in rule texts and listings. A nil function knows no
// name, so the zero value is for numbers only, as ipvsadm -n prints them.
type Names struct {
	// Addr is the IPv4 address of a host name; ipvsadm asks for no others.
	Addr func(host string) (netip.Addr, bool)
	// Port is the number of a service name; proto is "tcp", "udp" or "sctp".
	Port func(service, proto string) (uint16, bool)
	// Host is the name of an address.
	Host func(addr netip.Addr) (string, bool)
	// Service is the name of a port.
	Service func(port uint16, proto string) (string, bool)
}

// parseHost reads an address as ipvsadm does: IPv6, IPv4 in any form of inet_aton, or a host name
// with an IPv4 address.
func (n Names) parseHost(s string) (netip.Addr, bool) {
	if a, ok := parseIPv6(s); ok {
		return a, true
	}
	if a, ok := parseAton(s); ok {
		return a, true
	}
	if n.Addr == nil || strings.Trim(s, "0123456789.") == "" {
		return netip.Addr{}, false
	}
	return n.Addr(s)
}

func parseIPv6(s string) (netip.Addr, bool) {
	if !strings.Contains(s, ":") || strings.Contains(s, "%") {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// parseAton is inet_aton: one to four numbers, decimal, octal or hexadecimal; the last one fills
// the bytes that are left. A blank ends the text.
func parseAton(s string) (netip.Addr, bool) {
	if i := strings.IndexAny(s, " \t\n\v\f\r"); i >= 0 {
		s = s[:i]
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, p := range parts {
		limit := uint64(0xff)
		if i == len(parts)-1 {
			limit = 1<<(8*(5-len(parts))) - 1
		}
		v, ok := parseNumberC(p)
		if !ok || v > limit {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			value |= v
		} else {
			value |= v << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// parseNumberC reads digits with C's prefixes for octal and hexadecimal, up to 2^32-1.
func parseNumberC(s string) (uint64, bool) {
	base := uint64(10)
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	var v uint64
	for _, c := range strings.ToLower(s) {
		d := uint64(strings.IndexRune("0123456789abcdef", c))
		if d >= base {
			return 0, false
		}
		if v = v*base + d; v > 0xffffffff {
			return 0, false
		}
	}
	return v, s != ""
}

// parsePort reads a port number, or a service name if there is a protocol.
func (n Names) parsePort(s string, proto Protocol) (uint16, bool) {
	if v, ok := parseLong(s, 0, 65535); ok {
		return uint16(v), true
	}
	if n.Port == nil || proto == 0 {
		return 0, false
	}
	return n.Port(s, servicesProto(proto))
}

// servicesProto is the protocol under which ipvsadm looks a service name up.
func servicesProto(p Protocol) string {
	switch p {
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "tcp"
}

// parseEndpoint reads "host", "host:port", "[v6]:port" or "v6". ported tells whether a port was
// given. A text of digits alone is refused. As in ipvsadm, the port behind brackets around
// anything but an IPv6 address is passed over.
func (n Names) parseEndpoint(s string, proto Protocol) (addr netip.AddrPort, ported, ok bool) {
	if strings.Trim(s, "0123456789") == "" {
		return netip.AddrPort{}, false, false
	}
	if a, ok := parseIPv6(s); ok {
		return netip.AddrPortFrom(a, 0), false, true
	}
	host, port := s, ""
	rest, bracket := strings.CutPrefix(s, "[")
	if bracket {
		host, port, ok = strings.Cut(rest, "]")
		if !ok || !strings.HasPrefix(port, ":") {
			return netip.AddrPort{}, false, false
		}
		port, ported = port[1:], true
	} else if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port, ported = s[:i], s[i+1:], true
	}
	a, ok := n.parseHost(host)
	if !ok {
		return netip.AddrPort{}, false, false
	}
	ported = ported && (!bracket || a.Is6())
	var p uint16
	if ported {
		if p, ok = n.parsePort(port, proto); !ok {
			return netip.AddrPort{}, false, false
		}
	}
	return netip.AddrPortFrom(a, p), ported, true
}

// parseLong is strtol in base 10 without trailing text, between lo and hi.
func parseLong(s string, lo, hi int64) (int64, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	var v int64
	for _, c := range []byte(s) {
		if v = v*10 + int64(c-'0'); v > 1<<40 {
			return 0, false
		}
	}
	if negative {
		v = -v
	}
	return v, v >= lo && v <= hi
}

// parsePrefix is atoi: a number at the beginning, 0 if there is none.
func parsePrefix(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	v, _ := parseLong(s[:end], -1<<31, 1<<31-1)
	return v
}

// The longest address:port text that ipvsadm makes, and the longest IPv4 one in a table listing.
const (
	maxEndpoint  = 59
	maxEndpoint4 = 28
)

// endpoint is "host:port" with names where they are known, at most 59 bytes long.
func (n Names) endpoint(a netip.AddrPort, proto Protocol) string {
	host, named := "", false
	if n.Host != nil {
		host, named = n.Host(a.Addr())
	}
	if !named {
		host = formatAddr(a.Addr())
	}
	if a.Addr().Is6() {
		host = "[" + host + "]"
	}
	port, named := "", false
	if n.Service != nil && proto != 0 {
		port, named = n.Service(a.Port(), servicesProto(proto))
	}
	if !named {
		port = strconv.Itoa(int(a.Port()))
	}
	s := host + ":" + port
	return s[:min(len(s), maxEndpoint)]
}

// formatAddr is inet_ntop of glibc, which writes ::102:304 as ::1.2.3.4.
func formatAddr(a netip.Addr) string {
	if b := a.As16(); a.Is6() && [12]byte(b[:12]) == [12]byte{} && (b[12] != 0 || b[13] != 0) {
		return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
	}
	return a.String()
}
