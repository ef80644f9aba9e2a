package check

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

func init() { checkers["ping"] = script(ping) }

// pingID is the identifier of the last ping; the first is about the process id, as the
// original's is.
var pingID atomic.Uint32

func init() { pingID.Store(uint32(os.Getpid())) }

// ICMP types.
const (
	echoRequest4 = 8
	echoReply4   = 0
	echoRequest6 = 128
	echoReply6   = 129
)

// pingData is how many bytes follow the header: 00, 01, ... 3f.
const pingData = 64

// ping sends ICMP echoes, up to Spec.Attempts of them, each with an equal share of
// Spec.Timeout. Every check has a raw socket of its own, which the kernel feeds with packets of
// this peer only, and an identifier that no other check of this process uses at the time.
func ping(s *session) error {
	addr := s.spec.Addr.Addr().Unmap()
	s.step = "ping"
	p := pinger{session: s, request: echoRequest4, reply: echoReply4, id: uint16(pingID.Add(1))}
	protocol := unix.IPPROTO_ICMP
	if addr.Is6() {
		p.request, p.reply, protocol = echoRequest6, echoReply6, unix.IPPROTO_ICMPV6
	}
	c, err := dial(s.ctx, netip.AddrPortFrom(addr, 0), unix.SOCK_RAW, protocol)
	if err != nil {
		s.trace.happened("socket for %s: %v", addr, err)
		return err
	}
	s.conn = c
	attempts := max(s.spec.Attempts, 1)
	deadline, _ := s.ctx.Deadline()
	start := time.Now()
	share := deadline.Sub(start) / time.Duration(attempts)
	tried := 0
	for tried < attempts && s.ctx.Err() == nil {
		tried++
		until := start.Add(share * time.Duration(tried))
		if tried == attempts {
			until = deadline
		}
		if err = p.once(until, uint16(tried)); err == nil {
			return nil
		}
		s.trace.happened("%s attempt %d/%d: %s", addr, tried, attempts, cause(err))
	}
	if err == nil {
		err = s.ctx.Err()
	}
	return wrong(fmt.Sprintf("%s (%d of %d attempts)", cause(err), tried, attempts))
}

// pinger is one check's echoes.
type pinger struct {
	*session
	request, reply byte
	id             uint16
	packet         [8 + pingData]byte
	answer         [1500]byte
}

// once sends one echo and waits for an answer to it or to an earlier one of this check.
func (p *pinger) once(until time.Time, seq uint16) error {
	p.conn.setReadDeadline(p.ctx, until)
	p.echo(seq)
	if _, err := p.conn.Write(p.packet[:]); err != nil {
		return err
	}
	for {
		n, err := p.conn.Read(p.answer[:])
		if err != nil {
			return err
		}
		b := p.answer[:n]
		if p.reply == echoReply4 && n > 0 { // the kernel gives the IPv4 header, too
			b = b[min(int(b[0]&15)*4, n):]
		}
		if len(b) >= 8 && b[0] == p.reply && b[1] == 0 && binary.BigEndian.Uint16(b[4:]) == p.id {
			return nil
		}
	}
}

// echo builds an echo request. The kernel fills in the checksum of ICMPv6.
func (p *pinger) echo(seq uint16) {
	b := p.packet[:]
	b[0], b[2], b[3] = p.request, 0, 0
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], seq)
	for i := range pingData {
		b[8+i] = byte(i)
	}
	if p.request == echoRequest4 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
}

// checksum is the Internet checksum of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
