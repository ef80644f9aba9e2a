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

// optionError is a socket option that could not be set.
type optionError struct {
	option string
	err    error
}

func (e *optionError) Error() string { return "set " + e.option + ": " + e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

// openUDP makes a UDP socket with the options, in their order, and binds it to port on all
// addresses; port 0 is any free one.
func openUDP(ctx context.Context, port int, options ...option) (*net.UDPConn, error) {
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
	c, err := lc.ListenPacket(ctx, "udp4", "0.0.0.0:"+strconv.Itoa(port))
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// bindUDP is openUDP with patience: while the port is taken it waits and calls retry.
func bindUDP(ctx context.Context, attempts, port int, retry func(error), options ...option) (*net.UDPConn, error) {
	for {
		c, err := openUDP(ctx, port, options...)
		if attempts--; !errors.Is(err, unix.EADDRINUSE) || attempts <= 0 {
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

// udpConn is a pair of sockets bound to one interface: one sends to a fixed address, the other
// receives.
type udpConn struct {
	iface iface
	to    netip.AddrPort
	out   *net.UDPConn
	in    *net.UDPConn
	buf   [maxDatagram]byte // for the reader
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

func (c *udpConn) check() error { return c.iface.changed() }

func (c *udpConn) close() error { return errors.Join(c.out.Close(), c.in.Close()) }
