package cluster_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
	"github.com/systole-ha/systole/pkg/hamsg"
)

var testNodes = []string{"alpha", "bravo"}

// single is one engine, with a hand for its peer's packets.
type single struct {
	*testing.T
	e   *cluster.Engine
	cfg cluster.Config
	now time.Time
	seq uint64
	run *cluster.Run // the call under way
}

func newSingle(t *testing.T, change func(*cluster.Config)) *single {
	s := &single{T: t, now: clustertest.Epoch}
	s.cfg = clustertest.Config("alpha", 1, testNodes, []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "bravo", Key: "B"}})
	s.cfg.Pings = nil
	if change != nil {
		change(&s.cfg)
	}
	s.e = cluster.New(s.cfg, s.now)
	return s
}

// step gives the engine an input and returns what it logs, sends and does, one a line. Deliver and
// the like are left out.
func (s *single) step(in cluster.Input) string {
	var lines []string
	for _, a := range s.e.Step(s.now, in) {
		switch a := a.(type) {
		case cluster.Log:
			lines = append(lines, a.Level.String()+": "+a.Text)
		case cluster.Send:
			lines = append(lines, "> "+clustertest.Summary(clustertest.Decode(a.Bytes)))
		case cluster.Run:
			s.run = &a
			lines = append(lines, "run "+a.Call.String())
		case cluster.Exit:
			lines = append(lines, fmt.Sprintf("exit %+v", a))
		case cluster.StopClients:
			lines = append(lines, "stop clients")
		}
	}
	return strings.Join(lines, "\n")
}

func (s *single) done() string {
	if s.run == nil {
		s.Fatal("no call is under way")
	}
	id := s.run.ID
	s.run = nil
	return s.step(cluster.Done{ID: id})
}

// pass lets time go by as the engine asks for it.
func (s *single) pass(d time.Duration) string {
	end, out := s.now.Add(d), []string(nil)
	for {
		at, ok := s.e.Deadline()
		if !ok || at.After(end) {
			break
		}
		s.now = at
		if text := s.step(cluster.Tick{}); text != "" {
			out = append(out, text)
		}
	}
	s.now = end
	return strings.Join(out, "\n")
}

// packet is a message of bravo, signed.
func (s *single) packet(m *hamsg.Msg) []byte {
	m.Set("src", "bravo").SetUUID("srcuuid", hamsg.UUID{2})
	if !m.Unsequenced() && !m.Has("seq") {
		s.seq++
		m.SetHex("seq", s.seq)
	}
	if !m.Has("hg") {
		m.SetHex("hg", 7)
	}
	if !m.Has("ts") {
		m.SetHex("ts", uint64(s.now.Unix()))
	}
	return s.cfg.Ring.AppendWire(nil, m)
}

func (s *single) hear(m *hamsg.Msg) string {
	return s.step(cluster.Received{Link: "eth0", From: "10.0.0.2", Bytes: s.packet(m)})
}

func status(st string) *hamsg.Msg {
	return hamsg.New("status").Add("st", st).Add("dt", "1388").Add("protocol", "1")
}

// join brings alpha up beside bravo.
func (s *single) join() {
	s.step(cluster.Tick{})
	s.hear(status("active"))
	s.hear(hamsg.New("repnodes").Add("dest", "alpha").Add("nodelist", "alpha bravo ").Add("delnodelist", " "))
	s.hear(hamsg.New("resource").Add("rsc_hold", "local").Add("rtype", "full").Add("isstable", "1"))
	for s.run != nil {
		s.done()
	}
	if st := s.e.Status(); st.Phase != "STABLE" || !st.Stable {
		s.Fatalf("did not join: %+v", st)
	}
}

func equal(t *testing.T, got, want string) {
	t.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
