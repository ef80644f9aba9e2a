package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
	// With no reader left the kernel has dropped it. A program that has waited for one writes when that is there.
	waiting, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if f, err = openFIFO(path, log); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting.WriteString(">>>\nt=old\n<<<\n"); err != nil {
		t.Fatal(err)
	}
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
		">>>\nbig=" + big + "\n<<<\n", ">>>\nt=c\r\n<<<\r\n", "###\n9:(0)t=abcd,5:(0)x=,%%%\n",
	} {
		if _, err := w.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">>>\nt=a\nx=1\n<<<\n", ">>>\nt=b\n<<<\n", ">>>\nt=c\r\n<<<\n", "###\n9:(0)t=abcd,5:(0)x=,%%%\n"} {
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

// Nobody waits for a loop that has ended.
func TestPostGivesUp(t *testing.T) {
	l := &loop{queue: make(chan cluster.Input, 4)}
	for range cap(l.queue) {
		l.post(t.Context(), cluster.Received{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.post(ctx, cluster.Tick{}) // full, and nobody reads: returns with ctx
}

// SIGUSR1 and SIGUSR2 raise and lower the level that the log has and children are started with.
func TestChangeDebug(t *testing.T) {
	b := &logbook{}
	log := halog.New(halog.Config{Node: "n", Stderr: b, DebugLevel: 1})
	d := &service{Options: Options{Log: log}, core: log.Logger("heartbeat", 1)}
	signals := []os.Signal{unix.SIGUSR2, unix.SIGUSR2, unix.SIGUSR1, unix.SIGUSR1}
	for i, want := range []int{0, 0, 1, 2} {
		d.signal(signals[i])
		log.Script("x(y)[1]", fmt.Sprintf("debug: line at %d", want))
		if got := log.DebugLevel(); got != want {
			t.Errorf("signal %d: level %d, want %d", i, got, want)
		}
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		for _, text := range []string{"debug now set to ", "heartbeat: version ", "line at "} {
			if i := strings.Index(line, text); i >= 0 {
				line, _, _ = strings.Cut(line[i:], " [pid")
				got = append(got, strings.TrimSpace(line))
			}
		}
	}
	want := []string{"debug now set to 0", "debug now set to 0", "heartbeat: version 3.0.6", "debug now set to 1", "line at 1", "debug now set to 2", "line at 2"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
