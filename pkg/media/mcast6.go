package media

import (
	"context"
	"errors"
	"fmt"

	"github.com/systole-ha/systole/pkg/halog"
	"golang.org/x/sys/unix"
)

// mcast6 sends to an IPv6 multicast group through one interface and hears the group there. What is
// sent to an address of this node it hears too, as the original does, but on that interface alone.
type mcast6 struct {
	name string
	port string // as written
	group
}

func newMcast6(s Spec, log logFunc) (*mcast6, error) {
	g, err := parseGroup(s)
	if err == nil && !g.at.Addr().Is6() {
		err = fmt.Errorf("%s is no IPv6 group", g.at.Addr())
	}
	if err != nil {
		log(halog.Warn, err, "glib: Error creating mcast6_private(%s, %s, %s, %s, %s)", s.Name, s.arg(0), s.arg(1), s.arg(2), s.arg(3))
		return nil, err
	}
	return &mcast6{name: s.Name, port: s.arg(1), group: g}, nil
}

func (m *mcast6) open(ctx context.Context, patient bool, log logFunc) (conn, error) {
	i, err := lookIface(m.name)
	if err != nil {
		log(halog.Error, err, "glib: mcast6 device [%s] is invalid or not set up properly", m.name)
		return nil, err
	}
	out, err := openUDP(anyAddr(true, 0), sendBuf6,
		intOption("interface", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, int(i.index)),
		intOption("loopback value", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, m.loop),
		intOption("hops", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, m.hops))
	if err != nil {
		logSend(log, err, "mcast6")
		return nil, err
	}
	in, err := bindUDP(ctx, patient, anyAddr(true, m.at.Port()), func(err error) {
		log(halog.Error, err, "glib: Can't bind (EADDRINUSE), retrying")
	}, reuseAddr, roomy, bindToDevice(m.name), ownGroups6,
		option{"join", func(fd int) error {
			return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: m.at.Addr().As16(), Interface: i.index})
		}})
	if err != nil {
		logReceive(log, err, m.name, m.at.Addr(), fmt.Sprintf(" to :: %s", m.port))
		return nil, errors.Join(err, out.Close())
	}
	log(halog.Info, nil, "glib: UDP multicast heartbeat started for [%s]:%s on interface %s (hops=%d loop=%d)",
		m.at.Addr(), m.port, m.name, m.hops, m.loop)
	return newUDPConn(i, m.at, out, in)
}

func (m *mcast6) writeFailed(log logFunc, packet []byte, err error) {
	log(halog.Error, err, "glib: mcast6_write: Unable to send HBcomm packet %s[%s]:%s len=%d [-1]: %s",
		m.name, m.at.Addr(), m.port, len(packet), strerror(err))
}

func (m *mcast6) readFailed(log logFunc, err error) {
	log(halog.Error, err, "glib: Error receiving from socket: %s", strerror(err))
}
