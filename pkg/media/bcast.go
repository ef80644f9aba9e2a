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
	port int
	to   netip.AddrPort // of the last successful open, for log lines
}

func newBcast(s Spec, o Options) *bcast { return &bcast{name: s.Name, port: o.Port} }

func (b *bcast) open(ctx context.Context, attempts int, log logFunc) (conn, error) {
	i, err := lookIface(b.name)
	if err == nil && !i.broadcast.IsValid() {
		err = fmt.Errorf("broadcast address of %s: %w", b.name, unix.EADDRNOTAVAIL)
	}
	if err != nil {
		log(halog.Error, err, "glib: Get broadcast for interface %s failed: %s", b.name, strerror(err))
		log(halog.Error, err, "glib: IP interface [%s] does not exist", b.name)
		return nil, err
	}
	b.to = netip.AddrPortFrom(i.broadcast, uint16(b.port))
	out, err := openUDP(ctx, 0,
		intOption("SO_BROADCAST", unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		intOption("SO_DONTROUTE", unix.SOL_SOCKET, unix.SO_DONTROUTE, 1),
		bindToDevice(b.name))
	if err != nil {
		b.logOpen(log, err, "Error getting socket: %s", "Error setting socket option %s: %s")
		return nil, err
	}
	in, err := bindUDP(ctx, attempts, b.port, func(err error) {
		log(halog.Error, err, "glib: Error binding socket (%s). Retrying.", strerror(err))
	},
		intOption("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		bindToDevice(b.name))
	if err != nil {
		b.logOpen(log, err, "Unable to bind socket (%s). Giving up.", "Error setting socket option %s: %s")
		return nil, errors.Join(err, out.Close())
	}
	log(halog.Info, nil, "glib: UDP Broadcast heartbeat started on port %d (%d) interface %s", b.port, b.port, b.name)
	// The original's master process closes its copies of the sockets once the children have theirs.
	log(halog.Info, nil, "glib: UDP Broadcast heartbeat closed on port %d interface %s - Status: 1", b.port, b.name)
	return &udpConn{iface: i, to: b.to, out: out, in: in}, nil
}

// logOpen logs a failure to make a socket, or to set an option of it.
func (b *bcast) logOpen(log logFunc, err error, socket, opt string) {
	var oe *optionError
	if errors.As(err, &oe) {
		log(halog.Error, err, "glib: "+opt, oe.option, strerror(err))
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
