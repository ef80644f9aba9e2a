package userspace

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// maxSessions bounds the flows of one UDP service; beyond it new clients are dropped until old
// flows time out.
const maxSessions = 16384

// onePacketWait is how long the answer to a datagram of a one-packet service may take.
const onePacketWait = 5 * time.Second

// flow is a client's datagrams to one real server. Its goroutine brings the answers back.
type flow struct {
	session
	server *net.UDPConn
	single bool // of a one-packet service: it ends with the answer
}

// flows are those of a service that live.
type flows struct {
	mu  sync.Mutex
	of  map[netip.AddrPort]*flow // where a client's next datagram goes
	all map[*flow]bool
}

// end closes a flow's socket, which ends its goroutine.
func (f *flows) end(w *flow, client netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.server.Close()
	delete(f.all, w)
	if f.of[client] == w {
		delete(f.of, client)
	}
}

// relay carries a UDP service: one socket a client towards its real server, kept for the UDP
// timeout after the last datagram either way. One-packet services pick anew for each datagram, and
// so does a client whose server was deleted.
func (s *service) relay(ctx context.Context, pc *net.UDPConn) {
	flows := flows{of: map[netip.AddrPort]*flow{}, all: map[*flow]bool{}}
	defer func() {
		flows.mu.Lock()
		defer flows.mu.Unlock()
		for w := range flows.all {
			w.server.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, client, err := pc.ReadFromUDPAddrPort(buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil { // an ICMP error of an earlier datagram; the socket lives on
			continue
		}
		flows.mu.Lock()
		w, full := flows.of[client], len(flows.all) >= maxSessions
		flows.mu.Unlock()
		if w != nil && w.gone() {
			flows.end(w, client)
			w, full = nil, false
		}
		if w == nil {
			if full {
				continue
			}
			if w = s.flow(client); w == nil {
				continue
			}
			flows.mu.Lock()
			flows.all[w] = true
			if !w.single {
				flows.of[client] = w
			}
			flows.mu.Unlock()
			s.f.wg.Add(1)
			go func() {
				defer s.f.wg.Done()
				s.answers(w, pc, client)
				flows.end(w, client)
				w.close(false)
			}()
		}
		s.countIn(w.server, n) // first: who has the answer may look at once
		if _, err := w.server.Write(buf[:n]); err == nil {
			s.extend(w)
		}
	}
}

// flow opens one; nil if there is no server to be had.
func (s *service) flow(client netip.AddrPort) *flow {
	sess, ok := s.open(client)
	if !ok {
		return nil
	}
	server, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(sess.d.cfg.Addr))
	if err != nil {
		sess.close(false)
		return nil
	}
	return &flow{session: sess, server: server, single: s.onePacket()}
}

// gone says whether the flow's server was deleted.
func (w *flow) gone() bool {
	w.s.f.mu.Lock()
	defer w.s.f.mu.Unlock()
	return w.d.removed
}

func (s *service) onePacket() bool {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	return s.cfg.OnePacket
}

// extend gives a flow its whole idle time again; a socket closed meanwhile needs none.
func (s *service) extend(w *flow) {
	s.f.mu.Lock()
	_, _, idle := s.f.timeouts()
	s.f.mu.Unlock()
	if w.single {
		idle = min(idle, onePacketWait)
	}
	if err := w.server.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return
	}
}

// countIn books a client's datagram on the destination that server is connected to.
func (s *service) countIn(server *net.UDPConn, n int) {
	to := server.RemoteAddr().(*net.UDPAddr).AddrPort()
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.stats.InBytes += uint64(n)
	s.stats.InPkts++
	for _, d := range s.dests {
		if d.cfg.Addr.Port() == to.Port() && d.cfg.Addr.Addr() == to.Addr().Unmap() {
			d.stats.InBytes += uint64(n)
			d.stats.InPkts++
			return
		}
	}
}

// answers sends what the real server says to the client until nothing came for the UDP timeout, or
// one answer of a one-packet service.
func (s *service) answers(w *flow, pc *net.UDPConn, client netip.AddrPort) {
	buf := make([]byte, 64<<10)
	s.extend(w)
	for {
		n, err := w.server.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return
		case err != nil: // refused: the port may come back within the flow's life
			continue
		}
		s.extend(w)
		w.count(0, uint64(n), 0, 1)
		_, _ = pc.WriteToUDPAddrPort(buf[:n], client) // lost, as datagrams may be
		if w.single {
			return
		}
	}
}
