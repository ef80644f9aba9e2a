package check

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// past is a deadline that makes every read and write fail at once.
var past = time.Unix(1, 0)

// conn is a connection that lives no longer than its context. It leaves no TIME_WAIT behind:
// unless the peer closed first, closing resets.
type conn struct {
	net.Conn
	tcp     *net.TCPConn
	stop    func() bool
	sawDone bool // the peer has closed its side
}

var dialer = net.Dialer{KeepAlive: -1}

// dial connects to a host and port over TCP within ctx.
func dial(ctx context.Context, addr string) (*conn, error) {
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, tcp: nc.(*net.TCPConn)}
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline) // of an open socket: cannot fail
	}
	c.stop = context.AfterFunc(ctx, func() { _ = nc.SetDeadline(past) })
	return c, nil
}

// Read reads and notes the end of the stream.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		c.sawDone = true
	}
	return n, err
}

// Close ends the connection at once.
func (c *conn) Close() error {
	c.stop()
	if !c.sawDone {
		_ = c.tcp.SetLinger(0) // at worst a TIME_WAIT
	}
	return c.tcp.Close()
}

// cause says what went wrong in a few words, without addresses: the errno's text, "timed out",
// or what the error says.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case isTimeout(err):
		return "timed out"
	case errors.As(err, &errno):
		return errno.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}

// isTimeout tells an error that came from a deadline or a cancelled context.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &timeout) && timeout.Timeout()
}
