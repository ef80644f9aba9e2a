package userspace

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// The forwarder lives in one process; other programs of the same host (ipvsadm, an ldirectord
// of its own) reach it over a local socket: one JSON request a line, one JSON answer a line.

type request struct {
	Do       *ipvs.Op       `json:",omitempty"`
	Timeouts *ipvs.Timeouts `json:",omitempty"`
}

type answer struct {
	Entries  []ipvs.Entry
	Timeouts ipvs.Timeouts
	Error    string        `json:",omitempty"`
	Refused  bool          `json:",omitempty"` // by the table, with an ipvs.Refusal
	Refusal  string        `json:",omitempty"` // which sentinel of package ipvs
	Errno    syscall.Errno `json:",omitempty"`
}

var refusals = map[string]error{
	"exists": ipvs.ErrExists, "service": ipvs.ErrNoService, "dest": ipvs.ErrNoDest, "scheduler": ipvs.ErrNoScheduler,
}

// Listen opens the socket at path, mode 0600. A socket that another live process answers on is
// an error; a stale one is replaced.
func Listen(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen %s: %w", path, syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, errno(err))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// Serve answers other programs on l until ctx ends; it closes l.
func (f *Forwarder) Serve(ctx context.Context, l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			if err == nil {
				c.Close()
			}
			return
		}
		if err != nil { // out of descriptors
			time.Sleep(100 * time.Millisecond)
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			f.serve(ctx, c)
		}()
	}
}

func (f *Forwarder) serve(ctx context.Context, c net.Conn) {
	in := bufio.NewScanner(c)
	out := json.NewEncoder(c)
	for in.Scan() {
		var r request
		var a answer
		err := json.Unmarshal(in.Bytes(), &r)
		switch {
		case err != nil:
			err = fmt.Errorf("read request: %w", err)
		case r.Do != nil:
			err = f.Do(ctx, *r.Do)
		case r.Timeouts != nil:
			err = f.SetTimeouts(ctx, *r.Timeouts)
		default:
			if a.Entries, err = f.Snapshot(ctx); err == nil {
				a.Timeouts, err = f.Timeouts(ctx)
			}
		}
		if err != nil {
			a = answer{Error: err.Error()}
			errors.As(err, &a.Errno)
			var refusal *ipvs.Refusal
			a.Refused = errors.As(err, &refusal)
			for name, sentinel := range refusals {
				if errors.Is(err, sentinel) {
					a.Refusal = name
				}
			}
		}
		if out.Encode(a) != nil {
			return
		}
	}
}

// Remote is the forwarder of another process, as a table. When that process ends and another
// takes its place, the next call reaches it.
type Remote struct {
	path string
	caps ipvs.Caps

	mu     sync.Mutex
	conn   net.Conn // nil after a failure, until the next call
	in     *json.Decoder
	closed bool
}

// Dial reaches the forwarder that serves path.
func Dial(ctx context.Context, path string) (*Remote, error) {
	r := &Remote{path: path, caps: New().Caps()}
	if err := r.dial(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Remote) dial(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", r.path)
	if err != nil {
		return fmt.Errorf("connect to the forwarder at %s: %w", r.path, errno(err))
	}
	r.conn, r.in = c, json.NewDecoder(c)
	return nil
}

func (r *Remote) ask(ctx context.Context, q request) (answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return answer{}, fmt.Errorf("ask the forwarder: %w", net.ErrClosed)
	}
	line, err := json.Marshal(q)
	if err != nil {
		return answer{}, fmt.Errorf("ask the forwarder: %w", err)
	}
	old := r.conn != nil // perhaps to a process that has ended
	a, sent, err := r.exchange(ctx, append(line, '\n'))
	if err != nil && old && ctx.Err() == nil && (!sent || q == (request{})) { // it cannot have been carried out, or does not matter
		a, _, err = r.exchange(ctx, append(line, '\n'))
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return answer{}, fmt.Errorf("ask the forwarder: %w", ctx.Err())
	case err != nil:
		return answer{}, err
	case a.Error != "":
		return a, &remoteError{text: a.Error, errno: a.Errno, refusal: refusals[a.Refusal], refused: a.Refused}
	}
	return a, nil
}

// exchange sends a line and reads the answer. After a failure, or the end of ctx, there is no
// connection any more: a late answer would be taken for that of the next question.
func (r *Remote) exchange(ctx context.Context, line []byte) (a answer, sent bool, err error) {
	if err := ctx.Err(); err != nil {
		return a, false, err
	}
	if r.conn == nil {
		if err := r.dial(ctx); err != nil {
			return a, false, err
		}
	}
	conn := r.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if !stop() || err != nil {
			conn.Close()
			r.conn = nil
		}
	}()
	if _, err := conn.Write(line); err != nil {
		return a, false, fmt.Errorf("ask the forwarder: %w", errno(err))
	}
	if err := r.in.Decode(&a); err != nil {
		return a, true, fmt.Errorf("hear from the forwarder: %w", err)
	}
	return a, true, nil
}

// remoteError keeps an error's text, errno and sentinel across the socket.
type remoteError struct {
	text    string
	errno   syscall.Errno
	refusal error
	refused bool
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() []error {
	var errs []error
	if e.errno != 0 {
		errs = append(errs, e.errno)
	}
	if e.refusal != nil {
		errs = append(errs, e.refusal)
	}
	return errs
}

// Do carries out one operation over there.
func (r *Remote) Do(ctx context.Context, op ipvs.Op) error {
	_, err := r.ask(ctx, request{Do: &op})
	var e *remoteError
	if errors.As(err, &e) && e.refused {
		refusal := &ipvs.Refusal{Op: op, Reason: e.refusal}
		if e.errno != 0 {
			refusal.Cause = e.errno
		}
		return refusal
	}
	return err
}

// Snapshot lists the services over there with their counters.
func (r *Remote) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	a, err := r.ask(ctx, request{})
	if a.Entries == nil {
		a.Entries = []ipvs.Entry{}
	}
	return a.Entries, err
}

// Timeouts returns the idle times in force over there.
func (r *Remote) Timeouts(ctx context.Context) (ipvs.Timeouts, error) {
	a, err := r.ask(ctx, request{})
	return a.Timeouts, err
}

// SetTimeouts changes the idle times over there.
func (r *Remote) SetTimeouts(ctx context.Context, t ipvs.Timeouts) error {
	_, err := r.ask(ctx, request{Timeouts: &t})
	return err
}

// Caps is the forwarder's.
func (r *Remote) Caps() ipvs.Caps { return r.caps }

// Close leaves the forwarder as it is.
func (r *Remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed = true; r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn = nil
	return err
}
