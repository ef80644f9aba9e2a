package ipfail

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// seen is a View that stays as it is.
type seen struct {
	pings  []string
	stable bool
	awaits bool
	home   bool // it holds nothing of the partner's
}

func (s seen) PingNodes() []string { return s.pings }
func (s seen) Stable() bool        { return s.stable }
func (s seen) AwaitsSync() bool    { return s.awaits }
func (s seen) HoldsForeign() bool  { return !s.home }

// story runs inputs through a machine and returns its actions as lines, debug lines left out.
func story(m *Machine, now time.Time, v View, ins ...Input) []string {
	var lines []string
	for _, in := range ins {
		for _, a := range m.Step(now, in, v) {
			switch a := a.(type) {
			case Log:
				if !a.Debug {
					lines = append(lines, a.Text)
				}
			case Tell:
				lines = append(lines, "tell "+text(a.Fields))
			case Broadcast:
				lines = append(lines, "broadcast "+text(a.Fields))
			}
		}
	}
	return lines
}

func text(fields []Field) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, fmt.Sprintf("%s=%s", f.Name, f.Value))
	}
	return strings.Join(parts, " ")
}

var cfg = Config{Self: "hba", Peer: "hbb", AutoFailback: true, Keepalive: 2 * time.Second}

// The trace of spec/heartbeat-api.md, 12.4: the cable to the ping node is pulled at hba.
func TestFewerPingNodesGiveUp(t *testing.T) {
	m, _ := Start(cfg)
	t0 := time.Unix(1000, 0)
	blind := seen{stable: true}
	got := story(m, t0, blind,
		NodeStatus{"10.99.0.254", "dead"}, LinkStatus{"hbb", "eth0", "dead"}, PingCount{"hbb", 1}, YouAreDead{})
	want := []string{
		"Status update: Node 10.99.0.254 now has status dead",
		"NS: We are dead. :<",
		"Link Status update: Link hbb/eth0 now has status dead",
		"We are dead. :<",
		"Asking other side for ping node count.",
		"tell t=num_ping_nodes src=hba num_ping=0 dest=hbb",
		"Giving up because we have less visible ping nodes.",
		"Delayed giveup in 4 seconds.",
		"Giving up because we were told that we have less ping nodes.",
		"Delayed giveup in 4 seconds.",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	at, ok := m.Deadline()
	if !ok || !at.Equal(t0.Add(4*time.Second)) {
		t.Fatalf("deadline %v %v", at, ok)
	}
	got = story(m, at, blind, Tick{})
	want = []string{"giveup() called (timeout worked)", "broadcast t=ask_resources rsc_hold=all src=hba info=me"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, ok := m.Deadline(); ok {
		t.Error("the timer is not one-shot")
	}
}

func TestBalancedGivesForeignBack(t *testing.T) {
	m, _ := Start(cfg)
	t0 := time.Unix(1000, 0)
	one := seen{pings: []string{"group1"}, stable: true}
	got := story(m, t0, one, PingCount{"hbb", 1}, AbortGiveup{}, AbortGiveup{}, PingCount{"other", 0})
	want := []string{
		"Ping node count is balanced.",
		"tell t=abort_giveup src=hba dest=hbb",
		"Giving up foreign resources (auto_failback).",
		"Delayed giveup in 4 seconds.",
		"No giveup timer to abort.",
		"No giveup timer to abort.",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{want[0], want[1], want[4]}, story(m, t0, one, PingCount{"hbb", 1})); d != "" {
		t.Error(d)
	}
	at, _ := m.Deadline()
	if got := story(m, at, one, Tick{}); len(got) != 2 || got[1] != "broadcast t=ask_resources rsc_hold=foreign src=hba info=me" {
		t.Errorf("told three times that the counts are equal, it gives nothing back: %q", got)
	}
	// With nothing to give back it is as the original.
	one.home = true
	want[4] = "Aborted delayed giveup (1)"
	m, _ = Start(cfg)
	if d := cmp.Diff(want, story(m, t0, one, PingCount{"hbb", 1}, AbortGiveup{}, AbortGiveup{})); d != "" {
		t.Error(d)
	}
	// The daemon itself is about to give it back, but not yet.
	one.awaits = true
	m, _ = Start(cfg)
	if d := cmp.Diff(want[:2], story(m, t0, one, PingCount{"hbb", 1})); d != "" {
		t.Error(d)
	}
}

// A fail-back in the middle of a transition comes when that is over, unless the counts have changed.
func TestFailBackWaitsForStability(t *testing.T) {
	t0 := time.Unix(1000, 0)
	one := seen{pings: []string{"group1"}}
	stable := seen{pings: one.pings, stable: true}
	back := "broadcast t=ask_resources rsc_hold=foreign src=hba info=me"
	m, _ := Start(cfg)
	next := func(v View) []string {
		at, ok := m.Deadline()
		if !ok {
			return nil
		}
		return story(m, at, v, Tick{})
	}
	story(m, t0, one, PingCount{"hbb", 1})
	next(one)    // looks: not yet
	next(stable) // begins
	if got := next(one); len(got) != 1 {
		t.Errorf("gave up while resources were in transition: %q", got)
	}
	next(stable) // begins again
	if got := next(stable); len(got) != 2 || got[1] != back {
		t.Errorf("what was in transition is not given back: %q", got)
	}
	m, _ = Start(cfg)
	story(m, t0, one, PingCount{"hbb", 1})
	if got := next(seen{pings: one.pings, stable: true, home: true}); len(got) > 0 {
		t.Errorf("gives back what it does not hold: %q", got)
	}
	for _, end := range []Input{PingCount{"hbb", 0}, YouAreDead{}, NodeStatus{"hbb", "dead"}} {
		m, _ = Start(cfg)
		story(m, t0, one, PingCount{"hbb", 1}, end)
		for range 5 {
			for _, line := range next(stable) {
				if line == back {
					t.Errorf("gives back after %#v", end)
				}
			}
		}
	}
}

func TestMorePingNodesTellTheOther(t *testing.T) {
	m, _ := Start(cfg)
	got := story(m, time.Unix(0, 0), seen{pings: []string{"a", "b"}}, PingCount{"hbb", 1}, ClientJoined{"hbb"}, ClientJoined{"hba"})
	want := []string{
		"Telling other node that we have more visible ping nodes.",
		"tell t=you_are_dead src=hba dest=hbb",
		"Asking other side for ping node count.",
		"tell t=num_ping_nodes src=hba num_ping=2 dest=hbb",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A giveup in the middle of a transition is made up for once the partner is stable.
func TestGiveupWaitsForStability(t *testing.T) {
	m, _ := Start(cfg)
	t0 := time.Unix(1000, 0)
	story(m, t0, seen{}, YouAreDead{})
	if got := story(m, t0.Add(4*time.Second), seen{}, Tick{}); len(got) != 1 {
		t.Errorf("gave up while resources were in transition: %q", got)
	}
	story(m, t0.Add(5*time.Second), seen{}, Resource{From: "hbb", Stable: "1"})
	at, ok := m.Deadline()
	if !ok || !at.Equal(t0.Add(15*time.Second)) {
		t.Fatalf("deadline %v %v", at, ok)
	}
	got := story(m, at, seen{}, Tick{})
	want := []string{"Asking other side for ping node count.", "tell t=num_ping_nodes src=hba num_ping=0 dest=hbb"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// What another word has made up for meanwhile is not asked about.
	story(m, at, seen{}, YouAreDead{})
	story(m, at.Add(4*time.Second), seen{}, Tick{})
	story(m, at.Add(5*time.Second), seen{}, Resource{From: "hbb", Stable: "1"}, YouAreDead{})
	if got := story(m, at.Add(9*time.Second), seen{stable: true}, Tick{}); len(got) != 2 {
		t.Errorf("does not give up: %q", got)
	}
	if at, ok := m.Deadline(); ok {
		t.Errorf("asks once more at %v", at)
	}
}

func TestRead(t *testing.T) {
	msg := func(words ...string) *hamsg.Msg {
		m := new(hamsg.Msg)
		for _, w := range words {
			name, value, _ := strings.Cut(w, "=")
			m.Add(name, value)
		}
		return m
	}
	for _, c := range []struct {
		msg  *hamsg.Msg
		want Input
	}{
		{msg("t=status", "src=hbb", "st=dead"), NodeStatus{"hbb", "dead"}},
		{msg("t=NS_st", "src=gw", "st=ping"), NodeStatus{"gw", "ping"}},
		{msg("t=ifstat", "node=hbb", "ifname=eth0", "st=up"), LinkStatus{"hbb", "eth0", "up"}},
		{msg("t=hbapi-clstat", "st=join", "src=hbb"), ClientJoined{"hbb"}},
		{msg("t=hbapi-clstat", "st=leave", "src=hbb"), nil},
		{msg("t=resource", "src=hbb", "isstable=1", "info=x"), Resource{"hbb", "1", "x"}},
		{msg("t=num_ping_nodes", "src=hbb", "num_ping=2"), PingCount{"hbb", 2}},
		{msg("t=you_are_dead"), YouAreDead{}},
		{msg("t=abort_giveup"), AbortGiveup{}},
		{msg("t=hello"), nil},
	} {
		if got, err := Read(c.msg); err != nil || got != c.want {
			t.Errorf("%v: %v %v, want %v", c.msg.Fields(), got, err, c.want)
		}
	}
	if _, err := Read(msg("t=num_ping_nodes", "src=hbb", "num_ping=x")); err == nil {
		t.Error("a count that is no number is taken")
	}
}
