package applet

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// TestScrapers: who opens connection after connection to heartbeat's metrics gets no more than there may be.
func TestScrapers(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(free.Addr().String())
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serveMetrics(ctx, at, daemon.PathsUnder(t.TempDir()), ldirectord.PathsUnder(t.TempDir()))
	}()
	answered := func(c net.Conn, limit time.Duration) error {
		if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	var conns []net.Conn
	for n := range scrapers + 1 {
		c, err := net.Dial("tcp", at.String())
		for ; err != nil && n == 0 && len(done) == 0; c, err = net.Dial("tcp", at.String()) {
			time.Sleep(time.Millisecond) // it does not listen yet
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if n < scrapers {
			if err := answered(c, 20*time.Second); err != nil {
				t.Fatalf("connection %d: %v", n, err)
			}
		}
	}
	last := conns[scrapers]
	if answered(last, 200*time.Millisecond) == nil {
		t.Errorf("%d connections are served at a time", len(conns))
	}
	conns[0].Close()
	if err := answered(last, 20*time.Second); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
