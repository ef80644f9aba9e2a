package check

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/perlre"
)

func init() {
	checkers["http"] = script(httpChecker{}.check)
	checkers["https"] = script(httpChecker{}.check)
	checkers["http_proxy"] = script(httpChecker{proxy: true}.check)
}

// Bounds of an HTTP check.
const (
	maxRedirects = 7       // as libwww-perl
	maxSearched  = 4 << 20 // bytes of a body in which receive is looked for
	maxDrained   = 64 << 10
	maxPreview   = 1 << 10 // bytes of a body that a failed check reports
)

// httpChecker asks for a page. It is up if the last answer's status is 2xx and receive is found
// in the body. With proxy the real server is asked for an absolute URI.
type httpChecker struct{ proxy bool }

func (h httpChecker) check(s *session) error {
	receive, err := patterns.get(s.spec.Receive)
	if err != nil {
		return wrong(err.Error())
	}
	a, err := parseURL(s.spec.URL)
	if err != nil {
		return wrong(fmt.Sprintf("URL %q: %v", s.spec.URL, err))
	}
	p := fetch{session: s, receive: receive, method: s.spec.Method}
	if p.method == "" {
		p.method = "GET"
	}
	p.host = bareHost(s.spec.Addr.Addr())
	if s.spec.Real.IsValid() {
		p.host = bareHost(s.spec.Real.Addr())
	}
	if s.spec.HasVirtualHost {
		p.host = strings.Map(dropLineEnds, s.spec.VirtualHost)
	}
	if h.proxy {
		p.proxy, p.host = true, a.authority
	}
	for ; ; p.hop++ {
		next, err := p.ask(a)
		if next == "" {
			return err
		}
		if p.hop == maxRedirects {
			return wrong(fmt.Sprintf("more than %d redirects", maxRedirects))
		}
		if a, err = parseURL(next); err != nil {
			return wrong(fmt.Sprintf("redirect to %q: %v", next, err))
		}
		p.host = a.authority
	}
}

func dropLineEnds(r rune) rune {
	if r == '\r' || r == '\n' {
		return -1
	}
	return r
}

// fetch is one run of an HTTP check through all its redirects.
type fetch struct {
	*session
	receive *perlre.Regexp
	method  string
	host    string // Host header of the next request
	hop     int    // redirects so far
	proxy   bool   // ask the check port for whatever URL
}

// ask makes one request. It returns where the answer redirects to, or the verdict.
func (p *fetch) ask(a address) (next string, err error) {
	if at, err := p.reach(a); err != nil {
		p.monitor = "500 Can't connect to " + at + " (" + upperFirst(cause(err)) + ")"
		if isTimeout(err) {
			p.monitor = timeoutMonitor
		}
		return "", err
	}
	p.step = ""
	if _, err := p.stream.Write(p.request(a)); err != nil {
		p.step, p.monitor = "request", "500 write failed: "+upperFirst(cause(err))
		return "", err
	}
	head, err := readHead(p.in)
	if err != nil {
		return "", p.headFailure(err)
	}
	p.monitor = head.statusLine()
	p.trace.received(p.monitor)
	if head.redirects() {
		base := a.scheme + "://" + a.authority + a.target
		if to, err := resolve(base, head.location); err == nil {
			return to, nil
		}
	}
	return "", p.judge(head, newBody(p.in, head, p.method))
}

// reach connects to where a request for a goes. at names that place.
func (p *fetch) reach(a address) (at string, err error) {
	if p.proxy {
		return p.spec.Addr.String(), p.connect()
	}
	at = net.JoinHostPort(a.host, a.port)
	port, err := strconv.ParseUint(a.port, 10, 16)
	if err != nil {
		return at, wrong("bad port " + strconv.Quote(a.port))
	}
	addrs, err := p.lookup(a.host)
	if err != nil {
		return at, err
	}
	for _, addr := range addrs {
		if err = p.openTo("connect", netip.AddrPortFrom(addr, uint16(port)), dialTCP); err == nil {
			break
		}
	}
	if err == nil && a.scheme == "https" {
		name := a.host
		switch {
		case p.spec.ServerName != "" && p.hop == 0:
			name = p.spec.ServerName
		case p.spec.HasVirtualHost:
			name = p.host
		}
		err = p.secure(name)
	}
	return at, err
}

// lookup finds the addresses of a URL's host, which mostly is one.
func (p *fetch) lookup(host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	p.step = "look up " + host
	addrs, err := net.DefaultResolver.LookupNetIP(p.ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = wrong("no address")
	}
	return addrs, err
}

// request is the bytes of a request for a.
func (p *fetch) request(a address) []byte {
	b := make([]byte, 0, 256)
	b = append(b, p.method...)
	b = append(b, ' ')
	if p.proxy {
		b = append(b, a.scheme+"://"+a.authority...)
	}
	b = append(b, a.target...)
	b = append(b, " HTTP/1.1\r\nConnection: close\r\nHost: "...)
	b = append(b, p.host...)
	b = append(b, "\r\nUser-Agent: ldirectord (systole)\r\n"...)
	if a.userinfo != "" {
		b = append(b, "Authorization: Basic "...)
		b = base64.StdEncoding.AppendEncode(b, []byte(unescape(a.userinfo)))
		b = append(b, "\r\n"...)
	}
	p.trace.sent(p.method + " " + a.target + " Host: " + p.host)
	return append(b, "\r\n"...)
}

func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// judge reads the body and gives the verdict. An error while reading, the deadline included,
// ends the body: what has come until then counts, as in the original.
func (p *fetch) judge(head head, body body) error {
	if head.status < 200 || head.status > 299 {
		return wrong(head.statusLine())
	}
	if p.receive == nil {
		_, _ = io.CopyN(io.Discard, &body, maxDrained) // what there is counts
		return nil
	}
	preview, err := p.search(p.receive, &body)
	if err != nil {
		p.monitor = string(preview)
	}
	return err
}

const timeoutMonitor = "500 Timeout Alarm"

// headFailure is the verdict on an answer without a complete head.
func (p *fetch) headFailure(err error) error {
	switch {
	case isTimeout(err):
		p.monitor = timeoutMonitor
		return wrong("no answer in time")
	case errors.Is(err, errClosed):
		p.monitor = "500 Server closed connection without sending any data back"
		return wrong(err.Error())
	}
	p.step, p.monitor = "answer", "500 "+upperFirst(cause(err))
	return err
}

// upperFirst writes an errno's text as C does.
func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// resolve is where a Location header points to.
func resolve(base, location string) (string, error) {
	from, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	to, err := from.Parse(location)
	if err != nil {
		return "", err
	}
	return to.String(), nil
}
