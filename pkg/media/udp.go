package media

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	bindAttempts = 10          // at a start, while another program has the port
	bindInterval = time.Second // between them
	maxDatagram  = 65536
	sendBuffer6  = 1 << 20 // what the original asks for IPv6 sockets
	// receiveBuffer takes thousands of packets: a flood of others is to cost none of the peer's while
	// this process waits for a processor. Memory is used only by packets that wait.
	receiveBuffer = 4 << 20
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
	sendBuf6  = intOption("SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer6)
	// Packets to groups that other sockets of this machine have joined are none of ours.
	ownGroups4 = intOption("IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	onlyIPv6   = intOption("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	// Past the machine's limit only root may go.
	roomy = option{"SO_RCVBUF", func(fd int) error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) == nil {
			return nil
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}}
)

// ownGroups6 is the same for IPv6. Kernels before 4.20 do not know it.
var ownGroups6 = option{"IPV6_MULTICAST_ALL", func(fd int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	return err
}}

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
// is any free one. The family is the address'; an IPv6 socket leaves IPv4 alone. It does not use
// package net's own way, which binds the address of a group as that of all interfaces.
func openUDP(at netip.AddrPort, options ...option) (*net.UDPConn, error) {
	family, sa := unix.AF_INET, unix.Sockaddr(nil)
	if at.Addr().Is4() {
		sa = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	} else {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
		options = append([]option{onlyIPv6}, options...)
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "udp")
	defer f.Close() // the connection has a copy
	for _, o := range options {
		if err := o.set(fd); err != nil {
			return nil, &optionError{o.name, err}
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return nil, fmt.Errorf("bind %s: %w", at, err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// bindUDP is openUDP with patience, if it is to have any: while the port is taken it waits and calls
// retry.
func bindUDP(ctx context.Context, patient bool, at netip.AddrPort, retry func(error), options ...option) (*net.UDPConn, error) {
	for attempt := 1; ; attempt++ {
		c, err := openUDP(at, options...)
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
	*inbox
	out *outbox
	to  netip.AddrPort
	far sockaddr // the same
	in  *net.UDPConn
}

// newUDPConn takes the sockets over.
func newUDPConn(i *iface, to netip.AddrPort, out, in *net.UDPConn) (*udpConn, error) {
	o, err1 := newOutbox(out)
	b, err2 := newInbox(in, maxDatagram)
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(err, out.Close(), in.Close())
	}
	return &udpConn{iface: i, inbox: b, out: o, to: to, far: sockaddrOf(to, 0), in: in}, nil
}

func (c *udpConn) send(packet []byte, deadline time.Time) error {
	return c.out.send(packet, &c.far, deadline)
}

func (c *udpConn) receive() (Frame, bool, error) {
	packet, from, err := c.inbox.receive()
	if err != nil {
		return Frame{}, false, err
	}
	return Frame{From: from.addrPort(c.name), Bytes: packet}, len(packet) > 0, nil
}

// overrun is how many packets the kernel has thrown away because the receive buffer was full.
func (c *udpConn) overrun() uint64 {
	raw, err := c.in.SyscallConn()
	if err != nil {
		return 0
	}
	var info [skMeminfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	if err := raw.Control(func(fd uintptr) {
		_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0) // fails before Linux 4.12: then it stays 0
	}); err != nil {
		return 0
	}
	return uint64(info[skMeminfoDrops])
}

// Of linux/sock_diag.h: what SO_MEMINFO tells.
const (
	skMeminfoDrops = 8
	skMeminfoVars  = 9
)

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
