package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/systole-ha/systole/pkg/halog"
	"golang.org/x/sys/unix"
)

// addrWait is how long mcast waits at a start for its interface to get an address.
const addrWait = 2 * time.Minute

// mcast sends to an IPv4 multicast group through one interface and hears the group on that interface
// alone. The original goes by the interface's address, which may change, and also hears what another
// of its sockets has joined the group for on another interface, so that it misses a dead cable.
type mcast struct {
	name  string
	group netip.AddrPort
	ttl   int
	loop  int // 1: the sender hears itself
}

func newMcast(s Spec) (*mcast, error) {
	group, err := parseGroup(s)
	if err != nil {
		return nil, err
	}
	m := &mcast{name: s.Name, group: group.at, ttl: group.hops, loop: group.loop}
	if !m.group.Addr().Is4() || m.group.Port() == 0 {
		return nil, fmt.Errorf("%s is no IPv4 group with a port", m.group)
	}
	return m, nil
}

// group is what a line of mcast or mcast6 says after the interface.
type group struct {
	at         netip.AddrPort
	hops, loop int
}

// parseGroup reads the words again that the parser of ha.cf has found to be in order.
func parseGroup(s Spec) (g group, err error) {
	addr, err := netip.ParseAddr(s.arg(0))
	if err != nil || !addr.IsMulticast() {
		return g, fmt.Errorf("group %q: not a multicast address", s.arg(0))
	}
	port, err := parsePort(s.arg(1))
	if err != nil {
		return g, fmt.Errorf("port %q: %w", s.arg(1), err)
	}
	g.at = netip.AddrPortFrom(addr.WithZone(""), port)
	if g.hops, err = strconv.Atoi(s.arg(2)); err != nil || g.hops < 0 || g.hops > 255 {
		return g, fmt.Errorf("bad ttl %q", s.arg(2))
	}
	if g.loop, err = strconv.Atoi(s.arg(3)); err != nil || g.loop < 0 || g.loop > 1 {
		return g, fmt.Errorf("bad loop %q", s.arg(3))
	}
	return g, nil
}

func (m *mcast) open(ctx context.Context, patient bool, log logFunc) (conn, error) {
	i, err := m.interfaceWithAddress(ctx, patient, log)
	if err != nil {
		log(halog.Error, err, "glib: Unable to retrieve local interface address for interface [%s] using ioctl(SIOCGIFADDR): %s", m.name, strerror(err))
		log(halog.Error, err, "glib: mcast device [%s] is invalid or not set up properly", m.name)
		return nil, err
	}
	out, err := openUDP(anyAddr(false, 0),
		option{"interface", func(fd int) error {
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(i.index)})
		}},
		intOption("loopback value", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, m.loop),
		intOption("TTL", unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, m.ttl))
	if err != nil {
		logSend(log, err, "mcast")
		return nil, err
	}
	in, err := bindUDP(ctx, patient, m.group, func(err error) {
		log(halog.Error, err, "glib: Can't bind (EADDRINUSE), retrying")
	}, reuseAddr, ownGroups4, roomy,
		option{"join", func(fd int) error {
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: m.group.Addr().As4(), Ifindex: int32(i.index)})
		}})
	if err != nil {
		logReceive(log, err, m.name, m.group.Addr(), "")
		return nil, errors.Join(err, out.Close())
	}
	log(halog.Info, nil, "glib: UDP multicast heartbeat started for group %s port %d interface %s (ttl=%d loop=%d)",
		m.group.Addr(), m.group.Port(), m.name, m.ttl, m.loop)
	return newUDPConn(i, m.group, out, in)
}

// interfaceWithAddress is the interface when it has an IPv4 address, without which nothing can be
// sent. At a start the address may be yet to come.
func (m *mcast) interfaceWithAddress(ctx context.Context, patient bool, log logFunc) (*iface, error) {
	for until := time.Now().Add(addrWait); ; {
		i, err := lookIface(m.name)
		if err == nil {
			_, err = i.address()
		}
		if !patient || !errors.Is(err, unix.EADDRNOTAVAIL) || time.Now().After(until) {
			return i, err
		}
		if log != nil {
			log(halog.Info, err, "mcast %s: waiting up to %s for an IPv4 address", m.name, addrWait)
			log = nil // once
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Second):
		}
	}
}

// logSend logs a failure to make the sending socket.
func logSend(log logFunc, err error, kind string) {
	o := failedOption(err)
	switch {
	case o == "":
		log(halog.Warn, err, "glib: Error getting socket: %s", strerror(err))
	case kind == "mcast6":
		log(halog.Warn, err, "glib: Error setting outbound mcast6 %s: %s", o, strerror(err))
	default:
		log(halog.Warn, err, "glib: Error setting outbound mcast %s: %s", o, strerror(err))
	}
}

// logReceive logs a failure to make the receiving socket. where is what mcast6 names in one text.
func logReceive(log logFunc, err error, name string, group netip.Addr, where string) {
	switch o := failedOption(err); o {
	case "":
		log(halog.Warn, err, "glib: Unable to bind socket%s. Giving up: %s", where, strerror(err))
	case "join":
		log(halog.Error, err, "glib: Can't join multicast group %s on interface %s", group, name)
	default:
		log(halog.Error, err, "glib: Error setsockopt(%s)", o)
	}
}

func (m *mcast) writeFailed(log logFunc, packet []byte, err error) {
	log(halog.Error, err, "glib: mcast_write: Unable to send HBcomm packet %s %s:%d len=%d [-1]: %s",
		m.name, m.group.Addr(), m.group.Port(), len(packet), strerror(err))
}

func (m *mcast) readFailed(log logFunc, err error) {
	log(halog.Error, err, "glib: Error receiving from socket: %s", strerror(err))
}
