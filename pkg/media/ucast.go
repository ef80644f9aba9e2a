package media

import (
	"context"
	"errors"
	"net/netip"

	"github.com/systole-ha/systole/pkg/halog"
	"golang.org/x/sys/unix"
)

// ucast sends to one address through one interface. Several may share interface and port; it
// does not matter then which of them gets a datagram.
type ucast struct {
	name string
	to   netip.AddrPort
}

// newUcast resolves the peer's name, once for good, as the original does.
func newUcast(ctx context.Context, s Spec, o Options, log logFunc) (*ucast, error) {
	if s.arg(0) == "" {
		log(halog.Error, nil, "glib: ucast: [%s] missing target IP address/hostname", s.Name)
		return nil, errors.New("no peer given")
	}
	addr, err := resolve(ctx, s.arg(0))
	if err != nil {
		log(halog.Error, err, "glib: ucast: cannot resolve hostname")
		log(halog.Error, err, "glib: ucast: interface [%s] does not exist", s.Name)
		return nil, err
	}
	return &ucast{name: s.Name, to: netip.AddrPortFrom(addr, uint16(o.Port))}, nil
}

func (u *ucast) open(ctx context.Context, patient bool, log logFunc) (conn, error) {
	i, err := lookIface(u.name)
	if err != nil {
		log(halog.Error, err, "glib: ucast: error setting option SO_BINDTODEVICE(w) on %s: %s", u.name, strerror(err))
		return nil, err
	}
	out, err := openUDP(anyAddr(false, 0),
		intOption("IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, 0x10), // IPTOS_LOWDELAY
		bindToDevice(u.name),
		reusePort)
	if err != nil {
		u.logOpen(log, err, "Error creating write socket", "(w)")
		return nil, err
	}
	log(halog.Info, nil, "glib: ucast: write socket priority set to IPTOS_LOWDELAY on %s", u.name)
	log(halog.Info, nil, "glib: ucast: bound send socket to device: %s", u.name)
	log(halog.Info, nil, "glib: ucast: set SO_REUSEPORT(w)")
	in, err := bindUDP(ctx, patient, anyAddr(false, u.to.Port()), func(err error) {
		log(halog.Error, err, "glib: ucast: Can't bind (EADDRINUSE), retrying")
	}, reuseAddr, bindToDevice(u.name), reusePort, ownGroups4, roomy)
	if err != nil {
		u.logOpen(log, err, "unable to bind socket. Giving up", "(r)")
		return nil, errors.Join(err, out.Close())
	}
	log(halog.Info, nil, "glib: ucast: set SO_REUSEADDR")
	log(halog.Info, nil, "glib: ucast: bound receive socket to device: %s", u.name)
	log(halog.Info, nil, "glib: ucast: set SO_REUSEPORT")
	log(halog.Info, nil, "glib: ucast: started on port %d interface %s to %s", u.to.Port(), u.name, u.to.Addr())
	return newUDPConn(i, u.to, out, in)
}

// logOpen logs a failure to make a socket, or to set an option of it.
func (u *ucast) logOpen(log logFunc, err error, socket, direction string) {
	switch o := failedOption(err); o {
	case "":
		log(halog.Error, err, "glib: ucast: %s: %s", socket, strerror(err))
	case "SO_BINDTODEVICE":
		log(halog.Error, err, "glib: ucast: error setting option SO_BINDTODEVICE%s on %s: %s", direction, u.name, strerror(err))
	default:
		log(halog.Error, err, "glib: ucast: error setting option %s: %s", o, strerror(err))
	}
}

func (u *ucast) writeFailed(log logFunc, packet []byte, err error) {
	log(halog.Error, err, "glib: ucast_write: Unable to send HBcomm packet %s %s:%d len=%d [-1]: %s",
		u.name, u.to.Addr(), u.to.Port(), len(packet), strerror(err))
}

func (u *ucast) readFailed(log logFunc, err error) {
	log(halog.Error, err, "glib: ucast: error receiving from socket: %s", strerror(err))
}
