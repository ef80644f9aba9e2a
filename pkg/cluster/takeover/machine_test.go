package takeover

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// recorder is a host that writes down what it is asked, and loops messages back.
type recorder struct {
	m      *Machine
	now    time.Time
	jobs   int
	moves  []Move
	device bool
	reset  func()
	lines  []string
	seq    uint64
}

func (r *recorder) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}
func (r *recorder) Now() time.Time           { return r.now }
func (r *recorder) Info(text string)         { r.add("%s", text) }
func (r *recorder) Warn(text string)         { r.add("WARN %s", text) }
func (r *recorder) Fail(text string)         { r.add("ERROR %s", text) }
func (r *recorder) Debug(text string)        { r.add("debug %s", text) }
func (r *recorder) RequestOurs()             { r.jobs++; r.add("* request ours") }
func (r *recorder) DropStrays(set Hold)      { r.jobs++; r.add("* drop strays %s", set) }
func (r *recorder) GiveUpAll()               { r.jobs++; r.add("* give up all") }
func (r *recorder) NotifyDead(n string)      { r.jobs++; r.add("* notify dead %s", n) }
func (r *recorder) Jobs() int                { return r.jobs }
func (r *recorder) GivingUp()                { r.add("Heartbeat shutdown in progress.") }
func (r *recorder) Stonith(_, result string) { r.add("> stonith %s", result) }
func (r *recorder) Reset(node string, done func()) bool {
	if r.device {
		r.add("* reset %s", node)
		r.reset = done
	}
	return r.device
}

func (r *recorder) Releasing() bool   { return slices.Contains(r.moves, Move{Set: Foreign, Quiet: true}) }
func (r *recorder) Resetting() bool   { return r.reset != nil }
func (r *recorder) AwaitSync(on bool) { r.add("* await sync %v", on) }
func (r *recorder) Restart()          { r.add("* restart") }
func (r *recorder) ShutDone()         { r.add("* shut done") }
func (r *recorder) Move(mv Move) {
	r.jobs++
	r.moves = append(r.moves, mv)
	r.add("* move take=%v %s quiet=%v", mv.Take, mv.Set, mv.Quiet)
}
func (r *recorder) Send(msg *hamsg.Msg)  { r.add("> %s", short(msg)); r.hear("us", msg) }
func (r *recorder) pass(d time.Duration) { r.now = r.now.Add(d); r.m.Tick() }

// jobsEnd ends all jobs. What a move says at its end is for the test to say.
func (r *recorder) jobsEnd() {
	moves := r.moves
	r.moves = nil
	for _, mv := range moves {
		r.m.MoveEnds(mv)
	}
	r.jobs = 0
	r.m.Idle()
}

func (r *recorder) hear(from string, msg *hamsg.Msg) {
	r.seq++
	r.m.Handle(msg.SetHex(hamsg.FSeq, r.seq), from)
}

// take returns what was written down since the last call.
func (r *recorder) take() string {
	s := strings.Join(r.lines, "\n")
	r.lines = nil
	return s
}

// short is a message as "type hold stable info".
func short(m *hamsg.Msg) string {
	var w []string
	for _, f := range m.Fields() {
		if f.Name != hamsg.FResType && f.Name != hamsg.FSeq {
			w = append(w, f.Value)
		}
	}
	return strings.Join(w, " ")
}

func newRecorder(f Failback) *recorder {
	r := &recorder{now: time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)}
	r.m = New(Config{Node: "us", Failback: f}, r)
	return r
}

// at brings a machine to a state, by what leads there.
func at(s State, f Failback) *recorder {
	r := newRecorder(f)
	if s >= Starting {
		r.m.CommUp(true, false)
	}
	switch s {
	case BothStarting:
		r.hear("peer", hamsg.New("starting"))
	case Received:
		r.hear("peer", resource(None, "0"))
	case Stable:
		r.hear("peer", resource(Local, "1"))
		r.jobsEnd()
		r.pass(strayDelay)
		r.jobsEnd()
	case Shutdown:
		r = at(Stable, f)
		r.m.Close()
	}
	r.take()
	if r.m.State() != s {
		panic(fmt.Sprintf("at %s: is %s", s, r.m.State()))
	}
	return r
}

func resource(h Hold, stable string) *hamsg.Msg {
	m := hamsg.New("resource").Add("rsc_hold", h.String()).Add("rtype", "full")
	if stable != "" {
		m.Add("isstable", stable)
	}
	return m
}

// machDown is the report of the script.
func machDown() *hamsg.Msg {
	return hamsg.New("resource").Add("rsc_hold", "foreign").Add("info", "mach_down")
}

func ask(h Hold, word string) *hamsg.Msg { return askMessage(h, word) }

// TestStates is the table of spec/heartbeat-cluster.md 9.5: what each message does in each state.
func TestStates(t *testing.T) {
	starting := func(r *recorder) { r.hear("peer", hamsg.New("starting")) }
	stable := func(r *recorder) { r.hear("peer", resource(Local, "1")) }
	moving := func(r *recorder) { r.hear("peer", resource(Local, "0")) }
	own := func(r *recorder) { r.hear("us", resource(None, "0")) }
	for _, tt := range []struct {
		from State
		name string
		do   func(*recorder)
		want State
		says string
	}{
		{Init, "starting", starting, Init, "ERROR Received 'starting' message in state 0"},
		{Init, "stable peer", stable, Init, "ERROR resource message received in state 0"},
		{Starting, "starting", starting, BothStarting, "> resource none 0"},
		{Starting, "own report", own, Received, ""},
		{Starting, "moving peer", moving, Received, ""},
		{BothStarting, "starting", starting, BothStarting, "ERROR Received 'starting' message in state 2"},
		{BothStarting, "own report", own, Received, ""},
		{BothStarting, "moving peer", moving, Received, ""},
		{Received, "starting", starting, Received, "> resource none 0"},
		{Received, "own report", own, Received, ""},
		{Received, "moving peer", moving, Received, ""},
		{
			Received, "10 s", func(r *recorder) { r.pass(10 * time.Second) }, Stable,
			"* request ours\nlocal resource transition completed.\n> resource local 1\nInitial resource acquisition complete (T_RESOURCES(us))",
		},
		{Stable, "starting", starting, Stable, "> resource local 1"},
		{Stable, "own report", func(r *recorder) { r.hear("us", resource(Local, "1")) }, Stable, ""},
		{Stable, "stable peer", stable, Stable, ""},
		{Stable, "moving peer", moving, Stable, ""},
		{
			Stable, "moving, then stable peer", func(r *recorder) { moving(r); stable(r) }, Stable,
			"remote resource transition completed.\n> resource local 1",
		},
		{Shutdown, "starting", starting, Shutdown, "> resource local 0"},
		{Shutdown, "stable peer", stable, Shutdown, ""},
		{Shutdown, "own shutdone", func(r *recorder) { r.hear("us", hamsg.New("shutdone")) }, Shutdown, "* shut done"},
	} {
		r := at(tt.from, On)
		tt.do(r)
		if got := r.take(); r.m.State() != tt.want || got != tt.says {
			t.Errorf("%s, %s: now %s (want %s), says\n%s\nwant\n%s", tt.from, tt.name, r.m.State(), tt.want, got, tt.says)
		}
	}
}

// TestJoinStable: a joining node whose peer is stable is stable at once, and takes its own unless
// the peer has it.
func TestJoinStable(t *testing.T) {
	for _, tt := range []struct {
		peer Hold
		want string
	}{
		{Local, "remote resource transition completed.\n> resource none 0\nremote resource transition completed.\n* request ours\n> resource local 1\n" +
			"Initial resource acquisition complete (T_RESOURCES(us))"},
		{All, "remote resource transition completed.\n> resource none 0\nremote resource transition completed.\nLocal Resource acquisition completed. (none)\n> resource none 1"},
	} {
		for _, from := range []State{Starting, BothStarting, Received} {
			r := at(from, On)
			r.hear("peer", resource(tt.peer, "1"))
			if got := r.take(); r.m.State() != Stable || got != tt.want {
				t.Errorf("%s, peer holds %s: now %s, says\n%s\nwant\n%s", from, tt.peer, r.m.State(), got, tt.want)
			}
		}
	}
}

// TestDeath is what a peer's death brings: takeover, or not if it has left everything.
func TestDeath(t *testing.T) {
	dead := func(r *recorder, heard bool) {
		r.m.Dead(Death{Node: "peer", Heard: heard})
	}
	const takeover = "Resources being acquired from peer.\n* notify dead peer\n* request ours"
	for _, tt := range []struct {
		name string
		do   func(*recorder)
		want string
	}{
		{
			"holding", func(r *recorder) { dead(r, true) },
			"> stonith n_stnth\nWARN No STONITH device configured.\nWARN Shared disks are not protected.\n" + takeover,
		},
		{
			"never heard", func(r *recorder) { r.hear("peer", resource(None, "1")); r.jobsEnd(); r.take(); dead(r, false) },
			"> stonith n_stnth\nWARN No STONITH device configured.\nWARN Shared disks are not protected.\n" + takeover,
		},
		{
			"holding nothing", func(r *recorder) { r.hear("peer", resource(None, "1")); r.jobsEnd(); r.take(); dead(r, true) },
			"Dead node peer gave up resources.\n> stonith unneeded\n" + takeover,
		},
		{"after its shutdone", func(r *recorder) {
			r.hear("peer", hamsg.New("shutdone"))
			r.hear("us", ask(All, "done"))
			r.jobsEnd()
			r.hear("us", machDown())
			r.take()
			dead(r, true)
		}, "Dead node peer gave up resources.\n> stonith unneeded"},
		{
			"in a standby", func(r *recorder) { r.hear("us", ask(All, "me")); r.take(); dead(r, true) },
			"Cancelling pending standby operation\n> stonith n_stnth\nWARN No STONITH device configured.\nWARN Shared disks are not protected.\n" + takeover,
		},
	} {
		r := at(Stable, On)
		tt.do(r)
		if got := r.take(); got != tt.want {
			t.Errorf("%s: says\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		r.jobsEnd()
		r.hear("us", machDown())
		if r.m.Held() != All || !r.m.Stable() {
			t.Errorf("%s: holds %s, stable %v", tt.name, r.m.Held(), r.m.Stable())
		}
	}
}

// TestReset: with a STONITH device nothing is taken before the dead node is reset, unless it certainly
// has nothing.
func TestReset(t *testing.T) {
	for _, tt := range []struct {
		name  string
		peer  Hold
		left  bool
		held  Hold
		reset bool
	}{
		{"had something", Local, false, Local, true},
		{"reported nothing, and may have taken its own since", None, false, Local, true},
		{"reported nothing while we have everything", None, false, All, false},
		{"left", None, true, Local, false},
	} {
		r := at(Stable, On)
		r.device = true
		r.hear("peer", resource(tt.peer, "1"))
		r.hear("us", resource(tt.held, "1"))
		r.take()
		r.m.Dead(Death{Node: "peer", Heard: true, Left: tt.left})
		if got := r.take(); strings.Contains(got, "* reset peer") != tt.reset {
			t.Errorf("%s: says\n%s", tt.name, got)
		}
		if !tt.reset {
			continue
		}
		r.pass(time.Hour)
		if got := r.take(); got != "" || r.m.Held() != Local {
			t.Errorf("%s: holds %s before the reset, says\n%s", tt.name, r.m.Held(), got)
		}
		done := r.reset
		r.reset = nil
		done()
		if got := r.take(); got != "Resources being acquired from peer.\n* notify dead peer\n* request ours" || r.m.Held() != All {
			t.Errorf("%s: after the reset holds %s, says\n%s", tt.name, r.m.Held(), got)
		}
	}
}

// TestStandbyGiver plays the giving side of hb_standby, and what can go wrong with it.
func TestStandbyGiver(t *testing.T) {
	begin := func() *recorder {
		r := at(Stable, On)
		r.hear("us", ask(All, "me"))
		if got := r.take(); got != "us wants to go standby [all]" || r.m.Standby() != StandbyMe {
			t.Fatalf("begin: %s, %s", r.m.Standby(), got)
		}
		return r
	}
	r := begin()
	r.hear("peer", ask(All, "other"))
	r.jobsEnd()
	r.hear("us", ask(All, "done"))
	r.hear("peer", ask(All, "done"))
	want := "standby: peer can take our all resources\n> resource none 0 standby\n* move take=false all quiet=false\n" +
		"Local standby process completed [all].\nOther node completed standby takeover of all resources.\n> resource none 1"
	if got := r.take(); got != want || r.m.Held() != None || r.m.Standby() != NotStandby {
		t.Errorf("holds %s, says\n%s\nwant\n%s", r.m.Held(), got, want)
	}
	r.hear("peer", resource(All, "1"))
	if !r.m.Stable() {
		t.Error("not stable afterwards")
	}

	r = begin()
	r.pass(10 * time.Second)
	if got := r.take(); got != "WARN No reply to standby request.  Standby request cancelled.\n> resource local 1" || !r.m.Stable() || r.m.Held() != Local {
		t.Errorf("without an answer: %s", got)
	}

	r = begin()
	r.hear("us", ask(Local, "me"))
	if got := r.take(); got != "WARN Standby in progress- new request from us ignored [10 seconds left]" {
		t.Errorf("second request: %s", got)
	}

	r = begin()
	r.hear("peer", hamsg.New("starting")) // the peer has restarted and knows nothing of it
	if got := r.take(); got != "> resource local 1\nCancelling pending standby operation" || r.m.Standby() != NotStandby {
		t.Errorf("peer restarts: %s", got)
	}
}

// TestStandbyTaker plays the other side.
func TestStandbyTaker(t *testing.T) {
	r := at(Stable, On)
	r.hear("peer", ask(Local, "me"))
	r.hear("peer", resource(None, "0"))
	r.hear("peer", ask(Local, "done"))
	r.jobsEnd()
	r.hear("us", ask(Local, "done"))
	want := "peer wants to go standby [local]\n> ask_resources local other\nstandby: acquire [local] resources from peer\n" +
		"* move take=true foreign quiet=false\nStandby resource acquisition done [local].\n> resource all 1"
	if got := r.take(); got != want || r.m.Held() != All || r.m.Standby() != NotStandby {
		t.Errorf("holds %s, says\n%s\nwant\n%s", r.m.Held(), got, want)
	}

	r = at(Stable, On)
	r.hear("peer", ask(Local, "me"))
	r.hear("peer", resource(Local, "1")) // it has given the exchange up
	r.take()
	r.pass(10 * time.Second)
	if got := r.take(); got != "WARN No reply to standby request.  Standby request cancelled.\n> resource local 1" {
		t.Errorf("giver gone: %s", got)
	}
}

// TestStandbyRefused is for requests at the wrong time, and words that are none.
func TestStandbyRefused(t *testing.T) {
	for _, tt := range []struct {
		r    *recorder
		msg  *hamsg.Msg
		want string
	}{
		{at(Received, On), ask(All, "me"), "WARN standby message [me] from peer ignored.  Other side is in flux."},
		{at(Stable, Off), ask(All, "me"), "peer wants to go standby [all]\n> ask_resources all other"},
		{at(Stable, On), ask(All, "done"), "> resource local 1\nERROR Ignored standby message 'done' from peer in state 0"},
		{at(Stable, On), hamsg.New("ask_resources").Add("rsc_hold", "all"), "ERROR Received standby message without info/from"},
		{
			at(Stable, On), hamsg.New("ask_resources").Add("rsc_hold", "some").Add("info", "me"),
			"ERROR encode_resources: bad resource type [some]\npeer wants to go standby [none]\n> ask_resources none other",
		},
		{newRecorder(Legacy), ask(All, "me"), "Standby mode only implemented when nice_failback on"},
		{at(Shutdown, On), ask(All, "me"), ""},
	} {
		tt.r.hear("peer", tt.msg)
		if got := tt.r.take(); got != tt.want {
			t.Errorf("%s: says\n%s\nwant\n%s", short(tt.msg), got, tt.want)
		}
	}
}

// TestAutoFailback: it begins when the returned peer is stable, waits while that cannot be, and is
// off when auto_failback is.
func TestAutoFailback(t *testing.T) {
	alone := func(f Failback) *recorder {
		r := at(Stable, f)
		r.m.Dead(Death{Node: "peer", Heard: true})
		r.jobsEnd()
		r.hear("us", machDown())
		r.hear("peer", hamsg.New("starting"))
		r.hear("peer", resource(None, "0"))
		r.take()
		return r
	}
	const begins = "remote resource transition completed.\n> resource all 1\n> ask_resources foreign me\nus wants to go standby [foreign]"
	r := alone(On)
	r.hear("peer", resource(None, "1"))
	if got := r.take(); got != begins {
		t.Errorf("on: says\n%s", got)
	}
	r = alone(Off)
	r.hear("peer", resource(None, "1"))
	if got := r.take(); got != "remote resource transition completed.\n> resource all 1" {
		t.Errorf("off: says\n%s", got)
	}
}

// TestFailbackSync: an automatic failback waits for the peer's connection table, for so long.
func TestFailbackSync(t *testing.T) {
	back := func() *recorder {
		r := newRecorder(On)
		r.m.cfg.FailbackSync = time.Minute
		r.m.CommUp(true, false)
		r.hear("peer", resource(Local, "1"))
		r.jobsEnd()
		r.pass(strayDelay)
		r.jobsEnd()
		r.m.Dead(Death{Node: "peer", Heard: true})
		r.jobsEnd()
		r.hear("us", machDown())
		r.hear("peer", hamsg.New("starting"))
		r.hear("peer", resource(None, "1"))
		return r
	}
	const waits = "Auto failback waits at most 1m0s for the other node's connection table.\n* await sync true"
	const gives = "* await sync false\n> ask_resources foreign me\nus wants to go standby [foreign]"
	died := func(r *recorder) {
		r.m.Dead(Death{Node: "peer", Heard: true})
		r.jobsEnd()
	}
	for _, tt := range []struct {
		name string
		do   func(*recorder)
		want string // is part of what it says
	}{
		{"no answer", func(r *recorder) { r.pass(59 * time.Second) }, ""},
		{"in sync", func(r *recorder) { r.m.Synced(); r.m.Synced() }, gives},
		{"never in sync", func(r *recorder) { r.pass(time.Minute) }, "WARN The other node's connection table is not in sync after 1m0s: auto failback all the same.\n" + gives},
		{"dies", func(r *recorder) { died(r); r.m.Synced(); r.pass(time.Hour) }, "* await sync false\nDead node peer gave up resources.\n> stonith unneeded"},
		{"restarts", func(r *recorder) {
			r.pass(50 * time.Second)
			r.hear("peer", hamsg.New("starting"))
			r.hear("peer", resource(None, "1"))
			r.pass(50 * time.Second)
		}, "* await sync false\n> resource all 1\nremote resource transition completed.\n> resource all 1\n" + waits},
		{"leaves", func(r *recorder) { r.hear("peer", hamsg.New("shutdone")); r.pass(time.Hour) }, "* await sync false\nReceived shutdown notice from 'peer'.\nResources being acquired from peer.\n* notify dead peer\n* request ours"},
		{"a shutdown", func(r *recorder) { r.m.Close(); r.pass(time.Hour) }, "* await sync false\n> resource none 0 shutdown\nHeartbeat shutdown in progress.\n* give up all"},
		{"a busy moment", func(r *recorder) {
			r.hear("peer", resource(None, "0"))
			r.m.Synced()
			r.hear("peer", resource(None, "1"))
		}, "debug Auto failback delayed.\nremote resource transition completed.\n> resource all 1\n" + gives},
		{"a standby by hand", func(r *recorder) {
			r.m.ask(ask(Foreign, "me"), "us")
			r.hear("peer", ask(Foreign, "other"))
			r.jobsEnd()
			r.hear("us", ask(Foreign, "done"))
			r.hear("peer", ask(Foreign, "done"))
			r.pass(time.Hour)
		}, "* await sync false"},
	} {
		r := back()
		if got := r.take(); !strings.HasSuffix(got, waits) {
			t.Errorf("before: says\n%s", got)
		}
		tt.do(r)
		if got := r.take(); tt.want == "" && got != "" || !strings.Contains(got, tt.want) || strings.Count(got, "sync false") != strings.Count(tt.want, "sync false") {
			t.Errorf("%s: says\n%s", tt.name, got)
		}
	}
}

// TestClose: a shutdown waits for what is under way, but not for ever for the peer.
func TestClose(t *testing.T) {
	const closing = "> resource none 0 shutdown\nHeartbeat shutdown in progress.\n* give up all"
	r := at(Stable, On)
	r.m.Close()
	r.m.Close()
	if got := r.take(); got != closing+"\nHeartbeat shutdown already underway." {
		t.Errorf("at once: says\n%s", got)
	}

	r = at(Stable, On)
	r.jobs = 1
	r.m.Close()
	r.pass(time.Minute)
	r.jobsEnd()
	if got := r.take(); got != "WARN Shutdown delayed until current resource activity finishes.\n"+closing {
		t.Errorf("with a job: says\n%s", got)
	}

	r = at(Stable, On)
	r.hear("peer", resource(Local, "0"))
	r.m.Close()
	r.pass(29 * time.Second)
	r.take()
	r.pass(time.Second)
	if got := r.take(); got != "WARN Shutdown waits no longer for the other node.\n"+closing {
		t.Errorf("with an unstable peer: says\n%s", got)
	}

	for _, s := range []State{Starting, BothStarting, Received, Stable} {
		r = at(s, On)
		r.hear("peer", resource(Local, "0"))
		r.m.Close()
		r.take()
		r.m.Dead(Death{Node: "peer", Heard: true})
		if got := r.take(); got != closing {
			t.Errorf("%s, the peer dies meanwhile: says\n%s", s, got)
		}
	}
}

// TestConflict: what both claim stays with the node that haresources names; one that has to
// wait for the other does not wait for ever.
func TestConflict(t *testing.T) {
	r := at(Stable, On)
	r.hear("us", resource(All, "1"))
	if got := r.take(); got != "ERROR Both machines own foreign resources!\n> resource local 0 standby\n* move take=false foreign quiet=true" {
		t.Errorf("to yield: says\n%s", got)
	}
	r.jobsEnd()
	if got := r.take(); got != "> resource local 1" || !r.m.Stable() {
		t.Errorf("yielded: says\n%s", got)
	}

	r = at(Stable, On)
	r.hear("peer", resource(All, "1"))
	r.take()
	r.hear("peer", resource(Local, "1"))
	if got := r.take(); got != "* move take=true local quiet=true" {
		t.Errorf("the other yields: says\n%s", got)
	}

	r = at(Stable, On)
	r.hear("peer", resource(All, "1"))
	r.take()
	r.pass(10 * time.Second)
	if got := r.take(); !strings.HasSuffix(got, "* restart") {
		t.Errorf("the other does not yield: says\n%s", got)
	}

	r = at(Stable, On)
	r.hear("us", resource(None, "1"))
	r.take()
	r.pass(orphanWait)
	if got := r.take(); got != "* request ours\n> resource local 1" {
		t.Errorf("nobody has ours: says\n%s", got)
	}

	r = at(Stable, On)
	r.hear("us", resource(None, "1"))
	r.hear("peer", resource(All, "1")) // its report was lost at first
	r.take()
	if r.pass(orphanWait); r.take() != "" || r.m.Held() != None {
		t.Errorf("the other has ours: holds %s", r.m.Held())
	}

	r = at(Stable, Off)
	r.hear("peer", resource(None, "1")) // an original one, which does not mind
	r.take()
	r.pass(orphanPatience)
	if got := r.take(); got != "> resource all 0 standby\n* move take=true foreign quiet=true" {
		t.Errorf("nobody has the other's: says\n%s", got)
	}
	if r.jobsEnd(); r.take() != "> resource all 1" {
		t.Errorf("nobody has the other's, taken: holds %s", r.m.Held())
	}
}

// TestWatch: a protocol that has got stuck is begun again.
func TestWatch(t *testing.T) {
	for _, s := range []State{Starting, BothStarting} {
		r := at(s, On)
		r.pass(15 * time.Second)
		if got := r.take(); got != "> starting" {
			t.Errorf("%s: says %q", s, got)
		}
	}
	r := at(Stable, On)
	r.hear("peer", resource(Local, "0"))
	r.pass(15 * time.Second)
	if got := r.take(); !strings.HasSuffix(got, "> starting") {
		t.Errorf("unstable peer: says %q", got)
	}
}

// TestStrays: after the start, what we do not hold is looked for once: soon if the peer holds it and
// keeps it.
func TestStrays(t *testing.T) {
	r := at(Starting, On)
	r.hear("peer", resource(All, "1"))
	r.jobsEnd()
	r.take()
	r.pass(strayDelay - 1)
	if got := r.take(); got != "" {
		t.Errorf("before an automatic failback: says %q", got)
	}
	r.pass(1)
	if got := r.take(); got != "* drop strays all" {
		t.Errorf("without an automatic failback: says %q", got)
	}
	r = at(Starting, On)
	r.hear("peer", resource(Local, "1"))
	r.jobsEnd()
	r.take()
	r.pass(straySoon)
	if got := r.take(); got != "* drop strays foreign" {
		t.Errorf("says %q", got)
	}
	r.jobsEnd()
	r.pass(time.Hour)
	if got := r.take(); got != "" {
		t.Errorf("again: %q", got)
	}
}

// TestLegacy: no resource messages, groups are asked for at once, and at a death.
func TestLegacy(t *testing.T) {
	r := newRecorder(Legacy)
	r.m.CommUp(true, false)
	r.hear("peer", resource(All, "1"))
	r.hear("peer", hamsg.New("starting"))
	if got := r.take(); got != "* request ours" || r.m.Report() != nil {
		t.Errorf("says %q", got)
	}
	r.jobsEnd()
	r.m.JobEnded("req_our_resources", true)
	r.m.Dead(Death{Node: "peer", Heard: true, HasResources: true})
	want := "Initial resource acquisition complete (req_our_resources)\n> stonith n_stnth\nWARN No STONITH device configured.\nWARN Shared disks are not protected.\n" +
		"Resources being acquired from peer.\n* notify dead peer\n* request ours"
	if got := r.take(); got != want {
		t.Errorf("says\n%s\nwant\n%s", got, want)
	}
}

// TestRestarted: a daemon that kept its resources over a restart is stable from the start.
func TestRestarted(t *testing.T) {
	r := &recorder{now: time.Now()}
	r.m = New(Config{Node: "us", Failback: On, Restarted: true, Held: All}, r)
	r.m.CommUp(true, false)
	r.hear("peer", resource(None, "1"))
	if r.m.State() != Stable || r.m.Held() != All {
		t.Errorf("%s, holds %s", r.m.State(), r.m.Held())
	}
}

// TestHold covers the words and both viewpoints.
func TestHold(t *testing.T) {
	for h, word := range map[Hold]string{None: "none", Local: "local", Foreign: "foreign", All: "all"} {
		if got, ok := ParseHold(strings.ToUpper(word)); !ok || got != h || h.String() != word {
			t.Errorf("%s: %v %v, %s", word, got, ok, h)
		}
		if h.Other().Other() != h {
			t.Errorf("%s seen from the other, and back: %s", h, h.Other().Other())
		}
	}
	if _, ok := ParseHold("transition"); ok {
		t.Error("transition is no set")
	}
}
