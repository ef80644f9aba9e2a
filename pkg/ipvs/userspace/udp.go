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

// relay carries a UDP service: one socket a client towards its real server, kept for the UDP
// timeout after the last datagram either way. One-packet services pick anew for each datagram.
func (s *service) relay(ctx context.Context, pc *net.UDPConn) {
	var mu sync.Mutex
	flows := map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range flows {
			c.Close()
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
		mu.Lock()
		server, full := flows[client], len(flows) >= maxSessions
		mu.Unlock()
		if server == nil {
			if full {
				continue
			}
			sess, ok := s.open(client)
			if !ok {
				continue
			}
			server, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(sess.d.cfg.Addr))
			if err != nil {
				sess.close(false)
				continue
			}
			mu.Lock()
			flows[client] = server
			mu.Unlock()
			conn := server
			s.f.wg.Add(1)
			go func() {
				defer s.f.wg.Done()
				s.answers(sess, pc, conn, client)
				mu.Lock()
				if flows[client] == conn {
					delete(flows, client)
				}
				mu.Unlock()
				conn.Close()
				sess.close(false)
			}()
		}
		if _, err := server.Write(buf[:n]); err == nil {
			s.countIn(server, n)
			s.extend(server)
		}
		if s.onePacket() {
			mu.Lock()
			delete(flows, client) // its goroutine still brings the answer back
			mu.Unlock()
		}
	}
}

func (s *service) onePacket() bool {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	return s.cfg.OnePacket
}

// extend gives a flow its whole idle time again; a socket closed meanwhile needs none.
func (s *service) extend(server *net.UDPConn) {
	s.f.mu.Lock()
	_, _, idle := s.f.timeouts()
	s.f.mu.Unlock()
	if err := server.SetReadDeadline(time.Now().Add(idle)); err != nil {
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

// answers sends what the real server says to the client until nothing came for the UDP timeout.
func (s *service) answers(sess session, pc, server *net.UDPConn, client netip.AddrPort) {
	buf := make([]byte, 64<<10)
	for {
		s.extend(server)
		n, err := server.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return
		case err != nil: // refused: the port may come back within the flow's life
			continue
		}
		if _, err := pc.WriteToUDPAddrPort(buf[:n], client); err != nil {
			continue
		}
		sess.count(0, uint64(n), 0, 1)
	}
}
