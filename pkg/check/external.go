package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func init() {
	checkers["external"] = externalChecker{}
	checkers["external-perl"] = externalChecker{interpreter: "perl"}
}

// externalChecker runs a program with four arguments: the virtual's address or mark, its port,
// the real's address, its port. Exit status 0 is up; all else is down, death by a signal
// included. The program is the leader of a process group, which is killed at the deadline.
type externalChecker struct{ interpreter string }

const (
	outputLimit = 4 << 10               // bytes of a program's output that are kept
	termGrace   = 20 * time.Millisecond // between TERM and KILL
	pipeGrace   = 20 * time.Millisecond // for output that a background child holds open
)

func (e externalChecker) Check(ctx context.Context, s Spec) Result {
	args := externalArgs(s)
	line := s.Command + " " + strings.Join(args, " ")
	trace := []string{"exec " + line}
	name := s.Command
	if e.interpreter != "" {
		name, args = e.interpreter, append([]string{s.Command}, args...)
	}
	output := &bounded{}
	// Not CommandContext: it would kill the program only, not its children.
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = pipeGrace
	// Who starts and waits outlives the check only if the kernel holds up the start, or cannot kill the program.
	started, done := make(chan error, 1), make(chan error, 1)
	if hanging.has(s.Command) {
		return Result{Reason: "not started: an earlier start has not ended", Monitor: "timed out", Trace: trace}
	}
	go func() {
		touch(s.Command)
		err := cmd.Start()
		if started <- err; err == nil {
			done <- cmd.Wait()
		}
	}()
	select {
	case err := <-started:
		if err != nil {
			return Result{Reason: "exec: " + cause(err), Trace: append(trace, err.Error()), Log: e.log("Exiting with exit_status 127: exec(%s) failed: %s", line, strerror(err))}
		}
	case <-ctx.Done():
		hanging.add(s.Command, +1)
		go func() {
			if <-started == nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nobody asks any more
			}
			hanging.add(s.Command, -1)
		}()
		return Result{Reason: "not started in time", Monitor: "timed out", Trace: trace}
	}
	select {
	case err := <-done:
		return externalVerdict(err, trace, output)
	case <-ctx.Done():
	}
	group := -cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // may have ended by itself
	grace := time.NewTimer(termGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
	}
	_ = syscall.Kill(group, syscall.SIGKILL) // also for children that outlived the program
	return Result{
		Reason: "timed out, killed", Monitor: "timed out", Trace: trace,
		Log: e.log("system_timeout(%v, %s) timed out, kill -TERM child", s.Timeout.Seconds(), line),
	}
}

// hanging are the programs whose start hangs, as on a file server that is gone: starting them again and again would
// take a thread each time.
var hanging = hangingStarts{of: map[string]int{}}

type hangingStarts struct {
	mu sync.Mutex
	of map[string]int
}

func (h *hangingStarts) add(program string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[program] += n; h.of[program] == 0 {
		delete(h.of, program)
	}
}

func (h *hangingStarts) has(program string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[program] > 0
}

// touch reads a little of a program, so that what hangs is this, and not the kernel's exec: until that has the
// program, no other can be started (syscall.ForkLock), and the garbage collector may not get its turn.
func touch(program string) {
	if f, err := os.Open(program); err == nil {
		_, _ = f.Read(make([]byte, 1)) // whether it can be run is not ours to say
		_ = f.Close()
	}
}

// log is a line of the original's, which has none of external-perl.
func (e externalChecker) log(format string, args ...any) string {
	if e.interpreter != "" {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// strerror is what C's strerror says: Go's texts begin with a small letter.
func strerror(err error) string {
	text := cause(err)
	return strings.ToUpper(text[:1]) + text[1:]
}

// externalArgs is the four arguments of a check program.
func externalArgs(s Spec) []string {
	virtual, port := strconv.FormatUint(uint64(s.FWMark), 10), "0"
	if s.FWMark == 0 {
		virtual, port = bareHost(s.Virtual.Addr()), strconv.Itoa(int(s.Virtual.Port()))
	}
	return []string{virtual, port, bareHost(s.Real.Addr()), strconv.Itoa(int(s.Real.Port()))}
}

func externalVerdict(err error, trace []string, output *bounded) Result {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return Result{Up: true}
	}
	if text := strings.TrimSpace(output.String()); text != "" {
		trace = append(trace, strings.Split(text, "\n")...)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return Result{Reason: "exec: " + cause(err), Trace: trace}
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return Result{Reason: "killed by signal: " + status.Signal().String(), Trace: trace}
	}
	return Result{Reason: fmt.Sprintf("exit status %d", exit.ExitCode()), Trace: trace}
}

// bounded keeps the start of what is written to it.
type bounded struct{ buf bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.buf.Write(p[:min(len(p), outputLimit-b.buf.Len())])
	return len(p), nil
}

func (b *bounded) String() string { return b.buf.String() }
