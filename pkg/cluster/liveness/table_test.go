package liveness

import (
	"testing"
	"time"
)

var start = time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

func table() (*Table, *Node, *Node, *Node) {
	t := New("alpha", 10*time.Second)
	a := t.Add("alpha", false, 5*time.Second, []string{"eth0", "eth0", "eth1"}, start)
	b := t.Add("bravo", false, 5*time.Second, []string{"eth0", "eth0", "eth1"}, start)
	p := t.Add("10.0.0.1", true, 7*time.Second, []string{"10.0.0.1"}, start)
	return t, a, b, p
}

// TestLimits: initdead until communication is up, then what each node says of itself; the own node
// is never overdue.
func TestLimits(t *testing.T) {
	tab, a, b, p := table()
	if n := tab.Overdue(at(9.9)); n != nil {
		t.Errorf("%s overdue before initdead", n.Name)
	}
	if d, ok := tab.Deadline(); !ok || !d.Equal(at(10)) {
		t.Errorf("deadline %v %v", d, ok)
	}
	if n := tab.Overdue(at(10)); n != b {
		t.Errorf("overdue at initdead: %v", n)
	}
	tab.CommUp()
	b.Heard, p.Heard, a.Heard = at(10), at(10), at(0)
	b.Deadtime = 3 * time.Second
	if n := tab.Overdue(at(12.9)); n != nil {
		t.Errorf("%s overdue too early", n.Name)
	}
	if n := tab.Overdue(at(13)); n != b {
		t.Errorf("overdue: %v", n)
	}
	b.Status = Dead
	if d, _ := tab.Deadline(); !d.Equal(at(17)) {
		t.Errorf("deadline with a dead node: %v", d)
	}
	if n := tab.Overdue(at(17)); n != p {
		t.Errorf("overdue: %v", n)
	}
	p.Heard = time.Time{} // restarted, its status not yet heard
	if n := tab.Overdue(at(99)); n != nil {
		t.Errorf("%s overdue without a beginning", n.Name)
	}
}

// TestLinks: one link for each name, up with the first packet, dead after silence; not the own.
func TestLinks(t *testing.T) {
	tab, a, b, _ := table()
	if len(b.Links) != 2 {
		t.Fatalf("%d links", len(b.Links))
	}
	if l := b.Receive("eth0", at(1)); l == nil || l.Name != "eth0" {
		t.Errorf("first packet: %v", l)
	}
	if l := b.Receive("eth0", at(2)); l != nil {
		t.Error("up again")
	}
	if l := b.Receive("eth9", at(2)); l != nil {
		t.Error("a link that is not configured")
	}
	a.Receive("eth0", at(2))
	tab.CommUp()
	b.Heard = at(6)
	if n, _ := tab.OverdueLink(at(6.9)); n != nil {
		t.Error("link dead too early")
	}
	n, l := tab.OverdueLink(at(7))
	if n != b || l.Name != "eth0" || l.Up {
		t.Errorf("overdue link: %v %v", n, l)
	}
	if n, _ := tab.OverdueLink(at(99)); n != nil {
		t.Errorf("link of %s dead twice, or of ourselves", n.Name)
	}
}

// TestExcuse: what we could not hear does not count.
func TestExcuse(t *testing.T) {
	tab, a, b, _ := table()
	tab.CommUp()
	b.Receive("eth0", at(1))
	b.Heard = at(1)
	tab.Excuse(4 * time.Second)
	if n := tab.Overdue(at(9.9)); n == b {
		t.Error("dead for our deafness")
	}
	if n, _ := tab.OverdueLink(at(9.9)); n == b {
		t.Error("link dead for our deafness")
	}
	if n := tab.Overdue(at(10)); n != b {
		t.Errorf("overdue: %v", n)
	}
	if !a.Heard.Equal(start) {
		t.Error("excused ourselves")
	}
	if got := b.Interval(at(5.0379)); got != 30*time.Millisecond {
		t.Errorf("interval %v", got)
	}
}

// TestAlive counts normal nodes only.
func TestAlive(t *testing.T) {
	tab, a, b, p := table()
	a.Status, b.Status, p.Status = Active, Init, Ping
	if tab.Alive() != 1 {
		t.Error(tab.Alive())
	}
	b.Status = Up
	if tab.Alive() != 2 {
		t.Error(tab.Alive())
	}
	tab.Remove(b)
	if tab.Alive() != 1 || len(tab.Nodes()) != 2 {
		t.Error(tab.Alive(), len(tab.Nodes()))
	}
}
