package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// tolerance is how much later than its deadline a check may answer.
const tolerance = 50 * time.Millisecond

// serve accepts connections at a loopback address and hands each to handle, until the test ends.
func serve(t testing.TB, host string, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}

// answer reads a request's head and writes text.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		readRequest(c)
		io.WriteString(c, text)
	}
}

func readRequest(c net.Conn) string {
	var b strings.Builder
	br := bufio.NewReader(c)
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// page is an answer with a Content-Length.
func page(status, text string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(text), text)
}

func httpSpec(addr netip.AddrPort, receive string) Spec {
	return Spec{Service: "http", Addr: addr, Real: addr, Method: "GET", URL: "http://" + addr.String() + "/index.html", Receive: receive}
}

// run makes one check and holds it to its deadline. On a busy machine any process may be late
// once; a check that is late three times in a row is to blame itself.
func run(t testing.TB, s Spec, limit time.Duration) Result {
	t.Helper()
	checker, ok := For(s.Service)
	if !ok {
		t.Fatalf("no checker for %s", s.Service)
	}
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		r := checker.Check(ctx, s)
		cancel()
		if !r.Up && r.Reason == "" {
			t.Errorf("%s %s: down without a reason", s.Service, s.URL)
		}
		if r.Took <= limit+tolerance {
			return r
		}
		if try == 3 {
			t.Errorf("%s %s: took %v of %v", s.Service, s.URL, r.Took, limit)
			return r
		}
	}
}

func TestHTTPVerdicts(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nTest \r\n7;x=y\r\nHA Page\r\n0\r\nT: x\r\n\r\n"
	tests := []struct {
		name, answer, receive string
		up                    bool
		reason                string
	}{
		{"page", page("200 OK", "Test HA Page\n"), "Test HA Page", true, ""},
		{"any page", page("200 OK", "anything"), "", true, ""},
		{"anchored", page("200 OK", "OK\n"), "^OK$", true, ""},
		{"other 2xx", page("299 Hm", "OK"), "OK", true, ""},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", "", true, ""},
		{"wrong page", page("200 OK", "It works"), "Test HA Page", false, `receive "Test HA Page" not found in 8 bytes`},
		{"not found", page("404 Not Found", "Test HA Page"), "Test HA Page", false, "404 Not Found"},
		{"error", page("503 Service Unavailable", ""), "", false, "503 Service Unavailable"},
		{"no reason", "HTTP/1.0 500\r\n\r\n", "", false, "500"},
		{"chunked", chunked, "^Test HA Page$", true, ""},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nTest\r\nzz\r\n", "Test", true, ""},
		{"until close", "HTTP/1.0 200 OK\r\n\r\nTest HA Page", "Page$", true, ""},
		{"shorter than said", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nTest", "Test", true, ""},
		{"longer than said", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nTest", "Test", false, "not found in 2 bytes"},
		{"interim answer", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + page("200 OK", "Test"), "Test", true, ""},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "", false, "not HTTP"},
		{"nothing", "", "", false, "connection closed without an answer"},
		{"nothing but an empty line", "\r\n", "", false, "connection closed without an answer"},
		{"head cut", "HTTP/1.1 200 OK\r\nContent-", "", true, ""},
		{"status line only", "HTTP/1.0 200 OK", "", true, ""},
		{"status line only, with receive", "HTTP/1.0 200 OK", "Test", false, "not found in 0 bytes"},
		{"empty line before the answer", "\r\nHTTP/1.0 200 OK\r\n\r\nTest", "Test", true, ""},
		{"status line with tabs", "HTTP/2\t200\tOK\r\n\r\nTest", "Test", true, ""},
		{"short status", "HTTP/1.1 20 OK\r\n\r\nTest", "", false, "not HTTP"},
		{"redirect without place", "HTTP/1.1 302 Found\r\n\r\n", "", false, "302 Found"},
		{"long field", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20000) + "\r\nContent-Length: 2\r\n\r\nOK", "^OK$", true, ""},
		{"endless head", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20000), "", false, "too long"},
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, tt := range tests {
			t.Run(host+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				r := run(t, httpSpec(serve(t, host, answer(tt.answer)), tt.receive), 5*time.Second)
				if r.Up != tt.up || !strings.Contains(r.Reason, tt.reason) {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

func TestHTTPRequest(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Spec)
		want string
	}{
		{"plain", func(*Spec) {}, "GET /index.html HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1\r\n"},
		{"virtualhost", func(s *Spec) { s.VirtualHost, s.HasVirtualHost = "www.x.y:81 ", true }, "\r\nHost: www.x.y:81 \r\n"},
		{"empty virtualhost", func(s *Spec) { s.HasVirtualHost = true }, "\r\nHost: \r\n"},
		{"HEAD", func(s *Spec) { s.Method = "HEAD" }, "HEAD /index.html HTTP/1.1\r\n"},
		{"escapes", func(s *Spec) { s.URL = "http://" + s.Addr.String() + `//a b|"\é?q=%20&x` }, "GET //a%20b%7C%22%5C%C3%A9?q=%20&x HTTP/1.1\r\n"},
		{"no path", func(s *Spec) { s.URL = "http://" + s.Addr.String() }, "GET / HTTP/1.1\r\n"},
		{"user", func(s *Spec) { s.URL = "http://joe:p%40ss@" + s.Addr.String() + "/" }, "\r\nAuthorization: Basic am9lOnBAc3M=\r\n"},
		{"proxy", func(s *Spec) { s.Service, s.URL = "http_proxy", "http://www.x.y/z" }, "GET http://www.x.y/z HTTP/1.1\r\nConnection: close\r\nHost: www.x.y\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			s := httpSpec(serve(t, "127.0.0.1", func(c net.Conn) {
				got <- readRequest(c)
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			}), "")
			tt.edit(&s)
			if r := run(t, s, 5*time.Second); !r.Up {
				t.Fatalf("%+v", r)
			}
			if request := <-got; !strings.Contains(request, tt.want) || !strings.Contains(request, "User-Agent: ldirectord") {
				t.Errorf("%q", request)
			}
		})
	}
}

func TestHTTPHead(t *testing.T) {
	addr := serve(t, "127.0.0.1", answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
	for receive, up := range map[string]bool{"": true, "Test": false} {
		s := httpSpec(addr, receive)
		s.Method = "HEAD"
		if r := run(t, s, 5*time.Second); r.Up != up {
			t.Errorf("receive %q: %+v", receive, r)
		}
	}
}

func TestHTTPRedirects(t *testing.T) {
	hosts := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host
		var n int
		switch {
		case r.URL.Path == "/end":
			io.WriteString(w, "Test HA Page")
		case r.URL.Path == "/elsewhere":
			w.Header().Set("Location", "ftp://x/")
			w.WriteHeader(http.StatusFound)
		default:
			fmt.Sscanf(r.URL.Path, "/%d", &n)
			to := fmt.Sprintf("/%d", n-1)
			if n <= 1 {
				to = "end"
			}
			w.Header().Set("Location", to)
			w.WriteHeader([]int{301, 302, 303, 307, 308}[n%5])
		}
	}))
	defer server.Close()
	for path, up := range map[string]bool{"/1": true, "/7": true, "/8": false, "/elsewhere": false} {
		s := httpSpec(netip.MustParseAddrPort(server.Listener.Addr().String()), "Test")
		s.URL = server.URL + path
		s.VirtualHost, s.HasVirtualHost = "www.x.y", true
		if r := run(t, s, 5*time.Second); r.Up != up {
			t.Errorf("%s: %+v", path, r)
		}
		first, last := <-hosts, ""
		for len(hosts) > 0 {
			last = <-hosts
		}
		if first != "www.x.y" || up && last != s.Addr.String() {
			t.Errorf("%s: asked for host %q, then %q", path, first, last)
		}
	}
}

func TestHTTPS(t *testing.T) {
	names := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "Test HA Page")
	}))
	server.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- h.ServerName
		return nil, nil
	}}
	server.StartTLS()
	defer server.Close()
	s := httpSpec(netip.MustParseAddrPort(server.Listener.Addr().String()), "Test")
	s.Service, s.URL = "https", server.URL+"/"
	for host, sni := range map[string]string{"": "", "www.x.y": "www.x.y", "www.x.y:8443": "www.x.y", "127.0.0.1": ""} {
		s.VirtualHost, s.HasVirtualHost = host, host != ""
		if r := run(t, s, 5*time.Second); !r.Up {
			t.Errorf("virtualhost %q: %+v", host, r)
		}
		if name := <-names; name != sni {
			t.Errorf("virtualhost %q: SNI %q", host, name)
		}
	}
	plain := httpSpec(serve(t, "127.0.0.1", answer(page("200 OK", "Test"))), "Test")
	plain.Service, plain.URL = "https", "https://"+plain.Addr.String()+"/"
	if r := run(t, plain, time.Second); r.Up || !strings.Contains(r.Reason, "TLS") {
		t.Errorf("https to a plain server: %+v", r)
	}
}

// TestOldTLS speaks to a server that knows nothing newer than TLS 1.0 with CBC suites.
func TestOldTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
		CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	}
	server.StartTLS()
	defer server.Close()
	s := httpSpec(netip.MustParseAddrPort(server.Listener.Addr().String()), "")
	s.Service, s.URL = "https", server.URL+"/"
	if r := run(t, s, 5*time.Second); !r.Up {
		t.Errorf("%+v", r)
	}
}

func TestHTTPRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httpSpec(netip.MustParseAddrPort(ln.Addr().String()), "")
	ln.Close()
	for _, service := range []string{"http", "https", "connect"} {
		s.Service = service
		if r := run(t, s, 5*time.Second); r.Up || r.Reason != "connect: connection refused" || r.Took > time.Second {
			t.Errorf("%s: %+v", service, r)
		}
	}
}

func TestHTTPBadSpecs(t *testing.T) {
	addr := serve(t, "127.0.0.1", answer(page("200 OK", "")))
	for name, edit := range map[string]func(*Spec){
		"no URL":      func(s *Spec) { s.URL = "" },
		"scheme":      func(s *Spec) { s.URL = "ftp://127.0.0.1/" },
		"no host":     func(s *Spec) { s.URL = "http:///x" },
		"bad port":    func(s *Spec) { s.URL = "http://127.0.0.1:99999/" },
		"bad receive": func(s *Spec) { s.Receive = "(" },
	} {
		s := httpSpec(addr, "")
		edit(&s)
		if r := run(t, s, time.Second); r.Up {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestDeadline holds checks of servers that stall at each step to their deadline.
func TestDeadline(t *testing.T) {
	const limit = 300 * time.Millisecond
	hang := func(c net.Conn) { io.Copy(io.Discard, c) }
	drip := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			for i := range len(text) {
				if _, err := c.Write([]byte{text[i]}); err != nil {
					return
				}
				time.Sleep(limit / 10)
			}
		}
	}
	headThen := func(more func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nTest HA Page")
			more(c)
		}
	}
	tests := []struct {
		name, service, receive string
		handle                 func(net.Conn)
		up                     bool
	}{
		{"hung after accept", "http", "", hang, false},
		{"head in drips", "http", "", drip(page("200 OK", "Test HA Page")), false},
		{"TLS stalls", "https", "", hang, false},
		{"TLS in drips", "https", "", drip("\x16\x03\x03\x7f\xff" + strings.Repeat("x", 100)), false},
		{"hung after the match", "http", "Test HA Page", headThen(hang), true},
		{"hung before the match", "http", "Something else", headThen(hang), false},
		{"body in drips without match", "http", "Something else", headThen(drip(strings.Repeat("x", 1000))), false},
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, tt := range tests {
			t.Run(host+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := httpSpec(serve(t, host, tt.handle), tt.receive)
				s.Service = tt.service
				s.URL = strings.Replace(s.URL, "http", tt.service, 1)
				r := run(t, s, limit)
				if r.Up != tt.up || r.Took < limit-10*time.Millisecond {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

func TestCancel(t *testing.T) {
	addr := serve(t, "127.0.0.1", func(c net.Conn) { io.Copy(io.Discard, c) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	checker, _ := For("http")
	done := make(chan Result)
	go func() { done <- checker.Check(ctx, httpSpec(addr, "")) }()
	time.AfterFunc(50*time.Millisecond, cancel)
	if r := <-done; r.Up || r.Took > 10*time.Second {
		t.Errorf("%+v", r)
	}
}

// TestMemory sends a check one gigabyte and counts what it allocates in all.
func TestMemory(t *testing.T) {
	piece := make([]byte, 64<<10)
	for i := range piece {
		piece[i] = 'x'
	}
	flood := func(head string) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, head)
			for range 1 << 30 / len(piece) {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}
	}
	tests := []struct {
		name, head, receive string
		up                  bool
	}{
		{"plain text", "HTTP/1.1 200 OK\r\n\r\n", "Test HA Page", false},
		{"expression", "HTTP/1.1 200 OK\r\n\r\n", `Test\s+\w+$`, false},
		{"any", "HTTP/1.1 200 OK\r\n\r\n", "", true},
		{"head without end", "HTTP/1.1 200 OK\r\nX: ", "", false},
		{"chunk size without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "x", false},
		{"no HTTP", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, "127.0.0.1", flood(tt.head))
			s := httpSpec(addr, tt.receive)
			run(t, s, 10*time.Second) // fills pools and caches
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := run(t, s, 10*time.Second)
			runtime.ReadMemStats(&after)
			if r.Up != tt.up {
				t.Errorf("%+v", r)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("allocated %d bytes", n)
			}
		})
	}
}
