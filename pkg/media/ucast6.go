package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/systole-ha/systole/pkg/halog"
	"golang.org/x/sys/unix"
)

// ucast6 sends to one IPv6 address through one interface.
type ucast6 struct {
	name string
	to   netip.AddrPort // without a zone: the socket is bound to the interface
	zone string         // that was given with the address, or ""
}

func newUcast6(s Spec, o Options, log logFunc) (*ucast6, error) {
	addr, err := netip.ParseAddr(s.arg(0))
	if err == nil && !addr.Is6() {
		err = fmt.Errorf("%s is not an IPv6 address", addr)
	}
	if err != nil {
		log(halog.Error, err, "glib: ucast6 [%s] bad addr [%s]", s.Name, s.arg(0))
		return nil, err
	}
	return &ucast6{name: s.Name, to: netip.AddrPortFrom(addr.WithZone(""), uint16(o.Port)), zone: addr.Zone()}, nil
}

// peer is the address as the original shows it: a link-local one with the interface.
func (u *ucast6) peer() netip.Addr {
	if a := u.to.Addr(); a.IsLinkLocalUnicast() {
		return a.WithZone(u.name)
	}
	return u.to.Addr()
}

func (u *ucast6) open(ctx context.Context, patient bool, log logFunc) (conn, error) {
	i, err := lookIface(u.name)
	if err != nil {
		log(halog.Error, err, "glib: ucast6 device [%s] is invalid or not set up properly", u.name)
		return nil, err
	}
	if err := u.checkZone(i, log); err != nil {
		return nil, err
	}
	out, err := openUDP(anyAddr(true, 0), sendBuf6, bindToDevice(u.name))
	if err != nil {
		u.logOpen(log, err, halog.Warn, "Error getting socket: %s")
		return nil, err
	}
	log(halog.Info, nil, "glib: ucast6: bound send socket to device: %s", u.name)
	in, err := bindUDP(ctx, patient, anyAddr(true, u.to.Port()), func(err error) {
		log(halog.Error, err, "glib: ucast6: Can't bind (EADDRINUSE), retrying")
	}, reuseAddr, roomy, bindToDevice(u.name), reusePort, ownGroups6)
	if err != nil {
		u.logOpen(log, err, halog.Warn, fmt.Sprintf("ucast6: Unable to bind socket to :: %d. Giving up: %%s", u.to.Port()))
		return nil, errors.Join(err, out.Close())
	}
	log(halog.Info, nil, "glib: ucast6: bound receive socket to device: %s", u.name)
	log(halog.Info, nil, "glib: ucast6: set SO_REUSEPORT")
	log(halog.Info, nil, "glib: ucast6: heartbeat started for [%s]:%d on interface %s", u.peer(), u.to.Port(), u.name)
	return newUDPConn(i, u.to, out, in)
}

// checkZone refuses an address with the zone of another interface.
func (u *ucast6) checkZone(i *iface, log logFunc) error {
	if u.zone == "" || u.zone == u.name {
		return nil
	}
	scope, err := indexOf(u.zone)
	if n, notNumber := strconv.ParseUint(u.zone, 10, 32); notNumber == nil {
		scope, err = uint32(n), nil
	}
	if err == nil && scope == i.index {
		return nil
	}
	log(halog.Error, nil, "glib: ucast6: index %d does not match scope id %d for device %s", i.index, scope, u.name)
	return fmt.Errorf("peer %s%%%s: another interface: %w", u.to.Addr(), u.zone, unix.EINVAL)
}

// logOpen logs a failure to make a socket, or to set an option of it.
func (u *ucast6) logOpen(log logFunc, err error, p halog.Prio, socket string) {
	switch o := failedOption(err); o {
	case "":
		log(p, err, "glib: "+socket, strerror(err))
	case "SO_BINDTODEVICE":
		log(halog.Error, err, "glib: ucast6: error setting option SO_BINDTODEVICE(r) on %s: %s", u.name, strerror(err))
	default:
		log(halog.Error, err, "glib: ucast6: error setting option %s: %s", o, strerror(err))
	}
}

func (u *ucast6) writeFailed(log logFunc, packet []byte, err error) {
	log(halog.Error, err, "glib: ucast6_write: Unable to send HBcomm packet %s[%s]:%d len=%d [-1]: %s",
		u.name, u.peer(), u.to.Port(), len(packet), strerror(err))
}

func (u *ucast6) readFailed(log logFunc, err error) {
	log(halog.Error, err, "glib: ucast6: Error receiving from socket: %s", strerror(err))
}
