package ipvstest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Site is the addresses of RunTraffic, all of this machine and of one family: services are on the
// first, servers of the suite on Reals, clients ask from Clients. Ports 8801 to 8899 must be free.
type Site struct {
	VIP     netip.Addr
	Reals   [3]netip.Addr
	Clients [2]netip.Addr
}

// RunTraffic holds a table that carries traffic to what its schedulers, weights, thresholds and
// persistence promise, and its counters to what went through. open makes an empty table.
func RunTraffic(t *testing.T, site Site, open func(t *testing.T) ipvs.Table) {
	for i, test := range []struct {
		name string
		run  func(*traffic)
	}{
		{"RoundRobin", roundRobin},
		{"Weights", weights},
		{"Quiet", quiet},
		{"Nobody", nobody},
		{"LeastConnection", leastConnection},
		{"SourceHash", sourceHash},
		{"PersistentClient", persistentClient},
		{"PersistentNetwork", persistentNetwork},
		{"Threshold", threshold},
		{"Datagrams", datagrams},
		{"Counters", counters},
		{"OpenConnections", openConnections},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &script{T: t, ctx: context.Background(), table: open(t)}
			t.Cleanup(func() {
				if err := s.table.Do(s.ctx, ipvs.Op{Kind: ipvs.Flush}); err != nil {
					t.Errorf("the last flush: %v", err)
				}
				if err := s.table.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			// A kernel remembers a deleted real server, and with it its connections and counters.
			test.run(newTraffic(s, site, uint16(8801+2*i)))
		})
	}
}

// traffic is a table under test with servers behind it.
type traffic struct {
	*script
	Site
	servicePort, serverPort uint16
}

// newTraffic starts the servers: each greets a connection with its number and echoes what follows, and
// answers each datagram with its number.
func newTraffic(s *script, site Site, port uint16) *traffic {
	t := &traffic{s, site, port, port + 1}
	for i, addr := range site.Reals {
		at := netip.AddrPortFrom(addr, t.serverPort).String()
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go func() { // ends when the listener is closed
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					fmt.Fprintln(c, i)
					_, _ = io.Copy(c, c)
					c.Close()
				}()
			}
		}()
		go func() { // likewise
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				fmt.Fprintf(packetWriter{u, from}, "%d", i)
			}
		}()
	}
	return t
}

type packetWriter struct {
	conn net.PacketConn
	to   net.Addr
}

func (w packetWriter) Write(b []byte) (int, error) { return w.conn.WriteTo(b, w.to) }

func (t *traffic) service(p ipvs.Protocol, scheduler string) ipvs.Service {
	return ipvs.Service{VIP: vip(p, netip.AddrPortFrom(t.VIP, t.servicePort).String()), Scheduler: scheduler}
}

func (t *traffic) dest(i int, weight int32) ipvs.Dest {
	return ipvs.Dest{Addr: netip.AddrPortFrom(t.Reals[i], t.serverPort), Forward: ipvs.Masq, Weight: weight}
}

// serve makes a service with the real servers of these weights.
func (t *traffic) serve(s ipvs.Service, weights ...int32) ipvs.Service {
	t.Helper()
	t.do(ipvs.AddService, s)
	for i, w := range weights {
		t.do(ipvs.AddDest, s, t.dest(i, w))
	}
	return s
}

// patience is how long an answer, or a change of a counter, may take.
const patience = 20 * time.Second

// conn is a client's connection.
type conn struct {
	net.Conn
	server byte // the number that it was greeted with; '-' if it was refused
}

// connect connects from a client's address and waits for the greeting.
func (t *traffic) connect(client int) conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: t.Clients[client].AsSlice()}, Timeout: patience}
	c, err := d.Dial("tcp", netip.AddrPortFrom(t.VIP, t.servicePort).String())
	if err != nil {
		return conn{server: '-'} // the kernel's table refuses at once, a forwarder after it has accepted
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	greeting := make([]byte, 2)
	if _, err := io.ReadFull(c, greeting); err != nil {
		c.Close()
		return conn{server: '-'}
	}
	return conn{c, greeting[0]}
}

// close ends a connection; a kernel lists it as inactive then.
func (c conn) close() {
	if c.Conn != nil {
		c.Close()
	}
}

// ask makes n connections, one after the other, and gives the servers that they came to.
func (t *traffic) ask(client, n int) string {
	t.Helper()
	var servers []byte
	for range n {
		c := t.connect(client)
		servers = append(servers, c.server)
		c.close()
	}
	return string(servers)
}

// datagram sends a question and gives the server that answers.
func (t *traffic) datagram(client int) byte {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: t.Clients[client].AsSlice()}}
	c, err := d.Dial("udp", netip.AddrPortFrom(t.VIP, t.servicePort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer := make([]byte, 10)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.Write([]byte("?")); err != nil {
			return '-'
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(answer); err == nil && n == 1 {
			return answer[0]
		}
	}
	return '-'
}

// shares are how many times 0, 1 and 2 are in servers.
func shares(servers string) [3]int {
	return [3]int{strings.Count(servers, "0"), strings.Count(servers, "1"), strings.Count(servers, "2")}
}

func (t *traffic) wantShares(what, servers string, want [3]int) {
	t.Helper()
	if got := shares(servers); got != want {
		t.Errorf("%s: %q, that is %v, want %v", what, servers, got, want)
	}
}

// entry waits until the service's counters are as ok has it: a kernel adds them up every two seconds.
func (t *traffic) entry(what string, ok func(ipvs.Entry) bool) ipvs.Entry {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		entries, err := t.table.Snapshot(t.ctx)
		if err != nil || len(entries) != 1 {
			t.Fatalf("snapshot: %v, %v", entries, err)
		}
		if ok(entries[0]) {
			return entries[0]
		}
		if time.Now().After(end) {
			t.Errorf("%s: %+v", what, entries[0])
			return entries[0]
		}
	}
}

func roundRobin(t *traffic) {
	t.serve(t.service(ipvs.TCP, "rr"), 1, 1, 1)
	got := t.ask(0, 9)
	t.wantShares("nine connections", got, [3]int{3, 3, 3})
	if got[:3] != got[3:6] || got[:3] != got[6:] {
		t.Errorf("the turns differ: %q", got)
	}
}

func weights(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "wrr"), 3, 1, 2)
	t.wantShares("wrr with 3, 1, 2", t.ask(0, 12), [3]int{6, 2, 4})
	t.do(ipvs.EditDest, s, t.dest(1, 3))
	t.ask(0, 8) // whatever is left of the old turn
	t.wantShares("wrr with 3, 3, 2", t.ask(0, 16), [3]int{6, 6, 4})
}

// quiet is a server of weight 0: new clients do not come to it.
func quiet(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "rr"), 1, 0, 1)
	t.wantShares("without the second", t.ask(0, 4), [3]int{2, 0, 2})
	t.do(ipvs.EditDest, s, t.dest(1, 1))
	t.wantShares("with it", t.ask(0, 6), [3]int{2, 2, 2})
	t.do(ipvs.DelDest, s, t.dest(0, 1))
	t.wantShares("without the first", t.ask(0, 4), [3]int{0, 2, 2})
}

func nobody(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "wlc"))
	if got := t.ask(0, 1); got != "-" {
		t.Errorf("without a real server: %q", got)
	}
	t.do(ipvs.AddDest, s, t.dest(0, 0))
	if got := t.ask(0, 1); got != "-" {
		t.Errorf("with one of weight 0: %q", got)
	}
	t.do(ipvs.EditDest, s, t.dest(0, 1))
	if got := t.ask(0, 1); got != "0" {
		t.Errorf("with one: %q", got)
	}
}

func leastConnection(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "lc"), 1, 1, 1)
	held := map[byte]conn{}
	var got []byte
	for range 6 {
		c := t.connect(0)
		held[c.server] = c
		got = append(got, c.server)
	}
	t.wantShares("six open connections", string(got), [3]int{2, 2, 2})
	// Two thirds are for a server of twice the weight.
	s.Scheduler = "wlc"
	t.do(ipvs.EditService, s)
	t.do(ipvs.EditDest, s, t.dest(0, 4))
	got = got[:0]
	for range 6 {
		got = append(got, t.connect(0).server)
	}
	t.wantShares("six more, the first server of weight 4", string(got), [3]int{6, 0, 0})
}

func sourceHash(t *traffic) {
	t.serve(t.service(ipvs.TCP, "sh"), 1, 1, 1)
	for client := range t.Clients {
		got := t.ask(client, 4)
		if got == "----" || strings.Count(got, got[:1]) != 4 {
			t.Errorf("client %d: %q", client, got)
		}
	}
}

func persistentClient(t *traffic) {
	s := t.service(ipvs.TCP, "rr")
	s.Persistent = 300
	t.serve(s, 1, 1, 1)
	first, second := t.ask(0, 4), t.ask(1, 4)
	for _, got := range []string{first, second} {
		if got[0] == '-' || strings.Count(got, got[:1]) != 4 {
			t.Errorf("one client: %q", got)
		}
	}
	if first[0] == second[0] {
		t.Errorf("with rr the second client came to %q as the first did", second)
	}
	// Not when it is of weight 0: the client stays, as the kernel has it; a new one does not come.
	at := int(first[0] - '0')
	t.do(ipvs.EditDest, s, t.dest(at, 0))
	if got := t.ask(0, 2); got[0] != first[0] || got[1] != first[0] {
		t.Errorf("the client left its quiet server: %q", got)
	}
}

func persistentNetwork(t *traffic) {
	s := t.service(ipvs.TCP, "rr")
	s.Persistent, s.Netmask = 300, 8
	t.serve(s, 1, 1, 1)
	if a, b := t.ask(0, 2), t.ask(1, 2); a != b || a[0] != a[1] || a[0] == '-' {
		t.Errorf("two clients of one network: %q and %q", a, b)
	}
}

func threshold(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "rr"))
	d := t.dest(0, 1)
	d.UpperThreshold, d.LowerThreshold = 2, 1
	t.do(ipvs.AddDest, s, d)
	a, b := t.connect(0), t.connect(0)
	if a.server != '0' || b.server != '0' {
		t.Errorf("below the threshold: %c%c", a.server, b.server)
	}
	if got := t.ask(0, 1); got != "-" {
		t.Errorf("above the threshold: %q", got)
	}
	t.do(ipvs.AddDest, s, t.dest(1, 1))
	t.wantShares("with another server", t.ask(0, 2), [3]int{0, 2, 0})
}

func datagrams(t *traffic) {
	t.serve(t.service(ipvs.UDP, "rr"), 1, 1, 1)
	var got []byte
	for range 6 {
		got = append(got, t.datagram(0))
	}
	t.wantShares("six clients", string(got), [3]int{2, 2, 2})
}

func counters(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "rr"), 1, 1)
	c := t.connect(0)
	const text = "0123456789\n"
	fmt.Fprint(c, text)
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != text {
		t.Errorf("echo: %q, %v", line, err)
	}
	e := t.entry("one open connection", func(e ipvs.Entry) bool {
		return e.Stats.Conns == 1 && e.Stats.InPkts > 0 && e.Stats.OutPkts > 0 && e.Stats.InBytes >= uint64(len(text)) && e.Stats.OutBytes >= uint64(len(text))
	})
	var active uint32
	var conns uint64
	for _, d := range e.Dests {
		active += d.ActiveConns
		conns += d.Stats.Conns
	}
	if active != 1 || conns != 1 {
		t.Errorf("of the real servers: %d active, %d in all: %+v", active, conns, e.Dests)
	}
	if l, ok := t.table.(ipvs.ConnTable); ok {
		list, err := l.Connections(t.ctx)
		list = slices.DeleteFunc(list, func(c ipvs.Conn) bool { return c.Virtual != s.Addr }) // of earlier services
		if err != nil || len(list) != 1 || list[0].Client.Addr() != t.Clients[0] || list[0].Virtual != s.Addr || list[0].State != "ESTABLISHED" {
			t.Errorf("connections: %+v, %v", list, err)
		}
	}
	c.close()
	t.entry("none open", func(e ipvs.Entry) bool { return e.Dests[0].ActiveConns+e.Dests[1].ActiveConns == 0 })
	t.do(ipvs.Zero, s)
	t.entry("after -Z", func(e ipvs.Entry) bool {
		return e.Stats.Conns == 0 && e.Dests[0].Stats.Conns == 0 && e.Dests[1].Stats.Conns == 0
	})
	t.ask(0, 3)
	t.entry("three more", func(e ipvs.Entry) bool { return e.Stats.Conns == 3 })
}

// openConnections outlive changes of the table around them.
func openConnections(t *traffic) {
	s := t.serve(t.service(ipvs.TCP, "rr"), 1, 1)
	c := t.connect(0)
	r := bufio.NewReader(c)
	echo := func(after string) {
		t.Helper()
		fmt.Fprintln(c, after)
		if line, err := r.ReadString('\n'); err != nil || line != after+"\n" {
			t.Errorf("after %s: %q, %v", after, line, err)
		}
	}
	echo("nothing")
	at := int(c.server - '0')
	t.do(ipvs.EditDest, s, t.dest(at, 0))
	echo("weight 0")
	s.Scheduler = "wlc"
	t.do(ipvs.EditService, s)
	echo("another scheduler")
	t.do(ipvs.AddDest, s, t.dest(2, 1))
	t.do(ipvs.DelDest, s, t.dest(1-at, 1))
	echo("other servers came and went")
	t.do(ipvs.EditDest, s, t.dest(at, 5))
	echo("weight 5")
}
