package userspace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/systole-ha/systole/pkg/ipvs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend answers each TCP connection with its name and then echoes lines.
func backend(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintln(c, name)
				io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// freePort is an address nobody listens on.
func freePort(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return netip.MustParseAddrPort(c.LocalAddr().String())
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func do(t *testing.T, f ipvs.Table, kind ipvs.OpKind, s ipvs.Service, d ...ipvs.Dest) {
	t.Helper()
	op := ipvs.Op{Kind: kind, Service: s}
	if len(d) > 0 {
		op.Dest = d[0]
	}
	if err := f.Do(context.Background(), op); err != nil {
		t.Fatal(err)
	}
}

func virtual(proto ipvs.Protocol, vip netip.AddrPort, sched string) ipvs.Service {
	return ipvs.Service{VIP: ipvs.VIP{Protocol: proto, Addr: vip, Family: ipvs.IPv4}, Scheduler: sched}
}

func newForwarder(t *testing.T) *Forwarder {
	f := New()
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// greet connects through the service and returns the name it is greeted with, and the connection.
func greet(t *testing.T, vip netip.AddrPort, from string) (string, net.Conn) {
	t.Helper()
	d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp4", vip.String())
	if errors.Is(err, syscall.ECONNRESET) { // reset before the dialler looked
		client, server := net.Pipe()
		server.Close()
		return "", client
	}
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
	if err != nil {
		return "", c
	}
	return strings.TrimSpace(line), c
}

func TestRoundRobinAndDrain(t *testing.T) {
	f := newForwarder(t)
	a, b, vip := backend(t, "a"), backend(t, "b"), freePort(t, "tcp")
	s := virtual(ipvs.TCP, vip, "rr")
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: a, Forward: ipvs.Route, Weight: 1})
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: b, Forward: ipvs.Route, Weight: 1})
	var names []string
	var conns []net.Conn
	for range 4 {
		n, c := greet(t, vip, "127.0.0.1")
		names, conns = append(names, n), append(conns, c)
		defer c.Close()
	}
	if got := strings.Join(names, ""); got != "abab" {
		t.Errorf("rr went %q", got)
	}
	// Weight 0 and deletion leave the open connections alone.
	do(t, f, ipvs.EditDest, s, ipvs.Dest{Addr: a, Forward: ipvs.Route, Weight: 0})
	do(t, f, ipvs.DelDest, s, ipvs.Dest{Addr: b})
	for i, c := range conns {
		if _, err := fmt.Fprintln(c, "still there"); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || line != "still there\n" {
			t.Errorf("connection %d: %q, %v", i, line, err)
		}
	}
	if n, c := greet(t, vip, "127.0.0.1"); n != "" {
		t.Errorf("with no usable server a client was greeted by %q", n)
		c.Close()
	} else {
		c.Close()
	}
	e, err := f.Snapshot(context.Background())
	if err != nil || len(e) != 1 || len(e[0].Dests) != 1 || e[0].Dests[0].ActiveConns != 2 {
		t.Errorf("snapshot %+v, %v: want one server with two active connections", e, err)
	}
	if e[0].Stats.Conns != 4 || e[0].Stats.InBytes == 0 || e[0].Stats.OutBytes == 0 {
		t.Errorf("counters %+v: want 4 connections and bytes both ways", e[0].Stats)
	}
}

func TestPersistence(t *testing.T) {
	f := newForwarder(t)
	a, b, vip := backend(t, "a"), backend(t, "b"), freePort(t, "tcp")
	s := virtual(ipvs.TCP, vip, "rr")
	s.Persistent = 600
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: a, Forward: ipvs.Masq, Weight: 1})
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: b, Forward: ipvs.Masq, Weight: 1})
	names := map[string]string{}
	for range 3 {
		for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
			n, c := greet(t, vip, from)
			c.Close()
			names[from] += n
		}
	}
	if names["127.0.0.1"] != "aaa" || names["127.0.0.2"] != "bbb" {
		t.Errorf("persistent clients went %v", names)
	}
	for active := uint32(1); active > 0; { // the forwarder has to notice that the clients left
		e, err := f.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		active = e[0].Dests[0].ActiveConns + e[0].Dests[1].ActiveConns
	}
	now := time.Now()
	f.mu.Lock()
	f.now = func() time.Time { return now.Add(time.Hour) }
	f.mu.Unlock()
	n, c := greet(t, vip, "127.0.0.2")
	c.Close()
	if n != "a" {
		t.Errorf("after the time-out the client went to %q, want the scheduler's next", n)
	}
}

func TestDeadServerRefusesClient(t *testing.T) {
	f := newForwarder(t)
	vip := freePort(t, "tcp")
	s := virtual(ipvs.TCP, vip, "wlc")
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: freePort(t, "tcp"), Forward: ipvs.Masq, Weight: 1})
	n, c := greet(t, vip, "127.0.0.1")
	c.Close()
	if n != "" {
		t.Errorf("greeted by %q", n)
	}
}

// answerer answers each datagram with its name and what is in it.
func answerer(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(append([]byte(name+": "), buf[:n]...), from)
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// say sends a datagram and returns the answer.
func say(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestUDP(t *testing.T) {
	f := newForwarder(t)
	vip := freePort(t, "udp")
	s := virtual(ipvs.UDP, vip, "rr")
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: answerer(t, "re"), Forward: ipvs.Masq, Weight: 1})
	c, err := net.Dial("udp4", vip.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	for i := range 3 {
		if got := say(t, c, fmt.Sprintf("datagram %d", i)); got != fmt.Sprintf("re: datagram %d", i) {
			t.Fatalf("datagram %d: %q", i, got)
		}
	}
	e, _ := f.Snapshot(context.Background())
	if e[0].Dests[0].ActiveConns != 1 || e[0].Stats.Conns != 1 || e[0].Stats.InPkts != 3 {
		t.Errorf("one flow of three datagrams is counted as %+v", e[0])
	}
}

// A datagram of a one-packet service leaves nothing behind when it is answered; one without an answer does not
// hold up the end.
func TestOnePacket(t *testing.T) {
	f := newForwarder(t)
	vip := freePort(t, "udp")
	s := virtual(ipvs.UDP, vip, "rr")
	s.OnePacket = true
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: answerer(t, "a"), Forward: ipvs.Masq, Weight: 1})
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: answerer(t, "b"), Forward: ipvs.Masq, Weight: 1})
	c, err := net.Dial("udp4", vip.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	for i := range 20 {
		if got, want := say(t, c, "hello"), string("ab"[i%2])+": hello"; got != want {
			t.Errorf("datagram %d: %q, want %q", i, got, want)
		}
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		e, err := f.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		active := e[0].Dests[0].ActiveConns + e[0].Dests[1].ActiveConns
		if active == 0 {
			break
		}
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("%d connections are left", active)
		}
	}
	do(t, f, ipvs.DelService, s)
	do(t, f, ipvs.AddService, s)
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: netip.MustParseAddrPort(silent.LocalAddr().String()), Forward: ipvs.Masq, Weight: 1})
	if _, err := io.WriteString(c, "anybody there?"); err != nil {
		t.Fatal(err)
	}
	silent.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, _, err := silent.ReadFrom(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("closing took %v", took)
	}
}

// A client whose server is deleted gets another, though it goes on talking from the same port.
func TestUDPServerGone(t *testing.T) {
	f := newForwarder(t)
	vip := freePort(t, "udp")
	s := virtual(ipvs.UDP, vip, "rr")
	a, b := answerer(t, "a"), answerer(t, "b")
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: a, Forward: ipvs.Masq, Weight: 1})
	c, err := net.Dial("udp4", vip.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if got := say(t, c, "hello"); got != "a: hello" {
		t.Fatalf("%q", got)
	}
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: b, Forward: ipvs.Masq, Weight: 1})
	do(t, f, ipvs.EditDest, s, ipvs.Dest{Addr: a, Forward: ipvs.Masq, Weight: 0})
	if got := say(t, c, "still here"); got != "a: still here" {
		t.Errorf("without weight: %q", got)
	}
	do(t, f, ipvs.DelDest, s, ipvs.Dest{Addr: a})
	if got := say(t, c, "and now"); got != "b: and now" {
		t.Errorf("deleted: %q", got)
	}
}

// A connection on which only one side talks is not idle: a long download, whose client has nothing to say.
func TestOneWayTraffic(t *testing.T) {
	f := newForwarder(t)
	if err := f.SetTimeouts(context.Background(), ipvs.Timeouts{TCP: 1}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const words = 12 // of 200 ms each
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for range words {
			time.Sleep(200 * time.Millisecond)
			if _, err := io.WriteString(c, "word\n"); err != nil {
				return
			}
		}
	}()
	vip := freePort(t, "tcp")
	s := virtual(ipvs.TCP, vip, "rr")
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: netip.MustParseAddrPort(l.Addr().String()), Forward: ipvs.Masq, Weight: 1})
	c, err := net.Dial("tcp4", vip.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if text, err := io.ReadAll(c); err != nil || string(text) != strings.Repeat("word\n", words) {
		t.Errorf("%q, %v", text, err)
	}
}

// A connection on which nobody talks ends.
func TestIdle(t *testing.T) {
	f := newForwarder(t)
	if err := f.SetTimeouts(context.Background(), ipvs.Timeouts{TCP: 1}); err != nil {
		t.Fatal(err)
	}
	vip := freePort(t, "tcp")
	s := virtual(ipvs.TCP, vip, "rr")
	do(t, f, ipvs.AddService, s)
	do(t, f, ipvs.AddDest, s, ipvs.Dest{Addr: backend(t, "a"), Forward: ipvs.Masq, Weight: 1})
	_, c := greet(t, vip, "127.0.0.1")
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	begin := time.Now()
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

// A service cannot be had where somebody listens already, and the table says no more than is true.
func TestAddressInUse(t *testing.T) {
	f := newForwarder(t)
	taken := backend(t, "x")
	err := f.Do(context.Background(), ipvs.Op{Kind: ipvs.AddService, Service: virtual(ipvs.TCP, taken, "rr")})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("error %v, want EADDRINUSE", err)
	}
	if e, err := f.Snapshot(context.Background()); err != nil || len(e) != 0 {
		t.Errorf("snapshot %+v, %v: want an empty table", e, err)
	}
}

// serve has a forwarder serve its socket until the test ends. as is what it accepts from.
func serve(t *testing.T, f *Forwarder, as func(net.Listener) net.Listener) (ctx context.Context, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ipvs.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() { defer close(served); f.Serve(ctx, as(l)) }()
	t.Cleanup(func() { cancel(); <-served })
	return ctx, path
}

// Another program sees and changes the same table.
func TestRemote(t *testing.T) {
	f := newForwarder(t)
	ctx, path := serve(t, f, func(l net.Listener) net.Listener { return l })
	if _, err := Listen(path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v, want EADDRINUSE", err)
	}
	r, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if e, err := r.Snapshot(ctx); err != nil || e == nil || len(e) != 0 {
		t.Fatalf("empty table: %v, %v", e, err)
	}
	s := virtual(ipvs.TCP, freePort(t, "tcp"), "wlc")
	do(t, r, ipvs.AddService, s)
	err = r.Do(ctx, ipvs.Op{Kind: ipvs.AddService, Service: s})
	if !errors.Is(err, ipvs.ErrExists) || !errors.Is(err, syscall.EEXIST) {
		t.Errorf("second add: %v, want ErrExists and EEXIST", err)
	}
	if err := r.SetTimeouts(ctx, ipvs.Timeouts{UDP: 7}); err != nil {
		t.Error(err)
	}
	if to, err := r.Timeouts(ctx); err != nil || to.UDP != 7 || to.TCP != 900 {
		t.Errorf("timeouts %+v, %v", to, err)
	}
	if e, err := f.Snapshot(ctx); err != nil || len(e) != 1 || e[0].Scheduler != "wlc" {
		t.Errorf("the forwarder has %+v, %v", e, err)
	}
}

// failingOnce is a listener that is out of descriptors at first.
type failingOnce struct {
	net.Listener
	failed bool
}

func (l *failingOnce) Accept() (net.Conn, error) {
	if !l.failed {
		l.failed = true
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// TestServeGoesOn after it could not accept somebody.
func TestServeGoesOn(t *testing.T) {
	f := newForwarder(t)
	ctx, path := serve(t, f, func(l net.Listener) net.Listener { return &failingOnce{Listener: l} })
	limit, end := context.WithTimeout(ctx, 5*time.Second)
	defer end()
	r, err := Dial(limit, path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Snapshot(limit); err != nil {
		t.Error(err)
	}
}
