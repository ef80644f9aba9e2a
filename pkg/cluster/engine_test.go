package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// TestBadPackets: what is not believed is dropped and counted, and logged at a limited rate.
func TestBadPackets(t *testing.T) {
	other, err := hbauth.NewRing(map[int]hbauth.Key{3: {Method: hbauth.MD5, Text: "other"}}, 3)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := hbauth.NewRing(map[int]hbauth.Key{5: {Method: hbauth.CRC}}, 5)
	if err != nil {
		t.Fatal(err)
	}
	plain := func(m *hamsg.Msg) func(*single) []byte {
		return func(s *single) []byte { return s.packet(m) }
	}
	for _, tt := range []struct {
		name   string
		packet func(*single) []byte
		count  func(cluster.BadPackets) uint64
		want   string // beginning of the log
	}{
		{"noise", func(*single) []byte { return []byte("hello, world") }, func(b cluster.BadPackets) uint64 { return b.Malformed }, ""},
		{
			"truncated", func(s *single) []byte { return s.packet(status("up"))[:60] }, func(b cluster.BadPackets) uint64 { return b.Malformed },
			"ERROR: Bad packet of 60 bytes on link eth0 from 10.0.0.2: decode netstring message at byte",
		},
		{"other key", func(s *single) []byte {
			s.packet(status("up"))
			return other.AppendWire(nil, status("up").Add("src", "bravo"))
		}, func(b cluster.BadPackets) uint64 { return b.Unsigned }, "ERROR: authtoken does not match, authtoken="},
		{
			"unknown key", func(*single) []byte { return unknown.AppendWire(nil, status("up").Add("src", "bravo")) },
			func(b cluster.BadPackets) uint64 { return b.Unsigned }, "WARN: Invalid authentication [5] in message!",
		},
		{
			"not signed", func(*single) []byte { return status("up").AppendNetstring(nil) }, func(b cluster.BadPackets) uint64 { return b.Unsigned },
			"ERROR: peel_netstring() error in getting auth string",
		},
		{
			"text, not signed", func(*single) []byte { return []byte(">>>\nt=status\nsrc=bra\x1bvo\n<<<\n") }, func(b cluster.BadPackets) uint64 { return b.Unsigned },
			"WARN: string2msg_ll: node [bra?vo] failed authentication",
		},
		{"unknown node", func(s *single) []byte {
			return s.cfg.Ring.AppendWire(nil, status("up").Add("src", "mallory").Add("ts", "1").Add("seq", "1").Add("hg", "1"))
		}, func(b cluster.BadPackets) uint64 { return b.Unknown }, "ERROR: process_status_message: bad node [mallory] in message\nERROR: MSG: Dumping message with 8 fields\nERROR: MSG[0] : [t=status]"},
		{
			"no time", func(s *single) []byte { return s.cfg.Ring.AppendWire(nil, status("up").Add("src", "bravo")) },
			func(b cluster.BadPackets) uint64 { return b.Fields }, "ERROR: process_clustermsg: missing from/ts/type: iface eth0, from bravo",
		},
		{"no number", func(s *single) []byte {
			return s.cfg.Ring.AppendWire(nil, status("up").Add("src", "bravo").Add("ts", "1"))
		}, func(b cluster.BadPackets) uint64 { return b.Fields }, "ERROR: process_clustermsg: missing seqno: iface eth0, from bravo"},
		{"number not hex", plain(status("up").Add("seq", "zero")), func(b cluster.BadPackets) uint64 { return b.Fields }, "ERROR: process_clustermsg: has bad cseq: iface eth0, from bravo"},
		{"number zero", plain(status("up").Add("seq", "0")), func(b cluster.BadPackets) uint64 { return b.Fields }, "ERROR: should_drop_message: bad sequence number"},
		{"generation not hex", plain(status("up").Add("hg", "old")), func(b cluster.BadPackets) uint64 { return b.Fields }, "ERROR: should_drop_message: bad generation number"},
		{
			"old generation", plain(status("up").Add("hg", "6")), func(b cluster.BadPackets) uint64 { return b.Replayed },
			"ERROR: should_drop_message: attempted replay attack [bravo]? [gen = 6, curgen = 7]",
		},
		{"time zero", plain(status("up").Add("ts", "0")), func(b cluster.BadPackets) uint64 { return b.Fields }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSingle(t, nil)
			s.join()
			before := s.e.Status()
			var got string
			for i := range 50 {
				text := s.step(cluster.Received{Link: "eth0", From: "10.0.0.2", Bytes: tt.packet(s)})
				if i == 0 {
					got = text
				} else if text != "" {
					t.Fatalf("logged again at once: %s", text)
				}
			}
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("logs\n%s\nwant\n%s", got, tt.want)
			}
			after := s.e.Status()
			if n := tt.count(after.Bad); n != 50 {
				t.Errorf("counted %d of 50: %+v", n, after.Bad)
			}
			after.Bad = before.Bad
			if d := cmp.Diff(before, after); d != "" {
				t.Errorf("a bad packet has changed something:\n%s", d)
			}
			s.pass(time.Minute)
			if text := s.step(cluster.Received{Link: "eth0", Bytes: tt.packet(s)}); tt.want != "" && !strings.Contains(text, "49 more of the following kind") {
				t.Errorf("a minute later logs\n%s", text)
			}
		})
	}
}

// TestQuietBadPackets is log_badpack off.
func TestQuietBadPackets(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.QuietBadPackets = true })
	s.join()
	for _, p := range [][]byte{[]byte("###\n9:rubbish"), status("up").AppendNetstring(nil), s.packet(status("up").Add("seq", "zero"))} {
		if got := s.step(cluster.Received{Link: "eth0", Bytes: p}); got != "" {
			t.Errorf("%q: logs %s", p, got)
		}
	}
}

// TestTwin: packets of another node with our name touch nothing.
func TestTwin(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	m := status("active").Add("src", "alpha").SetUUID("srcuuid", hamsg.UUID{9}).Add("seq", "1").Add("hg", "ffffffffff").Add("ts", "1")
	got := s.step(cluster.Received{Link: "eth0", From: "10.0.0.9", Bytes: s.cfg.Ring.AppendWire(nil, m)})
	if !strings.HasPrefix(got, "ERROR: Another node uses our name alpha") || s.e.Status().Bad.Unknown != 1 {
		t.Errorf("logs %q, %+v", got, s.e.Status().Bad)
	}
}

// TestCopiedUUID: two nodes with one hb_uuid file keep their names.
func TestCopiedUUID(t *testing.T) {
	s := newSingle(t, nil)
	s.step(cluster.Tick{})
	m := status("up").Add("src", "bravo").SetUUID("srcuuid", hamsg.UUID(s.cfg.UUID)).Add("seq", "1").Add("hg", "7").Add("ts", "1")
	got := s.step(cluster.Received{Link: "eth0", Bytes: s.cfg.Ring.AppendWire(nil, m)})
	if !strings.Contains(got, "nodes alpha and bravo have the same uuid") || !strings.Contains(got, "Status update for node bravo: status up") {
		t.Errorf("says %s", got)
	}
}

// TestRexmit: what a peer has not got is sent again, the same bytes; what is gone is refused.
func TestRexmit(t *testing.T) {
	s := newSingle(t, nil)
	var first []byte
	for _, a := range s.e.Step(s.now, cluster.Tick{}) {
		if send, ok := a.(cluster.Send); ok && first == nil {
			first = send.Bytes
		}
	}
	s.join()
	ask := func(first, last string) []cluster.Action {
		m := hamsg.New("NS_rexmit").Add("dest", "alpha").Add("firstseq", first).Add("lastseq", last)
		return s.e.Step(s.now, cluster.Received{Link: "eth0", Bytes: s.packet(m)})
	}
	sent := ask("1", "1")
	if !slices.ContainsFunc(sent, func(a cluster.Action) bool {
		send, ok := a.(cluster.Send)
		return ok && string(send.Bytes) == string(first)
	}) {
		t.Errorf("not sent again: %v", sent)
	}
	for _, bad := range [][2]string{{"0", "3"}, {"5", "3"}, {"x", "3"}, {"-1", "9223372036854775807"}} {
		for _, a := range ask(bad[0], bad[1]) {
			if _, ok := a.(cluster.Send); ok {
				t.Errorf("answered to %v", bad)
			}
		}
	}
	if got := ask("1", "9223372036854775807"); len(got) > 60 {
		t.Errorf("%d actions for a greedy request", len(got))
	}
	s.pass(40 * time.Minute) // bravo dies; its history rolls over
	got := s.hear(hamsg.New("NS_rexmit").Add("dest", "alpha").Add("firstseq", "16").Add("lastseq", "16"))
	equal(t, got, "info: Link bravo:eth0 up.\nERROR: Cannot rexmit pkt 16 for bravo: seqno too low\ninfo: fromnode =bravo, fromnode's ackseq = 0\n"+
		"> t=NS_nak_rexmit firstseq=10 dest=bravo info=seqno too low")
}

// TestLost: a gap is asked for, in decimal, until its sender says that it is gone, in hex.
func TestLost(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.seq = 17
	equal(t, s.hear(status("active")), "WARN: 14 lost packet(s) for [bravo] [3:18]")
	s.seq = 19
	s.hear(status("active"))
	got := s.pass(250 * time.Millisecond)
	if !strings.Contains(got, "> t=NS_rexmit dest=bravo firstseq=4 lastseq=17") || strings.Count(got, "NS_rexmit") != 2 {
		t.Errorf("asks\n%s", got)
	}
	for n := uint64(4); n <= 17; n++ {
		s.hear(hamsg.New("NS_nak_rexmit").SetHex("firstseq", n).Add("dest", "alpha"))
	}
	equal(t, s.hear(hamsg.New("NS_nak_rexmit").Add("firstseq", "13").Add("dest", "charlie")), "info: No pkts missing from bravo!")
	if got := s.pass(250 * time.Millisecond); strings.Contains(got, "NS_rexmit") {
		t.Errorf("still asks\n%s", got)
	}
}

// TestFlowControl: a peer without the protocol field gets no acknowledgements, and is not asked for
// its nodes.
func TestFlowControl(t *testing.T) {
	s := newSingle(t, nil)
	s.step(cluster.Tick{})
	got := s.hear(hamsg.New("status").Add("st", "active").Add("dt", "1388"))
	for _, want := range []string{"flow control disabled due to different version heartbeat", "Local status now set to: 'active'"} {
		if !strings.Contains(got, want) {
			t.Errorf("not logged: %s\n%s", want, got)
		}
	}
	if strings.Contains(got, "reqnodes") {
		t.Errorf("asked for nodes:\n%s", got)
	}
	for range 30 {
		if got := s.hear(hamsg.New("status").Add("st", "active")); strings.Contains(got, "NS_ack") {
			t.Fatal(got)
		}
	}
}

// TestNodeLists: the answering node's list counts, within limits.
func TestNodeLists(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Nodes = []string{"alpha", "bravo", "old"} })
	s.step(cluster.Tick{})
	s.hear(status("active"))
	s.pass(9 * time.Second)
	s.hear(status("active"))
	s.pass(1 * time.Second) // old is dead
	got := s.hear(hamsg.New("repnodes").Add("dest", "alpha").Add("nodelist", "alpha bravo new ").Add("delnodelist", "old "))
	for _, want := range []string{"info: hb_add_one_node: Adding new node[new] to configuration.", "info: Removing node [old] from configuration."} {
		if !strings.Contains(got, want) {
			t.Errorf("not logged: %s\n%s", want, got)
		}
	}
	got = s.hear(hamsg.New("reqnodes").Add("dest", "alpha"))
	equal(t, got, "> dest=bravo t=repnodes nodelist=alpha bravo new  delnodelist=old  seq=c")
	got = s.hear(hamsg.New("repnodes").Add("dest", "alpha").Add("nodelist", strings.Repeat("x ", 200)))
	equal(t, got, "ERROR: HBDoMsg_T_REPNODES: get nodes from nodelist failed")
}

// TestStopBeforeCommunication: nothing is held yet, so there is nothing to wait for; what an earlier
// run may have left behind is released.
func TestStopBeforeCommunication(t *testing.T) {
	s := newSingle(t, nil)
	s.step(cluster.Tick{})
	equal(t, s.step(cluster.Shutdown{}), "> t=status st=up dt=1b58 seq=4\n> t=resource rsc_hold=none rtype=full isstable=0 info=shutdown seq=5\n"+
		"info: Heartbeat shutdown in progress. (111)\ninfo: Giving up all HA resources.\nrun /usr/share/heartbeat/ResourceManager givegroup A")
	s.done()
	equal(t, s.done(), "info: All HA resources relinquished.\n> t=shutdone st=dead seq=6")
	got := s.pass(time.Second) + "\n" + s.step(cluster.ClientsStopped{}) + "\n" + s.pass(time.Second)
	if !strings.Contains(got, "stop clients") || !strings.HasSuffix(got, "info: alpha Heartbeat shutdown complete.\nexit {Code:0 Restart:false Wait:0s Quick:false Held:none Awaited:[]}") {
		t.Errorf("ends\n%s", got)
	}
	if s.step(cluster.Tick{}) != "" {
		t.Error("says something after its end")
	}
	if _, ok := s.e.Deadline(); ok {
		t.Error("waits for something after its end")
	}
}

// TestFailedCall: the daemon logs a call's status, the story goes on.
func TestFailedCall(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.step(cluster.Shutdown{})
	id := s.run.ID
	equal(t, s.step(cluster.Done{ID: id + 99}), "") // not ours
	equal(t, s.step(cluster.Done{ID: id, Code: 7}), "ERROR: /usr/share/heartbeat/ResourceManager givegroup A exited with return code 7\nrun /usr/share/heartbeat/ResourceManager givegroup B")
	got := s.step(cluster.Done{ID: s.run.ID, Signal: 9})
	if !strings.HasPrefix(got, "ERROR: /usr/share/heartbeat/ResourceManager givegroup B killed by signal 9\ninfo: All HA resources relinquished.") {
		t.Errorf("says\n%s", got)
	}
}

// TestEmergency: a release that does not end is given up after an hour.
func TestEmergency(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.step(cluster.Shutdown{})
	got := s.pass(61 * time.Minute)
	if !strings.HasSuffix(got, "CRIT: Emergency Shutdown: Attempting to kill everything ourselves\nexit {Code:100 Restart:false Wait:0s Quick:false Held:none Awaited:[]}") {
		t.Errorf("ends\n%s", got[max(0, len(got)-400):])
	}
}

// TestReread: new keys count at once; a changed ha.cf restarts the daemon with what it holds, once
// no call is under way.
func TestReread(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	equal(t, s.step(cluster.Reread{}), "info: Configuration unchanged.")
	ring, err := hbauth.NewRing(map[int]hbauth.Key{3: {Method: hbauth.MD5, Text: "Hello!"}, 4: {Method: hbauth.SHA1, Text: "new"}}, 4)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, s.step(cluster.Reread{Ring: ring}), "info: Rereading authentication file.")
	if got := s.hear(status("active")); got != "" || s.e.Status().Bad.Unsigned > 0 {
		t.Errorf("the old key is not taken any more: %s", got)
	}
	s.hear(hamsg.New("hb_takeover").Add("rsc_hold", "all"))
	if got := s.step(cluster.Reread{ConfigChanged: true}); got != "" {
		t.Errorf("did not wait for the call: %s", got)
	}
	got := s.done()
	equal(t, got, "> t=status st=active dt=1b58 seq=a\n> t=status st=active dt=1b58 seq=b\nstop clients")
	s.step(cluster.ClientsStopped{})
	got = s.pass(time.Second)
	if !strings.HasSuffix(got, "info: Performing heartbeat restart exec.\nexit {Code:0 Restart:true Wait:0s Quick:true Held:local Awaited:[]}") {
		t.Errorf("ends\n%s", got)
	}
}

// TestStopInRestart: a stop makes an end of a restart that keeps the resources, whether the clients have gone by then or not.
func TestStopInRestart(t *testing.T) {
	for _, early := range []bool{true, false} {
		s := newSingle(t, nil)
		s.join()
		s.step(cluster.Reread{ConfigChanged: true})
		if early {
			s.step(cluster.ClientsStopped{})
		}
		s.step(cluster.Shutdown{})
		if !early {
			s.step(cluster.ClientsStopped{})
		}
		for s.run != nil {
			s.done()
		}
		got := s.pass(time.Second)
		if !strings.HasSuffix(got, "stop clients") {
			t.Fatalf("does not ask again for the clients' end:\n%s", got)
		}
		s.step(cluster.ClientsStopped{})
		if got := s.pass(time.Second); !strings.HasSuffix(got, "exit {Code:0 Restart:false Wait:0s Quick:false Held:none Awaited:[]}") {
			t.Errorf("ends\n%s", got)
		}
	}
}

// TestUnmanaged: heartbeat -M runs no call and ends at once.
func TestUnmanaged(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Unmanaged = true })
	s.step(cluster.Tick{})
	s.hear(status("active"))
	got := s.hear(hamsg.New("repnodes").Add("dest", "alpha").Add("nodelist", "alpha bravo "))
	got += s.hear(hamsg.New("shutdone").Add("st", "dead")) + s.pass(time.Minute) + s.step(cluster.Shutdown{})
	if !strings.Contains(got, "node bravo: is dead") || strings.Contains(got, "run ") || strings.Contains(got, "t=resource") || !strings.HasSuffix(got, "stop clients") {
		t.Errorf("says\n%s", got)
	}
}

// TestLocalMessages: programs may say what they like.
func TestLocalMessages(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	equal(t, s.step(cluster.Said{Text: []byte(">>>\nt=my-type\nfoo=bar\n<<<\n")}), "> t=my-type foo=bar seq=a")
	for _, bad := range []string{"", "rubbish", ">>>\nfoo\n<<<\n", ">>>\nfoo=bar\n<<<\n"} {
		if got := s.step(cluster.Said{Text: []byte(bad)}); strings.Contains(got, ">") && !strings.Contains(got, "dropped") {
			t.Errorf("%q was sent: %s", bad, got)
		}
	}
}

// TestEnvironment is what a script gets: the message's text fields, and our own status.
func TestEnvironment(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	s.hear(hamsg.New("hb_takeover").Add("rsc_hold", "all"))
	if s.run == nil {
		t.Fatal("no script was run")
	}
	c := s.run.Call
	if c.Verb != cluster.Harc || c.Arg != "hb_takeover" || c.Getenv("HA_rsc_hold") != "all" || c.Getenv("HA_src") != "bravo" ||
		c.Getenv("HA_OSTATUS") != "active" || c.Getenv("HA_NICEFAILBACK") != "yes" || c.Getenv("HA_srcuuid") != "" {
		t.Errorf("%+v", c)
	}
}

// TestStonith: what the device answers, each time with the original's words.
func TestStonith(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Stonith = "device" })
	var asked []cluster.Stonith
	note := func(actions []cluster.Action) string {
		var lines []string
		for _, a := range actions {
			switch a := a.(type) {
			case cluster.Stonith:
				asked = append(asked, a)
			case cluster.Log:
				lines = append(lines, a.Level.String()+": "+a.Text)
			}
		}
		return strings.Join(lines, "\n")
	}
	answer := func(r cluster.StonithResult) string {
		t.Helper()
		if len(asked) != 1 {
			t.Fatalf("asked %v", asked)
		}
		id := asked[0].ID
		asked = nil
		return note(s.e.Step(s.now, cluster.StonithDone{ID: id, Result: r, PID: 7}))
	}
	s.e.Step(s.now, cluster.Tick{})
	s.e.Step(s.now, cluster.Received{Link: "eth0", Bytes: s.packet(status("active"))})
	note(s.e.Step(s.now, cluster.Received{Link: "eth0", Bytes: s.packet(hamsg.New("repnodes").Add("dest", "alpha").Add("nodelist", "alpha bravo ").Add("delnodelist", " "))}))
	equal(t, answer(cluster.StonithFailed), "ERROR: STONITH device device not operational!\nWARN: Managed STONITH-stat process 7 exited with return code 1.\n"+
		"ERROR: STONITH status operation failed.\ninfo: This may mean that the STONITH device has failed!")
	for range 4 { // bravo dies
		at, _ := s.e.Deadline()
		s.now = at
		note(s.e.Step(s.now, cluster.Tick{}))
		if len(asked) > 0 {
			break
		}
	}
	if len(asked) != 1 || asked[0].Node != "bravo" {
		t.Fatalf("asked %v", asked)
	}
	equal(t, answer(cluster.StonithBadHost), "ERROR: Device device cannot reset host bravo.\nWARN: Managed STONITH bravo process 7 exited with return code 100.\nERROR: STONITH of bravo failed.  Retrying...")
	s.now = s.now.Add(5 * time.Second)
	if got := note(s.e.Step(s.now, cluster.Tick{})); !strings.Contains(got, "info: Resetting node bravo with [device]") {
		t.Errorf("not tried again: %s", got)
	}
	if st := s.e.Status(); st.Held != cluster.None {
		t.Errorf("holds %s before the reset", st.Held)
	}
	if got := answer(cluster.StonithOK); !strings.HasPrefix(got, "info: node bravo now reset.\ninfo: Managed STONITH bravo process 7 exited with return code 0.\ninfo: Resources being acquired from bravo.") {
		t.Errorf("after the reset: %s", got)
	}
	s.now = s.now.Add(time.Hour)
	if got := note(s.e.Step(s.now, cluster.Tick{})); !strings.Contains(got, "Checking status of STONITH device [device]") {
		t.Errorf("an hour later: %s", got)
	}
	if got := answer(cluster.StonithOK); got != "info: Managed STONITH-stat process 7 exited with return code 0." {
		t.Errorf("status: %s", got)
	}
	if got := note(s.e.Step(s.now, cluster.StonithDone{ID: 99})); got != "" {
		t.Errorf("an answer to nothing: %s", got)
	}
}

// TestCompression: long messages are sent compressed and understood, sent again the same, and small
// ones are left alone.
func TestCompression(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Compress, c.CompressOver = true, 2048 })
	s.join()
	big := hamsg.New("big").Add("x", strings.Repeat("0123456789", 400))
	sends := func(in cluster.Input) (packets [][]byte) {
		for _, a := range s.e.Step(s.now, in) {
			if a, ok := a.(cluster.Send); ok {
				packets = append(packets, a.Bytes)
			}
		}
		return packets
	}
	said := func(m *hamsg.Msg) cluster.Said {
		text, err := m.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cluster.Said{Text: text}
	}
	packets := sends(said(big))
	if len(packets) != 1 || len(packets[0]) > 1000 {
		t.Fatalf("%d packets", len(packets))
	}
	p, err := hamsg.Decode(packets[0])
	if err != nil || s.cfg.Ring.Verify(p) != nil || !p.Has(hamsg.FCompressedPayload) {
		t.Fatalf("%v %v", p, err)
	}
	m, err := p.Inflate()
	if err != nil || m.Get("x") != big.Get("x") || m.Get("src") != "alpha" {
		t.Fatalf("%v %v", m, err)
	}
	seq, _ := m.GetHex("seq")
	no := fmt.Sprint(seq)
	again := sends(cluster.Received{Link: "eth0", Bytes: s.packet(hamsg.New("NS_rexmit").Add("dest", "alpha").Add("firstseq", no).Add("lastseq", no))})
	if len(again) != 1 || string(again[0]) != string(packets[0]) {
		t.Error("sent again it is another packet")
	}
	if p := sends(said(hamsg.New("small").Add("x", "1"))); len(p) != 1 || clustertest.Decode(p[0]).Has(hamsg.FCompressedPayload) {
		t.Error("a small message is compressed")
	}
	// What is compressed comes in, whoever sends it.
	s = newSingle(t, func(c *cluster.Config) { c.Hooks = []string{"big"} })
	s.join()
	s.packet(big)
	got := s.step(cluster.Received{Link: "eth0", Bytes: s.cfg.Ring.AppendWire(nil, big.Deflate())})
	if s.run == nil || s.run.Call.Getenv("HA_x") != big.Get("x") {
		t.Errorf("not understood: %s", got)
	}
}

// TestClockJump: the wall clock may do what it likes.
func TestClockJump(t *testing.T) {
	s := newSingle(t, nil)
	s.join()
	back := s.now.Add(-time.Hour)
	found := false
	for _, a := range s.e.Step(back, cluster.Tick{}) {
		l, ok := a.(cluster.Log)
		found = found || ok && l.Text == "Clock jumped backwards. Compensating."
	}
	if !found {
		t.Error("not noticed")
	}
}

// TestOldPeerFormat: heartbeat 2.x sends text over UDP.
func TestOldPeerFormat(t *testing.T) {
	s := newSingle(t, nil)
	s.step(cluster.Tick{})
	s.packet(status("up"))
	m := status("up").Add("src", "bravo").Add("seq", "1").Add("hg", "7").Add("ts", "1")
	s.cfg.Ring.Stamp(m)
	text, err := m.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.step(cluster.Received{Link: "eth0", Bytes: append(text, 0)}); !strings.Contains(got, "Status update for node bravo: status up") {
		t.Errorf("says %s", got)
	}
}

// TestStatus is the copy for others.
func TestStatus(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Pings = []cluster.Ping{{Name: "gw", Plugin: "ping"}} })
	s.step(cluster.Tick{})
	s.hear(status("active"))
	st := s.e.Status()
	want := []cluster.NodeStatus{
		{
			Name: "alpha", Status: "up", Heard: s.now, Deadtime: 7 * time.Second, UUID: s.cfg.UUID, Generation: s.cfg.Generation,
			LastSeq: st.Nodes[0].LastSeq, Weight: 100, Links: []cluster.LinkStatus{{Name: "eth0", Status: "dead"}},
		},
		{
			Name: "bravo", Status: "active", Heard: s.now, Deadtime: 5 * time.Second, UUID: hamsg.UUID{2}, Generation: 7,
			LastSeq: 1, Weight: 100, Links: []cluster.LinkStatus{{Name: "eth0", Status: "up", Heard: s.now}},
		},
		{Name: "gw", Ping: true, Status: "init", Deadtime: 5 * time.Second, Weight: 100, Links: []cluster.LinkStatus{{Name: "gw", Status: "dead"}}},
	}
	if d := cmp.Diff(want, st.Nodes); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if st.State != "up" || st.Phase != "INIT" || st.Held != cluster.None || st.ShuttingDown {
		t.Errorf("%+v", st)
	}
}

// A ping node with the name of a cluster node cannot be heard as such: it is none, and nothing hangs.
func TestPingNamedAsNode(t *testing.T) {
	s := newSingle(t, func(c *cluster.Config) { c.Pings = []cluster.Ping{{Name: "bravo", Plugin: "ping"}} })
	s.join()
	if text := s.pass(3 * s.cfg.Initdead); strings.Count(text, "node bravo: is dead") != 1 {
		t.Errorf("bravo dies once, and says nothing before:\n%s", text)
	}
}

// With a short deadtime a short standstill is no reason to declare others dead, whom we have not heard.
func TestShortStandstill(t *testing.T) {
	for _, stood := range []time.Duration{40 * time.Millisecond, 100 * time.Millisecond, 240 * time.Millisecond} {
		s := newSingle(t, func(c *cluster.Config) {
			c.Keepalive, c.Warntime, c.Deadtime, c.Initdead = 10*time.Millisecond, 20*time.Millisecond, 30*time.Millisecond, time.Second
		})
		s.join()
		beat := func() string {
			return s.hear(hamsg.New("status").Add("st", "active").Add("dt", "1e").Add("protocol", "1"))
		}
		beat()
		s.now = s.now.Add(stood)
		text := s.step(cluster.Tick{})
		s.now = s.now.Add(time.Millisecond)
		if text += beat(); strings.Contains(text, "is dead") {
			t.Errorf("after %v: %s", stood, text)
		}
		if text = s.pass(100 * time.Millisecond); !strings.Contains(text, "node bravo: is dead") {
			t.Errorf("after %v bravo falls silent: %s", stood, text)
		}
	}
}
