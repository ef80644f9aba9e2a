package media_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/media"
)

// pty is a pseudo-terminal: the test is the cable and the node at its other end.
type pty struct {
	master *os.File
	path   string
}

func openPTY(t *testing.T) *pty {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(t, err)
	p := &pty{master: os.NewFile(uintptr(fd), "ptmx")}
	t.Cleanup(func() { _ = p.master.Close() }) // may be closed already
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	p.path = fmt.Sprintf("/dev/pts/%d", number)
	// As long as somebody has it open its number is given to no other terminal of the machine.
	slave, err := os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { _ = slave.Close() })
	return p
}

// read waits until so many bytes have come from the node.
func (p *pty) read(t *testing.T, n int) string {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	must(t, p.master.SetReadDeadline(time.Now().Add(limit)))
	for len(got) < n {
		k, err := p.master.Read(buf)
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", len(got), n, err)
		}
		got = append(got, buf[:k]...)
	}
	return string(got)
}

func (p *pty) write(t *testing.T, s string) {
	t.Helper()
	_, err := p.master.WriteString(s)
	must(t, err)
}

// startSerial opens and runs a line until the test ends.
func startSerial(t *testing.T, path string, o media.Options) *medium {
	t.Helper()
	return startOn(t, func(f func() error) error { return f() }, media.Spec{Kind: "serial", Name: path}, o)
}

func textMessage(fields ...string) string {
	return ">>>\n" + strings.Join(fields, "\n") + "\n<<<\n"
}

func TestSerial(t *testing.T) {
	t.Parallel()
	a, b := openPTY(t), openPTY(t)
	ma, mb := startSerial(t, a.path, media.Options{}), startSerial(t, b.path, media.Options{Baud: 115200})
	var cables sync.WaitGroup
	t.Cleanup(cables.Wait)
	for _, c := range [][2]*pty{{a, b}, {b, a}} {
		cables.Go(func() {
			buf := make([]byte, 100)
			for {
				n, err := c[0].master.Read(buf)
				if err != nil {
					return
				}
				if _, err := c[1].master.Write(buf[:n]); err != nil {
					return
				}
			}
		})
	}
	t.Cleanup(func() { _, _ = a.master.Close(), b.master.Close() }) // which ends the cables
	for _, message := range []string{
		textMessage("t=status", "st=up"),
		textMessage("t=long", "x="+strings.Repeat("0123456789", 200)),
		textMessage("t=last"),
	} {
		ma.Send([]byte(message))
		mb.expect(t, "", message)
		mb.Send([]byte(message))
		ma.expect(t, "", message)
	}
	ma.expectNothing(t) // what a node hears it does not pass on
	for m, baud := range map[*medium]int{ma: 19200, mb: 115200} {
		want := []string{fmt.Sprintf("info: glib: Starting serial heartbeat on tty %s (%d baud)", m.Spec().Name, baud)}
		if got := m.takeLines(); !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		waitFor(t, "the counts of "+m.Spec().String(), func() bool { // the other side may hear a message before it counts as sent
			s := m.Stats()
			return s.Sent == 3 && s.Received == 3 && s.Failed == 0
		})
	}
}

// What is no whole message is skipped, to the next line that begins one.
func TestSerialSkipsNoise(t *testing.T) {
	t.Parallel()
	p := openPTY(t)
	m := startSerial(t, p.path, media.Options{})
	p.write(t, "login: \x00\xff\n<<<\n>>>\nt=torn\nst=u\n"+textMessage("t=one")+"more noise\n"+textMessage("t=two"))
	m.expect(t, "", textMessage("t=one"))
	m.expect(t, "", textMessage("t=two"))
	p.write(t, ">>>\nt=str\xe9\r\n<<<\r\n") // the line strips to seven bits and drops CR
	m.expect(t, "", textMessage("t=stri"))
}

// The line is set as strace has shown the original to set it, from whatever it was before.
func TestSerialAttributes(t *testing.T) {
	t.Parallel()
	for baud, rate := range map[int]uint32{
		0: unix.B19200, 9600: unix.B9600, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800,
	} {
		p := openPTY(t)
		slave, err := os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY, 0)
		must(t, err)
		defer slave.Close()
		fd := int(slave.Fd())
		before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		must(t, err)
		before.Iflag = unix.IGNBRK | unix.PARMRK | unix.INLCR | unix.ICRNL | unix.IUCLC | unix.IXON | unix.IXANY | unix.IXOFF | unix.IGNPAR
		before.Oflag |= unix.OPOST | unix.ONLCR
		before.Lflag |= unix.ICANON | unix.ECHO | unix.ISIG | unix.IEXTEN
		before.Cc[unix.VMIN], before.Cc[unix.VTIME] = 7, 9
		must(t, unix.IoctlSetTermios(fd, unix.TCSETS, before))
		m := startSerial(t, p.path, media.Options{Baud: baud})
		got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		must(t, err)
		if want := uint32(unix.BRKINT | unix.INPCK | unix.ISTRIP | unix.IGNCR | unix.IGNPAR); got.Iflag != want {
			t.Errorf("input flags %#o, want %#o", got.Iflag, want)
		}
		if want := uint32(unix.ONLCR); got.Oflag != want {
			t.Errorf("output flags %#o, want %#o", got.Oflag, want)
		}
		if want := rate | unix.CS8 | unix.CREAD | unix.CLOCAL | unix.CRTSCTS; got.Cflag&^unix.HUPCL != want {
			t.Errorf("control flags %#o, want %#o", got.Cflag, want)
		}
		if got.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || got.Lflag&unix.IEXTEN == 0 {
			t.Errorf("local flags %#o", got.Lflag)
		}
		if got.Cc[unix.VMIN] != 1 || got.Cc[unix.VTIME] != 1 {
			t.Errorf("VMIN %d, VTIME %d", got.Cc[unix.VMIN], got.Cc[unix.VTIME])
		}
		m.stop(t)
	}
}

// A line that takes nothing costs what waits for it, and each message its log lines; when it takes
// something again, half a message is on it, and the next one is whole.
func TestSerialBlockedLine(t *testing.T) {
	t.Parallel()
	p := openPTY(t)
	m := startSerial(t, p.path, media.Options{})
	m.takeLines()
	big := textMessage("t=big", "x="+strings.Repeat("y", 200_000))
	m.Send([]byte(big))
	waitFor(t, "the write to time out", func() bool { return m.Stats().Failed == 1 })
	want := []string{
		"WARN: glib: TTY write timeout on [" + p.path + "] (no connection or bad cable? [see documentation])",
		"info: glib: See http://linux-ha.org/wiki/FAQ#TTY_timeout for details",
	}
	waitFor(t, "the lines", func() bool {
		got := m.takeLines()
		return len(got) >= 2 && reflect.DeepEqual(got[:2], want)
	})
	small := textMessage("t=small")
	var got strings.Builder
	go func() {
		time.Sleep(10 * time.Millisecond)
		m.Send([]byte(small))
	}()
	waitFor(t, "the small message", func() bool {
		got.WriteString(p.read(t, 1))
		return strings.HasSuffix(got.String(), "\n"+small)
	})
	if strings.Contains(got.String(), "<<<\n"+small) {
		t.Error("the big message has arrived whole: nothing was blocked")
	}
}

// An adapter is pulled out and put back: the line ends, the path leads to another device.
func TestSerialReturn(t *testing.T) {
	t.Parallel()
	p := openPTY(t)
	path := filepath.Join(t.TempDir(), fmt.Sprintf("ttyTest%d", os.Getpid()))
	must(t, os.Symlink(p.path, path))
	m := startSerial(t, path, media.Options{})
	m.Send([]byte(textMessage("t=one")))
	p.read(t, len(textMessage("t=one")))
	m.takeLines()
	must(t, p.master.Close())
	waitFor(t, "the end of the line to be noticed", func() bool { return !m.Stats().Up })
	m.Send([]byte(textMessage("t=lost")))
	var lines string
	waitFor(t, "both lines", func() bool {
		lines += strings.Join(m.takeLines(), "\n")
		return strings.Contains(lines, "ERROR: glib: EOF in ttygets ["+path+"]: ") && strings.Contains(lines, "ERROR: glib: TTY write failure on ["+path+"]: ")
	})
	if n := m.Stats().Failed; n != 1 {
		t.Errorf("%d messages failed", n)
	}
	// Still open, but the path leads elsewhere.
	for range 2 {
		q := openPTY(t)
		must(t, os.Remove(path))
		must(t, os.Symlink(q.path, path))
		waitFor(t, "the new line", func() bool {
			return strings.Contains(strings.Join(m.takeLines(), "\n"), "info: glib: Starting serial heartbeat on tty "+path)
		})
		m.Send([]byte(textMessage("t=two")))
		if got := q.read(t, len(textMessage("t=two"))); got != textMessage("t=two") {
			t.Errorf("got %q", got)
		}
		q.write(t, textMessage("t=three"))
		m.expect(t, "", textMessage("t=three"))
	}
}

func TestSerialLock(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/var/lock"); err != nil {
		t.Skip("no /var/lock here")
	}
	path := filepath.Join(t.TempDir(), fmt.Sprintf("ttyLock%d", os.Getpid()))
	must(t, os.Symlink(openPTY(t).path, path))
	lock := "/var/lock/LCK.." + filepath.Base(path)
	t.Cleanup(func() { _ = os.Remove(lock) }) // gone unless the test has failed
	own := fmt.Sprintf("%10d\n", os.Getpid())

	other := exec.Command("sleep", "60")
	must(t, other.Start())
	must(t, os.WriteFile(lock, fmt.Appendf(nil, "%10d\n", other.Process.Pid), 0o644))
	r := new(medium)
	_, err := media.Open(t.Context(), media.Spec{Kind: "serial", Name: path}, media.Options{Report: r.report})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d has it", other.Process.Pid)) {
		t.Errorf("with the lock of another program: %v", err)
	}
	if got, want := r.takeLines(), []string{"ERROR: glib: cannot lock line " + path}; !reflect.DeepEqual(got, want) {
		t.Errorf("logged %q, want %q", got, want)
	}
	must(t, other.Process.Kill())
	_ = other.Wait() // killed, as asked for

	m := startSerial(t, path, media.Options{}) // the lock is one that was left behind now
	if text, err := os.ReadFile(lock); err != nil || string(text) != own {
		t.Errorf("lock file: %q, %v, want %q", text, err, own)
	}
	m.stop(t)
	if _, err := os.Stat(lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end the lock is left: %v", err)
	}
}

// TestSerialLockTrap: everybody may make files where the locks are. A link does not have heartbeat write
// elsewhere, and a named pipe does not keep it waiting.
func TestSerialLockTrap(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/var/lock"); err != nil {
		t.Skip("no /var/lock here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, fmt.Sprintf("ttyTrap%d", os.Getpid()))
	must(t, os.Symlink(openPTY(t).path, path))
	lock := "/var/lock/LCK.." + filepath.Base(path)
	own := fmt.Sprintf("/var/lock/tmp%d-%s", os.Getpid(), filepath.Base(path))
	t.Cleanup(func() { _, _ = os.Remove(lock), os.Remove(own) }) // gone unless the test has failed
	precious := filepath.Join(dir, "precious")
	must(t, os.WriteFile(precious, []byte("precious"), 0o600))
	must(t, os.Symlink(precious, own))
	must(t, unix.Mkfifo(lock, 0o666))

	stuck := time.AfterFunc(limit, func() { // lets the test end
		t.Error("it waits for a writer of the named pipe")
		if f, err := os.OpenFile(lock, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	m := startSerial(t, path, media.Options{})
	stuck.Stop()
	if text, err := os.ReadFile(precious); err != nil || string(text) != "precious" {
		t.Errorf("the file that a link leads to: %q, %v", text, err)
	}
	if text, err := os.ReadFile(lock); err != nil || string(text) != fmt.Sprintf("%10d\n", os.Getpid()) {
		t.Errorf("lock file: %q, %v", text, err)
	}
	m.stop(t)
}

func TestSerialRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		path string
		baud int
		line string
	}{
		{"ttyS0", 0, "ERROR: glib: Serial port not full pathname [ttyS0] in config file"},
		{dir + "/none", 0, "ERROR: glib: Nonexistent serial port [" + dir + "/none] in config file"},
		{file, 0, "ERROR: glib: Serial port [" + file + "] not a char device in config file"},
		{"/dev/null", 0, "ERROR: glib: cannot get tty attributes: Inappropriate ioctl for device"},
		{"/dev/null", 1200, "ERROR: glib: compute_fragment_write_delay: invalid baud rate(1200)"},
	} {
		r := new(medium)
		m, err := media.Open(t.Context(), media.Spec{Kind: "serial", Name: c.path}, media.Options{Baud: c.baud, Report: r.report})
		if err == nil {
			t.Errorf("%s: opened", c.path)
			_ = m.Close()
		}
		if got, want := r.takeLines(), []string{c.line}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: logged %q, want %q", c.path, got, want)
		}
	}
	if left, _ := filepath.Glob("/var/lock/LCK..null"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
