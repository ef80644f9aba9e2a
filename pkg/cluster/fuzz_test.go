package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// FuzzStep gives an engine raw packets, messages that are signed well but make no sense, and
// local messages. However bad, they neither stop it nor make it busy.
//
// Lines of the input are packets: the first byte says which kind, the rest is the content, in
// which fields are separated by tabs.
func FuzzStep(f *testing.F) {
	for _, seed := range []string{
		"r###\n11:(0)t=status,8:(0)st=up,%%%\n10:3 8f3e8ba7,",
		"r>>>\nt=status\nst=up\nsrc=bravo\nts=1\nseq=1\nauth=3 0\n<<<\n",
		"st=status\tst=active\tdt=1388\tprotocol=1\tsrc=bravo\tts=1\tseq=1\thg=1\nst=shutdone\tst=dead\tsrc=bravo\tts=1\tseq=2\thg=1",
		"st=status\tst=active\tsrc=bravo\tts=1\tseq=1\thg=1\nst=status\tst=active\tsrc=bravo\tts=1\tseq=ffffffffffffffff\thg=1",
		"st=status\tst=active\tdt=1\tsrc=bravo\tts=1\tseq=1\thg=1\nst=resource\trsc_hold=all\trtype=full\tisstable=1\tsrc=bravo\tts=1\tseq=2\thg=1\nt",
		"st=status\tst=active\tsrc=bravo\tts=1\tseq=1\thg=1\nst=ask_resources\trsc_hold=local\tinfo=me\tsrc=bravo\tts=1\tseq=2\thg=1\nst=ask_resources\trsc_hold=local\tinfo=done\tsrc=bravo\tts=1\tseq=3\thg=1",
		"st=NS_rexmit\tdest=alpha\tfirstseq=1\tlastseq=9223372036854775807\tsrc=bravo\tts=1",
		"st=NS_ackmsg\tdest=alpha\tackseq=2\tsrc=bravo\tts=1\nst=NS_nak_rexmit\tfirstseq=2\tsrc=bravo\tts=1",
		"st=repnodes\tnodelist=a b c\tdelnodelist=alpha\tdest=alpha\tsrc=bravo\tts=1\tseq=1\thg=1",
		"lask_resources\tt=ask_resources\trsc_hold=all\tinfo=me\nlt=hb_takeover",
	} {
		f.Add([]byte(seed))
	}
	ring, err := hbauth.NewRing(map[int]hbauth.Key{3: {Method: hbauth.CRC}}, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := clustertest.Config("alpha", 1, testNodes, []cluster.Group{{Node: "alpha", Key: "A"}, {Node: "bravo", Key: "B"}})
		cfg.Pings, cfg.Ring = nil, ring
		now := clustertest.Epoch
		e := cluster.New(cfg, now)
		over := false
		var give func(in cluster.Input)
		give = func(in cluster.Input) {
			actions := e.Step(now, in)
			if len(actions) > 1500 {
				t.Fatalf("%d actions for one input", len(actions))
			}
			for _, a := range actions {
				switch a := a.(type) {
				case cluster.Run:
					defer give(cluster.Done{ID: a.ID})
				case cluster.Exit:
					over = true
				}
			}
			if at, ok := e.Deadline(); !over && (!ok || at.Sub(now) > time.Minute) {
				t.Fatalf("nothing to wait for: %v %v", at, ok)
			}
		}
		give(cluster.Tick{})
		for i, line := range strings.Split(string(data), "\n") {
			if i == 200 || line == "" {
				continue
			}
			fields := strings.Split(line[1:], "\t")
			switch line[0] {
			case 'r':
				in := cluster.Received{Link: "eth0", Bytes: []byte(line[1:])}
				if got := alloc.Bytes(func() { give(in) }); len(line) <= 1<<16 && got > 2*alloc.Packet { // with the lines of the log
					t.Errorf("%d bytes allocated for a packet of %d", got, len(in.Bytes))
				}
			case 's':
				m := new(hamsg.Msg)
				for _, kv := range fields {
					k, v, _ := strings.Cut(kv, "=")
					m.Add(k, v)
				}
				give(cluster.Received{Link: "eth0", Bytes: ring.AppendWire(nil, m)})
			case 'l':
				give(cluster.Said{Text: []byte(">>>\n" + strings.Join(fields, "\n") + "\n<<<\n")})
			default:
				for range 20 {
					at, ok := e.Deadline()
					if !ok {
						break
					}
					if at.After(now) {
						now = at
					}
					give(cluster.Tick{})
				}
			}
		}
		e.Status()
		give(cluster.Shutdown{})
	})
}
