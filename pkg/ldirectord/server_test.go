package ldirectord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// The regular expressions' clock ends by itself some time after the last match.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}

// farm is real servers that answer as the test says.
type farm struct {
	mu      sync.Mutex
	answers map[string]func(context.Context) check.Result
	starts  map[string][]time.Time
}

func newFarm() *farm {
	return &farm{answers: map[string]func(context.Context) check.Result{}, starts: map[string][]time.Time{}}
}

func up(context.Context) check.Result      { return check.Result{Up: true} }
func refused(context.Context) check.Result { return check.Result{Reason: "connection refused"} }

func hung(ctx context.Context) check.Result {
	<-ctx.Done()
	return check.Result{Reason: "timeout"}
}

func (f *farm) set(answer func(context.Context) check.Result, names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		f.answers[n] = answer
	}
}

// Check is check.Checker.
func (f *farm) Check(ctx context.Context, s check.Spec) check.Result {
	name := s.Real.String()
	f.mu.Lock()
	answer := f.answers[name]
	f.starts[name] = append(f.starts[name], time.Now())
	f.mu.Unlock()
	if answer == nil {
		answer = refused
	}
	return answer(ctx)
}

// bench is a Server under test with a configuration file in a directory of its own.
type bench struct {
	t      *testing.T
	dir    string
	in     Instance
	farm   *farm
	table  *model.Table
	out    *buffer
	server *Server
	cancel context.CancelFunc
	ended  chan error
	ready  chan struct{}
	change func(*Options)
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const twoReals = `checkinterval=1
checktimeout=3
fallback=127.0.0.1:80
virtual=10.0.0.1:80
    real=10.0.0.2:80 gate 3
    real=10.0.0.3:80 gate
    service=http
`

func newBench(t *testing.T, config string) *bench {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"etc/ha.d", "var/run", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := &bench{t: t, dir: root, farm: newFarm(), table: model.New(), out: &buffer{}}
	b.write(config)
	var err error
	if b.in, err = PathsUnder(root).Find(""); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) write(config string) {
	b.t.Helper()
	path := filepath.Join(b.dir, "etc/ha.d/ldirectord.cf")
	config = fmt.Sprintf("logfile=\"%s/var/log/ldirectord.log\"\n%s", b.dir, config)
	if err := os.WriteFile(path+".new", []byte(config), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Chtimes(path+".new", time.Now(), time.Now()); err != nil { // the test's clock may not be the kernel's
		b.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		b.t.Fatal(err)
	}
}

// start runs the server in the foreground, where its log goes to b.out.
func (b *bench) start() {
	b.t.Helper()
	f := Load(b.t.Context(), b.in, LoadOptions{})
	if f.Err != nil {
		b.t.Fatal(f.Err)
	}
	b.ready, b.ended = make(chan struct{}), make(chan error, 1)
	o := Options{
		Instance: b.in, File: f, Log: NewLog(b.in, nil, b.out), Foreground: true,
		OpenTable: func() (ipvs.Table, error) { return unclosed{b.table}, nil },
		Checker:   func(string) check.Checker { return b.farm },
		Ready:     func() { close(b.ready) },
	}
	if b.change != nil {
		b.change(&o)
	}
	b.server = New(o)
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(b.t.Context())
	s, ended := b.server, b.ended
	go func() { ended <- s.Run(ctx) }()
}

// unclosed keeps a table when its user is done with it, as the kernel does.
type unclosed struct{ ipvs.Table }

func (unclosed) Close() error { return nil }

func (b *bench) stop() {
	b.t.Helper()
	b.server.Stop(b.t.Context(), "TERM")
	if err := <-b.ended; err != nil {
		b.t.Errorf("Run: %v", err)
	}
	b.cancel()
}

// rules is the table as ipvsadm -Sn prints it, without the options of the servers.
func (b *bench) rules() string {
	b.t.Helper()
	entries, err := b.table.Snapshot(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.VIP.ID())
		slices.SortFunc(e.Dests, func(a, b ipvs.DestEntry) int { return a.Addr.Compare(b.Addr) })
		for _, d := range e.Dests {
			out = append(out, fmt.Sprintf("%s*%d", d.Addr, d.Weight))
		}
	}
	return strings.Join(out, " ")
}

func (b *bench) expect(rules string) {
	b.t.Helper()
	if got := b.rules(); got != rules {
		b.t.Errorf("table is %q, want %q; log:\n%s", got, rules, b.out)
	}
}

// lines are the log's without their dates.
func (b *bench) lines() []string {
	var out []string
	for line := range strings.Lines(b.out.String()) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "] ")
		out = append(out, text)
	}
	return out
}

func (b *bench) logged(text string) int {
	n := 0
	for _, line := range b.lines() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func TestServerDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		b.start()
		<-b.ready
		time.Sleep(time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
		b.farm.set(refused, "10.0.0.2:80")
		b.farm.set(hung, "10.0.0.3:80")
		time.Sleep(5 * time.Second) // interval and timeout
		b.expect("tcp:10.0.0.1:80 127.0.0.1:80*1")
		b.farm.set(up, "10.0.0.2:80")
		time.Sleep(time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		status, ok := b.server.Status(t.Context())
		if !ok || status.State != director.Running || status.Virtuals[0].Reals[0].Health != director.Up {
			t.Errorf("status: %v %+v", ok, status)
		}
		b.stop()
		b.expect("")
		if _, ok := b.server.Status(t.Context()); ok {
			t.Error("a server that has ended has a status")
		}
		want := []string{
			"Added virtual server: 10.0.0.1:80",
			"Added fallback server: 127.0.0.1:80 (10.0.0.1:80) (Weight set to 1)",
			"Added real server: 10.0.0.2:80 (10.0.0.1:80) (Weight set to 3)",
			"Deleted fallback server: 127.0.0.1:80 (10.0.0.1:80)",
			"Added real server: 10.0.0.3:80 (10.0.0.1:80) (Weight set to 1)",
			"Check of real server 10.0.0.2:80 (tcp:10.0.0.1:80) failed: connection refused",
			"Deleted real server: 10.0.0.2:80 (10.0.0.1:80)",
			"Check of real server 10.0.0.3:80 (tcp:10.0.0.1:80) failed: timeout",
			"Deleted real server: 10.0.0.3:80 (10.0.0.1:80)",
			"Added fallback server: 127.0.0.1:80 (10.0.0.1:80) (Weight set to 1)",
			"Resetting soft failure count: 10.0.0.2:80 (tcp:10.0.0.1:80)",
			"Added real server: 10.0.0.2:80 (10.0.0.1:80) (Weight set to 3)",
			"Deleted fallback server: 127.0.0.1:80 (10.0.0.1:80)",
			"Purged real server (stop): 10.0.0.2:80 (10.0.0.1:80)",
			"Purged virtual server (stop): 10.0.0.1:80",
			"Linux Director Daemon terminated on signal: TERM",
		}
		if got := b.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestHungServersDelayNobody has half of 100 servers accept and never answer.
func TestHungServersDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := "checkinterval=1\nchecktimeout=10\nvirtual=10.0.0.1:80\n    service=http\n"
		var good []string
		b := newBench(t, twoReals)
		for i := range 100 {
			name := fmt.Sprintf("10.0.1.%d:80", i)
			config += "    real=" + name + " gate\n"
			if i%2 == 0 {
				good = append(good, name)
				b.farm.set(up, name)
			} else {
				b.farm.set(hung, name)
			}
		}
		b.write(config)
		b.start()
		time.Sleep(60 * time.Second)
		b.stop()
		for _, name := range good {
			starts := b.farm.starts[name]
			for i := 2; i < len(starts); i++ { // the first two are the start's
				if gap := starts[i].Sub(starts[i-1]); gap != time.Second {
					t.Errorf("%s: check %d came %v after the one before", name, i, gap)
				}
			}
			if n := len(starts); n < 60 || n > 61 {
				t.Errorf("%s: %d checks in a minute", name, n)
			}
		}
	})
}

// TestChecksSpread wants the checks of many servers to start at different times.
func TestChecksSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		config := "checkinterval=10\nvirtual=10.0.0.1:80\n    service=http\n"
		for i := range 200 {
			config += fmt.Sprintf("    real=10.0.1.%d:80 gate\n", i)
		}
		b.write(config)
		b.start()
		time.Sleep(40 * time.Second)
		b.stop()
		slots := map[int64]int{}
		for _, starts := range b.farm.starts {
			slots[starts[len(starts)-1].UnixMilli()/100]++
		}
		for slot, n := range slots {
			if n > 4 { // 200 checks over 100 tenths of a second: 2 each
				t.Errorf("%d checks in the tenth of a second %d", n, slot)
			}
		}
	})
}

// TestCheckLimit has more checks than descriptors: none is lost.
func TestCheckLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80")
		b.farm.set(hung, "10.0.0.3:80")
		b.start()
		b.server.call(t.Context(), func(l *loop) { l.checks.limit = 1 })
		time.Sleep(20 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		b.write(strings.Replace(twoReals, "    real=10.0.0.3:80 gate\n", "", 1))
		b.server.Reload(t.Context())
		time.Sleep(10 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		b.stop()
	})
}

func TestCheckerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		b.start()
		time.Sleep(time.Second)
		b.farm.set(func(context.Context) check.Result { panic("surprise") }, "10.0.0.3:80")
		time.Sleep(2 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		if b.logged("ERROR: check http of 10.0.0.3:80: checker failed: surprise") != 1 || !strings.Contains(b.out.String(), "server_test.go") {
			t.Errorf("the log does not say once what happened and where:\n%s", b.out)
		}
		b.stop()
	})
}

func TestStartFails(t *testing.T) {
	b := newBench(t, twoReals)
	b.change = func(o *Options) {
		o.OpenTable = func() (ipvs.Table, error) { return nil, errors.New("no ip_vs") }
	}
	b.start()
	if err := <-b.ended; err == nil || err.Error() != "open IPVS table: no ip_vs" {
		t.Errorf("Run: %v", err)
	}
	b.cancel()
}

func TestCancelLeavesTheTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		b.start()
		time.Sleep(time.Second)
		b.cancel()
		if err := <-b.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
	})
}
