package cluster_test

import (
	"regexp"
	"testing"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

var beats = regexp.MustCompile(`> t=status .*seq=([0-9a-f]+)`)

// TestRepeat: a heartbeat is sent four times while packets are lost, and once before and after.
func TestRepeat(t *testing.T) {
	loss := map[string]func(s *single){
		"we miss some": func(s *single) { s.seq += 3; s.hear(status("active")) },
		"the other asks": func(s *single) {
			s.hear(hamsg.New("NS_rexmit").Add("dest", "alpha").Add("firstseq", "1").Add("lastseq", "1"))
		},
	}
	for name, lose := range loss {
		t.Run(name, func(t *testing.T) {
			s := newSingle(t, nil)
			s.join()
			keepalive := s.cfg.Keepalive
			sent := func(n int) (times map[string]int) {
				t.Helper()
				times = map[string]int{}
				for range n {
					for _, m := range beats.FindAllStringSubmatch(s.pass(keepalive), -1) {
						times[m[1]]++
					}
					if s.seq < 100 {
						s.hear(status("active"))
					}
				}
				return times
			}
			for seq, n := range sent(5) {
				if n != 1 {
					t.Errorf("heartbeat %s was sent %d times, and nothing was lost", seq, n)
				}
			}
			s.step(cluster.Tick{})
			lose(s)
			most := 0
			for _, n := range sent(5) {
				most = max(most, n)
				if n > 4 {
					t.Errorf("a heartbeat was sent %d times, want 4", n)
				}
			}
			if most != 4 {
				t.Errorf("a heartbeat was sent %d times at most, want 4", most)
			}
			for s.e.Status().Nodes[1].Missing > 0 { // what is asked for comes
				s.step(cluster.Received{Link: "eth0", Bytes: s.from("bravo", 2, numbered(status("active"), s.e.Status().Nodes[1].FirstMissing))})
			}
			sent(12)
			for seq, n := range sent(5) {
				if n != 1 {
					t.Errorf("heartbeat %s was sent %d times long after the loss", seq, n)
				}
			}
		})
	}
}
