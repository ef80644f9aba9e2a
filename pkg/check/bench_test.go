package check

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

// The servers of these benchmarks run in the same process: about half the time is theirs.

func BenchmarkHTTP(b *testing.B) {
	body := make([]byte, 2000)
	for i := range body {
		body[i] = 'x'
	}
	copy(body[1500:], "Test HA Page")
	reply := []byte(page("200 OK", string(body)))
	addr := serve(b, "127.0.0.1", func(c net.Conn) {
		buf := make([]byte, 1024)
		if _, err := c.Read(buf); err == nil {
			c.Write(reply)
		}
	})
	for name, receive := range map[string]string{"plain": "Test HA Page", "expression": `Test\s\w+ Page`} {
		b.Run(name, func(b *testing.B) { benchmark(b, httpSpec(addr, receive)) })
	}
}

func BenchmarkHTTPS(b *testing.B) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "Test HA Page")
	}))
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	s := httpSpec(netip.MustParseAddrPort(server.Listener.Addr().String()), "Test HA Page")
	s.Service, s.URL = "https", server.URL+"/"
	benchmark(b, s)
}

func BenchmarkConnect(b *testing.B) {
	addr := serve(b, "127.0.0.1", func(net.Conn) {})
	benchmark(b, Spec{Service: "connect", Addr: addr})
}

func BenchmarkPing(b *testing.B) {
	benchmark(b, Spec{Service: "ping", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Attempts: 1})
}

func BenchmarkExternal(b *testing.B) {
	s := externalSpec("/bin/true")
	benchmark(b, s)
}

func benchmark(b *testing.B, s Spec) {
	checker, _ := For(s.Service)
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if r := checker.Check(ctx, s); !r.Up {
			b.Fatalf("%+v", r)
		}
		cancel()
	}
}
