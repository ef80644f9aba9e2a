package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// from is a packet of a node of that name, whose uuid begins with that byte.
func (s *single) from(name string, uuid byte, m *hamsg.Msg) []byte {
	m.Set("src", name).SetUUID("srcuuid", hamsg.UUID{uuid})
	if !m.Has("hg") {
		m.SetHex("hg", 7)
	}
	if !m.Has("ts") {
		m.SetHex("ts", uint64(s.now.Unix()))
	}
	return s.cfg.Ring.AppendWire(nil, m)
}

func (s *single) on(link string, packet []byte) string {
	return s.step(cluster.Received{Link: link, Bytes: packet})
}

func numbered(m *hamsg.Msg, seq uint64) *hamsg.Msg { return m.SetHex("seq", seq) }

// TestAcknowledgements: the history is kept up to what every live node has acknowledged.
func TestAcknowledgements(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Nodes = []string{"alpha", "bravo", "charlie"} })
	s.step(cluster.Tick{})
	s.on("eth0", s.from("bravo", 2, numbered(status("active"), 1)))
	s.on("eth0", s.from("charlie", 3, numbered(status("active"), 1)))
	for range 30 {
		s.said(hamsg.New("x"))
	}
	ack := func(name string, uuid byte, seq string) string {
		return s.on("eth0", s.from(name, uuid, hamsg.New("NS_ackmsg").Add("dest", "alpha").Add("ackseq", seq)))
	}
	acked := func(want uint64) {
		t.Helper()
		if got := s.e.Status().Acked; got != want {
			t.Errorf("acknowledged %d, want %d", got, want)
		}
	}
	ack("bravo", 2, "14")
	acked(0) // charlie has not said anything
	ack("charlie", 3, "a")
	acked(10)
	ack("charlie", 3, "5") // an old one
	acked(10)
	ack("charlie", 3, "18")
	acked(20)
	s.logs(ack("bravo", 2, "fff"), "ERROR: HBDoMsg_T_ACK: corrupted ackseq current hiseq = 34 ackseq =4095 in this message")
	acked(20)
	s.on("eth0", s.from("bravo", 2, hamsg.New("NS_ackmsg").Add("dest", "delta").Add("ackseq", "1e")))
	acked(20) // meant for another
	for seq := range uint64(6) {
		s.pass(2 * time.Second) // bravo dies
		s.on("eth0", s.from("charlie", 3, numbered(status("active"), seq+2)))
	}
	ack("charlie", 3, "1e")
	acked(30)
}

// TestHistoryFills: with a peer that never acknowledges, the history says when it is nearly full.
func TestHistoryFills(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	var all strings.Builder
	for range 520 {
		all.WriteString(s.said(hamsg.New("x")) + "\n")
	}
	for _, want := range []string{"WARN: Message hist queue is filling up (376 messages in queue)", "ERROR: Message hist queue is filling up (451 messages in queue)"} {
		if strings.Count(all.String(), want) != 1 {
			t.Errorf("%s: %d times", want, strings.Count(all.String(), want))
		}
	}
	got := s.hear(hamsg.New("NS_rexmit").Add("dest", "alpha").Add("firstseq", "9").Add("lastseq", "9"))
	s.logs(got, "ERROR: Cannot rexmit pkt 9 for bravo: seqno too low", "> t=NS_nak_rexmit firstseq=9 dest=bravo info=seqno too low")
}

// TestGenerations: a node that has restarted counts anew, whichever message of it comes first; what is
// left of its earlier run is not taken any more.
func TestGenerations(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.seq = 40
	s.hear(status("active"))
	if got := s.on("eth0", s.from("bravo", 2, numbered(hamsg.New("x"), 5).SetHex("hg", 8))); strings.Contains(got, "lost packet") {
		t.Errorf("first message of a new run: %s", got)
	}
	if got := s.on("eth0", s.from("bravo", 2, numbered(hamsg.New("y"), 41))); got != "" {
		t.Errorf("a late message of the earlier run: %s", got)
	}
	s.logs(s.on("eth0", s.from("bravo", 2, numbered(status("up"), 6).SetHex("hg", 8))), "info: Heartbeat restart on node bravo", "info: Status update for node bravo: status up")
	s.logs(s.on("eth0", s.from("bravo", 2, numbered(status("active"), 42))), "ERROR: should_drop_message: attempted replay attack [bravo]? [gen = 7, curgen = 8]")
	m := numbered(status("active"), 9)
	m.Set("hg", "")
	m.Del("hg")
	packet := s.cfg.Ring.AppendWire(nil, m.Set("src", "bravo").Set("ts", "1"))
	s.on("eth0", packet)
	if n := s.e.Status().Bad.Replayed; n != 2 {
		t.Errorf("%d replays counted; a message without a generation has number 0", n)
	}
}

// TestStaleStatus: one that was overtaken, by its clock and by its number, changes nothing.
func TestStaleStatus(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.seq = 9
	s.hear(status("active").SetHex("ts", uint64(s.now.Unix())+10)) // a gap from 4 to 9
	if got := s.on("eth0", s.from("bravo", 2, numbered(status("up"), 5).SetHex("ts", uint64(s.now.Unix())-10))); strings.Contains(got, "Status update") {
		t.Errorf("a stale status: %s", got)
	}
	// Its clock was set back: the number counts.
	s.logs(s.on("eth0", s.from("bravo", 2, numbered(status("up"), 11).SetHex("ts", uint64(s.now.Unix())-3600))), "Status update for node bravo: status up")
}

// TestTooManyLost: more than 250 missing messages are given up.
func TestTooManyLost(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.seq = 260
	s.logs(s.hear(status("active")), "WARN: 257 lost packet(s) for [bravo] [3:261]", "ERROR: lost a lot of packets!")
	if got := s.pass(time.Second); strings.Contains(got, "NS_rexmit") {
		t.Errorf("asks for them: %s", got)
	}
}

// TestAskOnlyTheLiving: what is missing of a node is asked for while that is up or active.
func TestAskOnlyTheLiving(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.hear(status("leave"))
	s.seq += 3
	s.hear(hamsg.New("x"))
	if got := s.pass(time.Second); strings.Contains(got, "NS_rexmit") {
		t.Errorf("asks a node that has left: %s", got)
	}
	s.hear(status("active"))
	if got := s.pass(time.Second); !strings.Contains(got, "NS_rexmit") {
		t.Error("does not ask when it is back")
	}
}

// TestDuplicatesKeepLinksUp: the same packet over a second cable shows that cable to be good, an old one
// does not.
func TestDuplicatesKeepLinksUp(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Links = []string{"eth0", "eth1"} })
	s.join()
	packet := s.packet(status("active"))
	s.on("eth0", packet)
	s.logs(s.on("eth1", packet), "info: Link bravo:eth1 up.")
	var log strings.Builder
	for range 4 {
		log.WriteString(s.pass(2 * time.Second))
		log.WriteString(s.on("eth0", s.packet(status("active"))))
		log.WriteString(s.on("eth1", packet)) // stale
	}
	if !strings.Contains(log.String(), "Link bravo:eth1 dead.") || strings.Contains(log.String(), "is dead") {
		t.Errorf("one dead cable of two: %s", log.String())
	}
	s.logs(s.on("eth1", s.packet(status("active"))), "info: Link bravo:eth1 up.")
}

// TestAddresses: a message for another is counted and dropped; for us is what has our uuid, or our name
// if the sender does not know our uuid. Messages without numbers go by the name alone.
func TestAddresses(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Hooks = []string{"x"} })
	s.join()
	taken := func(m *hamsg.Msg) bool {
		t.Helper()
		s.run = nil
		if got := s.hear(m); strings.Contains(got, "lost packet") {
			t.Errorf("not counted: %s", got)
		}
		ran := s.run != nil
		if ran {
			s.done()
		}
		return ran
	}
	for _, tt := range []struct {
		name string
		m    *hamsg.Msg
		want bool
	}{
		{"for all", hamsg.New("x"), true},
		{"our name", hamsg.New("x").Add("dest", "alpha"), true},
		{"another name", hamsg.New("x").Add("dest", "bravo"), false},
		{"our uuid", hamsg.New("x").Add("dest", "old-name").SetUUID("destuuid", s.cfg.UUID), true},
		{"another uuid", hamsg.New("x").Add("dest", "alpha").SetUUID("destuuid", hamsg.UUID{9}), false},
		{"no uuid known", hamsg.New("x").Add("dest", "alpha").SetUUID("destuuid", hamsg.UUID{}), true},
	} {
		if got := taken(tt.m); got != tt.want {
			t.Errorf("%s: taken %v", tt.name, got)
		}
	}
	before := s.e.Status().Sequence
	s.hear(hamsg.New("NS_rexmit").Add("dest", "bravo").SetUUID("destuuid", s.cfg.UUID).Add("firstseq", "x").Add("lastseq", "1"))
	if st := s.e.Status(); st.Bad.Fields != 0 || st.Sequence != before {
		t.Error("an unnumbered message for another name is taken")
	}
}

// TestNewUUID: a node that was given another uuid keeps its name.
func TestNewUUID(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	m := numbered(status("active"), 4)
	s.logs(s.on("eth0", s.from("bravo", 77, m)), "info: node bravo changed its uuid to 4d000000-0000-0000-0000-000000000000")
}

// TestKeyChange: what is sent again after a change of keys is signed with the new one, and is otherwise
// the same.
func TestKeyChange(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	old := s.e.Status().Sequence
	ring, err := hbauth.NewRing(map[int]hbauth.Key{7: {Method: hbauth.SHA1, Text: "new"}, 3: {Method: hbauth.MD5, Text: "Hello!"}}, 7)
	if err != nil {
		t.Fatal(err)
	}
	s.step(cluster.Reread{Ring: ring})
	s.cfg.Ring = ring
	no := fmt.Sprint(old)
	for _, a := range s.e.Step(s.now, cluster.Received{Link: "eth0", Bytes: s.packet(hamsg.New("NS_rexmit").Add("dest", "alpha").Add("firstseq", no).Add("lastseq", no))}) {
		send, ok := a.(cluster.Send)
		if !ok {
			continue
		}
		p, err := hamsg.Decode(send.Bytes)
		if err != nil || ring.Verify(p) != nil || !strings.HasPrefix(p.Auth, "7 ") {
			t.Errorf("%v: %s", err, p.Auth)
		}
		if seq, _ := p.GetHex("seq"); seq != old {
			t.Errorf("number %d, want %d", seq, old)
		}
		return
	}
	t.Error("not sent again")
}

// TestMessageFormats: msgfmt netstring leaves the inner signature out, and nodes of both formats
// understand each other.
func TestMessageFormats(t *testing.T) {
	sim := clustertest.New(5)
	groups := clustertest.ParseGroups("alpha A\nbravo B")
	for i, name := range testNodes {
		c := clustertest.Config(name, 5, testNodes, groups)
		c.Netstring, c.Pings = i == 1, nil
		sim.Add(c).Start()
	}
	sim.OnSend = func(m *clustertest.Machine, send cluster.Send) {
		if has := clustertest.Decode(send.Bytes).Has(hamsg.FAuth); has != (m.Name == "alpha") {
			t.Errorf("%s: inner signature %v", m.Name, has)
		}
	}
	sim.Run(30 * time.Second)
	for _, m := range sim.Machines {
		if st := m.Engine.Status(); !st.Stable || st.Held != cluster.Local || st.Bad != (cluster.BadPackets{}) {
			t.Error(m.State(), st.Bad)
		}
	}
}

// TestControlFields are what send adds, in their order; ttl is hopfudge and the number of nodes.
func TestControlFields(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) {
		c.Hopfudge, c.Load = 4, func() string { return "0.1 0.2 0.3 1/2 3\n" }
		c.Pings = []cluster.Ping{{Name: "gw", Plugin: "ping"}}
	})
	s.step(cluster.Tick{})
	names := func(m *hamsg.Msg) string {
		var words []string
		for _, f := range m.Fields() {
			words = append(words, f.Name)
		}
		return strings.Join(words, " ")
	}
	text, err := hamsg.New("query-cstatus").Add("dest", "bravo").Add("cn", "ipfail").AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.e.Step(s.now, cluster.Said{Text: text}) {
		if send, ok := a.(cluster.Send); ok {
			m := clustertest.Decode(send.Bytes)
			if got := names(m); got != "t dest cn destuuid src srcuuid seq hg ts ld ttl auth" || m.Get("ttl") != "7" || m.Get("ld") != "0.1 0.2 0.3 1/2 3" {
				t.Errorf("%s: %+v", got, m)
			}
		}
	}
	acks := 0
	for range 12 { // one of ten is acknowledged
		for _, a := range s.e.Step(s.now, cluster.Received{Link: "eth0", Bytes: s.packet(status("up"))}) {
			if send, ok := a.(cluster.Send); ok && send.Type == hamsg.TAck {
				acks++
				if got := names(clustertest.Decode(send.Bytes)); got != "t dest ackseq destuuid src srcuuid hg ts ttl auth" {
					t.Errorf("unnumbered: %s", got)
				}
			}
		}
	}
	if acks == 0 || acks > 2 {
		t.Errorf("%d acknowledgements of 12 messages", acks)
	}
}

// TestDeadTimeOfOthers: a node says itself after which silence it is dead; nonsense is not believed.
func TestDeadTimeOfOthers(t *testing.T) {
	for dt, want := range map[string]time.Duration{"1388": 5 * time.Second, "9c40": 40 * time.Second, "0": 5 * time.Second, "zz": 5 * time.Second, "ffffffffffff": 5 * time.Second} {
		s := newSingle(t, nil)
		s.join()
		s.hear(hamsg.New("status").Add("st", "active").Add("dt", dt).Add("protocol", "1"))
		if got := s.e.Status().Nodes[1].Deadtime; got != want {
			t.Errorf("dt=%s: %v, want %v", dt, got, want)
		}
		s.pass(want - 10*time.Millisecond)
		if st := s.e.Status().Nodes[1].Status; st != "active" {
			t.Errorf("dt=%s: %s too early", dt, st)
		}
		s.pass(20 * time.Millisecond)
		if st := s.e.Status().Nodes[1].Status; st != "dead" {
			t.Errorf("dt=%s: %s", dt, st)
		}
	}
}
