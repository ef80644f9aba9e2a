package compat

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// TestReloads is a short TestSoakReloads; it takes 25 s, most of it waiting.
func TestReloads(t *testing.T) { reloads(t, 1, 15) }

// TestSoakReloads reloads a thousand times, forty ldirectords at once. It takes a minute.
func TestSoakReloads(t *testing.T) { reloads(t, 40, 25) }

// reloads changes ldirectord.cf under each running ldirectord again and again, a third of the times to
// something broken, while real servers die and return and somebody edits the table. The table is
// always what the last good file and the servers say, and nothing grows.
func reloads(t *testing.T, directors, rounds int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var all []*reloader
	for n := range directors {
		r := newReloader(t, n, rand.New(rand.NewPCG(seed, uint64(n))))
		defer r.stop()
		all = append(all, r)
	}
	play := func(from, to int) {
		var group sync.WaitGroup
		for _, r := range all {
			group.Go(func() { r.play(from, to) })
		}
		group.Wait()
	}
	warm := max(rounds/10, 8)
	play(0, warm)
	before := measure(t)
	play(warm, rounds)
	after := measure(t)
	broken, edits := 0, 0
	for _, r := range all {
		broken, edits = broken+r.broken, edits+r.edits
	}
	t.Logf("%d reloads, %d of them broken, %d edits: before %v, after %v", directors*rounds, broken, edits, before, after)
	if after.goroutines > before.goroutines+20 || after.files > before.files+20 || after.heap > before.heap+(8<<20) {
		t.Errorf("something grows: %v, then %v", before, after)
	}
}

func (r *reloader) play(from, to int) {
	for round := from; round < to; round++ {
		for _, s := range r.servers {
			if r.rand.IntN(4) == 0 {
				s.set(!s.up.Load())
			}
		}
		r.rewrite()
		r.edit()
		r.settle(round)
		r.edit()
		r.settle(round)
	}
}

// growth is what must not grow.
type growth struct{ goroutines, files, heap int }

func measure(t *testing.T) growth {
	t.Helper()
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return growth{runtime.NumGoroutine(), len(files), int(m.HeapAlloc)}
}

// toggled is a real server on loopback that can die and return.
type toggled struct {
	t    *testing.T
	addr netip.AddrPort
	up   atomic.Bool
	l    net.Listener
}

func (s *toggled) set(up bool) {
	s.t.Helper()
	if up == s.up.Load() {
		return
	}
	s.up.Store(up)
	if !up {
		s.l.Close()
		return
	}
	l, err := net.Listen("tcp4", s.addr.String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.l = l
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
}

// reloader is an ldirectord, its file, its table and its real servers.
type reloader struct {
	t       *testing.T
	rand    *rand.Rand
	path    string
	table   *model.Table
	server  *ldirectord.Server
	servers []*toggled
	good    *ldirectordcf.Config // the last that is in force or comes into force
	broken  int
	edits   int
	log     string
}

func newReloader(t *testing.T, n int, random *rand.Rand) *reloader {
	r := &reloader{t: t, rand: random, table: model.New()}
	root := t.TempDir()
	for _, d := range []string{"etc/ha.d", "var/run", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		s := &toggled{t: t, addr: netip.MustParseAddrPort(fmt.Sprintf("127.%d.%d.%d:7077", 77+n, os.Getpid()%250, i+1))}
		s.set(true)
		r.servers = append(r.servers, s)
	}
	r.path = filepath.Join(root, "etc/ha.d/ldirectord.cf")
	r.log = filepath.Join(root, "var/log/ldirectord.log")
	r.write(r.configuration())
	in, err := ldirectord.PathsUnder(root).Find("")
	if err != nil {
		t.Fatal(err)
	}
	f := ldirectord.Load(t.Context(), in, ldirectord.LoadOptions{})
	if f.Err != nil {
		t.Fatal(f.Err)
	}
	r.good = f.Config
	ready := make(chan struct{})
	r.server = ldirectord.New(ldirectord.Options{
		Instance: in, File: f, Log: ldirectord.NewLog(in, nil, nil), Ready: func() { close(ready) },
		OpenTable: func() (ipvs.Table, error) { return openTable{r.table}, nil },
	})
	go func() {
		if err := r.server.Run(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("not ready")
	}
	return r
}

// openTable keeps the table when its user is done with it, as the kernel does.
type openTable struct{ *model.Table }

func (openTable) Close() error { return nil }

func (r *reloader) stop() {
	r.server.Stop(r.t.Context(), "TERM")
	for _, s := range r.servers {
		s.set(false)
	}
	entries, err := r.table.Snapshot(r.t.Context())
	if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].FWMark != strangerMark {
		r.t.Errorf("after the stop the table has %v, %v", entries, err)
	}
}

func (r *reloader) write(text string) {
	r.t.Helper()
	text = "logfile=\"" + r.log + "\"\n" + text
	if err := os.WriteFile(r.path+".new", []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.path+".new", r.path); err != nil {
		r.t.Fatal(err)
	}
}

// configuration makes up a file: some services, each with some of the servers.
func (r *reloader) configuration() string {
	var b strings.Builder
	pick := func(words ...string) string { return words[r.rand.IntN(len(words))] }
	fmt.Fprintf(&b, "checkinterval=1\nchecktimeout=3\nquiescent=%s\nreaddquiescent=%s\nfailurecount=%s\n", pick("yes", "no"), pick("yes", "no"), pick("1", "1", "2"))
	if r.rand.IntN(2) == 0 {
		b.WriteString("fallback=127.0.0.1:7077\n")
	}
	for v := range 30 {
		if r.rand.IntN(6) == 0 {
			continue
		}
		if v%10 == 9 {
			fmt.Fprintf(&b, "virtual=%d\n", v)
		} else {
			fmt.Fprintf(&b, "virtual=10.77.0.%d:7077\n", v+1)
		}
		fmt.Fprintf(&b, "\tchecktype=connect\n\tscheduler=%s\n", pick("rr", "wrr", "wlc"))
		if r.rand.IntN(4) == 0 {
			fmt.Fprintf(&b, "\tpersistent=%s\n", pick("60", "600"))
		}
		for _, s := range r.servers {
			if r.rand.IntN(4) == 0 {
				fmt.Fprintf(&b, "\treal=%s %s %d\n", s.addr, pick("gate", "masq"), 1+r.rand.IntN(3))
			}
		}
	}
	return b.String() + "# end\n"
}

// rewrite changes the file and has it read, a third of the times to a broken one.
func (r *reloader) rewrite() {
	r.t.Helper()
	text := r.configuration()
	if r.rand.IntN(3) == 0 {
		text = r.breakIt(text)
		r.broken++
	} else {
		c, problems := ldirectordcf.Parse("ldirectord.cf", []byte(text), ldirectordcf.Options{})
		if err := problems.Err(); err != nil {
			r.t.Fatal(err)
		}
		r.good = c
	}
	r.write(text)
	r.server.Reload(r.t.Context())
	for begin := time.Now(); ; time.Sleep(2 * time.Millisecond) { // until it was read
		report, ok := r.server.Report(r.t.Context(), false)
		if !ok {
			r.t.Fatal("ldirectord has ended")
		}
		text, err := os.ReadFile(r.log)
		if err != nil {
			r.t.Fatal(err)
		}
		if asked := strings.Count(string(text), "config on signal\n"); asked > 0 &&
			strings.Count(string(text), "what was in force stays in force\n") == r.broken && (len(report.Rejected) > 0) == (r.broken > 0 && isBroken(r.path)) {
			return
		}
		if time.Since(begin) > time.Minute {
			r.t.Fatalf("the file is not read:\n%s", lastLines(string(text), 20))
		}
	}
}

func isBroken(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return true
	}
	_, problems := ldirectordcf.Parse("", text, ldirectordcf.Options{})
	return problems.Err() != nil
}

// breakIt makes a file that is refused.
func (r *reloader) breakIt(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for {
		at := r.rand.IntN(len(lines) - 1)
		broken := slices.Clone(lines)
		switch r.rand.IntN(6) {
		case 0: // half written
			broken = append(broken[:at], "\treal=10.0.0.1")
		case 1:
			broken[at] = "nonsense\n"
		case 2:
			broken[at] = string([]byte{0, 0xff, '\n'}) + broken[at]
		case 3:
			broken[at] = strings.Replace(broken[at], "=", "", 1)
		case 4:
			broken = append(broken, broken[5:]...) // every service twice
		case 5:
			broken[at] = strings.Replace(broken[at], "gate", "nat", 1)
		}
		all := strings.Join(broken, "")
		if _, problems := ldirectordcf.Parse("", []byte(all), ldirectordcf.Options{}); problems.Err() != nil {
			return all
		}
	}
}

// strangerMark is a service that is not ldirectord's.
const strangerMark = 4711

// edit is somebody else at work on the table.
func (r *reloader) edit() {
	r.t.Helper()
	ctx := r.t.Context()
	stranger := ipvs.Service{VIP: ipvs.VIP{FWMark: strangerMark, Family: ipvs.IPv4}, Scheduler: "rr"}
	_ = r.table.Do(ctx, ipvs.Op{Kind: ipvs.AddService, Service: stranger}) // it may be there
	entries, err := r.table.Snapshot(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	for range r.rand.IntN(5) {
		e := entries[r.rand.IntN(len(entries))]
		if e.FWMark == strangerMark {
			continue
		}
		op := ipvs.Op{Kind: ipvs.DelService, Service: e.Service}
		if len(e.Dests) > 0 {
			op.Dest = e.Dests[r.rand.IntN(len(e.Dests))].Dest
		}
		switch n := r.rand.IntN(8); {
		case n == 0:
		case n == 1:
			op.Kind = ipvs.EditService
			op.Service.Scheduler = "lc"
		case len(e.Dests) == 0:
			continue
		case n < 4:
			op.Kind = ipvs.DelDest
		case n == 4:
			op.Kind = ipvs.EditDest
			op.Dest.Forward = ipvs.Tunnel
		default:
			op.Kind = ipvs.EditDest
			op.Dest.Weight = int32(r.rand.IntN(5))
		}
		_ = r.table.Do(ctx, op) // ldirectord may have been quicker
		r.edits++
	}
}

// settle waits until the table is what it should be.
func (r *reloader) settle(round int) {
	r.t.Helper()
	var wrong string
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if wrong = r.wrong(); wrong == "" {
			return
		}
		if time.Since(begin) > 20*time.Second {
			text, _ := os.ReadFile(r.log)
			r.t.Fatalf("round %d: %s\nlog ends:\n%s", round, wrong, lastLines(string(text), 40))
		}
	}
}

// wrong says what in the table is not as the last good file and the servers say.
func (r *reloader) wrong() string {
	entries, err := r.table.Snapshot(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	have := map[ipvs.VIP]ipvs.Entry{}
	for _, e := range entries {
		have[e.VIP] = e
	}
	up := map[netip.AddrPort]bool{}
	for _, s := range r.servers {
		up[s.addr] = s.up.Load()
	}
	for i := range r.good.Virtuals {
		v := &r.good.Virtuals[i]
		e, ok := have[v.VIP]
		if !ok {
			return v.ID() + " is missing"
		}
		delete(have, v.VIP)
		if len(ipvs.Plan([]ipvs.Entry{{Service: e.Service}}, []ipvs.Entry{{Service: v.IPVS()}})) > 0 {
			return v.ID() + " has other options"
		}
		dests := map[netip.AddrPort]ipvs.Dest{}
		for _, d := range e.Dests {
			dests[d.Addr] = d.Dest
		}
		serving := false
		for _, real := range v.Reals {
			d, in := dests[real.Addr]
			delete(dests, real.Addr)
			want := real.IPVS()
			switch {
			case up[real.Addr]:
				serving = true
				if !in || d != want {
					return fmt.Sprintf("%s %s is up, and in the table (%v) as %+v", v.ID(), real.Addr, in, d)
				}
			case in && (d.Weight != 0 || !v.Quiescent):
				return fmt.Sprintf("%s %s is down, and in the table as %+v", v.ID(), real.Addr, d)
			}
		}
		if v.Fallback != nil {
			if _, in := dests[v.Fallback.Addr]; in == serving {
				return fmt.Sprintf("%s: fallback in the table: %v", v.ID(), in)
			}
			delete(dests, v.Fallback.Addr)
		}
		if len(dests) > 0 {
			return fmt.Sprintf("%s has strangers %v", v.ID(), dests)
		}
	}
	for vip := range have {
		if vip.FWMark != strangerMark {
			return "the table has " + vip.ID()
		}
	}
	return ""
}
