package compat

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// manner is a way in which a server is bad. Each has addresses of its own, at which it serves
// every port of servicePorts.
type manner struct {
	name   string
	addr   netip.Addr
	addr6  netip.Addr
	tcp    func(c net.Conn, port uint16) // nil: nothing listens
	udp    func(request []byte, port uint16) []byte
	absent bool // there is no such host: packets vanish
}

var manners = []manner{
	{
		name: "refused", addr: netip.MustParseAddr("10.20.0.21"), addr6: netip.MustParseAddr("fd20::21"),
	},
	{
		name: "hung after accept", addr: netip.MustParseAddr("10.20.0.22"), addr6: netip.MustParseAddr("fd20::22"),
		tcp: func(c net.Conn, _ uint16) { _, _ = io.Copy(io.Discard, c) },
		udp: func([]byte, uint16) []byte { return nil },
	},
	{
		name: "drips", addr: netip.MustParseAddr("10.20.0.23"), addr6: netip.MustParseAddr("fd20::23"),
		tcp: func(c net.Conn, port uint16) {
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			text := beginnings[port]
			for i := 0; ; i++ {
				b := byte('a')
				if i < len(text) {
					b = text[i]
				}
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		},
		udp: func([]byte, uint16) []byte { return []byte{0} },
	},
	{
		name: "stalls in TLS", addr: netip.MustParseAddr("10.20.0.24"), addr6: netip.MustParseAddr("fd20::24"),
		tcp: func(c net.Conn, port uint16) {
			buf := make([]byte, 1024)
			if port == 5432 { // PostgreSQL is asked for TLS first
				if _, err := io.ReadFull(c, buf[:8]); err != nil {
					return
				}
				_, _ = c.Write([]byte("S"))
			}
			if _, err := c.Read(buf); err == nil {
				_, _ = c.Write([]byte{22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3}) // a server's hello begins
			}
			_, _ = io.Copy(io.Discard, c)
		},
	},
	{
		name: "floods", addr: netip.MustParseAddr("10.20.0.25"), addr6: netip.MustParseAddr("fd20::25"),
		tcp: func(c net.Conn, port uint16) {
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			if _, err := c.Write([]byte(beginnings[port])); err != nil {
				return
			}
			line := strings.Repeat("a", 70)
			if strings.HasPrefix(beginnings[port], "220-") {
				line = "\r\n220-" + line
			}
			block := []byte(strings.Repeat(line, 200))
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond) // faster costs only the other tests
			}
		},
		udp: func([]byte, uint16) []byte { return make([]byte, 8000) },
	},
	{
		name: "absent", addr: netip.MustParseAddr("10.20.0.26"), addr6: netip.MustParseAddr("fd20::26"), absent: true,
	},
}

// passes tells the checks that find nothing wrong with such a server: a connect is not told more
// than that it listens, a ping not even that.
func (m manner) passes(c checkCase) bool {
	return c.what == "connect" && m.tcp != nil || c.what == "ping" && !m.absent
}

// beginnings is how the answer of a server at a port begins, for those that never get to its end.
var beginnings = map[uint16]string{
	21: "220-welcome", 25: "220-welcome", 587: "220-welcome", 119: "200 welcome", 110: "+OK welcome", 143: "* OK welcome", 53: "\x00\xf0",
	80: "HTTP/1.1 200 OK\r\nX-Welcome: ", 3128: "HTTP/1.1 200 OK\r\nX-Welcome: ", 389: "0\x84\x00\x10\x00\x00\x02\x01\x01a\x84\x00\x0f",
	443: "\x16\x03\x03\x40\x00\x02\x00\x3f\xf0", 636: "\x16\x03\x03\x40\x00\x02\x00\x3f\xf0", 993: "\x16\x03\x03\x40\x00\x02\x00\x3f\xf0",
	995: "\x16\x03\x03\x40\x00\x02\x00\x3f\xf0", 3306: "\xff\xff\x03\x00\x0a5.5.5-10", 5432: "NR\x00\x00\x40\x00", 5060: "SIP/2.0 200 OK\r\nX-Welcome: ",
	1521: "\x00\xff\x00\x00\x02", 1812: "",
}

// servicePorts are the ports that a bad server serves.
var servicePorts = func() (ports []uint16) {
	for p := range beginnings {
		ports = append(ports, p)
	}
	return ports
}()

// badAddresses are the addresses of all manners that are there at all.
func badAddresses() (all []netip.Addr) {
	for _, m := range manners {
		if !m.absent {
			all = append(all, m.addr, m.addr6)
		}
	}
	return all
}

// misbehave starts the bad servers.
func (f *farmland) misbehave(t *testing.T) {
	t.Helper()
	for _, m := range manners {
		for _, a := range []netip.Addr{m.addr, m.addr6} {
			for _, port := range servicePorts {
				at := netip.AddrPortFrom(a, port).String()
				if m.tcp != nil {
					l, err := f.bad.Listen("tcp", at)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = l.Close() })
					go acceptAll(l, m.tcp, port) // ends with the listener
				}
				if m.udp != nil {
					c, err := f.bad.ListenPacket("udp", at)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					go answerAll(c, m.udp, port) // ends with the socket
				}
			}
		}
	}
	// Packets to the absent host get no answer, not even that there is none.
	for _, a := range []string{"10.20.0.26", "fd20::26"} {
		r, err := f.director.Exec(t.Context(), "ip", "neigh", "add", a, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
		if err != nil || r.Code != 0 {
			t.Fatalf("ip neigh: %v %s", err, r.Stderr)
		}
	}
}

func acceptAll(l net.Listener, serve func(net.Conn, uint16), port uint16) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go func() {
			defer c.Close()
			serve(c, port)
		}()
	}
}

func answerAll(c net.PacketConn, answer func([]byte, uint16) []byte, port uint16) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if reply := answer(buf[:n], port); reply != nil {
			_, _ = c.WriteTo(reply, from)
		}
	}
}
