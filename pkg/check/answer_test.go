package check

import (
	"bufio"
	"bytes"
	"net/netip"
	"testing"
)

// FuzzAnswer reads arbitrary bytes as an answer, in a reader too small for its lines.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nTest"), "GET")
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x\r\nTest\r\n0\r\n\r\n"), "GET")
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nTest"), "GET")
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 302 Found\nLocation: /x\n\n"), "HEAD")
	f.Fuzz(func(t *testing.T, data []byte, method string) {
		br := bufio.NewReaderSize(bytes.NewReader(data), 16)
		head, err := readHead(br)
		if err != nil {
			return
		}
		if head.status < 200 || head.status > 999 {
			t.Errorf("status %d", head.status)
		}
		if head.redirects() {
			if to, err := resolve("http://10.0.0.1:80/a", head.location); err == nil {
				_, _ = parseURL(to)
			}
		}
		b := newBody(br, head, method)
		buf := make([]byte, 64)
		for total := 0; ; {
			n, err := b.Read(buf)
			if total += n; total > len(data) {
				t.Fatalf("body of %d bytes in %d", total, len(data))
			}
			if err != nil {
				return
			}
			if n == 0 {
				t.Fatal("neither bytes nor an error")
			}
		}
	})
}

func FuzzURL(f *testing.F) {
	f.Add("http://10.0.0.1:80/a b?c#d")
	f.Add("https://joe:x@[fc00::1]:8443?x")
	f.Add("http://")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseURL(text)
		if err != nil {
			return
		}
		p := fetch{session: newSession(t.Context(), Spec{}), method: "GET", host: bareHost(netip.MustParseAddr("10.0.0.1"))}
		head, _, _ := bytes.Cut(p.request(a), []byte("\r\n"))
		if !bytes.HasPrefix(head, []byte("GET /")) || !bytes.HasSuffix(head, []byte(" HTTP/1.1")) || bytes.Count(head, []byte(" ")) != 2 {
			t.Errorf("%q: request %q", text, head)
		}
	})
}
