package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/systole-ha/systole/pkg/perlre"
)

func init() {
	checkers["http"] = httpChecker{}
	checkers["https"] = httpChecker{}
	checkers["http_proxy"] = httpChecker{proxy: true}
}

// Bounds of an HTTP check.
const (
	maxRedirects = 7       // as libwww-perl
	maxSearched  = 4 << 20 // bytes of a body in which receive is looked for
	maxDrained   = 64 << 10
	maxPreview   = 1 << 10 // bytes of a body that a failed check reports
	readSize     = 8 << 10
)

// httpChecker asks for a page. It is up if the last answer's status is 2xx and receive is found
// in the body. With proxy the real server is asked for an absolute URI.
type httpChecker struct{ proxy bool }

func (h httpChecker) Check(ctx context.Context, s Spec) Result {
	receive, err := patterns.get(s.Receive)
	if err != nil {
		return Result{Reason: err.Error()}
	}
	a, err := parseURL(s.URL)
	if err != nil {
		return Result{Reason: fmt.Sprintf("URL %q: %v", s.URL, err)}
	}
	p := probe{ctx: ctx, spec: s, receive: receive, method: s.Method}
	if p.method == "" {
		p.method = "GET"
	}
	p.host = bareHost(s.Addr.Addr())
	if s.Real.IsValid() {
		p.host = bareHost(s.Real.Addr())
	}
	if s.HasVirtualHost {
		p.host = strings.Map(dropLineEnds, s.VirtualHost)
	}
	if h.proxy {
		p.via, p.host = s.Addr.String(), a.authority
	}
	for hop := 0; ; hop++ {
		next, r := p.ask(a)
		if next == "" {
			return r
		}
		if hop == maxRedirects {
			r.Reason = fmt.Sprintf("more than %d redirects", maxRedirects)
			return r
		}
		if a, err = parseURL(next); err != nil {
			r.Reason = fmt.Sprintf("redirect to %q: %v", next, err)
			return r
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

// probe is one run of an HTTP check through all its redirects.
type probe struct {
	ctx     context.Context
	spec    Spec
	receive *perlre.Regexp
	method  string
	host    string // Host header of the next request
	via     string // proxy; empty without
	trace   []string
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readSize) }}

// ask makes one request. It returns where the answer redirects to, or the verdict.
func (p *probe) ask(a address) (next string, r Result) {
	at := p.via
	if at == "" {
		at = net.JoinHostPort(a.host, a.port)
	}
	c, err := dial(p.ctx, at)
	if err != nil {
		monitor := "500 Can't connect to " + at + " (" + upperFirst(cause(err)) + ")"
		if isTimeout(err) {
			monitor = timeoutMonitor
		}
		return "", p.down("connect: "+cause(err), monitor)
	}
	defer c.Close()
	stream := net.Conn(c)
	if a.scheme == "https" && p.via == "" {
		secure := tls.Client(c, p.tlsConfig(a))
		if err := secure.Handshake(); err != nil {
			monitor := "500 Can't connect to " + at + " (" + cause(err) + ")"
			if isTimeout(err) {
				monitor = timeoutMonitor
			}
			return "", p.down("TLS: "+cause(err), monitor)
		}
		stream = secure
	}
	if _, err := stream.Write(p.request(a)); err != nil {
		return "", p.down("request: "+cause(err), "500 write failed: "+upperFirst(cause(err)))
	}
	br := readers.Get().(*bufio.Reader)
	br.Reset(stream)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	head, err := readHead(br)
	if err != nil {
		return "", p.headFailure(err)
	}
	p.trace = append(p.trace, "< "+head.statusLine())
	if head.redirects() {
		base := a.scheme + "://" + a.authority + a.target
		if to, err := resolve(base, head.location); err == nil {
			return to, p.down(head.statusLine(), head.statusLine())
		}
	}
	return "", p.judge(head, newBody(br, head, p.method))
}

// request is the bytes of a request for a.
func (p *probe) request(a address) []byte {
	b := make([]byte, 0, 256)
	b = append(b, p.method...)
	b = append(b, ' ')
	if p.via != "" {
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
	p.trace = append(p.trace, "> "+p.method+" "+a.target+" Host: "+p.host)
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
func (p *probe) judge(head head, body body) Result {
	if head.status < 200 || head.status > 299 {
		return p.down(head.statusLine(), head.statusLine())
	}
	var search *perlre.Search
	most := maxDrained
	if p.receive != nil {
		search, most = p.receive.Search(), maxSearched
	}
	var preview []byte
	buf := make([]byte, 4<<10)
	total := 0
	for total < most {
		n, err := body.read(buf)
		total += n
		preview = append(preview, buf[:min(n, maxPreview-len(preview))]...)
		if search != nil {
			found, serr := search.Feed(buf[:n], matchLimit(p.ctx))
			if serr != nil {
				return p.down(serr.Error(), string(preview))
			}
			if found {
				return Result{Up: true, Monitor: head.statusLine()}
			}
		}
		if err != nil {
			break
		}
	}
	if search == nil {
		return Result{Up: true, Monitor: head.statusLine()}
	}
	found, err := search.End(matchLimit(p.ctx))
	switch {
	case err != nil:
		return p.down(err.Error(), string(preview))
	case found:
		return Result{Up: true, Monitor: head.statusLine()}
	}
	p.trace = append(p.trace, "< "+strconv.Quote(string(preview)))
	return p.down(fmt.Sprintf("receive %q not found in %d bytes", p.spec.Receive, total), string(preview))
}

const timeoutMonitor = "500 Timeout Alarm"

// headFailure is the verdict on an answer without a complete head.
func (p *probe) headFailure(err error) Result {
	if isTimeout(err) {
		return p.down("no answer in time", timeoutMonitor)
	}
	if errors.Is(err, errClosed) {
		return p.down(err.Error(), "500 Server closed connection without sending any data back")
	}
	return p.down("answer: "+cause(err), "500 "+upperFirst(cause(err)))
}

func (p *probe) down(reason, monitor string) Result {
	return Result{Reason: reason, Monitor: monitor, Trace: p.trace}
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

// weakSuites is every cipher suite there is: a check asks whether the service answers, not
// whether its cryptography is good.
var weakSuites = func() (ids []uint16) {
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			ids = append(ids, s.ID)
		}
	}
	return ids
}()

// tlsConfig verifies nothing: an address is being tested, not an identity. The name for SNI is
// the virtual host's, else the URL's, if it is a name.
func (p *probe) tlsConfig(a address) *tls.Config {
	name := a.host
	if p.spec.HasVirtualHost {
		name = p.host
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		name = ""
	}
	return &tls.Config{
		ServerName:         strings.TrimSpace(name),
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       weakSuites,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
}
