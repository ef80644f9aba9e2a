package ldirectord

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
)

const drainable = `checkinterval=1
checktimeout=3
virtual=10.0.0.1:80
    real=10.0.0.2:80 gate 3
    real=10.0.0.3:80 gate
    service=http
virtual=10.0.0.1:81
    real=10.0.0.2:81 gate 5
    service=http
virtual=7
    real=10.0.0.2:80 gate 4
    checktype=connect
`

// busyTable has connections as the test says.
type busyTable struct {
	ipvs.Table
	active *atomic.Pointer[map[string]uint32] // by real server
}

func (b busyTable) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	entries, err := b.Table.Snapshot(ctx)
	for i := range entries {
		for j := range entries[i].Dests {
			d := &entries[i].Dests[j]
			d.ActiveConns = (*b.active.Load())[d.Addr.String()]
		}
	}
	return entries, err
}

func (b *bench) wait(rules string) {
	b.t.Helper()
	for begin := time.Now(); b.rules() != rules; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			b.t.Fatalf("table is %q, want %q; log:\n%s", b.rules(), rules, b.out)
		}
	}
}

// TestDrain drains over the control socket, with a reload and a restart between.
func TestDrain(t *testing.T) {
	const (
		all     = "tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1 tcp:10.0.0.1:81 10.0.0.2:81*5 fwm:7 10.0.0.2:80*4"
		drained = "tcp:10.0.0.1:80 10.0.0.2:80*0 10.0.0.3:80*1 tcp:10.0.0.1:81 10.0.0.2:81*0 fwm:7 10.0.0.2:80*0"
	)
	b := newBench(t, drainable)
	b.farm.set(up, "10.0.0.2:80", "10.0.0.2:81", "10.0.0.3:80")
	b.running()
	b.wait(all)

	const said = "draining 10.0.0.2:80 (tcp:10.0.0.1:80)\ndraining 10.0.0.2:81 (tcp:10.0.0.1:81)\ndraining 10.0.0.2:80 (fwm:7)\n"
	if c := b.run("drain", "10.0.0.2"); c.code != 0 || c.stdout != said || c.stderr != "" {
		t.Errorf("drain: %+v", c)
	}
	b.wait(drained)
	if c := b.run("status", "--verbose"); c.code != 0 || !strings.Contains(c.stdout, "10.0.0.2:80  up, drained  weight 0  0 active, 0 inactive  checked ") {
		t.Errorf("status: %+v", c)
	}

	// A reload keeps it, and so does a restart.
	b.write(drainable + "    failurecount=2\n")
	if c := b.run("reload"); c.code != 0 {
		t.Errorf("reload: %+v", c)
	}
	b.wait(drained)
	b.server.Stop(t.Context(), "TERM")
	b.waitEnded()
	b.running()
	b.wait(drained)

	// One service's, one port's.
	if c := b.run("ldirectord.cf", "undrain", "10.0.0.2"); c.code != 1 || !strings.Contains(c.stderr, "ldirectord is stopped") {
		t.Errorf("undrain of an instance that does not run: %+v", c)
	}
	if c := b.run("undrain", "10.0.0.2:80", "--virtual", "7"); c.code != 0 || c.stdout != "no longer drained: 10.0.0.2:80 (fwm:7)\n" {
		t.Errorf("undrain: %+v", c)
	}
	b.wait(strings.Replace(drained, "fwm:7 10.0.0.2:80*0", "fwm:7 10.0.0.2:80*4", 1))
	if c := b.run("undrain", "10.0.0.2:81"); c.code != 0 {
		t.Errorf("undrain: %+v", c)
	}
	if c := b.run("undrain", "--virtual=10.0.0.1:80", "10.0.0.2"); c.code != 0 {
		t.Errorf("undrain: %+v", c)
	}
	b.wait(all)
	if _, err := os.Stat(b.in.Drained); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", b.in.Drained, err)
	}

	// What leaves the file is forgotten.
	b.run("drain", "10.0.0.2:81")
	b.write(strings.Replace(drainable, "virtual=10.0.0.1:81\n    real=10.0.0.2:81 gate 5\n    service=http\n", "", 1))
	b.run("reload")
	b.wait("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1 fwm:7 10.0.0.2:80*4")
	if _, err := os.Stat(b.in.Drained); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", b.in.Drained, err)
	}
	b.stopped()
}

// stopped stops what running has started.
func (b *bench) stopped() {
	b.server.Stop(b.t.Context(), "TERM")
	b.waitEnded()
}

// TestDrainWaits for connections, and no longer than it is told to.
func TestDrainWaits(t *testing.T) {
	b := newBench(t, drainable)
	b.farm.set(up, "10.0.0.2:80", "10.0.0.2:81", "10.0.0.3:80")
	busy := busyTable{unclosed{b.table}, new(atomic.Pointer[map[string]uint32])}
	busy.active.Store(&map[string]uint32{"10.0.0.2:80": 12, "10.0.0.3:80": 5})
	b.change = func(o *Options) { o.OpenTable = func() (ipvs.Table, error) { return busy, nil } }
	b.running()
	begin := time.Now()
	c := b.run("drain", "10.0.0.2:80", "--virtual", "tcp:10.0.0.1:80", "--wait", "--timeout=1")
	if c.code != 4 || !strings.Contains(c.stderr, "12 active connections: 10.0.0.2:80 (tcp:10.0.0.1:80) 12\n") ||
		!strings.HasSuffix(c.stderr, "drain: not done within 1s: 12 active connections: 10.0.0.2:80 (tcp:10.0.0.1:80) 12\n") {
		t.Errorf("drain: %+v", c)
	}
	if took := time.Since(begin); took < time.Second || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	done := make(chan call)
	go func() { done <- b.run("drain", "10.0.0.2:80", "--wait", "--timeout", "1m") }()
	time.AfterFunc(700*time.Millisecond, func() { busy.active.Store(&map[string]uint32{"10.0.0.3:80": 5}) })
	if c := <-done; c.code != 0 || !strings.HasSuffix(c.stdout, "\ndrained\n") {
		t.Errorf("drain: %+v", c)
	}
	b.stopped()
}

// TestDrainWaitsForTheTable: no servers are drained as long as nobody knows.
func TestDrainWaitsForTheTable(t *testing.T) {
	for name, bad := range map[string]mood{"unreadable": {syscall.ENOBUFS, 0, 1}, "refuses": {syscall.ENOBUFS, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, drainable)
			b.farm.set(up, "10.0.0.2:80", "10.0.0.2:81", "10.0.0.3:80")
			table := moodyTable{unclosed{b.table}, new(atomic.Pointer[mood])}
			table.mood.Store(&mood{})
			b.change = func(o *Options) { o.OpenTable = func() (ipvs.Table, error) { return table, nil } }
			b.running()
			b.wait("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1 tcp:10.0.0.1:81 10.0.0.2:81*5 fwm:7 10.0.0.2:80*4")
			table.mood.Store(&bad)
			if c := b.run("drain", "10.0.0.2", "--wait", "--timeout=1"); c.code != 4 || !strings.Contains(c.stderr, "no buffer space available") {
				t.Errorf("drain: %+v", c)
			}
			if c := b.run("status", "--verbose"); !strings.Contains(c.stdout, "no buffer space available") {
				t.Errorf("status: %+v", c)
			}
			table.mood.Store(&mood{})
			if c := b.run("drain", "10.0.0.2", "--wait", "--timeout=1m"); c.code != 0 || !strings.HasSuffix(c.stdout, "\ndrained\n") {
				t.Errorf("drain: %+v", c)
			}
			b.stopped()
		})
	}
}

func TestDrainMistakes(t *testing.T) {
	b := newBench(t, drainable)
	b.running()
	for _, c := range []struct {
		code   int
		stderr string
		words  []string
	}{
		{255, "drain: 0 real servers (want one: host or host:port)\n", []string{"drain"}},
		{255, "drain: 2 real servers", []string{"drain", "a", "b"}},
		{255, "drain: --timeout without --wait\n", []string{"drain", "10.0.0.2", "--timeout", "3"}},
		{255, `drain: bad --timeout "soon" (want seconds, or a number with s, m or h)`, []string{"drain", "10.0.0.2", "--wait", "--timeout", "soon"}},
		{255, "drain: ", []string{"drain", "10.0.0.2", "--now"}},
		{255, `drain: bad port "http"`, []string{"drain", "10.0.0.2:http"}},
		{255, "undrain: there is nothing to --wait for\n", []string{"undrain", "10.0.0.2", "--wait"}},
		{1, "drain: no real server 10.0.0.77 in /etc/ha.d/ldirectord.cf\n", []string{"drain", "10.0.0.77"}},
		{1, "drain: no real server 10.0.0.2:99 in /etc/ha.d/ldirectord.cf\n", []string{"drain", "10.0.0.2:99"}},
		{1, "drain: no real server 10.0.0.3 in service 7 of /etc/ha.d/ldirectord.cf\n", []string{"drain", "10.0.0.3", "--virtual", "7"}},
	} {
		if got := b.run(c.words...); got.code != c.code || !strings.HasPrefix(got.stderr, c.stderr) || got.stdout != "" {
			t.Errorf("%q: %+v", c.words, got)
		}
	}
	if c := b.run("nope.cf", "drain", "10.0.0.2"); c.code != 1 || c.stderr != "Config file nope.cf not found\n" {
		t.Errorf("without a file: %+v", c)
	}
	// The list cannot be kept: nothing is drained.
	if err := os.MkdirAll(filepath.Join(b.dir, "var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Dir(b.in.Drained), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := b.run("drain", "10.0.0.2"); c.code != 1 || !strings.Contains(c.stderr, "drained servers: ") {
		t.Errorf("drain: %+v", c)
	}
	r, err := b.in.Report(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.Virtuals {
		for _, real := range v.Reals {
			if real.Drained {
				t.Errorf("%s %s is drained", v.ID, real.Addr)
			}
		}
	}
	b.stopped()
}

func TestDrainedFile(t *testing.T) {
	d := drainedServers{path: filepath.Join(t.TempDir(), "lib/t.drained")}
	if err := d.load(); err != nil || d.servers != nil {
		t.Errorf("without a file: %v %v", d.servers, err)
	}
	list := []director.Server{{Virtual: "tcp:10.0.0.1:80", Real: "10.0.0.2:80"}, {Virtual: "fwm6:7", Real: "[fd00::2]:0"}}
	if err := d.set(list); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(d.path)
	if err != nil || !strings.HasSuffix(string(text), "\ntcp:10.0.0.1:80 10.0.0.2:80\nfwm6:7 [fd00::2]:0\n") {
		t.Errorf("%q %v", text, err)
	}
	if err := os.WriteFile(d.path, append(text, "nonsense\n\n \x00\xff x y\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	again := drainedServers{path: d.path}
	if err := again.load(); err != nil || len(again.servers) != 2 || again.servers[1] != list[1] {
		t.Errorf("%v %v", again.servers, err)
	}
	if left, _ := filepath.Glob(d.path + ".*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestDrainedFileUnread has the file unreadable for a while: what is in it is not lost.
func TestDrainedFileUnread(t *testing.T) {
	b := newBench(t, drainable)
	b.farm.set(up, "10.0.0.2:80", "10.0.0.2:81", "10.0.0.3:80")
	if err := os.MkdirAll(b.in.Drained, 0o755); err != nil { // nobody reads that as a file
		t.Fatal(err)
	}
	b.running()
	const all = "tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1 tcp:10.0.0.1:81 10.0.0.2:81*5 fwm:7 10.0.0.2:80*4"
	b.wait(all)
	if c := b.run("drain", "10.0.0.3"); c.code != 1 || !strings.Contains(c.stderr, "drained servers: ") {
		t.Errorf("drain: %+v", c)
	}
	if err := os.Remove(b.in.Drained); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.in.Drained, []byte("fwm:7 10.0.0.2:80\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := b.run("drain", "10.0.0.3"); c.code != 0 {
		t.Errorf("drain: %+v", c)
	}
	b.wait("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*0 tcp:10.0.0.1:81 10.0.0.2:81*5 fwm:7 10.0.0.2:80*0")
	text, err := os.ReadFile(b.in.Drained)
	if want := drainedHeader + "fwm:7 10.0.0.2:80\ntcp:10.0.0.1:80 10.0.0.3:80\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
	b.stopped()
}

// TestStatusJSON is what programs read.
func TestStatusJSON(t *testing.T) {
	b := newBench(t, drainable)
	b.farm.set(up, "10.0.0.2:80")
	b.running()
	b.wait("tcp:10.0.0.1:80 10.0.0.2:80*3 tcp:10.0.0.1:81 fwm:7 10.0.0.2:80*4")
	b.write("nonsense\n")
	b.server.Reload(t.Context())
	var r Report
	for begin := time.Now(); len(r.Rejected) == 0 || r.State != director.Running; time.Sleep(time.Millisecond) {
		c := b.run("status", "--json")
		if err := json.Unmarshal([]byte(c.stdout), &r); err != nil || c.code != 0 {
			t.Fatalf("%v %+v", err, c)
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%+v", r)
		}
	}
	if r.PID != os.Getpid() || !strings.Contains(r.Rejected[0], "line 2: Unknown command nonsense") || len(r.Virtuals) != 3 {
		t.Errorf("%+v", r)
	}
	down := r.Virtuals[0].Reals[1]
	if down.Health != director.Down || down.Reason != "connection refused" || len(down.Recent) == 0 || down.InTable {
		t.Errorf("%+v", down)
	}
	c := b.run("status", "--verbose")
	for _, want := range []string{"the file is now another one, which was not taken:\n", "\ntcp:10.0.0.1:80\n", "10.0.0.3:80  down  not in the table", "connection refused"} {
		if !strings.Contains(c.stdout, want) {
			t.Errorf("no %q in\n%s", want, c.stdout)
		}
	}
	b.stopped()
}

func TestParseDrain(t *testing.T) {
	d, err := parseDrain(t.Context(), Call{Action: "drain", Args: []string{"[fd00::2]:80", "--wait", "--timeout", "90s"}}, nil)
	if err != nil || d.Addrs[0] != netip.MustParseAddr("fd00::2") || d.Port != 80 || d.timeout != 90*time.Second || !d.wait {
		t.Errorf("%+v %v", d, err)
	}
	if d, err = parseDrain(t.Context(), Call{Action: "undrain", Args: []string{"fd00::2"}}, nil); err != nil || d.Port != 0 || !d.Undrain {
		t.Errorf("%+v %v", d, err)
	}
}
