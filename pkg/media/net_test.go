package media_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/media"
)

// limit is how long anything may take on a machine with much else to do.
const limit = 20 * time.Second

// node is a host of a network of this test.
func node(t *testing.T, n *lab.Network, name string, addrs ...string) *lab.Node {
	t.Helper()
	return nodeOf(t, n, name, link("eth0", lab.DefaultSegment, addrs...))
}

func nodeOf(t *testing.T, n *lab.Network, name string, links ...lab.Link) *lab.Node {
	t.Helper()
	nd, err := n.AddNode(lab.NodeSpec{Name: name, Links: links})
	if err != nil {
		t.Fatal(err)
	}
	return nd
}

func link(name, segment string, addrs ...string) lab.Link {
	l := lab.Link{Name: name, Segment: segment}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

// hearsItself tells whether a medium gets its own packets.
func hearsItself(s media.Spec) bool {
	return s.Kind == "bcast" || strings.HasPrefix(s.Kind, "mcast") && s.Args[3] == "1"
}

// medium is one that runs on a node.
type medium struct {
	media.Medium
	frames chan media.Frame
	mu     sync.Mutex
	lines  []string
	stop   func(*testing.T) // ends it before the test does
}

func (m *medium) report(e media.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, e.Prio.String()+": "+e.Text)
}

func (m *medium) takeLines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines := m.lines
	m.lines = nil
	return lines
}

// start opens and runs a medium on a node until the test ends.
func start(t *testing.T, nd *lab.Node, s media.Spec, o media.Options) *medium {
	t.Helper()
	return startOn(t, nd.Do, s, o)
}

// startOn is start in whatever place run calls its function.
func startOn(t *testing.T, run func(func() error) error, s media.Spec, o media.Options) *medium {
	t.Helper()
	m := &medium{frames: make(chan media.Frame, 1000)}
	o.Report = m.report
	ctx, cancel := context.WithCancel(t.Context())
	opened, ended := make(chan error), make(chan error, 1)
	go func() {
		ended <- run(func() error {
			var err error
			m.Medium, err = media.Open(ctx, s, o)
			opened <- err
			if err != nil {
				return nil
			}
			return m.Run(ctx, func(f media.Frame) {
				f.Bytes = bytes.Clone(f.Bytes)
				select {
				case m.frames <- f:
				case <-ctx.Done():
				}
			})
		})
	}()
	select {
	case err := <-opened:
		if err != nil {
			t.Fatal(err)
		}
	case err := <-ended:
		t.Fatalf("no medium: %v", err)
	}
	var once sync.Once
	m.stop = func(t *testing.T) {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", s, err)
			}
		})
	}
	t.Cleanup(func() { m.stop(t) })
	return m
}

// next is the next packet that comes in.
func (m *medium) next(t *testing.T) media.Frame {
	t.Helper()
	select {
	case f := <-m.frames:
		return f
	case <-time.After(limit):
		t.Fatalf("%s: nothing came in; logged %q", m.Spec(), m.takeLines())
		return media.Frame{}
	}
}

// expect demands that the next packet is this one from that host.
func (m *medium) expect(t *testing.T, from, packet string) {
	t.Helper()
	f := m.next(t)
	if hostOf(f) != from || string(f.Bytes) != packet {
		t.Errorf("%s: got %q from %s, want %q from %s", m.Spec(), f.Bytes, f.From, packet, from)
	}
}

// hostOf is the address that a packet came from; "" of a serial line.
func hostOf(f media.Frame) string {
	if !f.From.IsValid() {
		return ""
	}
	return f.From.Addr().String()
}

// expectNothing demands that no packet has come in until now.
func (m *medium) expectNothing(t *testing.T) {
	t.Helper()
	select {
	case f := <-m.frames:
		t.Errorf("%s: got %q from %s, want nothing", m.Spec(), f.Bytes, f.From)
	default:
	}
}

// warmUp sends until the other hears: right after a network was made the kernel may still take a
// cable for unplugged. All that came in meanwhile is forgotten.
func warmUp(t *testing.T, from, to *medium) {
	t.Helper()
	for end := time.Now().Add(limit); ; {
		from.Send([]byte("warm-up"))
		select {
		case <-to.frames:
			from.Send([]byte("warm"))
			for _, m := range []*medium{from, to} {
				for m == to || hearsItself(m.Spec()) {
					if f := m.next(t); string(f.Bytes) == "warm" {
						break
					}
				}
			}
			return
		case <-time.After(20 * time.Millisecond):
			if time.Now().After(end) {
				t.Fatalf("%s is not heard", from.Spec())
			}
		}
	}
}

func TestBroadcast(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", "10.7.0.1/24"), node(t, n, "b", "10.7.0.2/24")
	spec := media.Spec{Kind: "bcast", Name: "eth0", Port: 695} // its own port goes before the common one
	ma := start(t, a, spec, media.Options{Port: 694})
	spec.Port = 0
	mb := start(t, b, spec, media.Options{Port: 695})
	warmUp(t, ma, mb)
	ma.Send([]byte("from a"))
	ma.expect(t, "10.7.0.1", "from a")
	mb.expect(t, "10.7.0.1", "from a")
	mb.Send([]byte("from b"))
	ma.expect(t, "10.7.0.2", "from b")
	mb.expect(t, "10.7.0.2", "from b")
	want := []string{ // as in the golden ha-logs
		"info: glib: UDP Broadcast heartbeat started on port 695 (695) interface eth0",
		"info: glib: UDP Broadcast heartbeat closed on port 695 interface eth0 - Status: 1",
	}
	if got := ma.takeLines(); !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// The tutorial has bcast and ucast on one interface and one port, and three nodes have several
// ucast lines: whichever of the sockets gets a datagram, one does.
func TestUnicastBesideBroadcast(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", "10.7.0.1/24"), node(t, n, "b", "10.7.0.2/24")
	to := start(t, a, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.2"}}, media.Options{})
	all := start(t, a, media.Spec{Kind: "bcast", Name: "eth0"}, media.Options{})
	heard := make(chan media.Frame)
	hear := func(m *medium) {
		for {
			select {
			case f := <-m.frames:
				select {
				case heard <- f:
				case <-t.Context().Done():
				}
			case <-t.Context().Done():
				return
			}
		}
	}
	bcast := start(t, b, media.Spec{Kind: "bcast", Name: "eth0"}, media.Options{})
	warmUp(t, all, bcast)
	for _, peer := range []string{"10.7.0.1", "10.7.0.3"} {
		go hear(start(t, b, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{peer}}, media.Options{}))
	}
	for i := range 20 {
		to.Send([]byte{'0' + byte(i)})
		select {
		case f := <-bcast.frames:
			heardOnce(t, f, i)
		case f := <-heard:
			heardOnce(t, f, i)
		case <-time.After(limit):
			t.Fatalf("datagram %d was heard by nobody", i)
		}
	}
	all.Send([]byte("all"))
	bcast.expect(t, "10.7.0.1", "all")
}

func heardOnce(t *testing.T, f media.Frame, i int) {
	t.Helper()
	if string(f.Bytes) != string([]byte{'0' + byte(i)}) {
		t.Errorf("datagram %d: heard %q", i, f.Bytes)
	}
}

func TestUnicast(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", "10.7.0.1/24"), node(t, n, "b", "10.7.0.2/24")
	ma := start(t, a, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.2"}}, media.Options{})
	mb := start(t, b, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.1"}}, media.Options{})
	warmUp(t, ma, mb)
	ma.Send([]byte("from a"))
	mb.expect(t, "10.7.0.1", "from a")
	mb.Send(make([]byte, 60_000))
	if f := ma.next(t); len(f.Bytes) != 60_000 {
		t.Errorf("of 60000 bytes %d came", len(f.Bytes))
	}
	ma.expectNothing(t) // not even what it sent itself
	want := []string{   // as in the golden ha-logs
		"info: glib: ucast: write socket priority set to IPTOS_LOWDELAY on eth0",
		"info: glib: ucast: bound send socket to device: eth0",
		"info: glib: ucast: set SO_REUSEPORT(w)",
		"info: glib: ucast: set SO_REUSEADDR",
		"info: glib: ucast: bound receive socket to device: eth0",
		"info: glib: ucast: set SO_REUSEPORT",
		"info: glib: ucast: started on port 694 interface eth0 to 10.7.0.2",
	}
	if got := ma.takeLines(); !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
}

// echo is a message of a ping medium as the engine makes it.
func echo(plugin, name, ts string) []byte {
	return hamsg.New(hamsg.TPingStatus).Add("st", "ping").Add("info", plugin).Add("src", name).Add("ts", ts).AppendNetstring(nil)
}

func TestPing(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24")
	node(t, n, "b", "10.7.0.2/24")
	m := start(t, a, media.Spec{Kind: "ping", Name: "10.7.0.2"}, media.Options{Ident: 4711})
	other := start(t, a, media.Spec{Kind: "ping", Name: "10.7.0.1"}, media.Options{Ident: 4711})
	group := start(t, a, media.Spec{Kind: "ping_group", Name: "g", Args: []string{"10.7.0.9", "fe80::1", "10.7.0.2", "10.7.0.1"}}, media.Options{Ident: 4712})
	for _, ts := range []string{"1", "2", "3"} {
		packet := echo("ping", "10.7.0.2", ts)
		m.Send(packet)
		m.expect(t, "10.7.0.2", string(packet))
		packet = echo("ping", "10.7.0.1", ts)
		other.Send(packet)
		other.expect(t, "10.7.0.1", string(packet))
		packet = echo("ping_group", "g", ts)
		group.Send(packet)
		if f := group.next(t); string(f.Bytes) != string(packet) || hostOf(f) != "10.7.0.2" && hostOf(f) != "10.7.0.1" {
			t.Errorf("group: got %q from %s", f.Bytes, f.From)
		}
	}
	// Replies to what is no message of this medium are not passed on.
	m.Send([]byte("junk"))
	m.Send(echo("ping_group", "10.7.0.2", "4"))
	m.Send(echo("ping", "10.7.0.3", "4"))
	last := echo("ping", "10.7.0.2", "5")
	m.Send(last)
	m.expect(t, "10.7.0.2", string(last))
	for _, m := range []*medium{m, other, group} {
		m.expectNothing(t)
	}
	if got, want := m.takeLines(), []string{"info: glib: ping heartbeat started."}; !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
	lines := group.takeLines()
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "ERROR: glib: unknown host: fe80::1: ") || lines[1] != "info: glib: ping group heartbeat started." {
		t.Errorf("group logged %q", lines)
	}
}

// ip runs a command of iproute2 on the node.
func ip(t *testing.T, nd *lab.Node, args string) {
	t.Helper()
	r, err := nd.Exec(t.Context(), "ip", strings.Fields(args)...)
	if err != nil || r.Code != 0 {
		t.Fatalf("ip %s: %v %+v", args, err, r)
	}
}

// An address that was added without a broadcast address, as "ip addr add" does: the original
// sends to 0.0.0.0, that is, to itself.
func TestBroadcastAddressFromTheNetmask(t *testing.T) {
	t.Parallel()
	for _, addrs := range [][2]string{
		{"10.7.0.1/24", "10.7.0.2/24"},
		{"10.7.0.1 peer 10.7.0.2", "10.7.0.2 peer 10.7.0.1"}, // no network: to 255.255.255.255
	} {
		n := lab.Net(t)
		a, b := node(t, n, "a"), node(t, n, "b")
		ip(t, a, "addr add "+addrs[0]+" dev eth0")
		ip(t, b, "addr add "+addrs[1]+" dev eth0")
		spec := media.Spec{Kind: "bcast", Name: "eth0"}
		ma, mb := start(t, a, spec, media.Options{}), start(t, b, spec, media.Options{})
		warmUp(t, ma, mb)
		ma.Send([]byte("from a"))
		mb.expect(t, "10.7.0.1", "from a")
	}
}

// The loopback interface has a broadcast address of 0.0.0.0 only: a node hears itself on it.
func TestBroadcastOnLoopback(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	m := start(t, node(t, n, "a"), media.Spec{Kind: "bcast", Name: "lo"}, media.Options{})
	m.Send([]byte("hello"))
	m.expect(t, "127.0.0.1", "hello")
}

func TestReturnOfTheInterface(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24")
	up := func(addr string) {
		ip(t, a, "link add d0 type veth peer name d1")
		ip(t, a, "addr add "+addr+"/24 broadcast + dev d0")
		ip(t, a, "link set d0 up")
		ip(t, a, "link set d1 up")
	}
	up("10.8.0.1")
	m := start(t, a, media.Spec{Kind: "bcast", Name: "d0"}, media.Options{})
	m.Send([]byte("one"))
	m.expect(t, "10.8.0.1", "one")
	m.takeLines()

	ip(t, a, "link del d0")
	m.Send([]byte("two"))
	waitFor(t, "the failed write in the log", func() bool { return m.Stats().Failed == 1 && !m.Stats().Up })
	lines := strings.Join(m.takeLines(), "\n")
	for _, want := range []string{
		"ERROR: glib: bcast_write: Unable to send HBcomm packet d0 10.8.0.255:694 len=3 [-1]: No such device",
		"ERROR: write_child: write failure on bcast d0.: No such device",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("logged %s\nwant %s", lines, want)
		}
	}

	up("10.9.0.1") // another index, another address
	m.Send([]byte("three"))
	m.expect(t, "10.9.0.1", "three")

	ip(t, a, "addr add 10.10.0.1/24 broadcast + dev d0")
	ip(t, a, "addr del 10.9.0.1/24 dev d0")
	waitFor(t, "the new address", func() bool {
		m.Send([]byte("four"))
		select {
		case f := <-m.frames:
			return hostOf(f) == "10.10.0.1"
		default:
			return false
		}
	})
}

// waitFor polls until the condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24")
	ip(t, a, "link add d0 type veth peer name d1")
	for _, c := range []struct {
		spec  media.Spec
		err   string
		lines []string
	}{
		{media.Spec{Kind: "carrier_pigeon", Name: "p"}, "open carrier_pigeon p: no such kind of medium", nil},
		{media.Spec{Kind: "bcast", Name: "eth9"}, "open bcast eth9: interface eth9: no such device", []string{
			"ERROR: glib: Get broadcast for interface eth9 failed: No such device", "ERROR: glib: IP interface [eth9] does not exist",
		}},
		{media.Spec{Kind: "bcast", Name: "d0"}, "open bcast d0: broadcast address of d0: cannot assign requested address", []string{
			"ERROR: glib: Get broadcast for interface d0 failed: Cannot assign requested address", "ERROR: glib: IP interface [d0] does not exist",
		}},
		{media.Spec{Kind: "bcast", Name: strings.Repeat("x", 16)}, "invalid argument", []string{
			"ERROR: glib: Get broadcast for interface xxxxxxxxxxxxxxxx failed: Invalid argument", "ERROR: glib: IP interface [xxxxxxxxxxxxxxxx] does not exist",
		}},
		{media.Spec{Kind: "ucast", Name: "eth0"}, "open ucast eth0: no peer given", []string{"ERROR: glib: ucast: [eth0] missing target IP address/hostname"}},
		{media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"fe80::1"}}, "open ucast eth0: host fe80::1: not an IPv4 address", []string{
			"ERROR: glib: ucast: cannot resolve hostname", "ERROR: glib: ucast: interface [eth0] does not exist",
		}},
		{media.Spec{Kind: "ucast", Name: "eth9", Args: []string{"10.7.0.2"}}, "open ucast eth9: interface eth9: no such device", []string{
			"ERROR: glib: ucast: error setting option SO_BINDTODEVICE(w) on eth9: No such device",
		}},
		{media.Spec{Kind: "ping", Name: "fe80::1"}, "open ping fe80::1: host fe80::1: not an IPv4 address", []string{
			"ERROR: glib: unknown host: fe80::1: host fe80::1: not an IPv4 address",
		}},
		{media.Spec{Kind: "ping_group", Name: "g"}, "open ping_group g: no host in the group", nil},
		{media.Spec{Kind: "ping6", Name: "10.7.0.2"}, "open ping6 10.7.0.2: host 10.7.0.2: not an IPv6 address", []string{
			"ERROR: glib: unknown host: 10.7.0.2: host 10.7.0.2: not an IPv6 address",
		}},
		{mcastSpec("eth9", "225.0.0.1", mcWords...), "open mcast eth9: interface eth9: no such device", []string{
			"ERROR: glib: Unable to retrieve local interface address for interface [eth9] using ioctl(SIOCGIFADDR): No such device",
			"ERROR: glib: mcast device [eth9] is invalid or not set up properly",
		}},
		{mcastSpec("eth9", "ff02::1", mcWords...), "open mcast6 eth9: interface eth9: no such device", []string{
			"ERROR: glib: mcast6 device [eth9] is invalid or not set up properly",
		}},
		{mcastSpec("eth0", "ff02::1", "no-such-service", "1", "0"), "lookup udp/no-such-service: unknown port", []string{
			"WARN: glib: Error creating mcast6_private(eth0, ff02::1, no-such-service, 1, 0)",
		}},
		{mcastSpec("eth0", "225.0.0.1", "694", "1", "2"), "open mcast eth0: bad loop \"2\"", nil},
		{ucast6Spec("eth9", "fd00::1"), "open ucast6 eth9: interface eth9: no such device", []string{
			"ERROR: glib: ucast6 device [eth9] is invalid or not set up properly",
		}},
		{ucast6Spec("eth0", "10.7.0.2"), "open ucast6 eth0: 10.7.0.2 is not an IPv6 address", []string{"ERROR: glib: ucast6 [eth0] bad addr [10.7.0.2]"}},
		{ucast6Spec("eth0", "fe80::1%lo"), "open ucast6 eth0: peer fe80::1%lo: another interface: invalid argument", []string{
			"ERROR: glib: ucast6: index 2 does not match scope id 1 for device eth0",
		}},
	} {
		r := new(medium)
		err := a.Do(func() error {
			_, err := media.Open(t.Context(), c.spec, media.Options{Report: r.report})
			return err
		})
		if err == nil || !strings.HasSuffix(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %s", c.spec, err, c.err)
		}
		if got := r.takeLines(); !reflect.DeepEqual(got, c.lines) {
			t.Errorf("%s: logged %q, want %q", c.spec, got, c.lines)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24")
	var taken net.PacketConn
	if err := a.Do(func() (err error) {
		taken, err = net.ListenPacket("udp4", "0.0.0.0:694")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for kind, line := range map[string]string{
		"bcast": "ERROR: glib: Error binding socket (Address already in use). Retrying.",
		"ucast": "ERROR: glib: ucast: Can't bind (EADDRINUSE), retrying",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r := new(medium)
		err := a.Do(func() error {
			_, err := media.Open(ctx, media.Spec{Kind: kind, Name: "eth0", Args: []string{"10.7.0.2"}}, media.Options{Report: func(e media.Event) {
				r.report(e)
				if strings.Contains(strings.ToLower(e.Text), "retrying") {
					cancel() // it would wait a second now
				}
			}})
			return err
		})
		cancel()
		if err == nil || !strings.Contains(strings.Join(r.takeLines(), "\n"), line) {
			t.Errorf("%s: error %v, logged %q", kind, err, r.takeLines())
		}
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	err := a.Do(func() error {
		m, err := media.Open(t.Context(), media.Spec{Kind: "bcast", Name: "eth0"}, media.Options{})
		if err != nil {
			return err
		}
		return m.Close()
	})
	if err != nil {
		t.Errorf("with the port free: %v", err)
	}
}

// Packets that nobody takes wait in the kernel, thousands of them; what is lost then is counted, and told
// of once.
func TestOverrun(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", "10.7.0.1/24"), node(t, n, "b", "10.7.0.2/24")
	m := start(t, a, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.2"}}, media.Options{})
	m.takeLines()
	c, err := b.Dial(t.Context(), "udp4", "10.7.0.1:694")
	must(t, err)
	defer c.Close()
	packet := make([]byte, 300)
	waitFor(t, "packets to be lost", func() bool { // frames takes 1000; the next one waits
		for range 10_000 {
			if _, err := c.Write(packet); err != nil {
				t.Fatal(err)
			}
		}
		return m.Stats().Overrun > 0
	})
	if got := m.Stats().Received; got > 1001 {
		t.Errorf("%d packets were taken", got)
	}
	lines := m.takeLines()
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN: ") || !strings.HasSuffix(lines[0], " packets lost unread on ucast eth0: they come faster than they can be read") {
		t.Errorf("logged %q", lines)
	}
	taken := 0
	for {
		select {
		case <-m.frames:
			taken++
			continue
		case <-time.After(200 * time.Millisecond):
		}
		break
	}
	if taken < 5000 {
		t.Errorf("only %d packets had waited", taken)
	}
}
