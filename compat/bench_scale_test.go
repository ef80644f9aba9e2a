package compat

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// The scale of TestBenchScale: services, real servers of each, and the hosts that these are on.
const (
	scaleVirtuals = 1000
	scaleReals    = 3
	scaleHosts    = 100
	scalePorts    = scaleVirtuals * scaleReals / scaleHosts // services of a host
)

const scaleHow = "1,000 virtual services of 3 real servers on 100 hosts, checktype=connect, checkinterval=1"

// TestBenchScale is a thousand services with three real servers each, checked every second, while one
// host in a hundred swallows packets.
func TestBenchScale(t *testing.T) {
	lab.NeedRoot(t)
	for range *benchRuns {
		benchScale(t)
	}
}

func benchScale(t *testing.T) {
	n, err := lab.New(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	farm := newScaleFarm(t, n)
	defer farm.close()
	d := newScaleDirector(t, n, scaleConfig())

	begin := time.Now()
	d.ldirectord("start")
	bench.add("table ready after a start, 3,000 real servers", "s", scaleHow+"; until all are in the table", byOurs, d.waitUp(begin, scaleVirtuals*scaleReals))
	farm.blackhole(1)
	waitFor(t, time.Minute, "the host's servers are out", func() bool { return d.up() == scaleVirtuals*scaleReals-scalePorts })

	const span = 20 * time.Second
	farm.record()
	cpu, at := d.cpu(), time.Now()
	time.Sleep(span)
	used, took := d.cpu()-cpu, time.Since(at)
	late := farm.lateness(took)
	bench.add("lateness of checks, 3,000 a second, one host black-holed, p99", "ms", scaleHow+"; as the servers see it", byOurs, late.p99)
	bench.add("lateness of checks, the latest", "ms", scaleHow+"; as the servers see it", byOurs, late.most)
	bench.add("CPU, 3,000 connect checks a second", "cores", scaleHow, byOurs, used.Seconds()/took.Seconds())
	bench.add("CPU of a connect check", "ms", scaleHow, byOurs, used.Seconds()*1000/float64(late.checks))
	bench.add("memory with 3,000 real servers", "MB", scaleHow+"; resident, at its most", byOurs, float64(d.memory("VmHWM"))/1024)

	before := d.report().Loaded
	at = time.Now()
	d.ldirectord("reload")
	var loaded time.Time
	waitFor(t, time.Minute, "the file is read again", func() bool {
		r := d.report()
		loaded = r.Loaded
		return loaded.After(before) && r.State.String() == "running"
	})
	bench.add("reload of 3,000 real servers", "s", scaleHow+"; nothing changed", byOurs, time.Since(at).Seconds())
	d.ldirectord("stop")
}

// scaleConfig is the file.
func scaleConfig() string {
	var b strings.Builder
	b.WriteString("checkinterval=1\nchecktimeout=3\nquiescent=no\n")
	for i := range scaleVirtuals {
		fmt.Fprintf(&b, "virtual=10.61.%d.%d:80\n\tchecktype=connect\n\tscheduler=wlc\n", i/250, i%250+1)
		for k := range scaleReals {
			n := i*scaleReals + k
			fmt.Fprintf(&b, "\treal=10.60.0.%d:%d masq\n", n%scaleHosts+1, 8000+n/scaleHosts)
		}
	}
	return b.String()
}

// scaleFarm is all real servers.
type scaleFarm struct {
	t    *testing.T
	node *lab.Node
	ls   []net.Listener

	mu    sync.Mutex
	seen  map[netip.AddrPort][]time.Time
	since time.Time
	dead  netip.Addr
}

func newScaleFarm(t *testing.T, n *lab.Network) *scaleFarm {
	node, err := n.AddNode(lab.NodeSpec{Name: "farm", Links: []lab.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix("10.59.0.2/16")}}}})
	if err != nil {
		t.Fatal(err)
	}
	f := &scaleFarm{t: t, node: node, seen: map[netip.AddrPort][]time.Time{}}
	f.run("ip", "route", "add", "local", "10.60.0.0/16", "dev", "lo")
	for i := range scalePorts {
		l, err := node.Listen("tcp4", fmt.Sprintf(":%d", 8000+i))
		if err != nil {
			t.Fatal(err)
		}
		f.ls = append(f.ls, l)
		go f.serve(l) // ends with the listener
	}
	return f
}

func (f *scaleFarm) run(name string, args ...string) {
	f.t.Helper()
	if r, err := f.node.Exec(context.Background(), name, args...); err != nil || r.Code != 0 {
		f.t.Fatalf("%s %v: %+v %v", name, args, r, err)
	}
}

func (f *scaleFarm) close() {
	for _, l := range f.ls {
		l.Close()
	}
}

func (f *scaleFarm) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		at := time.Now()
		to := c.LocalAddr().(*net.TCPAddr).AddrPort()
		c.Close()
		f.mu.Lock()
		f.seen[to] = append(f.seen[to], at)
		f.mu.Unlock()
	}
}

// blackhole has packets to a host vanish.
func (f *scaleFarm) blackhole(host int) {
	f.dead = netip.MustParseAddr(fmt.Sprintf("10.60.0.%d", host))
	f.run("nft", "add", "table", "ip", "hole")
	f.run("nft", "add", "chain", "ip", "hole", "in", "{ type filter hook input priority 0; }")
	f.run("nft", "add", "rule", "ip", "hole", "in", "ip", "daddr", f.dead.String(), "drop")
}

// record begins anew.
func (f *scaleFarm) record() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.since = map[netip.AddrPort][]time.Time{}, time.Now()
}

type lateChecks struct {
	p99, most float64 // ms
	checks    int
}

// lateness compares each server's checks with a grid of seconds that none of them is before. A
// check that never came is a second late.
func (f *scaleFarm) lateness(span time.Duration) lateChecks {
	f.mu.Lock()
	defer f.mu.Unlock()
	var late []time.Duration
	checks := 0
	for addr, times := range f.seen {
		if addr.Addr() == f.dead {
			continue
		}
		checks += len(times)
		first := times[0]
		phase := time.Duration(0)
		for _, at := range times {
			d := at.Sub(first)
			phase = min(phase, d-d.Round(time.Second))
		}
		for _, at := range times {
			d := at.Sub(first) - phase
			late = append(late, d-d.Truncate(time.Second))
		}
		for range int(span/time.Second) - len(times) {
			late = append(late, time.Second)
		}
	}
	if want := (scaleVirtuals*scaleReals - scalePorts); len(f.seen) < want {
		f.t.Fatalf("%d servers were checked, want %d", len(f.seen), want)
	}
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return lateChecks{ms(late[len(late)*99/100]), ms(late[len(late)-1]), checks}
}

// scaleDirector is a host with ldirectord on it.
type scaleDirector struct {
	t    *testing.T
	node *lab.Node
	env  []string
}

func newScaleDirector(t *testing.T, n *lab.Network, config string) *scaleDirector {
	node, err := n.AddNode(lab.NodeSpec{Name: "director", Links: []lab.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix("10.59.0.1/16")}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := &scaleDirector{t: t, node: node, env: []string{"SYSTOLE_IPVS=model"}}
	path := os.Getenv(lab.SystoleEnv) // in a virtual machine
	if path == "" {
		path = program(t)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"/usr/sbin/ldirectord": string(program), "/etc/ha.d/ldirectord.cf": config} {
		if err := node.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := node.Exec(t.Context(), "ip", "route", "add", "10.60.0.0/16", "via", "10.59.0.2"); err != nil || r.Code != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	return d
}

func (d *scaleDirector) ldirectord(args ...string) lab.Result {
	d.t.Helper()
	c := d.node.Command(d.t.Context(), "/usr/sbin/ldirectord", args...)
	c.Env = append(c.Env, d.env...)
	r, err := c.Result()
	if err != nil || r.Code != 0 {
		d.t.Fatalf("ldirectord %v: %+v %v", args, r, err)
	}
	return r
}

func (d *scaleDirector) report() (r ldirectord.Report) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.ldirectord("status", "--json").Stdout), &r); err != nil {
		d.t.Fatal(err)
	}
	return r
}

// up is how many real servers are in the table with their weight.
func (d *scaleDirector) up() (n int) {
	for _, v := range d.report().Virtuals {
		for _, r := range v.Reals {
			if r.InTable && r.Weight > 0 {
				n++
			}
		}
	}
	return n
}

func (d *scaleDirector) waitUp(begin time.Time, n int) float64 {
	d.t.Helper()
	waitFor(d.t, 2*time.Minute, fmt.Sprintf("%d servers in the table", n), func() bool { return d.up() == n })
	return time.Since(begin).Seconds()
}

// pid is the daemon's on the machine.
func (d *scaleDirector) pid() int {
	d.t.Helper()
	procs, err := d.node.Processes()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range procs {
		if strings.HasSuffix(p.Args, "ldirectord start") {
			return p.HostPID
		}
	}
	d.t.Fatalf("no daemon among %v", procs)
	return 0
}

func (d *scaleDirector) cpu() time.Duration { return cpuOf(d.t, d.pid()) }

func (d *scaleDirector) memory(field string) int {
	d.t.Helper()
	kib, err := memory(d.pid(), field)
	if err != nil {
		d.t.Fatal(err)
	}
	return kib
}

// cpuOf is the time that a process has computed so far, to the nanosecond: /proc counts ticks, which
// say little of a process that runs for some microseconds at a time.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil { // CPUCLOCK_SCHED of the process, as clock_getcpuclockid(3) has it
		t.Fatalf("CPU clock of %d: %v", pid, err)
	}
	return time.Duration(ts.Nano())
}
