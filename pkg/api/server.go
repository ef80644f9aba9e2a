package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/api/frame"
)

// Limits of what waits for a client that does not read. The number of messages is the original's
// (DEFAULT_MAX_QLEN), the bytes are ours.
const (
	queueLen   = 64
	queueBytes = 1 << 20  // of one client
	allBytes   = 32 << 20 // of all
)

// farewell is how long a connection that is being closed may take to read what it was sent.
const farewell = 5 * time.Second

// Server is the daemon's end of the socket. [Server.Run] takes connections and reads; the other
// methods are for the one goroutine that owns the broker, and never wait for a client.
type Server struct {
	post      func(broker.Input)
	listeners []listener
	writers   sync.WaitGroup

	mu     sync.Mutex
	last   broker.Conn
	conns  map[broker.Conn]*serverConn
	leaves map[*serverConn]struct{} // that are no longer in conns, and have to read their last messages
	queued int                      // bytes in all queues
}

type listener struct {
	*net.UnixListener
	public bool
}

// Listen makes the socket, in place of one that an earlier run has left. Everybody may connect who
// gets to its directory, as with the original. A second one, public, is for everybody (see
// [broker.Peer.Public]); "" is none. post hands an input to whoever owns the broker; it may block,
// and has to return when the context of Run ends.
func Listen(path, public string, post func(broker.Input)) (*Server, error) {
	s := &Server{post: post, conns: map[broker.Conn]*serverConn{}, leaves: map[*serverConn]struct{}{}}
	for _, p := range []string{path, public} {
		if p == "" {
			continue
		}
		l, err := listen(p)
		if err != nil {
			for _, had := range s.listeners {
				had.Close()
			}
			return nil, err
		}
		s.listeners = append(s.listeners, listener{l, p == public})
	}
	return s, nil
}

func listen(path string) (*net.UnixListener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace socket: %w", err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // clients of a stopped heartbeat are to be refused, not to find nothing
	if err := OpenToAll(path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// OpenToAll lets everybody connect to a socket who gets to its directory. That belongs to another user, who may have
// put something else in its place: a link is not followed.
func OpenToAll(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }() // nothing is written to it
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			err = unix.ENOTSOCK
		}
	}
	if err == nil {
		err = os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o777)
	}
	if err != nil {
		return fmt.Errorf("open socket %s to all: %w", path, err)
	}
	return nil
}

// MaxConns is how many connections this process can afford: half of its descriptors, at most 1024.
func MaxConns() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 512
	}
	return int(min(lim.Cur/2, 1024))
}

// Run takes connections until ctx ends; then all are closed.
func (s *Server) Run(ctx context.Context) {
	var readers, accepters sync.WaitGroup
	for _, l := range s.listeners {
		accepters.Add(1)
		go func() {
			defer accepters.Done()
			s.accept(ctx, l, &readers)
		}()
	}
	<-ctx.Done()
	for _, l := range s.listeners {
		l.Close()
	}
	accepters.Wait()
	s.closeAll()
	readers.Wait()
	s.writers.Wait()
}

// accept takes connections of one socket until it is closed.
func (s *Server) accept(ctx context.Context, l listener, readers *sync.WaitGroup) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return
		case err != nil: // no descriptors, or a client that left again
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		sc, peer, err := newServerConn(s, c)
		if err != nil {
			c.Close()
			continue
		}
		peer.Public = l.public
		s.mu.Lock()
		s.last++
		id := s.last
		s.conns[id] = sc
		s.mu.Unlock()
		readers.Add(1)
		go func() {
			defer readers.Done()
			s.read(id, sc, peer)
		}()
	}
}

// closeAll closes all connections, also those that are being closed: a daemon that restarts in place does
// not wait for a client that does not read.
func (s *Server) closeAll() {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.leaves))
	for _, c := range s.conns {
		all = append(all, c)
	}
	clear(s.conns)
	s.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}

// read passes on what a client says, one frame at a time.
func (s *Server) read(id broker.Conn, c *serverConn, peer broker.Peer) {
	s.post(broker.Connected{Conn: id, Peer: peer})
	in := bufio.NewReaderSize(c.UnixConn, 512)
	for {
		body, err := frame.Read(in)
		if err != nil {
			reason := "EOF"
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.ECONNRESET) {
				reason = err.Error()
			}
			s.post(broker.Gone{Conn: id, Reason: reason})
			return
		}
		s.post(broker.Said{Conn: id, Body: body})
		select {
		case <-c.next:
		case <-c.closed:
			return
		}
	}
}

func (s *Server) conn(id broker.Conn) *serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[id]
}

// Next has the next frame of a connection read.
func (s *Server) Next(id broker.Conn) {
	if c := s.conn(id); c != nil {
		select {
		case c.next <- struct{}{}:
		default:
		}
	}
}

// Write sends a frame. What the kernel does not take at once waits; if too much waits already, the
// client is too slow, and the error is the reason to drop it.
func (s *Server) Write(id broker.Conn, body []byte) error {
	c := s.conn(id)
	if c == nil {
		return nil // it has gone, and the broker will hear of it
	}
	return c.write(frame.Append(make([]byte, 0, 8+len(body)), body))
}

// SetQueue changes how many messages may wait for a client.
func (s *Server) SetQueue(id broker.Conn, n int) {
	if c := s.conn(id); c != nil {
		c.mu.Lock()
		c.limit = n
		c.mu.Unlock()
	}
}

// Close ends a connection, at once or when the client has read what waits for it.
func (s *Server) Close(id broker.Conn, drop bool) {
	s.mu.Lock()
	c := s.conns[id]
	delete(s.conns, id)
	if c != nil && !drop {
		s.leaves[c] = struct{}{}
	}
	s.mu.Unlock()
	if c == nil {
		return
	}
	if drop {
		c.close()
	} else {
		c.finish()
	}
}

// take reserves room for bytes in queues.
func (s *Server) take(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued+n > allBytes {
		return false
	}
	s.queued += n
	return true
}

func (s *Server) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= n
}

// serverConn is a connection of the server.
type serverConn struct {
	*net.UnixConn
	server *Server
	raw    rawConn
	peer   int           // process id
	next   chan struct{} // has the reader go on
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	queue   [][]byte // what the kernel has not taken; the first may be a rest
	bytes   int
	limit   int
	writing bool // a goroutine empties the queue
	last    bool // the connection is to be closed after that
}

type rawConn interface {
	Write(f func(fd uintptr) (done bool)) error
	Control(f func(fd uintptr)) error
}

func newServerConn(s *Server, c *net.UnixConn) (*serverConn, broker.Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, broker.Peer{}, err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, cerr); err != nil {
		return nil, broker.Peer{}, err
	}
	peer := broker.Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}
	return &serverConn{
		UnixConn: c, server: s, raw: raw, peer: peer.PID, limit: queueLen,
		next: make(chan struct{}, 1), closed: make(chan struct{}),
	}, peer, nil
}

// close closes the connection at once.
func (c *serverConn) close() {
	c.once.Do(func() {
		close(c.closed)
		c.UnixConn.Close()
	})
	c.server.mu.Lock()
	delete(c.server.leaves, c)
	c.server.mu.Unlock()
}

// finish closes the connection when all is written.
func (c *serverConn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closed: // what it was sent could not be written
		c.close()
		return
	default:
	}
	if !c.writing {
		c.close()
		return
	}
	c.last = true
	_ = c.SetWriteDeadline(time.Now().Add(farewell)) // fails for a closed connection only
}

// write writes what the kernel takes now, and leaves the rest to a goroutine.
func (c *serverConn) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writing {
		n, err := c.now(b)
		if err != nil {
			return nil // the reader sees it too
		}
		b = b[n:]
		if len(b) == 0 {
			return nil
		}
	}
	if len(c.queue) >= c.limit || c.bytes+len(b) > queueBytes || !c.server.take(len(b)) {
		return fmt.Errorf("send failed,farside_pid=%d, sendq length=%d(max is %d)", c.peer, len(c.queue), c.limit)
	}
	c.queue = append(c.queue, b)
	c.bytes += len(b)
	if !c.writing {
		c.writing = true
		c.server.writers.Add(1)
		go c.drain()
	}
	return nil
}

// now writes without waiting.
func (c *serverConn) now(b []byte) (n int, err error) {
	werr := c.raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			var m int
			m, err = unix.SendmsgN(int(fd), b[n:], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				err = nil
				return true
			case err != nil:
				return true
			}
			n += m
		}
		return true
	})
	return n, errors.Join(err, werr)
}

// drain writes the queue. It ends with it, or with the connection.
func (c *serverConn) drain() {
	defer c.server.writers.Done()
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.writing = false
			if c.last {
				c.close()
			}
			c.mu.Unlock()
			return
		}
		b := c.queue[0]
		c.mu.Unlock()
		_, err := c.UnixConn.Write(b)
		c.mu.Lock()
		if err != nil {
			c.server.release(c.bytes)
			c.queue, c.bytes = nil, 0
			c.close()
			c.mu.Unlock()
			return
		}
		c.queue = c.queue[1:]
		c.bytes -= len(b)
		c.server.release(len(b))
		c.mu.Unlock()
	}
}
