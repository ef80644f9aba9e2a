package compat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/lab"
)

// TestBenchLdirectord measures ours and the original, in turn, with the same real servers and the same
// files, on tables without a kernel.
func TestBenchLdirectord(t *testing.T) {
	lab.NeedRoot(t)
	lab.NeedPrograms(t, "/usr/sbin/ldirectord")
	b := newLdirectordBench(t)
	b.ipvsadm()
	for range *benchRuns {
		for _, who := range []contender{byOurs, byOriginal} {
			b.steady(who)
			b.detection(who)
		}
	}
}

// The real servers of the benchmark: addresses of one host.
const (
	benchReals = 200
	benchHow   = "http negotiate, checkinterval=1, checktimeout=3"
)

type ldirectordBench struct {
	t     *testing.T
	farm  *benchFarm
	sides map[contender]*benchDirector
}

// benchDirector is a host with one ldirectord and its table.
type benchDirector struct {
	t    *testing.T
	node *lab.Node
	*timedTable
}

// benchFarm is web servers at 10.60.0.1 to .250, each of which can be made to refuse, hang or
// swallow.
type benchFarm struct {
	t    *testing.T
	node *lab.Node
	mu   sync.Mutex
	hung map[netip.Addr]bool
	from map[netip.Addr]int // requests, by client
}

func newLdirectordBench(t *testing.T) *ldirectordBench {
	n := lab.Net(t)
	node := func(name, addr string) *lab.Node {
		nd, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}}})
		if err != nil {
			t.Fatal(err)
		}
		return nd
	}
	b := &ldirectordBench{t: t, sides: map[contender]*benchDirector{}}
	b.farm = &benchFarm{t: t, node: node("farm", "10.59.0.2/16"), hung: map[netip.Addr]bool{}, from: map[netip.Addr]int{}}
	b.farm.run("ip", "route", "add", "local", "10.60.0.0/16", "dev", "lo")
	b.farm.run("nft", "add", "table", "ip", "f")
	b.farm.run("nft", "add", "chain", "ip", "f", "in", "{ type filter hook input priority 0; }")
	l, err := b.farm.node.Listen("tcp4", ":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { _ = http.Serve(l, b.farm) }() // ends with the listener
	program, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, who := range []contender{byOurs, byOriginal} {
		d := &benchDirector{t: t, node: node(string(who), fmt.Sprintf("10.59.1.%d/16", i+1))}
		d.run("ip", "route", "add", "10.60.0.0/16", "via", "10.59.0.2")
		links := []string{"/usr/sbin/ipvsadm"}
		if who == byOurs {
			links = append(links, "/usr/sbin/ldirectord")
		}
		if err := d.node.WriteFile("/usr/lib/systole/systole", program, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if err := d.node.Symlink("/usr/lib/systole/systole", l); err != nil {
				t.Fatal(err)
			}
		}
		d.timedTable = &timedTable{Table: model.New(), times: map[ipvs.OpKind]time.Time{}}
		serveTable(t, fmt.Sprintf("/proc/%d/root/run/systole-ipvs.sock", d.node.Pid()), d.timedTable)
		b.sides[who] = d
	}
	return b
}

// ServeHTTP is the page, late if the server hangs.
func (f *benchFarm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if client, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		f.mu.Lock()
		f.from[client.Addr()]++
		f.mu.Unlock()
	}
	local := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr).AddrPort().Addr()
	for f.isHung(local) {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	fmt.Fprintln(w, "Test HA Page")
}

func (f *benchFarm) isHung(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hung[a]
}

// requests is how many came from a client.
func (f *benchFarm) requests(from netip.Addr) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.from[from]
}

func (f *benchFarm) hang(addrs ...netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range addrs {
		f.hung[a] = true
	}
}

func (f *benchFarm) run(name string, args ...string) {
	f.t.Helper()
	if r, err := f.node.Exec(context.Background(), name, args...); err != nil || r.Code != 0 {
		f.t.Fatalf("%s %v: %+v %v", name, args, r, err)
	}
}

// filter has packets to a server refused or swallowed.
func (f *benchFarm) filter(a netip.Addr, verdict ...string) {
	f.run("nft", append([]string{"add", "rule", "ip", "f", "in", "ip", "daddr", a.String(), "tcp", "dport", "80"}, verdict...)...)
}

// heal undoes all of that.
func (f *benchFarm) heal() {
	f.run("nft", "flush", "chain", "ip", "f", "in")
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.hung)
}

func (d *benchDirector) run(name string, args ...string) {
	d.t.Helper()
	c := d.node.Command(d.t.Context(), name, args...)
	c.Env = append(c.Env, "SYSTOLE_IPVS=userspace", "PERLIO=perlio")
	if r, err := c.Result(); err != nil || r.Code != 0 {
		d.t.Fatalf("%s %v: %+v %v", name, args, r, err)
	}
}

// start runs ldirectord for that many real servers until all are in the table.
func (d *benchDirector) start(reals int) (took time.Duration) {
	d.t.Helper()
	var b strings.Builder
	b.WriteString("checktimeout=3\ncheckinterval=1\nquiescent=no\nfallback=127.0.0.1:80\nvirtual=10.61.0.1:80\n\tservice=http\n" +
		"\trequest=\"test.html\"\n\treceive=\"Test HA Page\"\n\tscheduler=wlc\n")
	for i := range reals {
		fmt.Fprintf(&b, "\treal=%s:80 gate\n", benchReal(i))
	}
	if err := d.node.WriteFile("/etc/ha.d/ldirectord.cf", []byte(b.String()), 0o644); err != nil {
		d.t.Fatal(err)
	}
	begin := time.Now()
	d.run("/usr/sbin/ldirectord", "start")
	waitFor(d.t, 2*time.Minute, "all real servers in the table", func() bool { return d.serving() == reals })
	return time.Since(begin)
}

func (d *benchDirector) stop() {
	d.t.Helper()
	d.run("/usr/sbin/ldirectord", "stop")
	waitFor(d.t, 2*time.Minute, "an empty table", func() bool { return d.serving() == 0 })
	waitFor(d.t, 2*time.Minute, "the end", func() bool { return len(d.daemons()) == 0 })
}

// daemons are the processes of ldirectord.
func (d *benchDirector) daemons() (pids []int) {
	d.t.Helper()
	procs, err := d.node.Processes()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, p := range procs {
		if strings.Contains(p.Args, "ldirectord") {
			pids = append(pids, p.HostPID)
		}
	}
	return pids
}

func benchReal(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 60, 0, byte(i + 1)}) }

// ipvsadm is what a call of the original's ipvsadm costs here, where ours stands in for it.
func (b *ldirectordBench) ipvsadm() {
	const calls = 20
	begin := time.Now()
	for range calls {
		b.sides[byOriginal].run("/usr/sbin/ipvsadm", "-L", "-n")
	}
	bench.add("a call of ipvsadm, which the original's start is made of", "ms", "ours, on a model table", byOriginal, time.Since(begin).Seconds()*1000/calls)
}

// steady is a start with many servers, and what they cost then.
func (b *ldirectordBench) steady(who contender) {
	d := b.sides[who]
	took := d.start(benchReals)
	bench.add("table ready after a start, 200 real servers", "s", benchHow+"; until all are in the table", who, took.Seconds())
	time.Sleep(2 * time.Second)
	pids := d.daemons()
	if len(pids) != 1 {
		b.t.Fatalf("%s: processes %v", who, pids)
	}
	const span = 20 * time.Second
	from := d.node.Addr()
	before, asked := cpuOf(b.t, pids[0]), b.farm.requests(from)
	time.Sleep(span)
	used, checks := cpuOf(b.t, pids[0])-before, b.farm.requests(from)-asked
	bench.add("CPU of an http check, 200 real servers", "ms", benchHow, who, used.Seconds()*1000/float64(checks))
	kib, err := memory(pids[0], "VmRSS")
	if err != nil {
		b.t.Fatal(err)
	}
	bench.add("memory with 200 real servers", "MB", benchHow+"; resident", who, float64(kib)/1024)
	d.stop()
}

// detection has servers die in several ways; the time is that of the table's change.
func (b *ldirectordBench) detection(who contender) {
	d := b.sides[who]
	d.start(10)
	for _, f := range []struct {
		name, how string
		servers   int
		fault     func(netip.Addr)
	}{
		{"detection of a killed server", "refused connections", 1, func(a netip.Addr) { b.farm.filter(a, "reject", "with", "tcp", "reset") }},
		{"detection of a hung server", "accepts and says nothing", 1, func(a netip.Addr) { b.farm.hang(a) }},
		{"detection of a black-holed server", "packets vanish", 1, func(a netip.Addr) { b.farm.filter(a, "drop") }},
		{"detection of the last of 5 that hang at once", "5 of 10 accept and say nothing", 5, func(a netip.Addr) { b.farm.hang(a) }},
	} {
		time.Sleep(2*time.Second + time.Duration(rand.IntN(1000))*time.Millisecond) // at any point of the interval
		begin := time.Now()
		for i := range f.servers {
			f.fault(benchReal(2 * i))
		}
		waitFor(b.t, 2*time.Minute, f.name, func() bool { return d.serving() == 10-f.servers })
		bench.add(f.name, "s", benchHow+", 10 real servers; "+f.how, who, d.last(ipvs.DelDest).Sub(begin).Seconds())
		b.farm.heal()
		waitFor(b.t, 2*time.Minute, "all are back", func() bool { return d.serving() == 10 })
	}
	d.stop()
}

// timedTable is a model that notes when it was changed.
type timedTable struct {
	*model.Table
	mu    sync.Mutex
	times map[ipvs.OpKind]time.Time
}

// Do is ipvs.Table's.
func (t *timedTable) Do(ctx context.Context, op ipvs.Op) error {
	t.mu.Lock()
	t.times[op.Kind] = time.Now()
	t.mu.Unlock()
	return t.Table.Do(ctx, op)
}

// last is when an operation of that kind was done.
func (t *timedTable) last(kind ipvs.OpKind) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.times[kind]
}

// serving is how many real servers have weight, the fallback aside.
func (t *timedTable) serving() (n int) {
	entries, err := t.Snapshot(context.Background())
	if err != nil {
		return -1
	}
	for _, e := range entries {
		for _, d := range e.Dests {
			if d.Weight > 0 && !d.Addr.Addr().IsLoopback() {
				n++
			}
		}
	}
	return n
}
