package ldirectord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// call is one run of the program in b's directory, with the server in this process.
type call struct {
	code           int
	stdout, stderr string
	log            string // lines written meanwhile, without dates, with PID for numbers of processes
}

var (
	pidText = regexp.MustCompile(`(pid: |\[)\d+`)
	logHead = regexp.MustCompile(`(?m)^\[[^|\n]*\|([^|\n]*)\|\d+\] `)
)

func (b *bench) run(words ...string) call {
	b.t.Helper()
	path := filepath.Join(b.dir, "var/log/ldirectord.log")
	before, _ := os.ReadFile(path)
	var stdout, stderr bytes.Buffer
	c := Command{
		Paths: PathsUnder(b.dir), Program: "/usr/sbin/ldirectord", Words: words, Stdout: &stdout, Stderr: &stderr,
		Launch: func(context.Context, Launch) error { return errors.New("launched") },
	}
	code := c.Run(b.t.Context())
	after, _ := os.ReadFile(path)
	text := func(s string) string {
		return pidText.ReplaceAllString(strings.ReplaceAll(s, b.dir, ""), "${1}PID")
	}
	return call{code, text(stdout.String()), text(stderr.String()), text(logHead.ReplaceAllString(string(after[len(before):]), "$1: "))}
}

func (c call) expect(t *testing.T, code int, stdout, stderr, log string) {
	t.Helper()
	want := call{code, stdout, stderr, log}
	if c != want {
		t.Errorf("got  %#v\nwant %#v", c, want)
	}
}

// The texts and statuses are those of the original, which was run for them (4.12).
func TestCommandStopped(t *testing.T) {
	b := newBench(t, twoReals)
	const invoked = "ldirectord: Invoking ldirectord invoked as: /usr/sbin/ldirectord "
	b.run("status").expect(t, 3, "ldirectord is stopped for /etc/ha.d/ldirectord.cf\n", "",
		invoked+"status \nldirectord: Exiting with exit_status 3: Exiting from ldirectord status\n")
	b.run("stop").expect(t, 0, "", "", invoked+"stop \n")
	b.run("try-restart").expect(t, 0, "", "", invoked+"try-restart \n")
	b.run("reload").expect(t, 1, "", "",
		invoked+"reload \nldirectord: ldirectord is stopped for /etc/ha.d/ldirectord.cf\n"+
			"ldirectord: Exiting with exit_status 1: Exiting from ldirectord reload\n")
	b.run("start").expect(t, 1, "", "launched\n",
		invoked+"start \nldirectord: Starting Linux Director v1.186-ha as daemon\n"+
			"ldirectord: launched\nldirectord: Exiting with exit_status 1: Initialisation Error\n")
	b.run("ldirectord.cf", "status", "extra").expect(t, 3, "ldirectord is stopped for /etc/ha.d/ldirectord.cf\n", "",
		"ldirectord.cf: Invoking ldirectord invoked as: /usr/sbin/ldirectord ldirectord.cf status extra \n"+
			"ldirectord.cf: Exiting with exit_status 3: Exiting from ldirectord status\n")
	b.run("nope.cf", "status").expect(t, 1, "", "Config file nope.cf not found\n",
		"nope.cf: Config file nope.cf not found\nnope.cf: Exiting with exit_status 1: Initialisation Error\n")
}

func TestCommandStale(t *testing.T) {
	b := newBench(t, twoReals)
	for _, text := range []string{"999999999\n", "abc\n", fmt.Sprintf("%d\n", os.Getpid())} { // the last is no ldirectord
		if err := os.WriteFile(b.in.PIDFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		b.run("status").expect(t, 1, "ldirectord is stopped for /etc/ha.d/ldirectord.cf\n",
			"ldirectord stale pid file /var/run/ldirectord.ldirectord.pid for /etc/ha.d/ldirectord.cf\n",
			"ldirectord: Invoking ldirectord invoked as: /usr/sbin/ldirectord status \n"+
				"ldirectord: ldirectord stale pid file /var/run/ldirectord.ldirectord.pid for /etc/ha.d/ldirectord.cf\n"+
				"ldirectord: Exiting with exit_status 1: Exiting from ldirectord status\n")
		if c := b.run("stop"); c.code != 0 {
			t.Errorf("stop: %+v", c)
		}
	}
	if err := os.WriteFile(b.in.PIDFile, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := b.run("status"); c.code != 3 || c.stderr != "" {
		t.Errorf("empty pid file: %+v", c)
	}
}

func TestCommandBadConfig(t *testing.T) {
	b := newBench(t, "checktimeout=never\n")
	c := b.run("status")
	if c.code != 2 || c.stdout != "" || c.log != "ldirectord: Exiting with exit_status 2: config_error: Configuration Error\n" {
		t.Errorf("status: %+v", c)
	}
	first, rest, _ := strings.Cut(c.stderr, "\n")
	if first != "Error [PID] reading file /etc/ha.d/ldirectord.cf at line 2: invalid check timeout value" {
		t.Errorf("first line: %s", first)
	}
	if !strings.HasPrefix(rest, "/etc/ha.d/ldirectord.cf:2:14: checktimeout: ") {
		t.Errorf("second line: %s", rest)
	}
	if c := b.run("start"); c.code != 2 {
		t.Errorf("start: %+v", c)
	}
	// What does not run is stopped, whatever its file says. heartbeat reboots over a stop that fails.
	if c := b.run("stop"); c.code != 0 || !strings.HasPrefix(c.stderr, first+"\n") {
		t.Errorf("stop: %+v", c)
	}
	if c := b.run("nope.cf", "stop"); c.code != 0 || c.stderr != "Config file nope.cf not found\n" {
		t.Errorf("stop without a file: %+v", c)
	}
}

// running starts b's server as a daemon's: with pid file, socket and log file.
func (b *bench) running() {
	b.t.Helper()
	change := b.change
	b.change = func(o *Options) {
		if change != nil {
			change(o)
		}
		o.Foreground, o.Log = false, NewLog(b.in, nil, nil)
	}
	b.start()
	select {
	case <-b.ready:
	case err := <-b.ended:
		b.t.Fatal(err)
	}
}

func (b *bench) waitEnded() {
	b.t.Helper()
	select {
	case err := <-b.ended:
		if err != nil {
			b.t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		b.t.Fatal("the server has not ended")
	}
	b.cancel()
}

// TestCommandRunning has the service in a process that is no ldirectord, as in heartbeat.
func TestCommandRunning(t *testing.T) {
	b := newBench(t, twoReals)
	b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
	b.running()
	text, err := os.ReadFile(b.in.PIDFile)
	if err != nil || string(text) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("pid file: %q, %v", text, err)
	}
	if info, err := os.Stat(b.in.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	c := b.run("status")
	if c.code != 0 || c.stdout != "" || c.stderr != "ldirectord for /etc/ha.d/ldirectord.cf is running with pid: PID\n" ||
		!strings.Contains(c.log, "ldirectord: Invoking ldirectord invoked as: /usr/sbin/ldirectord status \n") ||
		!strings.Contains(c.log, "ldirectord: ldirectord for /etc/ha.d/ldirectord.cf is running with pid: PID\n") ||
		!strings.Contains(c.log, "ldirectord: Exiting from ldirectord status\n") { // among the server's own lines
		t.Errorf("status: %#v", c)
	}
	if c := b.run("start"); c.code != 0 || c.stdout+c.stderr != "" {
		t.Errorf("start: %#v", c)
	}
	if c := b.run("ldirectord.cf", "status"); c.code != 3 {
		t.Errorf("another instance on the same file runs: %#v", c)
	}

	// A second server of the same instance.
	f := Load(t.Context(), b.in, LoadOptions{})
	second := New(Options{Instance: b.in, File: f, Log: NewLog(b.in, nil, nil), OpenTable: b.server.o.OpenTable})
	if err := second.Run(t.Context()); !errors.Is(err, ErrRunning) {
		t.Errorf("second server: %v", err)
	}

	b.write(strings.Replace(twoReals, "gate 3", "gate 4", 1))
	if c := b.run("reload"); c.code != 0 || c.stdout+c.stderr != "" {
		t.Errorf("reload: %#v", c)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(b.rules(), "10.0.0.2:80*4"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reloaded: %s", b.rules())
		}
	}

	// The file breaks, and goes: what runs can still be asked for and stopped.
	b.write("nonsense\n")
	if c := b.run("status"); c.code != 0 || !strings.HasSuffix(c.stderr, "is running with pid: PID\n") {
		t.Errorf("status: %#v", c)
	}
	if c := b.run("reload"); c.code != 2 {
		t.Errorf("reload: %#v", c)
	}
	if c := b.run("restart"); c.code != 2 {
		t.Errorf("restart: %#v", c)
	}
	if err := os.Remove(b.in.Path); err != nil {
		t.Fatal(err)
	}
	if c := b.run("stop"); c.code != 0 {
		t.Errorf("stop: %#v", c)
	}
	b.waitEnded()
	b.expect("")
	for _, path := range []string{b.in.PIDFile, b.in.Socket} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestCommandRestart(t *testing.T) {
	b := newBench(t, twoReals)
	b.running()
	c := b.run("restart")
	if c.code != 1 || c.stderr != "launched\n" { // what the test's Launch says
		t.Errorf("restart: %#v", c)
	}
	b.waitEnded()
}

// TestAnotherServerGoesOn is heartbeat's restart in place: the next server of the same process
// takes over table and pid file.
func TestAnotherServerGoesOn(t *testing.T) {
	b := newBench(t, twoReals)
	b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
	b.running()
	for deadline := time.Now().Add(10 * time.Second); b.rules() != "tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(b.rules())
		}
	}
	b.cancel()
	b.waitEnded()
	if pid, stale := b.in.Running(); pid != 0 || !stale {
		t.Errorf("Running: %d %v", pid, stale)
	}
	b.running()
	b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
	b.stop()
	b.expect("")
}

// TestStopTellsAnOriginal ends a process that looks like one, and none that does not.
func TestStopTellsAnOriginal(t *testing.T) {
	b := newBench(t, twoReals)
	for _, p := range []struct {
		argv0 string
		ends  bool
	}{{"/usr/sbin/ldirectord", true}, {"ldirectord tcp:10.0.0.1:80", true}, {"heartbeat: master control process", false}, {"vi", false}} {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		child, err := os.StartProcess("/bin/sleep", []string{p.argv0, "100"}, &os.ProcAttr{Files: []*os.File{null, null, null}})
		null.Close()
		if err != nil {
			t.Fatal(err)
		}
		for { // the kernel has let StartProcess go on a moment before there is a command line
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child.Pid)); err != nil || len(text) > 0 {
				break
			}
		}
		if err := os.WriteFile(b.in.PIDFile, fmt.Appendf(nil, "%d\n", child.Pid), 0o644); err != nil {
			t.Fatal(err)
		}
		pid, stale := b.in.Running()
		if running := pid == child.Pid; running != p.ends || stale == p.ends {
			t.Errorf("%s: Running: %d %v", p.argv0, pid, stale)
		}
		if err := b.in.Stop(); err != nil {
			t.Errorf("%s: Stop: %v", p.argv0, err)
		}
		if !p.ends {
			if err := unix.Kill(child.Pid, 0); err != nil {
				t.Errorf("%s: %v", p.argv0, err)
			}
			_ = child.Kill()
		}
		state, err := child.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "signal: terminated", false: "signal: killed"}[p.ends]; state.String() != want {
			t.Errorf("%s: ended with %v, want %s", p.argv0, state, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	b := newBench(t, twoReals)
	b.running()
	if err := b.in.ask("explode", nil, nil); err == nil || !strings.Contains(err.Error(), `unknown request "explode"`) {
		t.Errorf("ask: %v", err)
	}
	if err := b.in.ask(strings.Repeat("x", 1<<20), nil, nil); err == nil {
		t.Error("a long request was answered")
	}
	if err := b.in.ask("status", nil, nil); err != nil {
		t.Errorf("ask: %v", err)
	}
	b.stop()
	if err := b.in.ask("status", nil, nil); err == nil {
		t.Error("a stopped server answers")
	}
}

// TestAskersDelayNoStop has somebody who asks nothing, and one who asks while the service ends.
func TestAskersDelayNoStop(t *testing.T) {
	b := newBench(t, "execute=a.cf\n"+twoReals)
	stopping, end := make(chan struct{}), make(chan struct{})
	b.change = func(o *Options) {
		o.Execute = func(_ context.Context, _, action string) int {
			if action == "stop" {
				close(stopping)
				<-end
			}
			return 0
		}
	}
	b.running()
	connect := func() net.Conn {
		c, err := net.Dial("unix", b.in.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	connect()
	if err := b.in.Stop(); err != nil {
		t.Fatal(err)
	}
	<-stopping
	fmt.Fprintln(connect(), "status")
	begin := time.Now()
	close(end)
	b.waitEnded()
	if took := time.Since(begin); took > controlLimit/2 {
		t.Errorf("it has ended after %v", took)
	}
}
