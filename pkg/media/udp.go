package media

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bindAttempts = 10          // at a start, while another program has the port
	bindInterval = time.Second // between them
	maxDatagram  = 65536
	// buffer6 is the send and receive buffer that the original asks for IPv6 sockets.
	buffer6 = 1 << 20
)

// option is one socket option: what sets it, and what to call it.
type option struct {
	name string
	set  func(fd int) error
}

func intOption(name string, level, opt, value int) option {
	return option{name, func(fd int) error { return unix.SetsockoptInt(fd, level, opt, value) }}
}

func bindToDevice(name string) option {
	return option{"SO_BINDTODEVICE", func(fd int) error { return unix.BindToDevice(fd, name) }}
}

// Options that several kinds set.
var (
	reuseAddr = intOption("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	reusePort = intOption("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	sendBuf6  = intOption("SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, buffer6)
	recvBuf6  = intOption("SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, buffer6)
)

// optionError is a socket option that could not be set.
type optionError struct {
	option string
	err    error
}

func (e *optionError) Error() string { return "set " + e.option + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

// failedOption is the name of the option whose setting failed, or "".
func failedOption(err error) string {
	var oe *optionError
	if errors.As(err, &oe) {
		return oe.option
	}
	return ""
}

// openUDP makes a UDP socket with the options, in their order, and binds it to an address; port 0
// is any free one. The family is the address'; an IPv6 socket leaves IPv4 alone.
func openUDP(ctx context.Context, at netip.AddrPort, options ...option) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			for _, o := range options {
				if err := o.set(int(fd)); err != nil {
					failed = &optionError{o.name, err}
					return
				}
			}
		})
		return errors.Join(failed, err)
	}}
	network := "udp4"
	if at.Addr().Is6() {
		network = "udp6"
	}
	c, err := lc.ListenPacket(ctx, network, at.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// bindUDP is openUDP with patience, if it is to have any: while the port is taken it waits and calls
// retry.
func bindUDP(ctx context.Context, patient bool, at netip.AddrPort, retry func(error), options ...option) (*net.UDPConn, error) {
	for attempt := 1; ; attempt++ {
		c, err := openUDP(ctx, at, options...)
		if !patient || !errors.Is(err, unix.EADDRINUSE) || attempt == bindAttempts {
			return c, err
		}
		retry(err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(bindInterval):
		}
	}
}

// anyAddr are the addresses of all interfaces, by family.
func anyAddr(v6 bool, port uint16) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), port)
}

// udpConn is a pair of sockets of one interface: one sends to a fixed address, the other receives.
type udpConn struct {
	*iface
	to  netip.AddrPort
	out *net.UDPConn
	in  *net.UDPConn
	buf [maxDatagram]byte // for the reader
}

func (c *udpConn) send(packet []byte, deadline time.Time) error {
	if err := c.out.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := c.out.WriteToUDPAddrPort(packet, c.to)
	return err
}

func (c *udpConn) receive() (Frame, bool, error) {
	n, from, err := c.in.ReadFromUDPAddrPort(c.buf[:])
	if err != nil {
		return Frame{}, false, err
	}
	f := Frame{From: from.String(), Bytes: append([]byte(nil), c.buf[:n]...)}
	return f, n > 0, nil
}

func (c *udpConn) close() error { return errors.Join(c.out.Close(), c.in.Close()) }

// parsePort reads a UDP port that ha.cf gives by number or by the name of a service.
func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil {
		return uint16(n), nil
	}
	port, err := net.LookupPort("udp", text)
	return uint16(port), err
}
