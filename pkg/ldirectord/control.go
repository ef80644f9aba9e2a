package ldirectord

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket takes one line a connection, "stop", "reload" or "status", and answers
// with one: "ok PID" or "error TEXT".
const (
	controlLimit = 2 * time.Second // for one conversation
	controlLine  = 64              // bytes of a request
)

// control serves the socket until ctx ends.
type control struct {
	listener net.Listener
	handle   func(verb string) error
}

func listenControl(path string, handle func(verb string) error) (*control, error) {
	_ = os.Remove(path) // left by an instance that was killed: the pid file's lock is ours
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	return &control{listener: l, handle: handle}, nil
}

// run answers until ctx ends, and returns when all conversations have ended.
func (c *control) run(ctx context.Context) {
	var talks sync.WaitGroup
	defer talks.Wait()
	stop := context.AfterFunc(ctx, func() { c.listener.Close() })
	defer stop()
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors
			continue
		}
		talks.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(controlLimit))
			line, err := bufio.NewReaderSize(conn, controlLine).ReadSlice('\n')
			if err != nil {
				return
			}
			reply := fmt.Sprintf("ok %d\n", os.Getpid())
			if err := c.handle(strings.TrimSpace(string(line))); err != nil {
				reply = "error " + err.Error() + "\n"
			}
			_, _ = conn.Write([]byte(reply)) // an asker who has gone has his reasons
		})
	}
}

// ask sends a request to the running instance.
func (in Instance) ask(verb string) error {
	conn, err := net.DialTimeout("unix", in.Socket, controlLimit)
	if err != nil {
		return fmt.Errorf("ask %s: %w", in.Socket, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(controlLimit))
	if _, err := fmt.Fprintln(conn, verb); err != nil {
		return fmt.Errorf("ask %s: %w", in.Socket, err)
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("ask %s: %w", in.Socket, err)
	}
	if text, bad := strings.CutPrefix(reply, "error "); bad {
		return fmt.Errorf("ask %s: %s", in.Socket, strings.TrimSpace(text))
	}
	return nil
}

// Stop asks the running instance to end, as TERM does, without waiting for it. The process it
// lives in goes on if it is not an ldirectord. Without an instance it does nothing.
func (in Instance) Stop() error { return in.tell("stop", unix.SIGTERM) }

// Reload asks the running instance to read its configuration again, as HUP does.
func (in Instance) Reload() error { return in.tell("reload", unix.SIGHUP) }

// tell uses the control socket, and for an original, which has none, the signal. A process that
// is no ldirectord, heartbeat above all, is never sent a signal.
func (in Instance) tell(verb string, signal syscall.Signal) error {
	pid, _ := in.Running()
	if pid == 0 {
		return nil
	}
	err := in.ask(verb)
	if err == nil {
		return nil
	}
	if !isLdirectord(pid) {
		return err
	}
	if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s pid %d: %w", verb, pid, err)
	}
	return nil
}

// WaitGone waits until the instance has ended, and reports whether it has.
func (in Instance) WaitGone(ctx context.Context) bool {
	for {
		if pid, _ := in.Running(); pid == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}
