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
	sysconfig = "etc/sysconfig/ipvsadm"
	rulesFile = "etc/ipvsadm.rules"

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
	b := newBench(t, map[string]string{sysconfig: "# comment\n" + tutorial, rulesFile: "-A -t 1.2.3.4:5\n", "var/lock/subsys/other": ""})
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

// A table that a killed process has loaded is one that was left, until it is cleared.
func TestLeft(t *testing.T) {
	b := newBench(t, map[string]string{rulesFile: tutorial, "var/run/other": ""})
	left := func(a *Agent, want bool) {
		t.Helper()
		if got := a.Left(t.Context(), agent.Call{}); got != want {
			t.Errorf("left: %v, want %v", got, want)
		}
	}
	left(b.agent, false)
	b.run(agent.Start)
	left(b.agent, false) // it is this process's
	b.agent = New(b.agent.o)
	left(b.agent, true)
	b.run(agent.Stop)
	b.wantRules("")
	left(b.agent, false)
	b.run(agent.Start)
	b.run(agent.Stop)
	left(New(b.agent.o), false)
}

// A table that is as wanted is not touched, so that no connection is lost.
func TestStartOfWhatIsThere(t *testing.T) {
	b := newBench(t, map[string]string{rulesFile: tutorial})
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
			b := newBench(t, map[string]string{sysconfig: script, "var/lock/subsys/other": ""})
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
		"empty":    {sysconfig: "\n# nothing\n"},
		"a script": {sysconfig: "GW=10.0.0.1\n"},
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
	b := newBench(t, map[string]string{sysconfig: "-A -t 10.0.0.1:80 -s rr\n" +
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
	b := newBench(t, map[string]string{"etc/default/ipvsadm": "# settings\nAUTO=\"false\"\nDAEMON=\"none\"\n", rulesFile: tutorial})
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
	b.wantPrinted("Clearing the current IPVS table...done.", "Loading IPVS configuration...done.",
		"Starting IPVS Connection Synchronization Daemon: master backup.")
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

// The script of Red Hat's package has settings and exit statuses of its own.
func TestRedHat(t *testing.T) {
	const config, lock = "etc/sysconfig/ipvsadm-config", "var/lock/subsys/ipvsadm"
	b := newBench(t, map[string]string{sysconfig: tutorial, config: "# defaults\n", "var/lock/subsys/other": "", rulesFile: "-A -t 1.2.3.4:5\n"})
	module, unloaded := false, 0
	b.agent.o.Loaded = func() bool { return module || b.table.opened > 0 }
	b.agent.o.Unload = func() error { unloaded++; module = false; return nil }
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(b.root, name))
		return err == nil
	}
	// code runs an operation that may fail.
	code := func(op agent.Op, want int) agent.Result {
		t.Helper()
		b.notes = notes{}
		r, err := b.agent.Run(t.Context(), agent.Call{Op: op, Name: "ipvsadm", Log: &b.notes})
		if r.Code != want || (err != nil) != (want != 0 && op != agent.Status) {
			t.Errorf("%s: %+v, %v, want exit status %d", op, r, err, want)
		}
		return r
	}

	if r := code(agent.Status, 3); r.Output != "ipvsadm: IPVS is not running.\n" {
		t.Errorf("status: %q", r.Output)
	}
	code(agent.Start, 0)
	module = true
	b.wantRules(tutorial)
	b.wantPrinted("ipvsadm: Clearing the current IPVS table: [  OK  ]", "ipvsadm: Applying IPVS configuration:  [  OK  ]")
	if !exists(lock) {
		t.Error("no lock file after the start")
	}
	if r := code(agent.Status, 0); !strings.HasPrefix(r.Output, "IP Virtual Server") || !strings.HasSuffix(r.Output, "\n\n") {
		t.Errorf("status: %q", r.Output)
	}
	if err := b.table.Table.Do(t.Context(), ipvs.Op{Kind: ipvs.Flush}); err != nil {
		t.Fatal(err)
	}
	foreign(t, b)
	code(agent.Start, 0) // there is a lock file: nothing is done
	b.wantPrinted()
	b.wantRules("-A -t 10.0.0.1:25 -s rr\n")
	code(Reload, 0)
	b.wantRules(tutorial)

	code(agent.Stop, 0)
	b.wantRules("")
	b.wantPrinted("ipvsadm: Clearing the current IPVS table: [  OK  ]", "ipvsadm: Unloading modules: [  OK  ]")
	if unloaded != 1 || exists(lock) {
		t.Errorf("unloaded %d times, lock file %t", unloaded, exists(lock))
	}
	code(agent.Stop, 0) // nothing is loaded
	b.wantPrinted()

	// Settings.
	b.write(config, "IPVS_MODULES_UNLOAD=\"no\"\nIPVS_SAVE_ON_STOP=yes\nIPVS_STATUS_NUMERIC='no'\n")
	code(agent.Start, 0)
	module = true
	foreign(t, b)
	b.agent.o.Names = func(context.Context) ipvs.Names {
		return ipvs.Names{Service: func(port uint16, _ string) (string, bool) { return "mail", port == 25 }}
	}
	if r := code(agent.Status, 0); !strings.Contains(r.Output, "10.0.0.1:mail") {
		t.Errorf("status with names: %s", r.Output)
	}
	code(agent.Stop, 0)
	b.wantPrinted("ipvsadm: Saving IPVS table to /etc/sysconfig/ipvsadm:  [  OK  ]", "ipvsadm: Clearing the current IPVS table: [  OK  ]")
	if text, err := os.ReadFile(filepath.Join(b.root, sysconfig)); err != nil || string(text) != tutorial+"-A -t 10.0.0.1:25 -s rr\n" {
		t.Errorf("saved %v:\n%s", err, text)
	}
	if unloaded != 1 || !module {
		t.Error("unloaded against the settings")
	}
	b.write(config, "IPVS_SAVE_ON_RESTART=yes\n")
	b.write("var/lock/subsys/ipvsadm", "")
	foreign(t, b)
	code(Restart, 0)
	b.wantRules("-A -t 10.0.0.1:25 -s rr\n")
	if unloaded != 2 {
		t.Error("a restart unloads, too")
	}
	module = true
	b.agent.o.Unload = func() error { return errors.New("unload module ip_vs: device or resource busy") }
	code(agent.Stop, 1)
	b.wantLog("ipvsadm(default)[1]: ERROR: unload module ip_vs: device or resource busy")

	// What keeps a start from succeeding.
	b.write(sysconfig, "-A -t nonsense -s rr\n")
	code(agent.Start, 1)
	if exists(lock) {
		t.Error("a lock file after a start that failed")
	}
	b.write(sysconfig, "#!/bin/bash\nGW=172.16.60.1\n")
	code(agent.Start, 1)
	b.write("etc/modprobe.d/no.conf", "install ip_vs /bin/true\n")
	code(agent.Start, 150)
	b.wantPrinted("ipvsadm: ip_vs is disabled.")
	if err := os.Remove(filepath.Join(b.root, "etc/modprobe.d/no.conf")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.root, sysconfig)); err != nil {
		t.Fatal(err)
	}
	module = false
	code(agent.Start, 6)
	module = true
	foreign(t, b)
	code(agent.Start, 0) // saves what is there first
	b.wantRules("-A -t 10.0.0.1:25 -s rr\n")
	code(Save, 0)
	module = false
	b.write(lock, "")
	if r := code(agent.Status, 3); r.Output != "ipvsadm: IPVS module is not loaded.\n" {
		t.Errorf("status: %q", r.Output)
	}
}

// The script that is stood in for tells what it is; without one the settings do.
func TestFamilies(t *testing.T) {
	b := newBench(t, map[string]string{
		"debian": "#!/bin/sh\nIPVSADM_CONFIG=\"/etc/default/ipvsadm\"\nipvsadm-restore\n", "redhat": "#!/bin/bash\n. /etc/sysconfig/ipvsadm-config\nipvsadm-restore\n",
		"source": "#!/bin/bash\nipvsadm-restore < x\n", "ours": "\x7fELF ipvsadm-config /etc/default/ipvsadm",
	})
	for _, settings := range []struct {
		file string
		want family
	}{{"etc/other", source}, {"etc/sysconfig/ipvsadm-config", redHat}, {"etc/default/ipvsadm", debian}} {
		b.write(settings.file, "")
		for script, want := range map[string]family{"debian": debian, "redhat": redHat, "source": source, "ours": settings.want, "nosuch": settings.want, "": settings.want} {
			if got := familyOf(b.root, script); got != want {
				t.Errorf("script %q with %s: family %d, want %d", script, settings.file, got, want)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	b := newBench(t, map[string]string{rulesFile: tutorial})
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
	b := newBench(t, map[string]string{rulesFile: tutorial})
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
		if got := IsRuleSet(text); got != want {
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
