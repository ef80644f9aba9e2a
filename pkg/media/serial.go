package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

const (
	// A message goes out in pieces, each of which the line has a time for, as in the original.
	ttyPiece = 512
	ttyWait  = 500 * time.Millisecond
)

// serial is a line to one other node. What comes in is not passed on: the original has the code for
// rings of more than two nodes, with the field ttl as the number of hops left, and never calls it.
type serial struct {
	tty  string
	baud int
}

func newSerial(s Spec, o Options, log logFunc) (*serial, error) {
	l := &serial{tty: s.Name, baud: o.Baud}
	if l.baud == 0 {
		l.baud = 19200
	}
	if _, ok := ttyRates[l.baud]; !ok {
		log(halog.Error, nil, "glib: compute_fragment_write_delay: invalid baud rate(%d)", l.baud)
		return nil, fmt.Errorf("no such speed: %d baud", l.baud)
	}
	if !filepath.IsAbs(l.tty) {
		log(halog.Error, nil, "glib: Serial port not full pathname [%s] in config file", l.tty)
		return nil, errors.New("not an absolute path")
	}
	return l, nil
}

func (l *serial) open(_ context.Context, _ bool, log logFunc) (conn, error) {
	device, err := deviceOf(l.tty)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log(halog.Error, err, "glib: Nonexistent serial port [%s] in config file", l.tty)
	case err != nil:
		log(halog.Error, err, "glib: Serial port [%s] not a char device in config file", l.tty)
	}
	if err != nil {
		return nil, err
	}
	lock, err := lockLine(l.tty)
	if err != nil {
		log(halog.Error, err, "glib: cannot lock line %s", l.tty)
		return nil, err
	}
	// Without O_NONBLOCK a modem's line would be opened when somebody calls.
	f, err := os.OpenFile(l.tty, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		log(halog.Error, err, "glib: cannot open %s: %s", l.tty, strerror(err))
		return nil, errors.Join(err, lock.release())
	}
	if err := setUpLine(f, l.baud, log); err != nil {
		return nil, errors.Join(err, f.Close(), lock.release())
	}
	log(halog.Info, nil, "glib: Starting serial heartbeat on tty %s (%d baud)", l.tty, l.baud)
	return &serialConn{serial: l, f: f, device: device, lock: lock}, nil
}

func (l *serial) writeFailed(log logFunc, _ []byte, err error) {
	log(halog.Error, err, "glib: TTY write failure on [%s]: %s", l.tty, strerror(err))
}

func (l *serial) timedOut(log logFunc) {
	log(halog.Warn, nil, "glib: TTY write timeout on [%s] (no connection or bad cable? [see documentation])", l.tty)
	log(halog.Info, nil, "glib: See http://linux-ha.org/wiki/FAQ#TTY_timeout for details")
}

func (l *serial) readFailed(log logFunc, err error) {
	var errno unix.Errno // 0: the end of the line
	text := "Success"
	if errors.As(err, &errno) {
		text = strerror(err)
	}
	log(halog.Error, err, "glib: EOF in ttygets [%s]: %s [%d]", l.tty, text, errno)
}

// serialConn is an open line.
type serialConn struct {
	*serial
	f      *os.File
	device uint64 // its number
	lock   lineLock
	torn   bool // the last message was not written to its end

	split hamsg.Splitter // for the reader
	buf   [4096]byte
}

// send writes a message. One that follows half a message begins a new line, so that the other side
// loses no more than that half.
func (c *serialConn) send(packet []byte, deadline time.Time) error {
	if c.torn {
		packet = append([]byte("\n"), packet...)
	}
	c.torn = true
	for len(packet) > 0 {
		end := time.Now().Add(ttyWait)
		if deadline.Before(end) {
			end = deadline
		}
		if err := c.f.SetWriteDeadline(end); err != nil {
			return err
		}
		n, err := c.f.Write(packet[:min(ttyPiece, len(packet))])
		packet = packet[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// What is still queued would come late, and in front of what matters then.
			_ = control(c.f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH) })
		}
		if err != nil {
			return err
		}
	}
	c.torn = false
	return nil
}

func (c *serialConn) receive() (Frame, bool, error) {
	for {
		if m := c.split.Next(); m != nil {
			return Frame{Bytes: m}, true, nil
		}
		n, err := c.f.Read(c.buf[:])
		if n == 0 && err == nil {
			err = io.EOF
		}
		if err != nil {
			return Frame{}, false, err
		}
		_, _ = c.split.Write(c.buf[:n]) // never fails
	}
}

// check looks whether the path still leads to the device that is open: an adapter that was pulled out
// and put back gets a new one.
func (c *serialConn) check(logFunc) error {
	now, err := deviceOf(c.tty)
	if err == nil && now != c.device {
		err = fmt.Errorf("%s is another device now: %w", c.tty, unix.ENXIO)
	}
	return err
}

func (c *serialConn) close() error { return errors.Join(c.f.Close(), c.lock.release()) }

// deviceOf is the number of the character device at the path.
func deviceOf(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return 0, &fs.PathError{Op: "stat", Path: path, Err: unix.ENOTTY}
	}
	return st.Rdev, nil
}
