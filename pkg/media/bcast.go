package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/systole-ha/systole/pkg/halog"
	"golang.org/x/sys/unix"
)

// bcast sends to the broadcast address of an interface. The sender hears itself.
type bcast struct {
	name string
	port uint16
	to   netip.AddrPort // of the last successful open, for log lines
}

func newBcast(s Spec, o Options) *bcast { return &bcast{name: s.Name, port: uint16(o.Port)} }

func (b *bcast) open(ctx context.Context, patient bool, log logFunc) (conn, error) {
	i, err := lookIface(b.name)
	var to netip.Addr
	if err == nil {
		to, err = i.broadcast()
	}
	if err != nil {
		log(halog.Error, err, "glib: Get broadcast for interface %s failed: %s", b.name, strerror(err))
		log(halog.Error, err, "glib: IP interface [%s] does not exist", b.name)
		return nil, err
	}
	b.to = netip.AddrPortFrom(to, b.port)
	out, err := openUDP(anyAddr(false, 0),
		intOption("SO_BROADCAST", unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		intOption("SO_DONTROUTE", unix.SOL_SOCKET, unix.SO_DONTROUTE, 1),
		bindToDevice(b.name))
	if err != nil {
		b.logOpen(log, err, "Error getting socket: %s")
		return nil, err
	}
	in, err := bindUDP(ctx, patient, anyAddr(false, b.port), func(err error) {
		log(halog.Error, err, "glib: Error binding socket (%s). Retrying.", strerror(err))
	}, reuseAddr, bindToDevice(b.name), ownGroups4, roomy)
	if err != nil {
		b.logOpen(log, err, "Unable to bind socket (%s). Giving up.")
		return nil, errors.Join(err, out.Close())
	}
	log(halog.Info, nil, "glib: UDP Broadcast heartbeat started on port %d (%d) interface %s", b.port, b.port, b.name)
	// The original's master process closes its copies of the sockets once the children have theirs.
	log(halog.Info, nil, "glib: UDP Broadcast heartbeat closed on port %d interface %s - Status: 1", b.port, b.name)
	c, err := newUDPConn(i, b.to, out, in)
	if err != nil {
		return nil, err
	}
	return &bcastConn{c}, nil
}

// logOpen logs a failure to make a socket, or to set an option of it.
func (b *bcast) logOpen(log logFunc, err error, socket string) {
	if o := failedOption(err); o != "" {
		log(halog.Error, err, "glib: Error setting socket option %s: %s", o, strerror(err))
		return
	}
	log(halog.Error, err, "glib: "+socket, strerror(err))
}

func (b *bcast) writeFailed(log logFunc, packet []byte, err error) {
	log(halog.Error, err, "glib: bcast_write: Unable to send HBcomm packet %s %s:%d len=%d [-1]: %s",
		b.name, b.to.Addr(), b.port, len(packet), strerror(err))
}

func (b *bcast) readFailed(log logFunc, err error) {
	log(halog.Error, err, "glib: Error receiving from socket: %s", strerror(err))
}

type bcastConn struct{ *udpConn }

// check also looks for another broadcast address. An interface that has none for now is waited for.
func (c *bcastConn) check(log logFunc) error {
	if err := c.udpConn.check(log); err != nil {
		return err
	}
	now, err := c.broadcast()
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return nil
	case err != nil:
		return err
	case now != c.to.Addr():
		return fmt.Errorf("interface %s has another broadcast address: %w", c.name, unix.EADDRNOTAVAIL)
	}
	return nil
}
