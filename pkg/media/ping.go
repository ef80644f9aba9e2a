package media

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// pinger is ping, ping6 and ping_group. What it sends are whole messages of this node, made and signed
// by the engine; what a host sends back is the same message, and says that the host is alive.
// So a reply is passed on as it came, and the engine takes it for a status of the host.
type pinger struct {
	spec   Spec
	title  string // in the log line of a start
	v6     bool
	ident  uint16 // as on the wire
	hosts  []netip.Addr
	strict bool   // a group: only the hosts themselves may answer, and one answer for each request counts
	seq    uint16 // of the next request
}

func newPing(ctx context.Context, s Spec, o Options, log logFunc) (*pinger, error) {
	addr, err := resolve(ctx, s.Name)
	if err != nil {
		log(halog.Error, err, "glib: unknown host: %s: %s", s.Name, strerror(err))
		return nil, err
	}
	return &pinger{spec: s, title: "ping", ident: wireIdent(o.Ident), hosts: []netip.Addr{addr}}, nil
}

// newPing6 takes an address only, as the original does; that of a link with its zone.
func newPing6(s Spec, o Options, log logFunc) (*pinger, error) {
	addr, err := netip.ParseAddr(s.Name)
	if err == nil && !addr.Is6() {
		err = fmt.Errorf("host %s: not an IPv6 address", s.Name)
	}
	if err != nil {
		log(halog.Error, err, "glib: unknown host: %s: %s", s.Name, strerror(err))
		return nil, err
	}
	return &pinger{spec: s, title: "ping", v6: true, ident: wireIdent(o.Ident), hosts: []netip.Addr{addr}}, nil
}

// newPingGroup leaves out hosts that do not resolve, as the original does.
func newPingGroup(ctx context.Context, s Spec, o Options, log logFunc) (*pinger, error) {
	p := &pinger{spec: s, title: "ping group", ident: wireIdent(o.Ident), strict: true}
	for _, host := range s.Args {
		addr, err := resolve(ctx, host)
		if err != nil {
			log(halog.Error, err, "glib: unknown host: %s: %s", host, strerror(err))
			continue
		}
		p.hosts = append(p.hosts, addr)
	}
	if len(p.hosts) == 0 {
		return nil, errors.New("no host in the group")
	}
	return p, nil
}

func (p *pinger) open(ctx context.Context, _ bool, log logFunc) (conn, error) {
	c, err := p.openRaw(ctx)
	if err != nil {
		log(halog.Error, err, "glib: Can't open RAW socket.: %s", strerror(err))
		return nil, err
	}
	log(halog.Info, nil, "glib: %s heartbeat started.", p.title)
	out, err1 := newOutbox(c)
	in, err2 := newInbox(c, 20+40+icmpHeader+maxEcho) // IP header with options, ICMP
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	e := &echoConn{pinger: p, inbox: in, out: out, to: make([]sockaddr, len(p.hosts))}
	return e, e.check(log)
}

func (p *pinger) openRaw(ctx context.Context) (*net.IPConn, error) {
	var lc net.ListenConfig
	network, at := "ip4:icmp", "0.0.0.0"
	if p.v6 {
		network, at = "ip6:ipv6-icmp", "::"
	}
	c, err := lc.ListenPacket(ctx, network, at)
	if err != nil {
		return nil, err
	}
	filter, err := echoReplyFilter(p.v6, p.ident)
	switch {
	case err != nil:
	case p.v6:
		err = ipv6.NewPacketConn(c).SetBPF(filter)
	default:
		err = ipv4.NewPacketConn(c).SetBPF(filter)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("filter: %w", err), c.Close())
	}
	return c.(*net.IPConn), nil
}

func (p *pinger) writeFailed(log logFunc, _ []byte, err error) {
	log(halog.Error, err, "glib: Error sending packet: %s", strerror(err))
	log(halog.Info, nil, "glib: euid=%d egid=%d", os.Geteuid(), os.Getegid())
}

func (p *pinger) readFailed(log logFunc, err error) {
	log(halog.Error, err, "glib: Error receiving from socket: %s", strerror(err))
}

// echoConn is a raw ICMP socket.
type echoConn struct {
	*pinger
	*inbox
	out  *outbox
	to   []sockaddr // the hosts
	seen replies
}

// send pings all hosts with the same request. It fails if it failed for any.
func (c *echoConn) send(packet []byte, deadline time.Time) error {
	request, err := echoRequest(c.v6, c.ident, c.seq, packet)
	if err != nil {
		return err
	}
	c.seq++
	var failed error
	for i := range c.to {
		if err := c.out.send(request, &c.to[i], deadline); err != nil {
			failed = err
		}
	}
	return failed
}

func (c *echoConn) receive() (Frame, bool, error) {
	packet, from, err := c.inbox.receive()
	if err != nil {
		return Frame{}, false, err
	}
	if !c.v6 {
		packet = packet[min(ipv4HeaderLen(packet), len(packet)):]
	}
	seq, payload, ok := parseEchoReply(c.v6, packet, c.ident)
	if !ok || !isPingOf(payload, c.spec) {
		return Frame{}, false, nil
	}
	addr := from.addrPort(c.hosts[0].Zone()).Addr()
	if c.strict && (!slices.Contains(c.hosts, addr) || !c.seen.first(seq)) {
		return Frame{}, false, nil
	}
	return Frame{From: netip.AddrPortFrom(addr, 0), Bytes: payload}, true, nil
}

// check gives addresses of a link the present number of their interface; a missing one makes sending
// fail. Nothing else depends on interfaces.
func (c *echoConn) check(logFunc) error {
	for i, host := range c.hosts {
		if scope, ok := scopeOf(host.Zone()); ok || c.to[i].size == 0 {
			c.to[i] = sockaddrOf(netip.AddrPortFrom(host, 0), scope)
		}
	}
	return nil
}

// scopeOf is the number of the interface that a zone names, or is.
func scopeOf(zone string) (uint32, bool) {
	if zone == "" {
		return 0, true
	}
	index, err := indexOf(zone)
	if n, notNumber := strconv.ParseUint(zone, 10, 32); err != nil && notNumber == nil {
		return uint32(n), true
	}
	return index, err == nil
}

func (c *echoConn) close() error { return c.out.Close() }

// isPingOf tells whether a payload is a message that this medium has sent. Its signature is
// the engine's to check.
func isPingOf(payload []byte, s Spec) bool {
	m, err := hamsg.Decode(payload)
	return err == nil && m.Type() == hamsg.TPingStatus && m.Get(hamsg.FComment) == s.Kind && m.Get(hamsg.FOrig) == s.Name
}

// replies remembers which of the last 128 requests were answered: the first host of a group that
// answers speaks for it.
type replies [128]uint32 // 1 + the number of the request that the slot stands for; 0 for none

// first tells whether this is the first reply to the request.
func (r *replies) first(seq uint16) bool {
	slot := &r[int(seq)%len(r)]
	if *slot == uint32(seq)+1 {
		return false
	}
	*slot = uint32(seq) + 1
	return true
}
