package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// said gives the engine a message of a local program.
func (s *single) said(m *hamsg.Msg) string {
	text, err := m.AppendText(nil)
	if err != nil {
		s.Fatal(err)
	}
	return s.step(cluster.Said{Text: text})
}

func (s *single) logs(got string, want ...string) {
	s.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			s.Errorf("not logged: %s\n%s", w, got)
		}
	}
}

func (s *single) nodeNames() string {
	var names []string
	for _, n := range s.e.Status().Nodes {
		names = append(names, n.Name)
	}
	return strings.Join(names, " ")
}

// TestAddAndDeleteNodes is what hb_addnode and hb_delnode do.
func TestAddAndDeleteNodes(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.logs(s.said(hamsg.New("addnode").Add("nodelist", "Charlie bravo delta")),
		"info: hb_add_one_node: Adding new node[charlie] to configuration.",
		"ERROR: hb_add_one_node: node(bravo) already exists", "ERROR: Add node bravo failed",
		"info: hb_add_one_node: Adding new node[delta] to configuration.",
		"> t=addnode nodelist=Charlie bravo delta")
	if got := s.nodeNames(); got != "alpha bravo charlie delta" {
		t.Fatalf("nodes are %s", got)
	}
	del := func(names string) string { return s.said(hamsg.New("delnode").Add("nodelist", names)) }
	s.logs(del("charlie"), "WARN: deletion failed: node charlie is not dead")
	for range 4 { // longer than the new ones' dead time
		s.pass(2 * time.Second)
		s.hear(status("active"))
	}
	s.logs(del("charlie"), "ERROR: HBDoMsg_T_DELNODE: deletion failed. We don't have all required nodes alive (delta is dead)")
	s.logs(del("charlie nobody delta"), "info: Removing node [charlie] from configuration.",
		"ERROR: hb_remove_one_node: node nobody not found in config", "ERROR: Deleting node nobody failed",
		"info: Removing node [delta] from configuration.")
	if got := s.nodeNames(); got != "alpha bravo" {
		t.Fatalf("nodes are %s", got)
	}
	s.logs(s.hear(hamsg.New("reqnodes").Add("dest", "alpha")), "delnodelist=charlie delta ")
	s.logs(s.hear(hamsg.New("addnode").Add("nodelist", "charlie")), "Adding new node[charlie]")
	s.logs(s.hear(hamsg.New("reqnodes").Add("dest", "alpha")), "nodelist=alpha bravo charlie  delnodelist=delta ")
	s.logs(s.said(hamsg.New("addnode")), "ERROR: HBDoMsg_T_ADDNODE: nodelist not found in msg")
	s.logs(s.said(hamsg.New("delnode")), "ERROR: HBDoMsg_T_DELNODE: node not found in msg")
	for range 4 {
		s.pass(2 * time.Second)
		s.hear(status("active"))
	}
	s.logs(del("charlie alpha"), "ERROR: I am being deleted from the cluster. This should not happen")
	if !s.e.Status().ShuttingDown {
		t.Error("a node that is deleted goes on")
	}
}

// TestWeightAndSite is what hb_setweight and hb_setsite do.
func TestWeightAndSite(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.said(hamsg.New("setweight").Add("node", "Bravo").Add("weight", "7"))
	s.said(hamsg.New("setsite").Add("node", "bravo").Add("site", "cellar"))
	if n := s.e.Status().Nodes[1]; n.Weight != 7 || n.Site != "cellar" {
		t.Errorf("%+v", n)
	}
	s.logs(s.said(hamsg.New("setweight").Add("weight", "7")), "ERROR: HBDoMsg_T_SETWEIGHT: node not found in msg")
	s.logs(s.said(hamsg.New("setsite").Add("site", "x")), "ERROR: HBDoMsg_T_SETSITE: node not found in msg")
	s.logs(s.said(hamsg.New("setweight").Add("node", "x").Add("weight", "7")), "debug: set weight to non-existing node x")
}

// TestCongested: with a peer that acknowledges nothing, clients have to wait.
func TestCongested(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	for i := 0; !s.e.Congested(); i++ {
		if i > 300 {
			t.Fatal("never congested")
		}
		s.said(hamsg.New("x"))
	}
	st := s.e.Status()
	if n := st.Sequence - st.Acked; n != 251 {
		t.Errorf("congested with %d unacknowledged messages, want 251", n)
	}
	s.hear(hamsg.New("NS_ackmsg").Add("dest", "alpha").SetHex("ackseq", st.Sequence-100))
	if s.e.Congested() {
		t.Error("congested still")
	}
}
