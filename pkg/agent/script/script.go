// Package script is the agent for all that is not built in: it runs a program of resource.d or
// init.d as a child, as heartbeat's ResourceManager does (spec/resource-manager.md 8.1).
//
// A child has a process group of its own, /dev/null as standard input, the debug file as standard
// output and error, none of our other descriptors, and by default as much time as it takes. Of
// status the standard output is kept, up to a limit: its text says whether the resource runs.
package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/realtime"
)

// Options is how children are run. The zero value is right but for the output.
type Options struct {
	// Output opens what start and stop have as standard output and error and status as standard
	// error: the debug file, for appending. nil, or if it fails: the null device.
	Output func() (*os.File, error)
	// Dir is the working directory; if it is empty or cannot be entered: /.
	Dir string
	// Timeout bounds each operation; 0: no limit, as in the original.
	Timeout time.Duration
	// Grace is how long a child that has to end may take between SIGTERM and SIGKILL; 0: 5 s.
	Grace time.Duration
}

const (
	defaultGrace = 5 * time.Second
	// outputLimit is how much of a status's output is kept; the words that count come early.
	outputLimit = 64 << 10
	// lateOutput is how long a status that has ended may leave others writing to its output. The
	// original waits for them for ever.
	lateOutput = 200 * time.Millisecond
)

// Exit codes of the shell for what could not be run, and its base for signals.
const (
	notExecutable = 126
	notFound      = 127
	signalBase    = 128
)

// Agent runs programs.
type Agent struct {
	o Options
}

// New makes the agent.
func New(o Options) *Agent {
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	return &Agent{o: o}
}

// Run runs c.Path with c.Args and, if it is not empty, c.Op as its last argument. The environment
// is c.Env and nothing else. When ctx ends or the time is up, the child's process group is ended.
func (a *Agent) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	argv := append([]string{c.Path}, c.Args...)
	if c.Op != "" {
		argv = append(argv, string(c.Op))
	}
	r, err := a.exec(ctx, c, argv)
	if errors.Is(err, syscall.ENOEXEC) { // no #! line: the shell runs such a file itself
		r, err = a.exec(ctx, c, append([]string{"/bin/sh"}, argv...))
	}
	if err != nil {
		return r, fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	return r, nil
}

func (a *Agent) exec(ctx context.Context, c agent.Call, argv []string) (agent.Result, error) {
	out, err := a.output()
	if err != nil {
		return agent.Result{Code: notExecutable}, err
	}
	defer out.Close()
	cmd := &exec.Cmd{
		Path: argv[0], Args: argv, Env: c.Env, Dir: a.dir(), Stdout: out, Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		WaitDelay:   lateOutput,
	}
	if c.Env == nil {
		cmd.Env = []string{} // nil would be ours
	}
	var text head
	asked := c.Op == agent.Status || c.Op == agent.Monitor
	if asked {
		cmd.Stdout = &text
	}
	if err := cmd.Start(); err != nil {
		code := notExecutable
		if errors.Is(err, os.ErrNotExist) {
			code = notFound
		}
		return agent.Result{Code: code}, err
	}
	realtime.Release(cmd.Process.Pid)
	err = a.wait(ctx, cmd)
	r := agent.Result{Output: text.b.String(), Code: notExecutable}
	if cmd.ProcessState == nil {
		return r, errors.Join(err, errors.New("its exit status is lost"))
	}
	if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signaled() {
		r.Signal = int(state.Signal())
		r.Code = signalBase + r.Signal
		if err == nil {
			err = fmt.Errorf("killed by signal %d", r.Signal)
		}
	} else if r.Code = state.ExitStatus(); r.Code != 0 && err == nil && !asked {
		err = fmt.Errorf("exit status %d", r.Code)
	} else if r.Code == 0 && err != nil { // it obeyed the signal and called that a success
		r.Code = signalBase + int(syscall.SIGTERM)
	}
	return r, err
}

// wait waits for the child to end, and makes it end when it must. The error says why it had to.
func (a *Agent) wait(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan struct{})
	go func() { // ends with the child
		_ = cmd.Wait() // the ProcessState says it all
		close(ended)
	}()
	if a.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.o.Timeout)
		defer cancel()
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // it may have ended meanwhile
	t := time.NewTimer(a.o.Grace)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && a.o.Timeout > 0 {
		return fmt.Errorf("not done after %v: %w", a.o.Timeout, ctx.Err())
	}
	return ctx.Err()
}

// output is what the child prints to. A resource is stopped also when there is no room for that, or
// its file system has become read-only: if no script could be run, what runs would count as stopped,
// and the other node would start it, too.
func (a *Agent) output() (*os.File, error) {
	if a.o.Output != nil {
		if f, err := a.o.Output(); err == nil {
			return f, nil
		}
	}
	return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
}

func (a *Agent) dir() string {
	if st, err := os.Stat(a.o.Dir); a.o.Dir == "" || err != nil || !st.IsDir() {
		return "/"
	}
	return a.o.Dir
}

// head keeps the beginning of what is written to it.
type head struct {
	b strings.Builder
}

// Write is io.Writer. It takes everything, so that the writer never waits.
func (h *head) Write(p []byte) (int, error) {
	if room := outputLimit - h.b.Len(); room > 0 {
		h.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
