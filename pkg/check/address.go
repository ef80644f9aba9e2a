package check

import (
	"errors"
	"net"
	"net/netip"
	"strings"
)

// address is a URL taken apart as leniently as the original's library does.
type address struct {
	scheme    string // "http" or "https"
	userinfo  string // user:password, still escaped
	authority string // host and port as written
	host      string // without brackets
	port      string
	target    string // path and query, escaped
}

// parseURL takes an http or https URL apart. Characters that must not be in one are escaped,
// nothing else is changed.
func parseURL(text string) (address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return address{}, errors.New("no URL")
	}
	a := address{scheme: strings.ToLower(scheme)}
	switch a.scheme {
	case "http":
		a.port = "80"
	case "https":
		a.port = "443"
	default:
		return address{}, errors.New("neither http nor https")
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	a.authority, a.target = rest[:end], escape(rest[end:])
	if !strings.HasPrefix(a.target, "/") {
		a.target = "/" + a.target
	}
	if at := strings.LastIndexByte(a.authority, '@'); at >= 0 {
		a.userinfo, a.authority = a.authority[:at], a.authority[at+1:]
	}
	host, port, err := net.SplitHostPort(a.authority)
	if err != nil {
		host, port = strings.Trim(a.authority, "[]"), ""
	}
	a.host = host
	if port != "" {
		a.port = port
	}
	if a.host == "" {
		return address{}, errors.New("URL without a host")
	}
	return a, nil
}

// escape replaces the bytes that a URI may not hold.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()%;/?:@&=+$,[]"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if strings.IndexByte(allowed, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// bareHost is an address as the Host header has it: without port, IPv6 in brackets.
func bareHost(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
