package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Cmd is a command of a node, used as an [exec.Cmd]: Start, Run, Output and CombinedOutput run it in
// the node's namespaces. It begins in / with a small environment, as a session of its own, and is
// killed with its process group when its context ends.
type Cmd struct {
	*exec.Cmd
	node *Node
	ctx  context.Context
	wait func() error
}

// Command prepares a command of the node. A name without a slash is looked up in the node's
// directories of programs.
func (n *Node) Command(ctx context.Context, name string, arg ...string) *Cmd {
	c := exec.CommandContext(ctx, "/", arg...) // the path is a name of the node's, found by Start
	c.Path, c.Args[0], c.Err = name, name, nil
	c.Dir = "/"
	c.Env = []string{"PATH=" + searchPath, "HOME=/root", "LANG=C", "LC_ALL=C", "TZ=UTC", "TERM=dumb"}
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
	c.WaitDelay = time.Second // a daemon may have kept the output open
	return &Cmd{Cmd: c, node: n, ctx: ctx}
}

// Start starts the command in the node.
func (c *Cmd) Start() error {
	c.wait = sync.OnceValue(func() error {
		err := c.Cmd.Wait()
		c.node.mu.Lock()
		defer c.node.mu.Unlock()
		delete(c.node.cmds, c)
		return err
	})
	return c.node.enter(func() error {
		if !strings.Contains(c.Path, "/") {
			for _, dir := range filepath.SplitList(searchPath) {
				p := filepath.Join(dir, c.Path)
				if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
					c.Path = p
					break
				}
			}
		}
		if err := c.Cmd.Start(); err != nil {
			return err
		}
		c.node.mu.Lock()
		defer c.node.mu.Unlock()
		if c.node.cmds == nil {
			c.node.cmds = map[*Cmd]bool{}
		}
		c.node.cmds[c] = true
		return nil
	})
}

// Wait waits for a started command, as exec.Cmd does. It may be called more than once.
func (c *Cmd) Wait() error {
	if c.wait == nil {
		return c.Cmd.Wait() // says that it was not started
	}
	return c.wait()
}

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// enter runs f in all of the node's namespaces, on a thread that ends with it.
func (n *Node) enter(f func() error) error {
	n.mu.Lock()
	if n.init == nil {
		n.mu.Unlock()
		return fmt.Errorf("lab: node %s is off", n.Name())
	}
	fd, err := unix.FcntlInt(uintptr(n.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("lab: enter %s: %w", n.Name(), err)
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread's root directory is now another
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWPID)
		}
		if err != nil {
			done <- fmt.Errorf("lab: enter %s: %w", n.Name(), err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Result is how a command ended.
type Result struct {
	Code   int    // exit status; 128 and the signal's number if it was killed
	Stdout string // what it wrote until it ended; a daemon that it left may write on, unseen
	Stderr string
}

// Exec runs a command of the node to its end. An exit status other than 0 is no error.
func (n *Node) Exec(ctx context.Context, name string, arg ...string) (Result, error) {
	return n.Command(ctx, name, arg...).Result()
}

// Result runs the command to its end, as [Node.Exec] does. Output goes through files, so that a
// daemon that keeps them open is not waited for.
func (c *Cmd) Result() (Result, error) {
	var r Result
	stdout, err := memFile()
	if err != nil {
		return r, err
	}
	defer stdout.Close()
	stderr, err := memFile()
	if err != nil {
		return r, err
	}
	defer stderr.Close()
	c.Stdout, c.Stderr = stdout, stderr
	r.Code, err = c.status()
	r.Stdout, r.Stderr = contents(stdout), contents(stderr)
	return r, err
}

// status runs the command to its end and returns its exit status as [Result] has it.
func (c *Cmd) status() (code int, err error) {
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && c.ProcessState != nil {
		ws := c.ProcessState.Sys().(syscall.WaitStatus)
		if code = ws.ExitStatus(); ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		if c.ctx.Err() == nil {
			err = nil
		}
	}
	if err != nil {
		err = fmt.Errorf("lab: %s: %s: %w", c.node.Name(), strings.Join(c.Args, " "), err)
	}
	return code, err
}

func memFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("lab: memfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "output"), nil
}

func contents(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		return ""
	}
	return string(b)
}
