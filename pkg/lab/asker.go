package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// httpAsker asks over a new connection each time.
type httpAsker struct {
	server netip.AddrPort
	from   []netip.Addr
	turn   int
	open   []*httpQuestion
}

type httpQuestion struct {
	fd     int
	sent   time.Time
	asked  bool
	answer []byte
}

func (a *httpAsker) ask(now time.Time) (Sample, bool) {
	q := &httpQuestion{fd: -1, sent: now}
	if err := a.connect(q); err != nil {
		if q.fd >= 0 {
			_ = unix.Close(q.fd)
		}
		return Sample{Sent: now, Done: now, Err: fmt.Errorf("connect: %w", err)}, true
	}
	a.open = append(a.open, q)
	return Sample{}, false
}

func (a *httpAsker) connect(q *httpQuestion) (err error) {
	if q.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	// Closed by a reset, a connection leaves nothing behind: there may be a thousand a second.
	if err := unix.SetsockoptLinger(q.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if len(a.from) > 0 {
		if err := unix.Bind(q.fd, &unix.SockaddrInet4{Addr: a.from[a.turn%len(a.from)].As4()}); err != nil {
			return err
		}
		a.turn++
	}
	err = unix.Connect(q.fd, &unix.SockaddrInet4{Addr: a.server.Addr().As4(), Port: int(a.server.Port())})
	if errors.Is(err, unix.EINPROGRESS) {
		err = nil
	}
	return err
}

func (a *httpAsker) wanted() []unix.PollFd {
	fds := make([]unix.PollFd, len(a.open))
	for i, q := range a.open {
		fds[i] = unix.PollFd{Fd: int32(q.fd), Events: unix.POLLIN}
		if !q.asked {
			fds[i].Events = unix.POLLOUT
		}
	}
	return fds
}

func (a *httpAsker) ready(fds []unix.PollFd, now time.Time) []Sample {
	var ended []Sample
	left := a.open[:0]
	for i, q := range a.open {
		s, end := Sample{}, false
		if fds[i].Revents != 0 {
			s, end = q.step()
		}
		if !end && now.Sub(q.sent) > probeLimit {
			s.Err, end = os.ErrDeadlineExceeded, true
		}
		if !end {
			left = append(left, q)
			continue
		}
		_ = unix.Close(q.fd)
		s.Sent, s.Done = q.sent, now
		ended = append(ended, s)
	}
	a.open = left
	return ended
}

// step does what can be done on a connection without waiting.
func (q *httpQuestion) step() (s Sample, end bool) {
	if !q.asked {
		code, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err == nil {
			_, err = unix.Write(q.fd, []byte("GET / HTTP/1.0\r\n\r\n"))
		}
		q.asked = true
		return Sample{Err: err}, err != nil
	}
	buf := make([]byte, 4096)
	n, err := unix.Read(q.fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return Sample{}, false
	case err != nil:
		return Sample{Err: err}, true
	}
	q.answer = append(q.answer, buf[:n]...)
	line, ok := firstLine(q.answer)
	switch {
	case ok || n == 0 && line != "":
		return Sample{Who: line}, true
	case n == 0:
		return Sample{Err: errors.New("no answer")}, true
	}
	return Sample{}, false
}

func (a *httpAsker) close() {
	for _, q := range a.open {
		_ = unix.Close(q.fd)
	}
}

// echoAsker sends ICMP echo requests over one raw socket.
type echoAsker struct {
	fd   int
	to   unix.SockaddrInet4
	id   uint16
	next uint16
	open map[uint16]time.Time
}

func newEchoAsker(to netip.Addr) (*echoAsker, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return nil, err
	}
	return &echoAsker{fd: fd, to: unix.SockaddrInet4{Addr: to.As4()}, id: uint16(unix.Gettid()), open: map[uint16]time.Time{}}, nil
}

func (a *echoAsker) ask(now time.Time) (Sample, bool) {
	be := binary.BigEndian
	msg := []byte{8, 0, 0, 0}
	msg = be.AppendUint16(msg, a.id)
	msg = be.AppendUint16(msg, a.next)
	msg = append(msg, "systole lab echo"...)
	be.PutUint16(msg[2:], checksum(msg))
	if err := unix.Sendto(a.fd, msg, 0, &a.to); err != nil {
		return Sample{Sent: now, Done: now, Err: err}, true
	}
	a.open[a.next] = now
	a.next++
	return Sample{}, false
}

func (a *echoAsker) wanted() []unix.PollFd {
	return []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}
}

func (a *echoAsker) ready(_ []unix.PollFd, now time.Time) []Sample {
	var ended []Sample
	buf := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(a.fd, buf, 0)
		if err != nil {
			break // EAGAIN; another error shows as answers that do not come
		}
		if n < 20 || n < int(buf[0]&15)*4+8 {
			continue
		}
		icmp := buf[int(buf[0]&15)*4 : n]
		seq := binary.BigEndian.Uint16(icmp[6:])
		if sent, ok := a.open[seq]; ok && icmp[0] == 0 && binary.BigEndian.Uint16(icmp[4:]) == a.id {
			delete(a.open, seq)
			ended = append(ended, Sample{Sent: sent, Done: now})
		}
	}
	for seq, sent := range a.open {
		if now.Sub(sent) > probeLimit {
			delete(a.open, seq)
			ended = append(ended, Sample{Sent: sent, Done: now, Err: os.ErrDeadlineExceeded})
		}
	}
	return ended
}

func (a *echoAsker) close() { _ = unix.Close(a.fd) }

// checksum is the Internet checksum of a message whose own field is zero.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
