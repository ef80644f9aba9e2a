package ldirectord_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/systole-ha/systole/pkg/agent"
	agentld "github.com/systole-ha/systole/pkg/agent/ldirectord"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// The regular expressions of receive= keep a clock for up to two seconds after a match.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2/v2.runClock"))
}

// heartbeat is a process with the agent in it.
type heartbeat struct {
	t     *testing.T
	root  string
	table *model.Table
	agent *agentld.Agent
	end   func()
	mu    sync.Mutex
	said  strings.Builder
}

// unclosed keeps a table when a server is done with it, as the kernel does.
type unclosed struct{ ipvs.Table }

func (unclosed) Close() error { return nil }

const config = `checkinterval=1
virtual=10.0.0.1:80
    real=10.0.0.2:80 gate 3
    checktype=on
# end
`

func newHeartbeat(t *testing.T) *heartbeat {
	t.Helper()
	h := &heartbeat{t: t, root: t.TempDir(), table: model.New()}
	for _, d := range []string{"etc/ha.d/conf", "var/run", "var/log"} {
		if err := os.MkdirAll(filepath.Join(h.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write("etc/ha.d/ldirectord.cf", config)
	h.boot()
	t.Cleanup(func() { h.end() })
	return h
}

// boot makes a new agent, as a heartbeat that starts does.
func (h *heartbeat) boot() {
	h.agent = agentld.New(agentld.Options{
		Paths:     ldirectord.PathsUnder(h.root),
		OpenTable: func() (ipvs.Table, error) { return unclosed{h.table}, nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { h.agent.Serve(ctx); close(done) }()
	h.end = func() { cancel(); <-done }
}

func (h *heartbeat) write(path, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.root, path), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// Script, Print and NextPID are agent.Log.
func (h *heartbeat) Script(tag, text string) { h.Print(tag + ": " + text) }

func (h *heartbeat) Print(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said.WriteString(text)
}

func (h *heartbeat) NextPID() int { return 1 }

// call runs an operation and returns its outcome in one line, and what went to the debug file.
func (h *heartbeat) call(op agent.Op, args ...string) (outcome, printed string) {
	h.t.Helper()
	h.mu.Lock()
	h.said.Reset()
	h.mu.Unlock()
	r, err := h.agent.Run(h.t.Context(), agent.Call{
		Op: op, Name: "ldirectord", Args: args, Path: "/etc/ha.d/resource.d/ldirectord", Log: h,
	})
	if (err != nil) != (r.Code != 0) && op != agent.Status && op != agent.Monitor {
		h.t.Errorf("%s: code %d with error %v", op, r.Code, err)
	}
	clean := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, h.root, ""), fmt.Sprint(os.Getpid()), "PID")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("%d %d %s", r.Code, r.State, clean(r.Output)), clean(h.said.String())
}

func (h *heartbeat) expect(outcome, printed string, op agent.Op, args ...string) {
	h.t.Helper()
	gotOutcome, gotPrinted := h.call(op, args...)
	if gotOutcome != outcome || gotPrinted != printed {
		h.t.Errorf("%s %v: %q, %q; want %q, %q", op, args, gotOutcome, gotPrinted, outcome, printed)
	}
}

func (h *heartbeat) entries() []ipvs.Entry {
	h.t.Helper()
	entries, err := h.table.Snapshot(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return entries
}

const (
	stopped = "3 2 ldirectord is stopped for /etc/ha.d/ldirectord.cf\n"
	running = "ldirectord for /etc/ha.d/ldirectord.cf is running with pid: PID\n"
)

func TestLife(t *testing.T) {
	h := newHeartbeat(t)
	h.expect(stopped, "", agent.Status)
	h.expect("0 0 ", "", agent.Stop) // nothing runs
	h.expect("0 0 ", "", agent.Start)
	// start returns when the service is in the table. The text goes to standard error, so that
	// heartbeat does not take the resource for owned, as with the original.
	if e := h.entries(); len(e) != 1 {
		t.Errorf("after start: %v", e)
	}
	h.expect("0 1 ", running, agent.Status)
	h.expect("0 1 ", running, agent.Monitor)
	h.expect("0 0 ", "", agent.Start)
	h.expect("3 2 ldirectord is stopped for /etc/ha.d/ldirectord.cf\n", "", agent.Status, "ldirectord.cf") // another instance
	h.expect("0 0 ", "", agent.Stop)
	if e := h.entries(); len(e) != 0 { // stop returns when it is gone
		t.Errorf("after stop: %v", e)
	}
	h.expect(stopped, "", agent.Status)
	text, err := os.ReadFile(filepath.Join(h.root, "var/log/ldirectord.log"))
	if err != nil || !strings.Contains(string(text), "Invoking ldirectord invoked as: /etc/ha.d/resource.d/ldirectord start \n") ||
		!strings.Contains(string(text), "Linux Director Daemon terminated on signal: TERM\n") {
		t.Errorf("log: %v\n%s", err, text)
	}
}

func TestNamed(t *testing.T) {
	h := newHeartbeat(t)
	h.write("etc/ha.d/conf/www.cf", strings.ReplaceAll(config, "10.0.0.1", "10.0.0.9"))
	h.expect("0 0 ", "", agent.Start, "www.cf")
	h.expect("0 0 ", "", agent.Start)
	if e := h.entries(); len(e) != 2 {
		t.Errorf("two instances: %v", e)
	}
	h.expect("0 1 ", "ldirectord for /etc/ha.d/conf/www.cf is running with pid: PID\n", agent.Status, "www.cf")
	h.expect("0 0 ", "", agent.Stop, "www.cf")
	if e := h.entries(); len(e) != 1 || e[0].Addr.String() != "10.0.0.1:80" {
		t.Errorf("one instance: %v", e)
	}
	h.expect("0 0 ", "", agent.Stop)
}

func TestBadConfig(t *testing.T) {
	h := newHeartbeat(t)
	h.write("etc/ha.d/ldirectord.cf", "nonsense\n")
	if outcome, printed := h.call(agent.Start); outcome != "2 0 " || !strings.HasPrefix(printed, "Error [PID] reading file /etc/ha.d/ldirectord.cf at line 1: Unknown command nonsense\n") {
		t.Errorf("start: %q %q", outcome, printed)
	}
	if outcome, _ := h.call(agent.Status); outcome != "2 2 " {
		t.Errorf("status: %q", outcome)
	}
	if outcome, _ := h.call(agent.Start, "nope.cf"); outcome != "1 0 " {
		t.Errorf("start without file: %q", outcome)
	}
	// What runs is stopped, whatever its file has become.
	h.write("etc/ha.d/ldirectord.cf", config)
	h.expect("0 0 ", "", agent.Start)
	h.write("etc/ha.d/ldirectord.cf", "nonsense\n")
	if outcome, _ := h.call(agent.Stop); outcome != "0 0 " || len(h.entries()) != 0 {
		t.Errorf("stop: %q %v", outcome, h.entries())
	}
}

// TestTwoAtOnce has the resource in two groups that start at the same time.
func TestTwoAtOnce(t *testing.T) {
	h := newHeartbeat(t)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if r, err := h.agent.Run(t.Context(), agent.Call{Op: agent.Start, Name: "ldirectord", Log: h}); err != nil || r.Code != 0 {
				t.Errorf("start: %+v %v", r, err)
			}
		})
	}
	both.Wait()
	h.expect("0 1 ", running, agent.Status)
	h.expect("0 0 ", "", agent.Stop)
}

// TestSupervised: in process there is no foreground.
func TestSupervised(t *testing.T) {
	h := newHeartbeat(t)
	h.write("etc/ha.d/ldirectord.cf", "supervised=yes\n"+config)
	h.expect("0 0 ", "", agent.Start)
	h.expect("0 1 ", running, agent.Status)
	h.expect("0 0 ", "", agent.Stop)
}

// TestStoppedFromOutside uses the program's way in: heartbeat goes on, and can start it again.
func TestStoppedFromOutside(t *testing.T) {
	h := newHeartbeat(t)
	h.expect("0 0 ", "", agent.Start)
	in, err := ldirectord.PathsUnder(h.root).Find("")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if !in.WaitGone(ctx) {
		t.Fatal("it has not ended")
	}
	h.expect(stopped, "", agent.Status)
	h.expect("0 0 ", "", agent.Start)
	h.expect("0 1 ", running, agent.Status)
	h.expect("0 0 ", "", agent.Stop)
}

// TestResume is heartbeat's restart in place with resources kept.
func TestResume(t *testing.T) {
	h := newHeartbeat(t)
	h.expect("0 0 ", "", agent.Start)
	for end := time.Now().Add(10 * time.Second); len(h.entries()[0].Dests) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no real server")
		}
	}
	h.end()
	if e := h.entries(); len(e) != 1 || len(e[0].Dests) != 1 {
		t.Fatalf("the table was not left alone: %v", e)
	}
	h.boot()
	h.expect("1 2 ldirectord is stopped for /etc/ha.d/ldirectord.cf\n",
		"ldirectord stale pid file /var/run/ldirectord.ldirectord.pid for /etc/ha.d/ldirectord.cf\n", agent.Status)
	resume := func() {
		h.agent.Resume(t.Context(), "/etc/ha.d/resource.d/ldirectord", []string{"", "other.cf"}, h, func(err error) { t.Error(err) })
	}
	resume()
	h.expect("0 1 ", running, agent.Status)
	h.expect("0 0 ", "", agent.Stop)
	// Nothing to resume after an orderly end.
	resume()
	h.expect(stopped, "", agent.Status)
}

// TestResumeWaits has the file break, and then go, before the restart in place: it is told, once for each
// reason, and the instance is back when the file is sound again.
func TestResumeWaits(t *testing.T) {
	h := newHeartbeat(t)
	file := filepath.Join(h.root, "etc/ha.d/ldirectord.cf")
	h.expect("0 0 ", "", agent.Start)
	if err := h.agent.Resumable(t.Context()); err != nil {
		t.Errorf("a sound file: %v", err)
	}
	h.write("etc/ha.d/ldirectord.cf", "nonsense\n")
	if err := h.agent.Resumable(t.Context()); err == nil || !strings.Contains(err.Error(), "Unknown command nonsense") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a broken file: %v", err)
	}
	h.end()
	h.boot()
	told, done := make(chan string), make(chan struct{})
	resume := func() {
		h.agent.Resume(t.Context(), "/etc/ha.d/resource.d/ldirectord", []string{""}, h, func(err error) { told <- err.Error() })
		done <- struct{}{}
	}
	says := func(want string) {
		t.Helper()
		select {
		case text := <-told:
			if !strings.Contains(text, want) {
				t.Errorf("told %q, want %q", text, want)
			}
		case <-done:
			t.Fatalf("it gives up and does not say %q", want)
		case <-time.After(20 * time.Second):
			t.Fatalf("it does not say %q", want)
		}
	}
	go resume()
	says("Unknown command nonsense")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	says("Config file ldirectord.cf not found")
	h.write("etc/ha.d/ldirectord.cf", config)
	select {
	case text := <-told:
		t.Errorf("told %q of a sound file", text)
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not come back")
	}
	h.expect("0 1 ", running, agent.Status)

	// One that waits is stopped whatever its file says, and does not come back then.
	h.write("etc/ha.d/ldirectord.cf", "nonsense\n")
	h.end()
	h.boot()
	go resume()
	says("Unknown command nonsense")
	if outcome, _ := h.call(agent.Stop); outcome != "0 0 " {
		t.Errorf("stop: %q", outcome)
	}
	h.write("etc/ha.d/ldirectord.cf", config)
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on waiting for what has been stopped")
	}
	h.expect(stopped, "", agent.Status)
}

func TestNotServing(t *testing.T) {
	h := newHeartbeat(t)
	h.end()
	if outcome, _ := h.call(agent.Start); outcome != "1 0 " {
		t.Errorf("start: %q", outcome)
	}
}

// TestStartFails has the pid file's place taken by a directory.
func TestStartFails(t *testing.T) {
	h := newHeartbeat(t)
	if err := os.MkdirAll(filepath.Join(h.root, "var/run/ldirectord.ldirectord.pid/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.expect("1 0 ", "Can not open /var/run/ldirectord.ldirectord.pid: is a directory\n", agent.Start)
	if len(h.entries()) != 0 {
		t.Errorf("the table was touched: %v", h.entries())
	}
	h.expect(stopped, "", agent.Status)
}

// TestNoSocket has the control socket's place taken: the resource works all the same.
func TestNoSocket(t *testing.T) {
	h := newHeartbeat(t)
	if err := os.MkdirAll(filepath.Join(h.root, "var/run/ldirectord.ldirectord.sock/x"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.expect("0 0 ", "", agent.Start)
	h.expect("0 1 ", running, agent.Status)
	h.expect("0 0 ", "", agent.Stop)
	h.expect(stopped, "", agent.Status)
}

// TestSettle waits for the first checks: a server that answers is in the table then; one that hangs is
// waited for until it is given up, or the caller gives up.
func TestSettle(t *testing.T) {
	h := newHeartbeat(t)
	good, hung := listen(t, true), listen(t, false)
	file := "checkinterval=1\nchecktimeout=1\nvirtual=10.0.0.1:80\n\tservice=http\n\trequest=\"/\"\n\treceive=\"hello\"\n\tfallback=127.0.0.1:80 gate\n\treal=%s masq\n"
	h.write("etc/ha.d/ldirectord.cf", fmt.Sprintf(file, good))
	call := agent.Call{Op: agent.Start, Name: "ldirectord", Log: h}
	h.agent.Settle(t.Context(), call) // nothing runs, nothing is waited for

	h.expect("0 0 ", "", agent.Start)
	h.agent.Settle(t.Context(), call)
	if e := h.entries(); len(e) != 1 || len(e[0].Dests) != 1 || e[0].Dests[0].Addr != good {
		t.Errorf("settled as %+v", e)
	}
	h.expect("0 0 ", "", agent.Stop)

	h.write("etc/ha.d/ldirectord.cf", fmt.Sprintf(file, hung))
	h.expect("0 0 ", "", agent.Start)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	h.agent.Settle(short, call)
	if short.Err() == nil {
		t.Error("settled while a server had no answer yet")
	}
	h.agent.Settle(t.Context(), call)
	if e := h.entries(); len(e) != 1 || len(e[0].Dests) != 1 || e[0].Dests[0].Addr != netip.MustParseAddrPort("127.0.0.1:80") {
		t.Errorf("settled as %+v", e)
	}
	h.expect("0 0 ", "", agent.Stop)
}

// TestLeft has an agent's process die: what it left in the table goes with the next stop.
func TestLeft(t *testing.T) {
	h := newHeartbeat(t)
	call := agent.Call{Op: agent.Status, Name: "ldirectord", Log: h}
	left := func(want bool) {
		t.Helper()
		if got := h.agent.Left(t.Context(), call); got != want {
			t.Errorf("left: %v, want %v", got, want)
		}
	}
	left(false)
	h.expect("0 0 ", "", agent.Start)
	left(false)
	h.end() // as when it is killed: pid file and table stay
	h.boot()
	h.write("var/run/ldirectord.ldirectord.pid", "4194301\n") // of a process that is gone
	left(true)
	if e := h.entries(); len(e) != 1 {
		t.Fatalf("%+v", e)
	}
	h.expect("0 0 ", "", agent.Stop)
	left(false)
	if e := h.entries(); len(e) != 0 {
		t.Errorf("left after the stop: %+v", e)
	}
	h.expect("0 0 ", "", agent.Stop)
}

// TestStopBroken stops what never ran, or was killed, while its file is broken or gone: heartbeat reboots
// over a stop that fails. What can be made out of the file goes from the table.
func TestStopBroken(t *testing.T) {
	h := newHeartbeat(t)
	const broken = config + "nonsense\n"
	h.write("etc/ha.d/ldirectord.cf", broken)
	if outcome, printed := h.call(agent.Stop); outcome != "0 0 " || !strings.Contains(printed, "Unknown command nonsense\n") {
		t.Errorf("stop: %q %q", outcome, printed)
	}
	h.expect("0 0 ", "Config file nope.cf not found\n", agent.Stop, "nope.cf")

	h.write("etc/ha.d/ldirectord.cf", config)
	h.expect("0 0 ", "", agent.Start)
	h.end()
	h.boot()
	h.write("var/run/ldirectord.ldirectord.pid", "4194301\n") // of a process that is gone
	if err := os.Rename(filepath.Join(h.root, "etc/ha.d/ldirectord.cf"), filepath.Join(h.root, "away")); err != nil {
		t.Fatal(err)
	}
	const left = "services of an ldirectord that was killed "
	h.expect("0 0 ", left+"are left in the table: Config file ldirectord.cf not found\nConfig file ldirectord.cf not found\n", agent.Stop)
	if e := h.entries(); len(e) != 1 {
		t.Errorf("without a file: %+v", e)
	}
	h.write("etc/ha.d/ldirectord.cf", broken)
	if outcome, printed := h.call(agent.Stop); outcome != "0 0 " || !strings.HasPrefix(printed, left+"may be left in the table: /etc/ha.d/ldirectord.cf is broken\n") {
		t.Errorf("stop: %q %q", outcome, printed)
	}
	if e := h.entries(); len(e) != 0 {
		t.Errorf("with a broken file: %+v", e)
	}
	h.write("etc/ha.d/ldirectord.cf", config)
	h.expect("0 0 ", "", agent.Stop)
	h.expect(stopped, "", agent.Status)
}

// listen is a web server, or one that never answers.
func listen(t *testing.T, answers bool) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if answers {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
	} else {
		t.Cleanup(func() { l.Close() }) // the kernel accepts
	}
	return l.Addr().(*net.TCPAddr).AddrPort()
}
