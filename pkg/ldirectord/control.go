package ldirectord

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket takes one line a connection: "stop", "reload", "status" (which has a report
// follow), "look" (the same after the table was read anew), or "drain" and a DrainRequest. The
// answer is a line "ok PID" and perhaps JSON, or a line "error TEXT".
const (
	controlLimit = 5 * time.Second // for one conversation
	controlLine  = 16 << 10        // bytes of a request
	controlEnd   = time.Second     // for an answer that is under way when the service ends
)

// control serves the socket until ctx ends.
type control struct {
	listener net.Listener
	handle   controlHandler
}

// controlHandler carries out a request and returns what is to follow "ok", or nil. It is to return when
// ctx ends.
type controlHandler func(ctx context.Context, verb, argument string) (any, error)

func listenControl(path string, handle controlHandler) (*control, error) {
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
		talks.Go(func() { c.talk(ctx, conn) })
	}
}

// talk answers one request. Whoever asks nothing, or does not take the answer, does not hold up the end.
func (c *control) talk(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(controlLimit)) // of an open socket: cannot fail
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetReadDeadline(time.Now())
		_ = conn.SetWriteDeadline(time.Now().Add(controlEnd))
	})
	defer stop()
	line, err := bufio.NewReaderSize(conn, controlLine).ReadSlice('\n')
	if err != nil {
		return
	}
	verb, argument, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	body, err := c.handle(ctx, verb, argument)
	reply := fmt.Appendf(nil, "ok %d\n", os.Getpid())
	if err == nil && body != nil {
		var text []byte
		text, err = json.Marshal(body)
		reply = append(append(reply, text...), '\n')
	}
	if err != nil {
		reply = []byte("error " + oneLine(err.Error()) + "\n")
	}
	_, _ = conn.Write(reply) // an asker who has gone has his reasons
}

// refusal is what the running instance has against a request.
type refusal struct{ text string }

// Error is its words.
func (r *refusal) Error() string { return r.text }

// ask sends a request to the running instance. argument and answer may be nil.
func (in Instance) ask(verb string, argument, answer any) error {
	failed := func(err error) error { return fmt.Errorf("ask %s: %w", in.Socket, err) }
	if argument != nil {
		text, err := json.Marshal(argument)
		if err != nil {
			return failed(err)
		}
		verb += " " + string(text)
	}
	conn, err := net.DialTimeout("unix", in.Socket, controlLimit)
	if err != nil {
		return failed(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(controlLimit)) // of an open socket: cannot fail
	if _, err := fmt.Fprintln(conn, verb); err != nil {
		return failed(err)
	}
	r := bufio.NewReader(conn)
	reply, err := r.ReadString('\n')
	if err != nil {
		return failed(err)
	}
	if text, bad := strings.CutPrefix(reply, "error "); bad {
		return &refusal{strings.TrimSpace(text)}
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(r).Decode(answer); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is an older ldirectord, which cannot do that")
		}
		return failed(err)
	}
	return nil
}

// Report asks the running instance for its state. With look the table is read for it first.
func (in Instance) Report(look bool) (Report, error) {
	verb := "status"
	if look {
		verb = "look"
	}
	var r Report
	err := in.ask(verb, nil, &r)
	return r, err
}

// Drain has the running instance drain real servers, or give them back.
func (in Instance) Drain(r DrainRequest) (Drained, error) {
	var d Drained
	err := in.ask("drain", r, &d)
	return d, err
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
	err := in.ask(verb, nil, nil)
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
