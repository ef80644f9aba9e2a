package ipvsadm

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// notes is an agent.Log that keeps what it gets.
type notes struct {
	lines   []string // of the ha-log
	printed []string
	pid     int
}

func (n *notes) Script(tag, text string) { n.lines = append(n.lines, tag+": "+text) }
func (n *notes) Print(text string)       { n.printed = append(n.printed, text) }
func (n *notes) NextPID() int            { n.pid++; return n.pid }

// watched is a model that counts its operations and outlives its Close.
type watched struct {
	*model.Table
	ops     []ipvs.Op
	opened  int
	daemons map[ipvs.SyncRole]ipvs.SyncDaemon
}

func (w *watched) Do(ctx context.Context, op ipvs.Op) error {
	w.ops = append(w.ops, op)
	return w.Table.Do(ctx, op)
}

func (w *watched) Close() error { w.opened--; return nil }

func (w *watched) SyncDaemons(context.Context) ([]ipvs.SyncDaemon, error) { return nil, nil }

func (w *watched) StartSync(_ context.Context, d ipvs.SyncDaemon) error {
	if _, ok := w.daemons[d.Role]; ok {
		return ipvs.ErrExists
	}
	w.daemons[d.Role] = d
	return nil
}

func (w *watched) StopSync(_ context.Context, d ipvs.SyncDaemon) error {
	if _, ok := w.daemons[d.Role]; !ok {
		return ipvs.ErrNoDaemon
	}
	delete(w.daemons, d.Role)
	return nil
}

// bench is an agent on a directory in place of / and a model in place of the kernel.
type bench struct {
	*testing.T
	root  string
	table *watched
	agent *Agent
	notes notes
}

func newBench(t *testing.T, files map[string]string) *bench {
	b := &bench{T: t, root: t.TempDir(), table: &watched{Table: model.New(), daemons: map[ipvs.SyncRole]ipvs.SyncDaemon{}}}
	for name, text := range files {
		b.write(name, text)
	}
	b.restart()
	t.Cleanup(func() {
		if b.table.opened != 0 {
			t.Errorf("%d tables left open", b.table.opened)
		}
	})
	return b
}

// restart is a new process: nothing is remembered but files and the table.
func (b *bench) restart() {
	b.agent = New(Options{
		Root:  b.root,
		Names: func(context.Context) ipvs.Names { return ipvs.Names{} },
		OpenTable: func() (ipvs.Table, error) {
			b.table.opened++
			return b.table, nil
		},
	})
}

func (b *bench) write(name, text string) {
	b.Helper()
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// run does an operation, which has to succeed, and forgets what was noted before.
func (b *bench) run(op agent.Op) agent.Result {
	b.Helper()
	b.notes = notes{}
	b.table.ops = nil
	r, err := b.agent.Run(b.Context(), agent.Call{Op: op, Name: "ipvsadm", Log: &b.notes})
	if err != nil || r.Code != 0 {
		b.Errorf("%s: %+v, %v", op, r, err)
	}
	return r
}

// rules is the table as ipvsadm -S -n prints it.
func (b *bench) rules() string {
	b.Helper()
	entries, err := b.table.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ipvs.SortEntries(entries)
	var text []byte
	for _, e := range entries {
		text = ipvs.AppendRule(text, e, ipvs.Names{})
	}
	return string(text)
}

func (b *bench) wantRules(want string) {
	b.Helper()
	if got := b.rules(); got != want {
		b.Errorf("the table is\n%swant\n%s", got, want)
	}
}

func (b *bench) wantLog(want ...string) {
	b.Helper()
	if got := strings.Join(b.notes.lines, "\n"); got != strings.Join(want, "\n") {
		b.Errorf("log:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func (b *bench) wantPrinted(want ...string) {
	b.Helper()
	if got := strings.Join(b.notes.printed, "\n"); got != strings.Join(want, "\n") {
		b.Errorf("printed:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

const (
	redHat = "etc/sysconfig/ipvsadm"
	source = "etc/ipvsadm.rules"

	tutorial = "-A -t 172.16.60.111:80 -s wlc -p 600\n" +
		"-a -t 172.16.60.111:80 -r 172.16.60.204:80 -g -w 1\n" +
		"-a -t 172.16.60.111:80 -r 172.16.60.205:80 -g -w 1\n"
)

func foreign(t *testing.T, b *bench) {
	t.Helper()
	vip := ipvs.VIP{Protocol: ipvs.TCP, Family: ipvs.IPv4, Addr: netip.MustParseAddrPort("10.0.0.1:25")}
	if err := b.table.Table.Do(t.Context(), ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{VIP: vip, Scheduler: "rr"}}); err != nil {
		t.Fatal(err)
	}
}

func TestStartAndStop(t *testing.T) {
	b := newBench(t, map[string]string{redHat: "# comment\n" + tutorial, source: "-A -t 1.2.3.4:5\n", "var/lock/subsys/other": ""})
	foreign(t, b)
	b.run(agent.Start)
	b.wantRules(tutorial)
	b.wantLog()
	b.wantPrinted("Clearing the current IPVS table: [  OK  ]", "Applying IPVS configuration:  [  OK  ]")
	if first := b.table.ops[1].Dest.Addr.Addr().String(); first != "172.16.60.204" {
		t.Errorf("the first real server added is %s", first)
	}
	if _, err := os.Stat(filepath.Join(b.root, lockFile)); err != nil {
		t.Errorf("lock file: %v", err)
	}
	b.run(agent.Stop)
	b.wantRules("")
	b.wantPrinted("Clearing the current IPVS table: [  OK  ]")
	if _, err := os.Stat(filepath.Join(b.root, lockFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lock file after stop: %v", err)
	}
	b.run(agent.Stop)
	b.run(agent.Start)
	b.wantRules(tutorial)
}

// A table that is as wanted is not touched, so that no connection is lost.
func TestStartOfWhatIsThere(t *testing.T) {
	b := newBench(t, map[string]string{source: tutorial})
	b.run(agent.Start)
	b.restart()
	b.run(agent.Start)
	if len(b.table.ops) > 0 {
		t.Errorf("operations: %v", b.table.ops)
	}
	b.wantRules(tutorial)
	b.run(agent.Stop)
	foreign(t, b)
	b.restart()
	b.run(agent.Start)
	b.wantRules(tutorial)
	for _, op := range b.table.ops {
		if op.Kind == ipvs.Flush {
			t.Errorf("operations: %v", b.table.ops)
		}
	}
}

// heartbeat starts the resource again whenever it takes a group that it has. What ldirectord has
// made of the table by then stays.
func TestRepeatedStart(t *testing.T) {
	script := "#!/bin/bash\nGW=172.16.60.1\ncase \"$1\" in start) ;; esac\n"
	for name, remembered := range map[string]bool{"same process": false, "restarted, with a lock file": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, map[string]string{redHat: script, "var/lock/subsys/other": ""})
			b.run(agent.Start)
			b.wantRules("")
			b.wantPrinted("ipvsadm: /etc/sysconfig/ipvsadm is a script, no rules, and is not run",
				"Try `ipvsadm -h' or 'ipvsadm --help' for more information.",
				"Clearing the current IPVS table: [  OK  ]", "Applying IPVS configuration:  [  OK  ]")
			foreign(t, b)
			if remembered {
				b.restart()
			}
			b.run(agent.Start)
			b.wantRules("-A -t 10.0.0.1:25 -s rr\n")
			b.run(agent.Stop)
			b.wantRules("")
			foreign(t, b)
			b.run(agent.Start)
			b.wantRules("")
		})
	}
}

func TestNoRules(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no file":  {},
		"empty":    {redHat: "\n# nothing\n"},
		"a script": {redHat: "GW=10.0.0.1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, files)
			foreign(t, b)
			b.run(agent.Start)
			b.wantRules("")
			b.wantLog()
		})
	}
}

func TestBadRules(t *testing.T) {
	b := newBench(t, map[string]string{redHat: "-A -t 10.0.0.1:80 -s rr\n" +
		"-A -t 10.0.0.1:80 -s rr\n" +
		"-A -t 10.0.0.1:81 --what\n" +
		"--set 1 2 3\n" +
		"-A -t 10.0.0.1:82 -s nosuch\n" +
		"--start-daemon master --syncid 7\n" +
		"-a -t 10.0.0.1:80 -r 10.0.0.2 -w many\n" +
		"-A -t 10.0.0.1:83\n"})
	b.run(agent.Start)
	b.wantRules("-A -t 10.0.0.1:80 -s rr\n")
	b.wantLog(
		"ipvsadm(default)[1]: ERROR: /etc/sysconfig/ipvsadm:2:1: add service tcp:10.0.0.1:80: already exists",
		"ipvsadm(default)[1]: ERROR: /etc/sysconfig/ipvsadm:3:19: --what: unknown option",
		"ipvsadm(default)[1]: ERROR: /etc/sysconfig/ipvsadm:5:1: add service tcp:10.0.0.1:82: no such scheduler or persistence engine",
		"ipvsadm(default)[1]: ERROR: /etc/sysconfig/ipvsadm:7:34: illegal weight specified (want 0 or more)")
	b.wantPrinted("Clearing the current IPVS table: [FAILED]", "Applying IPVS configuration:  [FAILED]")
	if to, err := b.table.Timeouts(t.Context()); err != nil || to != (ipvs.Timeouts{TCP: 1, TCPFin: 2, UDP: 3}) {
		t.Errorf("timeouts: %+v, %v", to, err)
	}
	if d := b.table.daemons[ipvs.SyncMaster]; d.SyncID != 7 || d.Iface != "eth0" {
		t.Errorf("sync daemons: %+v", b.table.daemons)
	}
}

func TestDebian(t *testing.T) {
	b := newBench(t, map[string]string{"etc/default/ipvsadm": "# settings\nAUTO=\"false\"\nDAEMON=\"none\"\n", source: tutorial})
	foreign(t, b)
	b.agent.o.OpenTable = func() (ipvs.Table, error) { return nil, errors.New("not needed") }
	b.run(agent.Start)
	b.wantLog()
	b.wantPrinted("ipvsadm is not configured to run. Please edit /etc/default/ipvsadm.")
	b.run(agent.Stop)
	b.wantPrinted("ipvsadm is not configured to run. Please run dpkg-reconfigure ipvsadm.")
	b.wantRules("-A -t 10.0.0.1:25 -s rr\n")

	b.restart()
	b.write("etc/default/ipvsadm", "AUTO=true # load\nDAEMON='both'\nIFACE=lo\nSYNCID=5\n")
	b.run(agent.Start)
	b.wantRules(tutorial)
	b.wantPrinted("Clearing the current IPVS table...done.", "Loading IPVS configuration...done.")
	if m, s := b.table.daemons[ipvs.SyncMaster], b.table.daemons[ipvs.SyncBackup]; m.Iface != "lo" || m.SyncID != 5 || s.Iface != "lo" {
		t.Errorf("sync daemons: %+v", b.table.daemons)
	}
	b.run(agent.Start)
	b.wantLog()
	b.run(agent.Stop)
	b.wantLog()
	b.wantRules("")
	if len(b.table.daemons) > 0 {
		t.Errorf("sync daemons after stop: %+v", b.table.daemons)
	}
	b.run(agent.Stop)
	b.wantLog()
}

func TestStatus(t *testing.T) {
	b := newBench(t, map[string]string{source: tutorial})
	b.run(agent.Start)
	for _, op := range []agent.Op{agent.Status, agent.Monitor} {
		r := b.run(op)
		const want = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  172.16.60.111:80 wlc persistent 600
  -> 172.16.60.204:80             Route   1      0          0         
  -> 172.16.60.205:80             Route   1      0          0         
`
		if r.Output != want || r.State != agent.Unknown {
			t.Errorf("%s: %+v", op, r)
		}
		if regexp.MustCompile(`[Rr]unning|OK`).MatchString(r.Output) {
			t.Errorf("heartbeat would take this for running: %s", r.Output)
		}
	}
}

// Without IPVS the log says so, and the operation succeeds as the original's does.
func TestNoIPVS(t *testing.T) {
	b := newBench(t, map[string]string{source: tutorial})
	b.agent.o.OpenTable = func() (ipvs.Table, error) { return nil, errors.New("open IPVS: none here") }
	for _, op := range []agent.Op{agent.Start, agent.Stop, agent.Status} {
		b.run(op)
		b.wantLog("ipvsadm(default)[1]: ERROR: open IPVS: none here")
	}
	if _, err := b.agent.Run(t.Context(), agent.Call{Op: "promote", Log: &b.notes}); err == nil {
		t.Error("an unknown operation succeeds")
	}
}

func TestIsRuleSet(t *testing.T) {
	for text, want := range map[string]bool{
		"":                               true,
		"# only\n\n  # comments\n":       true,
		"-A -t 1.2.3.4:80\n":             true,
		"  \t--add-service -t 1.2.3.4:1": true,
		"ipvsadm -A -t 1.2.3.4:80\n":     true,
		"#!/bin/sh\n-A -t 1.2.3.4:80\n":  true,
		"#!/bin/sh\nipvsadm -C\n":        true,
		"#!/bin/sh\n/sbin/ipvsadm -C\n":  false,
		"GW=1.2.3.4\n-A -t 1.2.3.4:80\n": false,
		"case $1 in\n":                   false,
	} {
		if got := isRuleSet(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestSystemNames(t *testing.T) {
	n := SystemNames(t.Context())
	if a, ok := n.Addr("localhost"); !ok || a != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("localhost: %v, %v", a, ok)
	}
	file := filepath.Join(t.TempDir(), "services")
	text := "# services\nhttp\t80/tcp\twww # web\nntp 123/udp\nbad\nworse x/tcp\ndomain 53/tcp\ndomain 53/udp\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	services := readServices(file)
	if len(services) != 4 || !services[0].called("www") || services[1].proto != "udp" || services[1].port != 123 {
		t.Errorf("services: %+v", services)
	}
}
