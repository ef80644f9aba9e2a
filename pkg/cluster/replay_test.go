package cluster_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// wire is two nodes with hmac-sha256, each behind a screen, and an attacker who records everything.
type wire struct {
	*testing.T
	now      time.Time
	nodes    map[string]*end
	change   func(*cluster.Config)
	recorded map[string][][]byte // by sender
}

// end is a node of the wire.
type end struct {
	name   string
	w      *wire
	skew   time.Duration // of its clock
	gen    uint64
	engine *cluster.Engine
	screen *cluster.Screen
	deaf   bool // nothing comes in
	lines  []string
}

func numberedRing(t *testing.T) *hbauth.Ring {
	t.Helper()
	ring, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.SHA256, Text: "a long enough secret"}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func newWire(t *testing.T) *wire {
	w := &wire{T: t, now: clustertest.Epoch, nodes: map[string]*end{}, recorded: map[string][][]byte{}}
	for _, name := range testNodes {
		w.nodes[name] = &end{name: name, w: w}
	}
	return w
}

// start begins a run of a node.
func (n *end) start() {
	n.gen++
	cfg := clustertest.Config(n.name, n.gen, testNodes, nil)
	cfg.Pings = nil
	cfg.Ring, cfg.Unmanaged = numberedRing(n.w.T), true
	cfg.Generation += n.gen
	cfg.Run = n.gen*1000 + uint64(len(n.name)) + uint64(n.name[0])
	cfg.Wall = func(now time.Time) time.Time { return now.Add(n.skew) }
	if n.w.change != nil {
		n.w.change(&cfg)
	}
	n.engine = cluster.New(cfg, n.w.now)
	n.screen = cluster.NewScreen(cluster.ScreenConfig{Link: "eth0", Node: n.name, Run: cfg.Run, Ring: cfg.Ring, Window: time.Minute},
		func(l cluster.Log) { n.lines = append(n.lines, l.Text) })
	n.step(cluster.Tick{})
}

func (n *end) stop() { n.engine = nil }

// step gives the engine an input; what it sends the other node gets at once.
func (n *end) step(in cluster.Input) {
	for _, a := range n.engine.Step(n.w.now, in) {
		switch a := a.(type) {
		case cluster.Log:
			n.lines = append(n.lines, a.Text)
		case cluster.Send:
			n.w.recorded[n.name] = append(n.w.recorded[n.name], slices.Clone(a.Bytes))
			for _, other := range n.w.nodes {
				if other != n {
					other.hear(a.Bytes)
				}
			}
		}
	}
}

// hear is a packet that comes in; it tells whether the engine has got it.
func (n *end) hear(packet []byte) bool {
	if n.engine == nil || n.deaf {
		return false
	}
	in := n.screen.Admit(n.w.now.Add(n.skew), netip.AddrPort{}, packet)
	if in == nil {
		return false
	}
	n.step(in)
	_, ok := in.(cluster.Received)
	return ok
}

// pass lets time go by.
func (w *wire) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(50 * time.Millisecond)
		for _, name := range testNodes {
			n := w.nodes[name]
			if n.engine == nil {
				continue
			}
			if at, ok := n.engine.Deadline(); ok && !at.After(w.now) {
				n.step(cluster.Tick{})
			}
		}
	}
}

// sees wants a node to take the other for what it is.
func (w *wire) sees(name, status string) {
	w.Helper()
	for _, s := range w.nodes[name].engine.Status().Nodes {
		if s.Name != name && s.Status != status {
			w.Errorf("%s takes %s for %s, want %s\n%s", name, s.Name, s.Status, status, strings.Join(w.nodes[name].lines, "\n"))
		}
	}
}

func (w *wire) both(status string) {
	w.Helper()
	for _, name := range testNodes {
		w.sees(name, status)
	}
}

// replay has the attacker send packets, and returns how many an engine takes.
func (w *wire) replay(to string, packets [][]byte) (taken int) {
	for _, p := range packets {
		if w.nodes[to].hear(p) {
			taken++
		}
		w.now = w.now.Add(11 * time.Millisecond) // not at once, when copies do not count anyway
	}
	return taken
}

func TestNoCopyCountsTwice(t *testing.T) {
	w := newWire(t)
	alpha, bravo := w.nodes["alpha"], w.nodes["bravo"]
	alpha.start()
	bravo.start()
	w.pass(30 * time.Second)
	w.both("active")
	if n := w.replay("alpha", w.recorded["bravo"]); n > 0 {
		t.Errorf("%d of %d packets count again", n, len(w.recorded["bravo"]))
	}
	// What alpha has sent itself counts once, as it would on a broadcast medium.
	w.replay("alpha", w.recorded["alpha"])
	if n := w.replay("alpha", w.recorded["alpha"]); n > 0 {
		t.Errorf("%d of %d packets of its own count again", n, len(w.recorded["alpha"]))
	}
	// Bravo dies. Nothing of it brings it back, not even what alpha has not heard.
	alpha.deaf = true
	w.pass(2 * time.Second)
	alpha.deaf = false
	bravo.stop()
	w.pass(time.Minute)
	w.sees("alpha", "dead")
	unheard := w.recorded["bravo"]
	w.replay("alpha", unheard)
	w.pass(clustertest.Config("alpha", 1, testNodes, nil).Deadtime + time.Second)
	w.sees("alpha", "dead")
	if n := w.replay("alpha", unheard); n > 0 {
		t.Errorf("later %d count", n)
	}
	// Nor does it when alpha has started again and remembers nothing: they are more than a minute old.
	alpha.stop()
	w.pass(2 * time.Minute)
	alpha.start()
	if n := w.replay("alpha", w.recorded["bravo"]); n > 0 {
		t.Errorf("after a restart %d of %d packets count", n, len(w.recorded["bravo"]))
	}
	w.pass(time.Minute)
	w.sees("alpha", "dead")
	if text := strings.Join(alpha.lines, "\n"); strings.Count(text, "are not taken yet: by its clock") > 3 || !strings.Contains(text, "Packets of node bravo on link eth0 from ? are not taken yet: by its clock they are ") {
		t.Errorf("alpha logs\n%s", text)
	}
	bravo.start()
	w.pass(30 * time.Second)
	w.both("active")
	if n := w.replay("alpha", w.recorded["bravo"]); n > 0 {
		t.Errorf("with bravo back %d count", n)
	}
}

// Packed messages are numbered as others are.
func TestPackedIsNumbered(t *testing.T) {
	w := newWire(t)
	w.change = func(c *cluster.Config) { c.Compress, c.CompressOver = true, 100 }
	for _, n := range w.nodes {
		n.start()
	}
	w.pass(30 * time.Second)
	w.both("active")
	packed := 0
	for _, p := range w.recorded["bravo"] {
		if strings.Contains(string(p), hamsg.FCompressedPayload) {
			packed++
		}
	}
	if packed < 10 {
		t.Errorf("%d packed messages", packed)
	}
	if n := w.replay("alpha", w.recorded["bravo"]); n > 0 {
		t.Errorf("%d of %d packets count again", n, len(w.recorded["bravo"]))
	}
}

// Whatever their clocks say, nodes that hear each other understand each other within a few heartbeats,
// whoever starts when.
func TestClocksApart(t *testing.T) {
	for _, skew := range []time.Duration{0, 30 * time.Second, -time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			w := newWire(t)
			alpha, bravo := w.nodes["alpha"], w.nodes["bravo"]
			alpha.skew = skew
			alpha.start()
			w.pass(3 * time.Second)
			bravo.start()
			w.pass(10 * time.Second)
			w.both("active")
			for range 3 {
				for _, n := range []*end{bravo, alpha} {
					n.stop()
					w.pass(500 * time.Millisecond)
					n.start()
					w.pass(10 * time.Second)
					w.both("active")
				}
			}
			// A clock that jumps in a run changes nothing.
			bravo.skew -= 24 * time.Hour
			w.pass(20 * time.Second)
			alpha.skew += 365 * 24 * time.Hour
			w.pass(20 * time.Second)
			w.both("active")
			for _, n := range []*end{alpha, bravo} {
				if strings.Contains(strings.Join(n.lines, "\n"), "is dead") {
					t.Errorf("%s logs\n%s", n.name, strings.Join(n.lines, "\n"))
				}
			}
		})
	}
}

// A node that does not hear us is heard as long as the clocks are right.
func TestDeafPeerIsHeard(t *testing.T) {
	w := newWire(t)
	alpha, bravo := w.nodes["alpha"], w.nodes["bravo"]
	bravo.deaf = true
	bravo.start()
	w.pass(5 * time.Second)
	alpha.start()
	w.pass(40 * time.Second)
	if s := alpha.engine.Status().Nodes[1]; s.Status != "up" && s.Status != "active" {
		t.Errorf("bravo is %s\n%s", s.Status, strings.Join(alpha.lines, "\n"))
	}
}

// What is sent again has a number of its own, and counts.
func TestSentAgainCounts(t *testing.T) {
	w := newWire(t)
	alpha, bravo := w.nodes["alpha"], w.nodes["bravo"]
	alpha.start()
	bravo.start()
	w.pass(20 * time.Second)
	alpha.deaf = true
	w.pass(2 * time.Second)
	alpha.deaf = false
	w.pass(10 * time.Second)
	text := strings.Join(alpha.lines, "\n")
	if !strings.Contains(text, "lost packet(s) for [bravo]") || !strings.HasSuffix(text, "No pkts missing from bravo!") {
		t.Errorf("alpha logs\n%s", text)
	}
	numbers := map[string]bool{}
	for _, p := range w.recorded["bravo"] {
		m := clustertest.Decode(p)
		if n := m.Get(hamsg.FPacket); n == "" || numbers[n] {
			t.Errorf("number %q of %s", n, clustertest.Summary(m))
		}
		numbers[m.Get(hamsg.FPacket)] = true
	}
}

// A pinged host's answer is our own packet: one of an earlier run, or one that has counted, does not.
func TestPingsAreNumbered(t *testing.T) {
	ring, lines := numberedRing(t), []string(nil)
	screen := cluster.NewScreen(cluster.ScreenConfig{Link: "10.0.0.1", Node: "alpha", Run: 7, Ring: ring, Window: time.Minute},
		func(l cluster.Log) { lines = append(lines, l.Text) })
	now := clustertest.Epoch
	answer := func(run, packet uint64) bool {
		now = now.Add(time.Second)
		m := hamsg.New(hamsg.TPingStatus).Add(hamsg.FStatus, "ping").Add(hamsg.FComment, "ping").Add(hamsg.FOrig, "10.0.0.1").
			SetHex(hamsg.FTime, uint64(now.Unix())).SetHex(hamsg.FRun, run).SetHex(hamsg.FPacket, packet)
		ring.Stamp(m)
		return screen.Admit(now, netip.AddrPort{}, ring.AppendWire(nil, m)) != nil
	}
	if !answer(7, 1) || !answer(7, 2) || answer(7, 2) || answer(7, 1) || !answer(7, 5) || !answer(7, 4) {
		t.Errorf("answers of this run: %+v %q", screen.Bad(), lines)
	}
	passed := 0
	for i := range uint64(100) {
		if answer(6, i+1) {
			passed++
		}
		now = now.Add(-time.Second)
	}
	if passed > 6 {
		t.Errorf("%d answers of an earlier run pass", passed)
	}
}

// Without its fields a packet that is signed with hmac-sha256 is nobody's.
func TestNumbersAreWanted(t *testing.T) {
	ring := numberedRing(t)
	screen := cluster.NewScreen(cluster.ScreenConfig{Link: "eth0", Node: "alpha", Run: 7, Ring: ring, Window: time.Minute}, func(cluster.Log) {})
	for _, m := range []*hamsg.Msg{
		hamsg.New("status").Add("src", "bravo"), hamsg.New("status").Add("src", "bravo").Add("run", "0").Add("pkt", "1"),
		hamsg.New("status").Add("src", "bravo").Add("run", "1").Add("pkt", "0"), hamsg.New("status").Add("src", "bravo").Add("run", "x").Add("pkt", "1"),
	} {
		if screen.Admit(clustertest.Epoch, netip.AddrPort{}, ring.AppendWire(nil, m)) != nil {
			t.Errorf("%v passes", m.Fields())
		}
	}
	if n := screen.Bad().Fields; n != 4 {
		t.Errorf("counted %+v", screen.Bad())
	}
}

// What an original sends is refused with a line that says what is wrong.
func TestOriginalPeerIsRefused(t *testing.T) {
	var lines []string
	screen := cluster.NewScreen(cluster.ScreenConfig{Link: "eth0", Node: "alpha", Run: 7, Ring: numberedRing(t), Window: time.Minute},
		func(l cluster.Log) { lines = append(lines, l.Level.String()+": "+l.Text) })
	old, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.SHA1, Text: "a long enough secret"}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := hamsg.New("status").Add("src", "bravo").Add("seq", "1").Add("hg", "7").Add("ts", "1")
	for range 10 {
		if screen.Admit(clustertest.Epoch, netip.MustParseAddrPort("10.0.0.2:694"), old.AppendWire(nil, m)) != nil {
			t.Error("it passes")
		}
	}
	want := "ERROR: Packets from 10.0.0.2:694 on link eth0 in the name of node bravo are refused: this node signs with hmac-sha256 and has no such key. Does an original heartbeat, or a node with other keys, run there?"
	if len(lines) == 0 || lines[0] != want || strings.Count(strings.Join(lines, "\n"), "Does an original") != 1 {
		t.Errorf("logs %q", lines)
	}
}
