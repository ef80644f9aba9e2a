package userspace

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// dialLimit bounds the connect to a real server: a client gives up about then as well.
const dialLimit = 10 * time.Second

// listen opens the service's socket and starts its goroutine; services that carry no traffic
// here have none.
func (s *service) listen() error {
	if s.cfg.FWMark != 0 {
		return nil
	}
	network := "4"
	if s.cfg.Addr.Addr().Is6() {
		network = "6"
	}
	lc := net.ListenConfig{Control: control}
	ctx, cancel := context.WithCancel(context.Background())
	switch s.cfg.Protocol {
	case ipvs.TCP:
		l, err := lc.Listen(ctx, "tcp"+network, s.cfg.Addr.String())
		if err != nil {
			cancel()
			return errno(err)
		}
		s.stop = func() { cancel(); l.Close() }
		s.f.wg.Add(1)
		go func() { defer s.f.wg.Done(); s.accept(ctx, l) }()
	case ipvs.UDP:
		pc, err := lc.ListenPacket(ctx, "udp"+network, s.cfg.Addr.String())
		if err != nil {
			cancel()
			return errno(err)
		}
		s.stop = func() { cancel(); pc.Close() }
		s.f.wg.Add(1)
		go func() { defer s.f.wg.Done(); s.relay(ctx, pc.(*net.UDPConn)) }()
	default:
		cancel()
	}
	return nil
}

// control lets a service listen before its address is up, as IPVS does.
func control(network, _ string, c syscall.RawConn) error {
	var serr error
	err := c.Control(func(fd uintptr) {
		if strings.HasSuffix(network, "6") {
			serr = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
			return
		}
		serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
	return errors.Join(err, serr)
}

// errno takes the kernel's answer out of net's wrapping, which repeats the address.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

func (s *service) accept(ctx context.Context, l net.Listener) {
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return
		}
		if err != nil { // out of descriptors, an aborted client: neither ends the service
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		s.f.wg.Add(1)
		go func() { defer s.f.wg.Done(); s.proxy(ctx, c.(*net.TCPConn)) }()
	}
}

// proxy carries one client's connection. It ends when both sides have closed, when either
// breaks, when nothing moved for the TCP timeout, or with the service.
func (s *service) proxy(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	from, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err != nil {
		return
	}
	sess, ok := s.open(from)
	if !ok {
		reset(client) // with no usable destination the kernel refuses the client too
		return
	}
	defer sess.close(true)
	d := net.Dialer{Timeout: dialLimit}
	conn, err := d.DialContext(ctx, "tcp", sess.d.cfg.Addr.String())
	if err != nil {
		reset(client)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { reset(client); reset(server) })
	defer stop()

	s.f.mu.Lock()
	idle, _, _ := s.f.timeouts()
	s.f.mu.Unlock()
	life := &life{idle: idle}
	life.moved()
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		copyHalf(client, server, life, func(n int) { sess.count(0, uint64(n), 0, 1) })
	}()
	copyHalf(server, client, life, func(n int) { sess.count(uint64(n), 0, 1, 0) })
	wg.Wait()
}

// life is how long a connection has to live: both ways share it, as one side may have nothing to say.
type life struct {
	idle time.Duration
	last atomic.Pointer[time.Time] // when a byte came, either way
}

func (l *life) moved() {
	now := time.Now()
	l.last.Store(&now)
}

// end is when it is over unless a byte comes.
func (l *life) end() time.Time { return l.last.Load().Add(l.idle) }

// copyHalf moves bytes one way until src ends, then closes dst's write side; on an error or
// at the end of life it closes both, so that the other half ends too.
func copyHalf(dst, src *net.TCPConn, life *life, count func(int)) {
	buf := make([]byte, 32<<10)
	for {
		if err := src.SetReadDeadline(life.end()); err != nil {
			break
		}
		n, rerr := src.Read(buf)
		if n > 0 {
			life.moved()
			count(n)
			if _, err := dst.Write(buf[:n]); err != nil {
				break
			}
		}
		if errors.Is(rerr, io.EOF) {
			if dst.CloseWrite() == nil {
				return
			}
			break
		}
		if errors.Is(rerr, os.ErrDeadlineExceeded) && time.Now().Before(life.end()) {
			continue // something came the other way
		}
		if rerr != nil {
			break
		}
	}
	reset(dst)
	reset(src)
}

// reset closes with RST: the peer learns at once, and nothing waits in TIME_WAIT.
func reset(c *net.TCPConn) {
	if err := c.SetLinger(0); err != nil {
		return // already closed
	}
	c.Close()
}
