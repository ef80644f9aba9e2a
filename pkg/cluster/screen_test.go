package cluster_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// screenRig is a Screen, its clock and its log.
type screenRig struct {
	*testing.T
	*cluster.Screen
	ring  *hbauth.Ring
	now   time.Time
	lines []string
}

func newScreen(t *testing.T) *screenRig {
	t.Helper()
	ring, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.SHA1, Text: "secret"}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := &screenRig{T: t, ring: ring, now: time.Unix(1_000_000, 0)}
	r.Screen = cluster.NewScreen(cluster.ScreenConfig{Link: "eth0", Node: "alpha", Ring: ring}, func(l cluster.Log) { r.lines = append(r.lines, l.Level.String()+": "+l.Text) })
	return r
}

var somebody = netip.MustParseAddrPort("10.0.0.9:4711")

func (r *screenRig) admit(packet []byte) bool {
	in, ok := r.Admit(r.now, somebody, packet).(cluster.Received)
	if ok && (in.Link != "eth0" || in.From != somebody.String() || string(in.Bytes) != string(packet)) {
		r.Errorf("of %q became %+v", packet, in)
	}
	return ok
}

// message is a signed packet of a node.
func (r *screenRig) message(kind, node string, gen, seq uint64) []byte {
	m := hamsg.New(kind).Add("src", node)
	if seq > 0 {
		m.SetHex("seq", seq)
	}
	return r.ring.AppendWire(nil, m.SetHex("hg", gen).SetHex("ts", uint64(r.now.Unix())))
}

// flood sends a packet so many times, spread over a second, and returns how many pass.
func (r *screenRig) flood(n int, packet func(i int) []byte) (passed int) {
	for i := range n {
		r.now = r.now.Add(time.Second / time.Duration(n))
		if r.admit(packet(i)) {
			passed++
		}
	}
	return passed
}

func TestScreenAdmits(t *testing.T) {
	r := newScreen(t)
	must := func(what string, packet []byte) {
		t.Helper()
		if !r.admit(packet) {
			t.Errorf("%s is kept out; %+v, %q", what, r.Bad(), r.lines)
		}
	}
	for gen := uint64(5); gen < 8; gen++ { // three lives of two nodes
		for seq := uint64(1); seq <= 1000; seq++ {
			r.now = r.now.Add(20 * time.Millisecond)
			for _, node := range []string{"alpha", "bravo"} {
				must("a message", r.message("status", node, gen, seq))
				must("an acknowledgement", r.message("NS_ackmsg", node, gen, 0))
			}
			if seq > 400 && seq%3 == 0 {
				must("a late message", r.message("status", "alpha", gen, seq-399))
			}
		}
	}
	again := r.message("NS_rexmit", "alpha", 7, 0)
	for range 20 {
		must("the same request", again)
		r.now = r.now.Add(20 * time.Millisecond)
	}
	text := hamsg.New("status").Add("src", "bravo").SetHex("seq", 2000).SetHex("hg", 7).SetHex("ts", 1)
	r.ring.Stamp(text)
	packet, err := text.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	must("a message in text form", packet)
	// A clock that is set back: what has no number is old until the next message with one.
	r.now = r.now.Add(-time.Hour)
	r.now = r.now.Add(time.Hour)
	if r.Bad() != (cluster.BadPackets{}) || len(r.lines) > 0 {
		t.Errorf("%+v, %q", r.Bad(), r.lines)
	}
}

// What does not pass is counted and costs a few lines a minute; the newest message passes through any
// flood.
func TestScreenFloods(t *testing.T) {
	const flood = 100_000
	forged := hamsg.New("status").Add("src", "bravo").Add("seq", "ffff").Add("hg", "7").Add("ts", "1")
	other, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.SHA1, Text: "guess"}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	bad := other.AppendWire(nil, forged)
	for _, c := range []struct {
		name   string
		packet func(r *screenRig, i int) []byte
		count  func(cluster.BadPackets) uint64
		line   string // beginning of a line; "" is none
		passes int    // at most
	}{
		{"noise", func(*screenRig, int) []byte { return []byte("hello, world") }, malformed, "", 0},
		{"empty", func(*screenRig, int) []byte { return nil }, malformed, "", 0},
		{"forged", func(*screenRig, int) []byte { return bad }, unsigned, "ERROR: authtoken does not match, authtoken=", 0},
		{"not signed", func(*screenRig, int) []byte { return forged.AppendNetstring(nil) }, unsigned, "ERROR: peel_netstring() error in getting auth string", 0},
		{"truncated", func(r *screenRig, i int) []byte {
			p := r.message("status", "bravo", 7, 9)
			return p[:5+i%(len(p)-10)] // the mark and more, and not the whole authenticator
		}, func(b cluster.BadPackets) uint64 { return b.Malformed + b.Unsigned }, "ERROR: Bad packet of ", 0},
		{"oversized", func(*screenRig, int) []byte { return oversized }, malformed, "ERROR: Bad packet of 262144 bytes on link eth0 from 10.0.0.9:4711: ", 0},
		{"text, not signed", func(*screenRig, int) []byte { return []byte(">>>\nt=status\nsrc=bravo\n<<<\n") }, unsigned, "WARN: string2msg_ll: node [bravo] failed authentication", 0},
		{"one message again and again", func(r *screenRig, _ int) []byte { return r.fixed("status", 7, 900) }, repeated, "", 100},
		{"one acknowledgement", func(r *screenRig, _ int) []byte { return r.fixed("NS_ackmsg", 7, 0) }, repeated, "", 100},
		{"many recorded messages", func(r *screenRig, i int) []byte { return r.fixed("status", 7, uint64(700+i%300)) }, replayed, "WARN: Old packets, or copies of packets, come in on link eth0", 20000},
		{"an earlier life", func(r *screenRig, i int) []byte { return r.fixed("status", 6, uint64(1+i%9999)) }, replayed, "WARN: Old packets, or copies", 7},
		{"an earlier hour", func(r *screenRig, i int) []byte { return r.fixed("NS_rexmit", 7, 0) }, repeated, "", 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newScreen(t)
			seq := uint64(1000)
			passed, good := 0, 0
			r.admit(r.message("status", "bravo", 7, seq))
			for range 10 {
				passed += r.flood(flood/10, func(i int) []byte { return c.packet(r, i) })
				seq++
				if r.admit(r.message("status", "bravo", 7, seq)) {
					good++
				}
			}
			if good != 10 {
				t.Errorf("of 10 good messages %d pass", good)
			}
			if passed > c.passes+10*100 || c.passes == 0 && passed > 0 {
				t.Errorf("%d pass", passed)
			}
			if n := c.count(r.Bad()); n != uint64(flood-passed) {
				t.Errorf("counted %d of %d: %+v", n, flood-passed, r.Bad())
			}
			if text := strings.Join(r.lines, "\n"); c.line == "" && text != "" || !strings.Contains("\n"+text, "\n"+c.line) || len(r.lines) > 15 {
				t.Errorf("logs\n%s", text)
			}
			r.lines = nil
			r.now = r.now.Add(2 * time.Minute)
			if r.admit(c.packet(r, 0)); c.line != "" && c.passes == 0 && !strings.Contains(strings.Join(r.lines, "\n"), "more of the following kind were not logged.") {
				t.Errorf("later logs %q", r.lines)
			}
		})
	}
}

var oversized = append([]byte("###\n262100:(0)t="), make([]byte, 262144-16)...)

func malformed(b cluster.BadPackets) uint64 { return b.Malformed }
func unsigned(b cluster.BadPackets) uint64  { return b.Unsigned }
func replayed(b cluster.BadPackets) uint64  { return b.Replayed }
func repeated(b cluster.BadPackets) uint64  { return b.Repeated }

// fixed is a packet that was made once and for all.
func (r *screenRig) fixed(kind string, gen, seq uint64) []byte {
	key := fmt.Sprint(kind, gen, seq)
	if recordings[key] == nil {
		now := r.now
		r.now = time.Unix(1_000_000, 0)
		recordings[key] = r.message(kind, "bravo", gen, seq)
		r.now = now
	}
	return recordings[key]
}

var recordings = map[string][]byte{}

// A flood costs no memory.
func TestScreenNeedsNoMemory(t *testing.T) {
	r := newScreen(t)
	good := r.message("status", "bravo", 7, 1000)
	forged := append([]byte(nil), good...)
	forged[20] ^= 1
	again := r.fixed("status", 7, 999)
	r.admit(good)
	r.admit(forged)
	r.admit([]byte("###\n"))
	for _, p := range [][]byte{forged, again, []byte("###\n12:(0)t=x"), []byte("junk")} {
		if n := testing.AllocsPerRun(1000, func() { r.admit(p) }); n > 0 {
			t.Errorf("%q: %v allocations", p, n)
		}
	}
}

// The clock of a node that was set back holds for what it sends without a number from its next message
// on.
func TestScreenFollowsTheClock(t *testing.T) {
	r := newScreen(t)
	r.admit(r.message("status", "bravo", 7, 1))
	wall := r.now
	back := func() []byte {
		r.now = wall.Add(-time.Hour)
		defer func() { r.now = wall }()
		return r.message("NS_ackmsg", "bravo", 7, 0)
	}
	for range 10 {
		r.admit(back()) // old: a few pass
	}
	if r.admit(back()) {
		t.Error("an acknowledgement of an hour ago passes")
	}
	r.now = wall.Add(-time.Hour)
	status := r.message("status", "bravo", 7, 2)
	r.now = wall
	if !r.admit(status) {
		t.Error("with the clock set back it is not heard")
	}
	wall = wall.Add(time.Second) // the last copy was a moment ago
	r.now = wall
	if !r.admit(back()) {
		t.Error("with the clock set back its acknowledgements are not heard")
	}
}

func BenchmarkScreen(b *testing.B) {
	ring, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.SHA1, Text: "secret"}}, 1)
	if err != nil {
		b.Fatal(err)
	}
	m := hamsg.New("status").Add("st", "active").Add("dt", "1388").Add("protocol", "1").Add("src", "bravo").SetUUID("srcuuid", hamsg.UUID{1}).
		SetHex("seq", 1).SetHex("hg", 1795871499).SetHex("ts", 1795871499).Add("ld", "1.20 0.64 0.30 4/125 22").Add("ttl", "3")
	ring.Stamp(m)
	good := ring.AppendWire(nil, m)
	forged := append([]byte(nil), good...)
	forged[len(forged)-5] ^= 1
	now := time.Unix(1_000_000, 0)
	for name, p := range map[string][]byte{"forged": forged, "replayed": good, "junk": []byte("junk")} {
		b.Run(name, func(b *testing.B) {
			s := cluster.NewScreen(cluster.ScreenConfig{Link: "eth0", Ring: ring}, func(cluster.Log) {})
			b.ReportAllocs()
			for b.Loop() {
				s.Admit(now, somebody, p)
			}
		})
	}
}
