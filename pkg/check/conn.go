package check

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// past is a deadline that makes every read and write fail at once.
var past = time.Unix(1, 0)

// conn is a connection that lives no longer than its context; it is a net.Conn. A TCP connection
// leaves no TIME_WAIT behind: unless the peer closed first, closing resets.
//
// It is made of a bare socket: package net asks the kernel for addresses and sets options that a
// check does not need, which costs more than the check.
type conn struct {
	file    *os.File // owns fd; waits for it with the runtime's poller
	fd      int
	remote  netip.AddrPort
	packets bool // not a stream
	stop    func() bool
	sawDone bool // the peer has closed its side
}

// dialTCP connects to an address over TCP within ctx.
func dialTCP(ctx context.Context, to netip.AddrPort) (*conn, error) {
	return dial(ctx, to, unix.SOCK_STREAM, 0)
}

// dialUDP makes a UDP socket that sends to, and receives from, one address only.
func dialUDP(ctx context.Context, to netip.AddrPort) (*conn, error) {
	return dial(ctx, to, unix.SOCK_DGRAM, 0)
}

func dial(ctx context.Context, to netip.AddrPort, kind, protocol int) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	family, sa, err := sockaddr(to)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Connect(fd, sa)
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	c := &conn{file: os.NewFile(uintptr(fd), ""), fd: fd, remote: to, packets: kind != unix.SOCK_STREAM}
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.file.SetDeadline(deadline) // of an open socket: cannot fail
	}
	c.stop = context.AfterFunc(ctx, func() { _ = c.file.SetDeadline(past) })
	if err == nil {
		return c, nil
	}
	if err := c.connected(sa); err != nil {
		_ = c.Close() // never was open
		return nil, err
	}
	return c, nil
}

// connected waits until the kernel has an answer. Asking it to connect again tells which.
func (c *conn) connected(sa unix.Sockaddr) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var answer error
	err = raw.Write(func(fd uintptr) bool {
		answer = unix.Connect(int(fd), sa)
		return answer != unix.EALREADY && answer != unix.EINTR
	})
	if err == nil && answer != nil && answer != unix.EISCONN {
		err = os.NewSyscallError("connect", answer)
	}
	return err
}

// sockaddr is an address as the kernel takes it.
func sockaddr(a netip.AddrPort) (family int, sa unix.Sockaddr, err error) {
	addr := a.Addr().Unmap()
	if addr.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}, nil
	}
	if !addr.IsValid() {
		return 0, nil, errors.New("no address")
	}
	sa6 := &unix.SockaddrInet6{Port: int(a.Port()), Addr: addr.As16()}
	if zone := addr.Zone(); zone != "" {
		if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa6.ZoneId = uint32(n)
		} else if i, err := net.InterfaceByName(zone); err == nil {
			sa6.ZoneId = uint32(i.Index)
		} else {
			return 0, nil, err
		}
	}
	return unix.AF_INET6, sa6, nil
}

// Read reads and notes the end of the stream. Where there is none it reads one datagram.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	if errors.Is(err, io.EOF) {
		if c.packets {
			return 0, nil // an empty datagram
		}
		c.sawDone = true
	}
	return n, err
}

// Write writes all of p.
func (c *conn) Write(p []byte) (int, error) { return c.file.Write(p) }

// noDelay has small writes leave at once also while an earlier one is not acknowledged. Talk in
// turns needs no such thing, TLS does: its last word and our first are two writes.
func (c *conn) noDelay() {
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // at worst it takes 40 ms longer
}

// CloseWrite tells the peer that nothing more comes.
func (c *conn) CloseWrite() error {
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

// Close ends the connection at once.
func (c *conn) Close() error {
	c.stop()
	if !c.packets && !c.sawDone {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // at worst a TIME_WAIT
	}
	return c.file.Close()
}

// local is the address that the kernel has chosen for this end.
func (c *conn) local() netip.AddrPort {
	name, err := unix.Getsockname(c.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// LocalAddr is for net.Conn.
func (c *conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local()) }

// RemoteAddr is for net.Conn.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline is for net.Conn and does nothing: a check has one deadline, which is set.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is for net.Conn; see SetDeadline.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is for net.Conn; see SetDeadline.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// setReadDeadline has reads wait no longer than until, or than ctx if that is sooner.
func (c *conn) setReadDeadline(ctx context.Context, until time.Time) {
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	_ = c.file.SetReadDeadline(until) // of an open socket: cannot fail
	if ctx.Err() != nil {
		_ = c.file.SetReadDeadline(past) // what cancelling set was overwritten
	}
}

// cause says what went wrong in a few words, without addresses: the errno's text, "timed out",
// or what the error says.
func cause(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case isTimeout(err):
		return "timed out"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}

// isTimeout tells an error that came from a deadline or a cancelled context.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &timeout) && timeout.Timeout()
}
