package check

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

func init() { checkers["ping"] = pingChecker{} }

// pingChecker sends ICMP echoes, up to Spec.Attempts of them, each with an equal share of
// Spec.Timeout. Every check has a raw socket of its own, which the kernel feeds with packets of
// this peer only, and an identifier that no other check of this process uses at the time.
type pingChecker struct{}

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

func (pingChecker) Check(ctx context.Context, s Spec) Result {
	addr := s.Addr.Addr().Unmap()
	network, request, reply := "ip4:icmp", byte(echoRequest4), byte(echoReply4)
	if addr.Is6() {
		network, request, reply = "ip6:ipv6-icmp", echoRequest6, echoReply6
	}
	nc, err := dialer.DialContext(ctx, network, addr.String())
	if err != nil {
		return Result{Reason: "ping: " + cause(err), Trace: []string{fmt.Sprintf("socket %s %s: %v", network, addr, err)}}
	}
	c := nc.(*net.IPConn)
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	defer stop()

	id := uint16(pingID.Add(1))
	attempts := max(s.Attempts, 1)
	deadline, _ := ctx.Deadline()
	start := time.Now()
	share := deadline.Sub(start) / time.Duration(attempts)
	var trace []string
	for seq := 1; seq <= attempts; seq++ {
		until := start.Add(share * time.Duration(seq))
		if seq == attempts {
			until = deadline
		}
		err = pingOnce(ctx, c, until, echo(request, id, uint16(seq)), reply, id)
		if err == nil {
			return Result{Up: true}
		}
		trace = append(trace, fmt.Sprintf("ping %s attempt %d/%d: %s", addr, seq, attempts, cause(err)))
		if ctx.Err() != nil {
			break
		}
	}
	return Result{Reason: fmt.Sprintf("ping: %s (%d of %d attempts)", cause(err), len(trace), attempts), Trace: trace}
}

// pingOnce sends one echo and waits for an answer to it or to an earlier one of this check.
func pingOnce(ctx context.Context, c *net.IPConn, until time.Time, packet []byte, reply byte, id uint16) error {
	_ = c.SetDeadline(until) // of an open socket: cannot fail
	if ctx.Err() != nil {
		return ctx.Err() // the deadline that cancelling set is overwritten: do not wait
	}
	if _, err := c.Write(packet); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := c.ReadFromIP(buf)
		if err != nil {
			return err
		}
		if n >= 8 && buf[0] == reply && buf[1] == 0 && binary.BigEndian.Uint16(buf[4:]) == id {
			return nil
		}
	}
}

// echo builds an echo request. The kernel fills in the checksum of ICMPv6.
func echo(kind byte, id, seq uint16) []byte {
	b := make([]byte, 8+pingData)
	b[0] = kind
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	for i := range pingData {
		b[8+i] = byte(i)
	}
	if kind == echoRequest4 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
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
