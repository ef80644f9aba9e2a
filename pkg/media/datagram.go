package media

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file reads and writes datagrams without telling the Go runtime: calls that never block need
// none of its care, and with it each heartbeat would wake the thread by which the runtime watches
// system calls, for as much processor time as the heartbeat itself. They go through
// [syscall.RawConn], so that waiting is the runtime's business as ever.

const (
	// batch is how many datagrams are read at once.
	batch = 8
	// Packets that come faster than so many in so long a time are a crowd, far more than honest nodes
	// send. They are left to pile up for the time of a rest: to wake up for each costs ten times as
	// much as to read it.
	crowd     = 64
	crowdTime = 6 * time.Millisecond
	rest      = time.Millisecond
	// After so many datagrams in a row there is a rest, too: all of heartbeat runs on one processor,
	// and its other sockets are looked at when nothing else is to be done.
	maxRow = 1024
)

// sockaddr is an address as the kernel has it (struct sockaddr_in, sockaddr_in6).
type sockaddr struct {
	b    [unix.SizeofSockaddrInet6]byte
	size uint32
}

// sockaddrOf makes an address; scope is the number of the interface of a link-local one, or 0.
func sockaddrOf(a netip.AddrPort, scope uint32) (s sockaddr) {
	binary.BigEndian.PutUint16(s.b[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(s.b[:], unix.AF_INET)
		copy(s.b[4:], a.Addr().AsSlice())
		s.size = unix.SizeofSockaddrInet4
		return s
	}
	binary.NativeEndian.PutUint16(s.b[:], unix.AF_INET6)
	copy(s.b[8:], a.Addr().AsSlice())
	binary.NativeEndian.PutUint32(s.b[24:], scope)
	s.size = unix.SizeofSockaddrInet6
	return s
}

// addrPort is the address; one of a link gets that zone.
func (s *sockaddr) addrPort(zone string) netip.AddrPort {
	port := binary.BigEndian.Uint16(s.b[2:])
	if binary.NativeEndian.Uint16(s.b[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s.b[4:8])), port)
	}
	a := netip.AddrFrom16([16]byte(s.b[8:24]))
	if binary.NativeEndian.Uint32(s.b[24:]) != 0 {
		a = a.WithZone(zone)
	}
	return netip.AddrPortFrom(a, port)
}

// socket is a *net.UDPConn or *net.IPConn.
type socket interface {
	syscall.Conn
	SetWriteDeadline(time.Time) error
	Close() error
}

// inbox reads a socket. All is for one goroutine but behind.
type inbox struct {
	raw     syscall.RawConn
	from    [batch]sockaddr
	bufs    [batch][]byte
	iovs    [batch]unix.Iovec
	headers [batch]unix.Mmsghdr
	have    int // datagrams that were read,
	next    int // and the first that is still to be taken
	row     int // datagrams since there were none
	count   int // datagrams since then
	since   time.Time
	full    atomic.Bool
	pull    func(fd uintptr) bool
	errno   syscall.Errno
}

// newInbox makes an inbox for datagrams of up to so many bytes.
func newInbox(c socket, size int) (*inbox, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &inbox{raw: raw}
	all := make([]byte, batch*size)
	for i := range b.headers {
		b.bufs[i] = all[i*size:][:size:size]
		b.iovs[i].Base = &b.bufs[i][0]
		b.iovs[i].SetLen(size)
		h := &b.headers[i].Hdr
		h.Name, h.Iov = &b.from[i].b[0], &b.iovs[i]
		h.SetIovlen(1)
	}
	b.pull = func(fd uintptr) bool {
		for i := range b.headers {
			b.headers[i].Hdr.Namelen = uint32(len(b.from[i].b))
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers)), batch, 0, 0, 0)
		b.errno = errno
		if errno == unix.EAGAIN {
			b.row = 0
			return b.crowded()
		}
		b.have = int(n)
		return true
	}
	return b, nil
}

// receive waits for a datagram. Its bytes are valid until the next call.
func (b *inbox) receive() ([]byte, *sockaddr, error) {
	if b.next == b.have {
		if err := b.fetch(); err != nil {
			return nil, nil, err
		}
	}
	i := b.next
	b.next++
	return b.bufs[i][:b.headers[i].Len], &b.from[i], nil
}

func (b *inbox) fetch() error {
	b.have, b.next = 0, 0
	for b.have == 0 {
		if b.row >= maxRow || b.errno == unix.EAGAIN {
			b.row, b.errno = 0, 0
			time.Sleep(rest)
		}
		if err := b.raw.Read(b.pull); err != nil {
			return err
		}
		if b.errno != 0 && b.errno != unix.EAGAIN {
			return os.NewSyscallError("recvmmsg", b.errno)
		}
	}
	b.row += b.have
	b.count += b.have
	b.full.Store(b.have == batch)
	return nil
}

// crowded tells, when all is read, whether it was so much in so short a time that more is to be
// expected.
func (b *inbox) crowded() bool {
	now := time.Now()
	passed := now.Sub(b.since)
	crowded := b.count >= crowd && passed < crowdTime
	if b.count >= crowd || passed >= crowdTime {
		b.count, b.since = 0, now
	}
	return crowded
}

// behind tells whether more is waiting than was read at once.
func (b *inbox) behind() bool { return b.full.Load() }

// outbox writes to a socket. It is for one goroutine.
type outbox struct {
	socket
	raw    syscall.RawConn
	packet []byte
	to     *sockaddr
	errno  syscall.Errno
	push   func(fd uintptr) bool
	try    func(fd uintptr)
}

func newOutbox(c socket) (*outbox, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &outbox{socket: c, raw: raw}
	o.push = func(fd uintptr) bool {
		_, _, o.errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(o.packet))), uintptr(len(o.packet)),
			unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&o.to.b)), uintptr(o.to.size))
		return o.errno != unix.EAGAIN
	}
	o.try = func(fd uintptr) { o.push(fd) }
	return o, nil
}

// send writes one datagram. While the kernel has no room for it, it waits until the deadline.
func (o *outbox) send(packet []byte, to *sockaddr, deadline time.Time) error {
	o.packet, o.to = packet, to
	err := o.raw.Control(o.try)
	if err == nil && o.errno == unix.EAGAIN {
		if err = o.SetWriteDeadline(deadline); err == nil {
			err = o.raw.Write(o.push)
		}
	}
	o.packet, o.to = nil, nil
	if err == nil && o.errno != 0 {
		err = os.NewSyscallError("sendto", o.errno)
	}
	return err
}
