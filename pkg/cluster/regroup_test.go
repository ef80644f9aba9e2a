package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// regroup gives the engine another haresources and returns the calls that it makes, and what is said to
// nodes, one a line.
func (s *single) regroup(r *cluster.Regroup) string {
	s.Helper()
	text := s.step(cluster.Reread{Regroup: r})
	for s.run != nil {
		text += "\n" + s.done()
	}
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "run /usr/share/heartbeat/ResourceManager ")
		if line != "" && !strings.HasPrefix(line, "info: Rereading haresources: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// What goes is given up, and what comes is taken, where we hold the node's lines; a line that moves is
// taken only when the other goes by the same file, and what it does not hold is not up there.
func TestRegroup(t *testing.T) {
	s := newSingle(t, nil)
	s.join() // alpha has alpha's lines, bravo has bravo's
	equal(t, s.regroup(&cluster.Regroup{
		Groups: []cluster.Group{{Node: "alpha", Key: "A2"}, {Node: "bravo", Key: "B2"}}, Sum: "1",
		Leaving: []cluster.Regrouped{{Node: "alpha", Key: "A"}, {Node: "bravo", Key: "B"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2"}, {Node: "bravo", Key: "B2"}},
	}), "givegroup A\ndropgroup B\ntakegroup A2\n> t=haresources sum=1 seq=a")
	equal(t, s.regroup(&cluster.Regroup{
		Sum:     "2",
		Groups:  []cluster.Group{{Node: "bravo", Key: "A2"}, {Node: "alpha", Key: "B2"}},
		Leaving: []cluster.Regrouped{{Node: "alpha", Key: "A2", Other: "bravo"}, {Node: "bravo", Key: "B2", Other: "alpha"}},
		Joining: []cluster.Regrouped{{Node: "bravo", Key: "A2", Other: "alpha"}, {Node: "alpha", Key: "B2", Other: "bravo"}},
	}), "info: B2 is taken when bravo has given it up.\ngivegroup A2\nkeepgroup B2\n> t=ip-request-resp dest=bravo ipaddr=A2 weown=yes ok=OK sum=2 seq=b\n> t=haresources sum=2 asked=B2 seq=c")
	// A whole line that bravo has given up for us is taken at once, if we have the file that bravo had; a part is not.
	early := hamsg.New("ip-request-resp").Add("dest", "alpha").Add("ipaddr", "B2").Add("ok", "OK").Add("sum", "3").Add("was", "2")
	equal(t, s.hear(early), "run /usr/share/heartbeat/ResourceManager takegroup B2")
	equal(t, s.done(), "")
	// Another file's word is none; when bravo has come back, it is asked again.
	word := func(sum string) *hamsg.Msg { return hamsg.New("haresources").Add("sum", sum) }
	equal(t, s.hear(word("1")), "")
	equal(t, s.hear(hamsg.New("ip-request-resp").Add("dest", "alpha").Add("ipaddr", "B2").Add("ok", "OK").Add("sum", "1")), "")
	equal(t, s.hear(hamsg.New("resource").Add("rsc_hold", "local").Add("rtype", "full").Add("isstable", "1")), "> t=haresources sum=2 asked=B2 seq=d")
	// What bravo asks for and is not ours is looked for here before it is told that we have the same file.
	equal(t, s.hear(word("2").Add("asked", "A2 B2")), "run /usr/share/heartbeat/ResourceManager dropgroup A2")
	equal(t, s.done(), "run /usr/share/heartbeat/ResourceManager takegroup B2")
	equal(t, s.done(), "> t=haresources sum=2 seq=e")
	equal(t, s.hear(word("2")), "")
	// With bravo gone both nodes' lines are ours: a move is none.
	s.pass(s.cfg.Deadtime * 2)
	for s.run != nil {
		s.done()
	}
	if held := s.e.Status().Held; held != cluster.All {
		t.Fatalf("held: %v", held)
	}
	equal(t, s.regroup(&cluster.Regroup{
		Sum:     "3",
		Groups:  []cluster.Group{{Node: "alpha", Key: "A2"}, {Node: "bravo", Key: "B2"}},
		Leaving: []cluster.Regrouped{{Node: "bravo", Key: "A2", Other: "alpha"}, {Node: "alpha", Key: "B2", Other: "bravo"}, {Node: "bravo", Key: "B3"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2", Other: "bravo"}, {Node: "bravo", Key: "B2", Other: "alpha"}},
	}), "keepgroup A2\nkeepgroup B2\ngivegroup B3\ntakegroup A2\ntakegroup B2\n> t=haresources sum=3 seq=17")
}

// What is waited for when the other node dies is taken with all that it had.
func TestRegroupDeath(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.regroup(&cluster.Regroup{
		Sum:     "1",
		Groups:  []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "alpha", Key: "B"}},
		Leaving: []cluster.Regrouped{{Node: "bravo", Key: "B", Other: "alpha"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "B", Other: "bravo"}},
	})
	text := s.pass(s.cfg.Deadtime * 2)
	for s.run != nil {
		text += "\n" + s.done()
	}
	if !strings.Contains(text, "takegroup B") {
		t.Error(text)
	}
}

// legacy is an engine in legacy mode that has come up beside bravo.
func legacy(t *testing.T) *single {
	s := newSingle(t, func(c *cluster.Config) { c.Failback = cluster.FailbackLegacy })
	s.step(cluster.Tick{})
	s.hear(status("active"))
	s.hear(hamsg.New("repnodes").Add("dest", "alpha").Add("nodelist", "alpha bravo ").Add("delnodelist", " "))
	for s.run != nil {
		s.done()
	}
	return s
}

// A go-ahead for a line that is another's by now, or a part of another's, takes nothing.
func TestRegroupGoAhead(t *testing.T) {
	s := legacy(t)
	s.step(cluster.Reread{Regroup: &cluster.Regroup{
		Sum:     "1",
		Groups:  []cluster.Group{{Node: "alpha", Key: "A2"}, {Node: "bravo", Key: "B"}},
		Leaving: []cluster.Regrouped{{Node: "alpha", Key: "A", Other: "bravo"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2"}},
	}})
	goAhead := func(key string) *hamsg.Msg {
		return hamsg.New("ip-request-resp").Add("dest", "alpha").Add("ipaddr", key).Add("weown", "no").Add("ok", "OK")
	}
	text := s.hear(goAhead("A")) + s.hear(goAhead("A2"))
	for s.run != nil {
		text += "\n" + s.done()
	}
	if n := strings.Count(text, "harc ip-request-resp"); n != 1 {
		t.Errorf("%d go-aheads count:\n%s", n, text)
	}
}

// A file that is reread with ha.cf changed, too: the lines first, and then the restart with all in hand.
func TestRegroupBeforeRestart(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.step(cluster.Reread{ConfigChanged: true, Regroup: &cluster.Regroup{
		Groups: []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "alpha", Key: "A2"}}, Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2"}},
	}})
	if s.run == nil || s.run.Call.Arg != "A2" {
		t.Fatalf("under way: %+v", s.run)
	}
	if text := s.pass(s.cfg.Deadtime / 2); strings.Contains(text, "stop clients") {
		t.Errorf("the restart does not wait:\n%s", text)
	}
	if text := s.done(); !strings.Contains(text, "stop clients") {
		t.Errorf("the restart does not begin:\n%s", text)
	}
}

// In legacy mode a node has its own lines, and a dead one's.
func TestRegroupLegacy(t *testing.T) {
	s := legacy(t)
	equal(t, s.regroup(&cluster.Regroup{
		Sum:     "1",
		Groups:  []cluster.Group{{Node: "alpha", Key: "A2"}},
		Leaving: []cluster.Regrouped{{Node: "alpha", Key: "A"}, {Node: "bravo", Key: "B"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2"}},
	}), "givegroup A\ndropgroup B\nrun /usr/share/heartbeat/req_resource A2\n> t=ip-request ipaddr=A2 seq=7\n> t=haresources sum=1 asked=A2 seq=8")
	// What the other node had of it comes with its answer; its word that it has the same file is not enough.
	equal(t, s.hear(hamsg.New("haresources").Add("sum", "1")), "")
	equal(t, s.hear(hamsg.New("ip-request-resp").Add("dest", "alpha").Add("ipaddr", "A2").Add("weown", "yes").Add("ok", "OK")), "run /etc/ha.d//harc ip-request-resp")
	equal(t, s.done(), "info: Initial resource acquisition complete (ip-request-resp)")
	// With bravo dead nobody has to be asked.
	s.pass(s.cfg.Deadtime * 2)
	for s.run != nil {
		s.done()
	}
	equal(t, s.regroup(&cluster.Regroup{
		Sum:     "2",
		Groups:  []cluster.Group{{Node: "alpha", Key: "A2"}, {Node: "bravo", Key: "B2"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2"}, {Node: "bravo", Key: "B2"}},
	}), "takegroup A2\ntakegroup B2\n> t=haresources sum=2 seq=10")
}

// What a node asked for before it had another haresources is not given up when it comes after that: it may be
// ours by now.
func TestRegroupOldRequest(t *testing.T) {
	s := legacy(t)
	s.step(cluster.Reread{Regroup: &cluster.Regroup{Sum: "1", Joining: []cluster.Regrouped{{Node: "alpha", Key: "A2"}}, Groups: []cluster.Group{{Node: "alpha", Key: "A2"}}}})
	text := s.hear(hamsg.New("ip-request").Add("ipaddr", "A2")) // waits for the script under way
	text += s.hear(hamsg.New("haresources").Add("sum", "1"))
	for s.run != nil {
		text += "\n" + s.done()
	}
	if strings.Contains(text, "harc ip-request") {
		t.Errorf("it counts:\n%s", text)
	}
}

// What was waited for is waited for after a restart with all in hand, too.
func TestRegroupAcrossRestart(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	text := s.step(cluster.Reread{ConfigChanged: true, Regroup: &cluster.Regroup{
		Sum:     "1",
		Groups:  []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "alpha", Key: "B"}},
		Leaving: []cluster.Regrouped{{Node: "bravo", Key: "B", Other: "alpha"}},
		Joining: []cluster.Regrouped{{Node: "alpha", Key: "B", Other: "bravo"}},
	}})
	for s.run != nil {
		text += "\n" + s.done()
	}
	text += s.step(cluster.ClientsStopped{}) + s.pass(2*time.Second)
	if !strings.Contains(text, "Held:local Awaited:[{Node:alpha Key:B Other:bravo Whole:false}]}") {
		t.Fatal(text)
	}
	s = newSingle(t, func(c *cluster.Config) {
		c.Groups, c.Sum = []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "alpha", Key: "B"}}, "1"
		c.Restarted, c.Held, c.Awaited = true, cluster.Local, []cluster.Regrouped{{Node: "alpha", Key: "B", Other: "bravo"}}
	})
	s.join()
	if text := s.hear(hamsg.New("haresources").Add("sum", "1")); !strings.Contains(text, "takegroup B") {
		t.Error(text)
	}
}

// A node that woke too late gives up what a new haresources had to be given up for, too, and takes nothing.
func TestRegroupFenced(t *testing.T) {
	for name, ended := range map[string]int{"waiting": 0, "under way": 1, "half done": 2} {
		t.Run(name, func(t *testing.T) {
			s := newSingle(t, nil)
			s.join()
			var text string
			if ended == 0 { // another job is before it
				text = s.step(cluster.Reread{Regroup: &cluster.Regroup{
					Groups:  []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "bravo", Key: "B"}, {Node: "alpha", Key: "A0"}},
					Joining: []cluster.Regrouped{{Node: "alpha", Key: "A0"}},
				}})
			}
			text += s.step(cluster.Reread{Regroup: &cluster.Regroup{
				Groups:  []cluster.Group{{Node: "alpha", Key: "A4"}},
				Leaving: []cluster.Regrouped{{Node: "alpha", Key: "A1"}, {Node: "alpha", Key: "A2"}, {Node: "alpha", Key: "A3"}},
				Joining: []cluster.Regrouped{{Node: "alpha", Key: "A4"}},
			}})
			for range ended - 1 {
				text += s.done()
			}
			s.now = s.now.Add(2 * s.cfg.Deadtime)
			if text += s.step(cluster.Tick{}); !strings.Contains(text, "Forcing restart") {
				t.Fatal(text)
			}
			for s.run != nil {
				text += "\n" + s.done()
			}
			for _, want := range []string{"A1", "A2", "A3", "A4"} {
				if n := strings.Count(text, "givegroup "+want) + strings.Count(text, "dropgroup "+want); n != 1 {
					t.Errorf("%s is given up %d times:\n%s", want, n, text)
				}
			}
			if strings.Contains(text, "takegroup A4") {
				t.Errorf("something is taken:\n%s", text)
			}
		})
	}
}
