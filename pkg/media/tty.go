package media

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
)

// ttyRates are the speeds of the directive baud.
var ttyRates = map[int]uint32{
	9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600,
	115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800,
}

// setUpLine sets the line as the original does: 8 bits, no parity, hardware flow control, input
// stripped to 7 bits, nothing translated, echoed or understood as a signal. Then what has been queued
// is thrown away, and a break sent.
func setUpLine(f *os.File, baud int, log logFunc) error {
	return control(f, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			log(halog.Error, err, "glib: cannot get tty attributes: %s", strerror(err))
			return fmt.Errorf("get attributes of %s: %w", f.Name(), err)
		}
		raw(t, ttyRates[baud])
		if err := unix.IoctlSetTermios(fd, unix.TCSETSF, t); err != nil {
			log(halog.Error, err, "glib: cannot set tty attributes: %s", strerror(err))
			return fmt.Errorf("set attributes of %s: %w", f.Name(), err)
		}
		// Neither is worth more than a try, nor does the original ask.
		_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH)
		_ = unix.IoctlSetInt(fd, unix.TCSBRK, 0)
		return nil
	})
}

// control calls f with the file's descriptor, which stays in non-blocking mode.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(failed, err)
}

// raw changes what the original changes (seen by strace), and INLCR, with which no line would end.
func raw(t *unix.Termios, rate uint32) {
	t.Cflag &^= unix.CBAUD | unix.CSIZE | unix.PARENB
	t.Cflag |= rate | unix.CS8 | unix.CREAD | unix.CLOCAL | unix.CRTSCTS
	t.Ispeed, t.Ospeed = rate, rate
	t.Iflag &^= unix.IGNBRK | unix.PARMRK | unix.ICRNL | unix.IUCLC | unix.IXON | unix.IXOFF | unix.IXANY | unix.INLCR
	t.Iflag |= unix.BRKINT | unix.INPCK | unix.ISTRIP | unix.IGNCR
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 1
}

// lockDir is where programs that use serial lines tell each other so.
const lockDir = "/var/lock"

// lineLock is the lock file of a line; "" is none.
type lineLock string

// lockLine makes the lock file of UUCP and its kin: the name of the device, in it our process id in
// eleven bytes. A lock whose process is gone is taken over. Without the directory there are no locks.
func lockLine(tty string) (lineLock, error) {
	name := filepath.Base(tty)
	path := filepath.Join(lockDir, "LCK.."+name)
	own := filepath.Join(lockDir, fmt.Sprintf("tmp%d-%s", os.Getpid(), name))
	err := writeNew(own, fmt.Appendf(nil, "%10d\n", os.Getpid()))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", tty, err)
	}
	defer os.Remove(own)
	for range 2 {
		if err = os.Link(own, path); !errors.Is(err, fs.ErrExist) {
			break
		}
		if pid := lockHolder(path); pid != 0 && pid != os.Getpid() {
			return "", fmt.Errorf("lock %s: process %d has it (%s)", tty, pid, path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("lock %s: %w", tty, err)
		}
	}
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", tty, err)
	}
	return lineLock(path), nil
}

// writeNew writes a file in a directory in which everybody may make files: what is there already is not
// followed elsewhere.
func writeNew(path string, text []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// lockHolder is the living process that a lock file names, or 0. What is there may be anything: a named
// pipe is not waited for.
func lockHolder(path string) int {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return 0
	}
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return 0
	}
	return pid
}

func (l lineLock) release() error {
	if l == "" {
		return nil
	}
	if err := os.Remove(string(l)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unlock line: %w", err)
	}
	return nil
}
