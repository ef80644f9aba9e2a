package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/halog"
)

// logbook is a log that a test can read.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logbook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newLog(t *testing.T) (*halog.Logger, *logbook) {
	t.Helper()
	b := &logbook{}
	return halog.New(halog.Config{Node: "n", Stderr: b}).Logger("heartbeat", 1), b
}

func TestGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hb_generation")
	now := time.Unix(1795353041, 0)
	log, book := newLog(t)
	for _, step := range []struct {
		before string // content put there; "" leaves the file
		want   uint64
		line   string
	}{
		{"", 1795353042, "No Previous generation - starting at 1795353042"},
		{"", 1795353043, "Heartbeat generation: 1795353043"},
		{"garbage", 1795353042, "BROKEN previous generation - starting at 1795353042"},
		{"             41\n", 42, "Heartbeat generation: 42"},
	} {
		if step.before != "" {
			if err := os.WriteFile(path, []byte(step.before), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := nextGeneration(path, now, log)
		if err != nil || got != step.want {
			t.Errorf("after %q: %d, %v; want %d", step.before, got, err, step.want)
		}
		if !strings.Contains(book.String(), step.line) {
			t.Errorf("no line %q in\n%s", step.line, book)
		}
		if text, _ := os.ReadFile(path); string(text) != fmt.Sprintf("%15d\n", step.want) {
			t.Errorf("file holds %q", text)
		}
	}
}

func TestGenerationByTime(t *testing.T) {
	log, book := newLog(t)
	now := time.Unix(1795353041, 5)
	first := generationByTime(now, false, log)
	if first != 1795353041 || !strings.Contains(book.String(), "Heartbeat generation: 1795353041") {
		t.Errorf("%d\n%s", first, book)
	}
	if again := generationByTime(now, true, log); again <= first {
		t.Errorf("the run after %d in the same second is %d", first, again)
	}
}

func TestUUID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hb_uuid")
	log, _ := newLog(t)
	first, err := nodeUUID(path, log)
	if err != nil || first.IsZero() {
		t.Fatalf("%v, %v", first, err)
	}
	if again, err := nodeUUID(path, log); err != nil || again != first {
		t.Errorf("a second start has %v, %v; want %v", again, err, first)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 16 {
		t.Errorf("the file is not 16 raw bytes: %v %v", st.Size(), err)
	}
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heartbeat.pid")
	if pid, stale := Running(path); pid != 0 || stale {
		t.Errorf("without a file: %d %v", pid, stale)
	}
	p, err := LockPIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != fmt.Sprintf("%10d\n", os.Getpid()) {
		t.Errorf("file holds %q", text)
	}
	if pid, _ := Running(path); pid != os.Getpid() {
		t.Errorf("running is %d, want this process", pid)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if pid, stale := Running(path); pid != 0 || !stale {
		t.Errorf("a file that names another program is %d %v, want stale", pid, stale)
	}
	if err := os.WriteFile(path, []byte("   4194000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if pid, stale := Running(path); pid != 0 || !stale {
		t.Errorf("a file that names no process is %d %v, want stale", pid, stale)
	}
	if p, err = LockPIDFile(path); err != nil {
		t.Fatalf("a stale file keeps the start from happening: %v", err)
	}
	defer p.Close()
}

// An original's process title is enough to be known as running.
func TestPIDFileOfOriginal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heartbeat.pid")
	cmd := &exec.Cmd{Path: "/bin/sleep", Args: []string{"heartbeat: master control process", "60"}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if err := os.WriteFile(path, fmt.Appendf(nil, "%10d\n", cmd.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ { // the child's argv is there once it has exec'd
		if pid, _ := Running(path); pid == cmd.Process.Pid {
			break
		}
		if i > 1000 {
			t.Fatal("an original is not seen as running")
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := LockPIDFile(path); !errors.Is(err, ErrRunning) {
		t.Errorf("second start: %v, want ErrRunning", err)
	}
}

// Whatever is written to the FIFO, whole messages come through and nothing else.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	log, book := newLog(t)
	f, err := openFIFO(path, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(">>>\nt=left over\n<<<\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	// With no reader left the kernel has dropped it; what a writer leaves while a reader is
	// there is what drain is for.
	if f, err = openFIFO(path, log); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(">>>\nt=old\n<<<\n"); err != nil {
		t.Fatal(err)
	}
	drain(f)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		readFIFO(ctx, f, log, func(b []byte) { got <- string(b) })
	}()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	big := strings.Repeat("x", 70<<10)
	for _, text := range []string{
		"noise\n<<<\n", ">>>\nt=a\nx=1\n<<<\n", ">>>\nt=cut\n>>>\nt=b\n<<<\n",
		">>>\nbig=" + big + "\n<<<\n", ">>>\nt=c\r\n<<<\r\n",
	} {
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">>>\nt=a\nx=1\n<<<\n", ">>>\nt=b\n<<<\n", ">>>\nt=c\r\n<<<\n"} {
		select {
		case msg := <-got:
			if msg != want {
				t.Errorf("got %q, want %q", msg, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no message; want %q; log:\n%s", want, book)
		}
	}
	cancel()
	<-done
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// TestOpenFIFOReplacesFile: a script that wrote before the daemon ran has made a regular file.
func TestOpenFIFOReplacesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	log, _ := newLog(t)
	f, err := openFIFO(path, log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, err := os.Stat(path); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

// pump runs a clients' events until stop is closed or nothing came for a while.
func pump(c *clients, until func() bool) bool {
	for range 1000 {
		if until() {
			return true
		}
		select {
		case f := <-c.events:
			f()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

func newClients(t *testing.T, commands ...string) (*clients, *logbook, *bool) {
	t.Helper()
	log, book := newLog(t)
	stopped := new(bool)
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{log: log, dir: "/", done: func() { *stopped = true }, events: make(chan func(), 16), ctx: ctx}
	for _, cmd := range commands {
		c.list = append(c.list, &client{Client: Client{User: "root", Command: cmd}})
	}
	t.Cleanup(func() { cancel(); c.wg.Wait() })
	return c, book, stopped
}

func TestClientsStopLastFirst(t *testing.T) {
	c, book, stopped := newClients(t, "/bin/sleep 61", "/bin/sleep 62")
	c.start(time.Now())
	c.stop()
	if !pump(c, func() bool { return *stopped }) {
		t.Fatalf("not stopped:\n%s", book)
	}
	first := strings.Index(book.String(), "killing /bin/sleep 62 process group")
	second := strings.Index(book.String(), "killing /bin/sleep 61 process group")
	if first < 0 || second < first {
		t.Errorf("order of killing:\n%s", book)
	}
	if !strings.Contains(book.String(), `info: Starting child client "/bin/sleep 61" (0,0)`) {
		t.Errorf("no start line:\n%s", book)
	}
}

func TestClientThatWantsToStayDown(t *testing.T) {
	c, book, stopped := newClients(t, "/bin/sh -c 'exit 100'")
	c.start(time.Now())
	if !pump(c, func() bool { return c.list[0].dead }) {
		t.Fatalf("not noticed:\n%s", book)
	}
	if strings.Contains(book.String(), "Respawning") {
		t.Errorf("respawned:\n%s", book)
	}
	c.stop()
	if !*stopped {
		t.Error("waits for a client that is down")
	}
}

// A client that dies at once is started again, and given up after eleven fast deaths.
func TestRespawnTooFast(t *testing.T) {
	c, book, _ := newClients(t, "/bin/false")
	cl := c.list[0]
	now := time.Unix(0, 0)
	state := func() *os.ProcessState {
		cmd := exec.Command("/bin/false")
		_ = cmd.Run() // exit status 1 is what is wanted
		return cmd.ProcessState
	}()
	for i := 1; i <= maxFast+1; i++ {
		cl.pid, cl.started = 1, now
		c.died(now.Add(time.Second), cl, state, nil)
		if i <= maxFast && cl.dead {
			t.Fatalf("given up after %d fast deaths", i)
		}
	}
	if !cl.dead || !strings.Contains(book.String(), `Client /bin/false "respawning too fast"`) {
		t.Errorf("not given up:\n%s", book)
	}
	if n := strings.Count(book.String(), `Respawning client "/bin/false":`); n != maxFast {
		t.Errorf("respawned %d times, want %d", n, maxFast)
	}
}

func TestLogProblemsInOriginalWords(t *testing.T) {
	log, book := newLog(t)
	LogProblems(log, diag.List{
		{Pos: diag.Pos{File: "ha.cf", Line: 3, Col: 1}, Sev: diag.Error, Msg: `"foo" is not a directive`, Wire: "Illegal directive [foo] in ha.cf"},
		{Pos: diag.Pos{File: "ha.cf", Line: 4, Col: 1}, Sev: diag.Warning, Directive: "initdead", Msg: "small", Wire: "may be too small!\ninfo: It should be more"},
	})
	for _, want := range []string{
		"ERROR: Illegal directive [foo] in ha.cf", `ERROR: ha.cf:3:1: "foo" is not a directive`,
		"WARN: may be too small!", "info: It should be more", "WARN: ha.cf:4:1: warning: initdead: small",
	} {
		if !strings.Contains(book.String(), want) {
			t.Errorf("no %q in\n%s", want, book)
		}
	}
}

// A flood of packets neither blocks who delivers them nor keeps a local message from the loop.
func TestOfferNeverBlocks(t *testing.T) {
	l := &loop{queue: make(chan cluster.Input, 4)}
	for range 100 {
		l.offer(cluster.Received{})
	}
	if len(l.queue) != 4 {
		t.Errorf("%d queued", len(l.queue))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.post(ctx, cluster.Tick{}) // full, and nobody reads: returns with ctx
}
