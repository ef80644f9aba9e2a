package check

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// session is one run of a check: its connection, what is being done, and the transcript.
type session struct {
	ctx   context.Context
	spec  Spec
	trace transcript

	tls     bool   // the service speaks TLS from the start
	step    string // what is being done, for reasons: "connect", "greeting", "EHLO", ...
	monitor string // for the monitorfile
	warning string
	budget  int // bytes of lines that the peer may still send
	conn    *conn
	stream  net.Conn      // conn, or TLS over it
	in      *bufio.Reader // of stream
	frames  *frames       // what a database's driver sees of stream; nil for others
}

// script is a check as a course of events: nil is up, an error is why the server is down.
type script func(*session) error

// Check runs the script.
func (f script) Check(ctx context.Context, s Spec) Result {
	run := newSession(ctx, s)
	defer run.close()
	if err := f(run); err != nil {
		return run.failed(err)
	}
	return Result{Up: true, Monitor: run.monitor, Warning: run.warning}
}

func newSession(ctx context.Context, s Spec) *session {
	return &session{ctx: ctx, spec: s, trace: transcript{start: time.Now(), secrets: secretsOf(&s)}, budget: maxTalk}
}

// wrong is an answer, or the lack of one, that makes a server down. It is a reason as it stands;
// other errors get the step that they happened in.
type wrong string

func (w wrong) Error() string { return string(w) }

// failed is the verdict after err.
func (s *session) failed(err error) Result {
	reason := err.Error()
	if plain := wrong(""); !errors.As(err, &plain) {
		reason = cause(err)
	}
	if s.step != "" {
		reason = s.step + ": " + reason
	}
	reason = printable(clip(hide(reason, s.trace.secrets)))
	s.trace.note('*', reason)
	return Result{Reason: reason, Monitor: hide(s.monitor, s.trace.secrets), Trace: s.trace.lines(), Warning: s.warning}
}

var errNoPort = wrong("no port to connect to")

// connect opens a TCP connection to the check port, with TLS where the service is made so.
func (s *session) connect() error {
	err := s.open("connect", dialTCP)
	if err == nil && s.tls {
		err = s.secure(s.tlsName())
	}
	return err
}

// tlsName is the name by which the real server is asked over TLS.
func (s *session) tlsName() string {
	if s.spec.ServerName != "" {
		return s.spec.ServerName
	}
	return s.spec.VirtualHost
}

// connectUDP makes a UDP socket for the check port.
func (s *session) connectUDP() error { return s.open("UDP", dialUDP) }

func (s *session) open(step string, dial func(context.Context, netip.AddrPort) (*conn, error)) error {
	if s.spec.Addr.Port() == 0 {
		return errNoPort
	}
	return s.openTo(step, s.spec.Addr, dial)
}

func (s *session) openTo(step string, to netip.AddrPort, dial func(context.Context, netip.AddrPort) (*conn, error)) error {
	s.step = step
	s.trace.note('*', step+" "+to.String())
	c, err := dial(s.ctx, to)
	if err != nil {
		return err
	}
	s.use(c)
	return nil
}

func (s *session) use(c *conn) {
	s.close()
	s.conn = c
	s.setStream(c)
}

func (s *session) setStream(stream net.Conn) {
	s.stream = stream
	if s.in == nil {
		s.in = readers.Get().(*bufio.Reader)
	}
	s.in.Reset(stream)
}

// readSize is how much is read at a time.
const readSize = 8 << 10

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readSize) }}

func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close() // the verdict stands
		s.conn, s.stream = nil, nil
	}
	if s.in != nil {
		s.in.Reset(nil)
		readers.Put(s.in)
		s.in = nil
	}
}
