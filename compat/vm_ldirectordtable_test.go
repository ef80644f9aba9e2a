package compat

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// TestVMLdirectordTable: ldirectord over a kernel's IPVS which lacks a scheduler, fails at times, is
// unloaded and loaded again, and is edited by somebody else; and a director that is restarted under traffic.
func TestVMLdirectordTable(t *testing.T) {
	if !lab.InVM(t, lab.WithSystole(t), withModules(t), func(s *lab.Spec) { s.Limit, s.Memory = 8*time.Minute, 2048 }) {
		return
	}
	d := newTableDirector(t)
	t.Run("UnderTraffic", d.underTraffic)
	t.Run("Drain", d.drains)
	t.Run("MissingScheduler", d.missingScheduler)
	t.Run("Edits", d.edits)
	t.Run("LeftAlone", d.leftAlone)
	t.Run("Faults", d.faults)
	t.Run("Persistence", d.persistence)
	t.Run("Unloaded", d.unloaded) // last: it empties the table
}

// modulesEnv tells a guest where the files of the kernel's modules are.
const modulesEnv = "SYSTOLE_TEST_MODULES"

func withModules(t *testing.T) func(*lab.Spec) {
	return func(s *lab.Spec) {
		dir := os.Getenv(lab.KernelEnv)
		if dir == "" {
			cache, err := os.UserCacheDir()
			if err != nil {
				t.Fatal(err)
			}
			dir = filepath.Join(cache, "systole", "vm-kernel")
		}
		if s.Env == nil {
			s.Env = os.Environ()
		}
		s.Env = append(s.Env, modulesEnv+"="+dir)
	}
}

// tableDirector is the tutorial's hosts, of which the master runs ldirectord alone.
type tableDirector struct {
	t *testing.T
	*lab.Hosts
}

const tableConfig = `checktimeout=5
checkinterval=1
quiescent=no
cleanstop=no
virtual=172.16.60.111:80
	real=172.16.60.204:80 gate 3
	real=172.16.60.205:80 gate 3
	service=http
	request="lvs_testpage.html"
	receive="Test HA Page"
	scheduler=rr
virtual=172.16.60.111:7000
	real=172.16.60.204:7000 gate
	real=172.16.60.205:7000 gate
	checktype=connect
	checkport=80
	scheduler=rr
`

func newTableDirector(t *testing.T) *tableDirector {
	d := &tableDirector{t, tutorial(t, lab.HostsOptions{Log: func(string, ...any) {}})}
	for _, rs := range d.Real {
		l, err := rs.Listen("tcp4", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go echoAll(l)
	}
	d.run(t, "ip", "addr", "add", lab.VIP.String()+"/32", "dev", "eth0")
	d.configure(t, tableConfig)
	d.run(t, "ldirectord", "start")
	d.waitTable(t, "all real servers", func(table string) bool { return strings.Count(table, "->") == 5 })
	return d
}

// run runs a command of the director, which succeeds.
func (d *tableDirector) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	r, err := d.Master.Exec(t.Context(), name, args...)
	if err != nil || r.Code != 0 {
		t.Fatalf("%s %v: %+v %v", name, args, r, err)
	}
	return r.Stdout
}

func (d *tableDirector) configure(t *testing.T, text string) {
	t.Helper()
	if err := d.Master.WriteFile("/etc/ha.d/ldirectord.cf", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (d *tableDirector) log(t *testing.T) string {
	t.Helper()
	text, err := d.Master.ReadFile("/var/log/ldirectord.log")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (d *tableDirector) waitTable(t *testing.T, what string, ok func(table string) bool) {
	t.Helper()
	var last string
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if last = table(t.Context(), d.Master); ok(last) {
			return
		}
		if time.Since(begin) > lab.Patient(time.Minute) {
			t.Fatalf("the table never has %s:\n%s\nlog ends:\n%s", what, last, lastLines(d.log(t), 30))
		}
	}
}

// underTraffic restarts the director in every way there is. No connection ends, and none is refused.
func (d *tableDirector) underTraffic(t *testing.T) {
	conns := d.dial(t, 100)
	askers := newAskers(d.Client, "http://"+lab.VIP.String()+"/", 4)
	defer askers.stop()
	for _, how := range []string{"reload", "restart", "kill", "stop", "changed"} {
		switch how {
		case "kill":
			d.run(t, "sh", "-c", "kill -9 $(cat /var/run/ldirectord.ldirectord.pid)")
			d.run(t, "ldirectord", "start")
		case "stop": // cleanstop=no
			d.run(t, "ldirectord", "stop")
			d.run(t, "ldirectord", "start")
		case "changed":
			d.configure(t, strings.Replace(tableConfig, "gate 3", "gate 5", 1)+"# changed\n")
			d.run(t, "ldirectord", "reload")
			d.waitTable(t, "the other weight", func(table string) bool { return strings.Contains(table, "Route   5") })
		default:
			d.run(t, "ldirectord", how)
		}
		time.Sleep(1500 * time.Millisecond) // more than an interval
		said(t, conns, "after "+how)
		if by, failed := askers.take(); len(failed) > 0 || len(by) != 2 {
			t.Errorf("%s: not answered: %v; answers by %v", how, failed, by)
		}
	}
	askers.stop()
	if log := d.log(t); strings.Contains(log, "Deleted ") || strings.Contains(log, "Purged real") || strings.Count(log, "Added real server") != 4 {
		t.Errorf("log:\n%s", log)
	}
}

// dial opens connections to the service that echoes. They end with the test at the latest.
func (d *tableDirector) dial(t *testing.T, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := d.Client.Dial(t.Context(), "tcp4", "172.16.60.111:7000")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns[i] = c
	}
	return conns
}

// echoes is how the two servers of that service are.
func (d *tableDirector) echoes(t *testing.T) (first, second director.RealStatus) {
	t.Helper()
	v := d.report(t).Virtuals[1]
	return v.Reals[0], v.Reals[1]
}

// drains takes a server out of service under its connections, over a reload, a restart and a crash.
func (d *tableDirector) drains(t *testing.T) {
	const server = "172.16.60.204:7000"
	waitFor(t, time.Minute, "no connections of earlier tests", func() bool {
		first, second := d.echoes(t)
		return first.Active+second.Active == 0
	})
	old := d.dial(t, 20)
	begun, _ := d.echoes(t)
	if begun.Active != 10 { // of rr
		t.Fatalf("%+v", begun)
	}
	r, err := d.Master.Exec(t.Context(), "ldirectord", "drain", server, "--wait", "--timeout", "2")
	if err != nil || r.Code != 4 || !strings.Contains(r.Stderr, "not done within 2s: 10 active connections: "+server) {
		t.Fatalf("drain: %+v %v", r, err)
	}
	for _, how := range []string{"drain", "reload", "restart", "kill"} {
		switch how {
		case "drain":
		case "kill":
			d.run(t, "sh", "-c", "kill -9 $(cat /var/run/ldirectord.ldirectord.pid)")
			d.run(t, "ldirectord", "start")
		default:
			d.run(t, "ldirectord", how)
		}
		_, before := d.echoes(t)
		conns := d.dial(t, 4)
		said(t, append(conns, old...), "after "+how)
		drained, other := d.echoes(t)
		if !drained.Drained || drained.Weight != 0 || drained.Active != 10 || other.Active != before.Active+4 {
			t.Errorf("after %s: %+v, %+v", how, drained, other)
		}
		if text := d.run(t, "ldirectord", "status", "--verbose"); !strings.Contains(text, server+"  up, drained  weight 0  10 active") {
			t.Errorf("after %s:\n%s", how, text)
		}
	}
	waiter := d.Master.Command(t.Context(), "ldirectord", "drain", server, "--wait")
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- waiter.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("drain --wait ends before the connections do: %v", err)
	case <-time.After(2 * time.Second):
	}
	for _, c := range old {
		c.Close()
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("drain --wait: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("drain --wait does not end with the last connection")
	}
	d.run(t, "ldirectord", "undrain", server)
	d.waitTable(t, "the server with its weight", regexp.MustCompile(regexp.QuoteMeta(server)+` +Route +1 `).MatchString)
	said(t, d.dial(t, 20), "after undrain")
	if first, _ := d.echoes(t); first.Drained || first.Active == 0 {
		t.Errorf("after undrain: %+v", first)
	}
}

// askers fetch a page again and again, each time over a new connection. They are patient: what they
// complain of was refused or cut, not slow.
type askers struct {
	end   context.CancelFunc
	group sync.WaitGroup

	mu     sync.Mutex
	by     map[string]int // answers since the last take
	failed []error
}

func newAskers(from *lab.Node, url string, n int) *askers {
	ctx, cancel := context.WithCancel(context.Background())
	a := &askers{end: cancel, by: map[string]int{}}
	for range n {
		a.group.Go(func() {
			client := from.HTTPClient()
			client.Timeout = time.Minute
			for ctx.Err() == nil {
				a.ask(client, url)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return a
}

func (a *askers) ask(client *http.Client, url string) {
	r, err := client.Get(url)
	var page []byte
	if err == nil {
		page, err = io.ReadAll(r.Body)
		r.Body.Close()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.failed = append(a.failed, err)
		return
	}
	a.by[strings.TrimSpace(string(page))]++
}

// take returns what happened since the last time.
func (a *askers) take() (by map[string]int, failed []error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	by, failed = a.by, a.failed
	a.by, a.failed = map[string]int{}, nil
	return by, failed
}

func (a *askers) stop() {
	a.end()
	a.group.Wait()
}

// missingScheduler names one that the kernel gets only later.
func (d *tableDirector) missingScheduler(t *testing.T) {
	if err := unix.DeleteModule("ip_vs_ovf", 0); err != nil {
		t.Fatal(err)
	}
	more := "virtual=172.16.60.111:81\n\treal=172.16.60.204:80 masq\n\tchecktype=connect\n\tscheduler=ovf\n"
	d.configure(t, strings.Replace(tableConfig, "scheduler=rr", "scheduler=ovf", 1)+more)
	d.run(t, "ldirectord", "reload")
	for _, want := range []string{
		"Failed to change service tcp:172.16.60.111:80: no such scheduler", "Failed to add service tcp:172.16.60.111:81: no such scheduler",
	} {
		waitFor(t, time.Minute, want, func() bool { return strings.Contains(d.log(t), want) })
	}
	time.Sleep(5 * time.Second) // which it is tried again in
	if table := table(t.Context(), d.Master); strings.Count(table, "->") != 5 || strings.Contains(table, ":81") {
		t.Errorf("the others are not as they were:\n%s", table)
	}
	if log := d.log(t); strings.Count(log, "Failed to ") != 2 {
		t.Errorf("it is told again and again:\n%s", log)
	}
	loadModules(t, "ip_vs_ovf")
	d.waitTable(t, "the scheduler", func(table string) bool {
		return strings.Contains(table, "172.16.60.111:80 ovf") && strings.Contains(table, "172.16.60.111:81 ovf") && strings.Count(table, "->") == 6
	})
}

// edits has somebody else change everything.
func (d *tableDirector) edits(t *testing.T) {
	d.configure(t, tableConfig)
	d.run(t, "ldirectord", "reload")
	d.waitTable(t, "the first file again", func(table string) bool { return strings.Contains(table, "172.16.60.111:80 rr") })
	want := d.run(t, "sh", "-c", "ipvsadm -Sn | sort")
	for _, edit := range [][]string{
		{"-e", "-t", "172.16.60.111:80", "-r", "172.16.60.204:80", "-g", "-w", "0"},
		{"-e", "-t", "172.16.60.111:80", "-r", "172.16.60.204:80", "-m", "-w", "3"},
		{"-d", "-t", "172.16.60.111:80", "-r", "172.16.60.205:80"},
		{"-E", "-t", "172.16.60.111:80", "-s", "lc", "-p", "90"},
		{"-D", "-t", "172.16.60.111:7000"},
		{"-C"},
	} {
		repairs := d.repairs(t)
		begin := time.Now()
		d.run(t, "ipvsadm", edit...)
		waitFor(t, time.Minute, fmt.Sprintf("%v is undone", edit), func() bool {
			return d.run(t, "sh", "-c", "ipvsadm -Sn | sort") == want
		})
		t.Logf("%v: undone after %v", edit, time.Since(begin).Round(10*time.Millisecond))
		if d.repairs(t) <= repairs {
			t.Errorf("%v is not counted", edit)
		}
	}
}

// leftAlone has somebody else remove what is to stay removed then, and something that is not.
func (d *tableDirector) leftAlone(t *testing.T) {
	const (
		quiet = "virtual=172.16.60.111:81\n\treal=172.16.60.204:1 masq\n\treal=172.16.60.204:80 masq\n\tchecktype=connect\n\tscheduler=rr\n\tquiescent=yes\n"
		free  = "service 172.16.60.111:7000 leaveedits yes\n"
	)
	if err := d.Master.WriteFile("/etc/ha.d/systole.cf", []byte(free), 0o644); err != nil {
		t.Fatal(err)
	}
	d.configure(t, "readdquiescent=no\n"+tableConfig+quiet)
	d.run(t, "ldirectord", "reload")
	d.waitTable(t, "a server without weight", func(table string) bool {
		return strings.Count(table, "->") == 7 && regexp.MustCompile(`172.16.60.204:1 +Masq +0 `).MatchString(table)
	})
	removed := []string{"172.16.60.111:81 172.16.60.204:1", "172.16.60.111:7000 172.16.60.205:7000", "172.16.60.111:81 172.16.60.204:80"}
	has := func(n int) bool {
		service, server, _ := strings.Cut(removed[n], " ")
		return regexp.MustCompile(`(?m)^-a -t ` + service + ` -r ` + server + ` `).MatchString(d.run(t, "ipvsadm", "-Sn"))
	}
	before := d.repairs(t)
	remove := func(n int) {
		service, server, _ := strings.Cut(removed[n], " ")
		if !has(n) {
			t.Fatalf("%s is not there", removed[n])
		}
		d.run(t, "ipvsadm", "-d", "-t", service, "-r", server)
	}
	remove(0)
	remove(1)
	for range 2 { // intervals
		remove(2)
		waitFor(t, time.Minute, "the third is back", func() bool { return has(2) })
		if has(0) || has(1) {
			t.Errorf("what somebody else has removed is back:\n%s", d.run(t, "ipvsadm", "-Sn"))
		}
	}
	if got := d.repairs(t) - before; got != 2 {
		t.Errorf("%d repairs are counted", got)
	}
	if err := d.Master.Remove("/etc/ha.d/systole.cf"); err != nil {
		t.Fatal(err)
	}
	d.configure(t, tableConfig)
	d.run(t, "ldirectord", "reload")
	d.waitTable(t, "the first file again", func(table string) bool { return strings.Count(table, "->") == 5 })
}

// faults has system calls of the daemon fail that bring it the table, as a full or busy kernel has them: some, from its start, or
// all of them for some seconds.
func (d *tableDirector) faults(t *testing.T) {
	lab.NeedPrograms(t, "strace")
	const (
		strace  = "strace -f -qq -o /tmp/strace -e trace=recvmsg,sendmsg -e inject="
		pidfile = "/var/run/ldirectord.ldirectord.pid"
	)
	want := d.run(t, "sh", "-c", "ipvsadm -Sn | sort")
	same := func() bool { return d.run(t, "sh", "-c", "ipvsadm -Sn | sort") == want }
	injected := func() bool {
		trace, err := d.Master.ReadFile("/tmp/strace")
		return err == nil && strings.Count(string(trace), "(INJECTED)") > 3
	}
	for _, fault := range []string{"recvmsg:error=ENOBUFS:when=2+23", "recvmsg:error=EINTR:when=2+23"} {
		d.run(t, "sh", "-c", "kill -9 $(cat "+pidfile+")")
		told := strings.Count(d.log(t), "Failed to ")
		d.run(t, "sh", "-c", strace+fault+" -D ldirectord start >/tmp/started 2>&1 || { cat /tmp/started; exit 9; }")
		d.run(t, "ipvsadm", "-C")
		waitFor(t, time.Minute, "the table is as it was, with "+fault, same)
		waitFor(t, time.Minute, fault, injected)
		if got := strings.Count(d.log(t), "Failed to ") - told; got > 0 {
			t.Errorf("%s: told of:\n%s", fault, lastLines(d.log(t), 30))
		}
	}
	d.run(t, "sh", "-c", "kill -9 $(cat "+pidfile+")")
	d.run(t, "ldirectord", "start")
	for _, fault := range []string{"recvmsg:error=ENOBUFS", "sendmsg:error=ENOMEM"} {
		told := strings.Count(d.log(t), "Failed to ")
		d.run(t, "sh", "-c", "rm -f /tmp/strace; "+strace+fault+" -p $(cat "+pidfile+") >/dev/null 2>&1 & echo $! >/tmp/strace.pid")
		waitFor(t, time.Minute, fault, injected)
		d.run(t, "ipvsadm", "-D", "-t", "172.16.60.111:7000")
		time.Sleep(4 * time.Second) // which it is tried again in
		if same() {
			t.Errorf("%s does not matter", fault)
		}
		d.run(t, "sh", "-c", "kill $(cat /tmp/strace.pid)")
		waitFor(t, time.Minute, "the table is as it was, after "+fault, same)
		if got := strings.Count(d.log(t), "Failed to ") - told; got < 1 || got > 2 { // the list, and then the opening
			t.Errorf("%s: told %d times:\n%s", fault, got, lastLines(d.log(t), 30))
		}
	}
}

func (d *tableDirector) repairs(t *testing.T) (n uint64) {
	t.Helper()
	for _, v := range d.report(t).Virtuals {
		n += v.Repairs
	}
	return n
}

func (d *tableDirector) report(t *testing.T) (r ldirectord.Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(d.run(t, "ldirectord", "status", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// persistence warns of clients that would return to servers without weight.
func (d *tableDirector) persistence(t *testing.T) {
	const warning = "sysctl net.ipv4.vs.expire_quiescent_template=1 ends that"
	persistent := strings.Replace(tableConfig, "scheduler=rr\n", "scheduler=rr\n\tpersistent=60\n\tquiescent=yes\n", 1)
	d.configure(t, persistent)
	d.run(t, "ldirectord", "reload")
	waitFor(t, time.Minute, "the warning", func() bool { return strings.Contains(d.log(t), warning+"): tcp:172.16.60.111:80") })
	drain := func() lab.Result {
		t.Helper()
		r, err := d.Master.Exec(t.Context(), "ldirectord", "drain", "172.16.60.204:80", "--wait", "--timeout", "60")
		if err != nil || r.Code != 0 || !strings.HasSuffix(r.Stdout, "drained\n") {
			t.Fatalf("drain: %+v %v", r, err)
		}
		d.waitTable(t, "the server without weight", func(table string) bool { return strings.Contains(table, "172.16.60.204:80             Route   0") })
		d.run(t, "ldirectord", "undrain", "172.16.60.204:80")
		d.waitTable(t, "the server with its weight", func(table string) bool { return strings.Contains(table, "172.16.60.204:80             Route   3") })
		return r
	}
	if r := drain(); !strings.Contains(r.Stderr, warning) {
		t.Errorf("drain says %q", r.Stderr)
	}
	d.run(t, "sysctl", "-w", "net.ipv4.vs.expire_quiescent_template=1")
	if r := drain(); r.Stderr != "" {
		t.Errorf("drain says %q", r.Stderr)
	}
	d.configure(t, tableConfig)
	d.run(t, "ldirectord", "reload")
	d.configure(t, persistent)
	d.run(t, "ldirectord", "reload")
	time.Sleep(2 * time.Second)
	if log := d.log(t); strings.Count(log, warning) != 1 {
		t.Errorf("it is told %d times", strings.Count(log, warning))
	}
}

// unloaded takes ip_vs out of the kernel and puts it back.
func (d *tableDirector) unloaded(t *testing.T) {
	const failed = "Failed to read the table: "
	told := strings.Count(d.log(t), failed)
	want := d.run(t, "sh", "-c", "ipvsadm -Sn | sort")
	modules := ipvsModules(t)
	waitFor(t, time.Minute, "ip_vs can be unloaded", func() bool {
		d.run(t, "ipvsadm", "-C") // it is filled again at the next interval
		for i := len(modules) - 1; i >= 0; i-- {
			if err := unix.DeleteModule(modules[i], 0); err != nil && err != unix.ENOENT {
				return false
			}
		}
		return true
	})
	waitFor(t, time.Minute, "it is told that IPVS is gone", func() bool {
		return strings.Count(d.log(t), failed) > told
	})
	time.Sleep(5 * time.Second)
	if log := d.log(t); strings.Count(log, failed) > told+2 { // the list, and then the opening
		t.Errorf("it is told again and again:\n%s", lastLines(log, 30))
	}
	if out, err := d.Master.Exec(t.Context(), "ldirectord", "status"); err != nil || out.Code != 0 {
		t.Errorf("status: %+v %v", out, err)
	}
	loadModules(t, modules...)
	waitFor(t, time.Minute, "the table is as it was", func() bool {
		r, err := d.Master.Exec(t.Context(), "sh", "-c", "ipvsadm -Sn | sort")
		return err == nil && r.Stdout == want
	})
}

// ipvsModules lists the modules of IPVS that are loaded, each after those that it needs.
func ipvsModules(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"ip_vs"}
	for line := range strings.Lines(string(text)) {
		if name := strings.Fields(line)[0]; strings.HasPrefix(name, "ip_vs_") {
			list = append(list, name)
		}
	}
	return list
}

// loadModules loads modules from the machine's files.
func loadModules(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		files, err := filepath.Glob(filepath.Join(os.Getenv(modulesEnv), "lib/modules/*/kernel/net/netfilter/ipvs", name+".ko"))
		if err != nil || len(files) != 1 {
			t.Fatalf("module %s: %v %v", name, files, err)
		}
		f, err := os.Open(files[0])
		if err != nil {
			t.Fatal(err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			t.Fatalf("module %s: %v", name, err)
		}
	}
}
