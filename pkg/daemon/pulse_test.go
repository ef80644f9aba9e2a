package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A file stands for the device: what is written to it is what a driver would get. (With a real one: compat's
// TestVMWatchdog.)
func TestPulseOfDevice(t *testing.T) {
	log, book := newLog(t)
	device := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPulse(device, 1500*time.Millisecond, log)
	now := time.Unix(1000, 0)
	for range 3 {
		at, ok := p.deadline()
		if !ok || at.Sub(now) > 500*time.Millisecond {
			t.Fatalf("due at %v, %v", at, ok)
		}
		now = at
		p.beat(now)
	}
	p.disarm()
	p.disarm()
	if text, _ := os.ReadFile(device); string(text) != "\x00\x00\x00V" {
		t.Errorf("the device got %q", text)
	}
	if _, ok := p.deadline(); ok {
		t.Error("a closed device is to be fed")
	}
	for _, want := range []string{"notice: Using watchdog device: " + device, "ERROR: WDIOC_SETTIMEOUT: Failed to set watchdog timer to 2 seconds.: Inappropriate ioctl for device"} {
		if !strings.Contains(book.String(), want) {
			t.Errorf("no %q in\n%s", want, book)
		}
	}
	if p := newPulse("/no/such/watchdog", time.Second, log); p.dev != nil || !strings.Contains(book.String(), "Cannot open watchdog device: /no/such/watchdog: No such file or directory") {
		t.Error(book.String())
	}
}

// systemd gets a message for each beat, and hears of the states.
func TestPulseOfSystemd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	log, _ := newLog(t)
	p := newPulse("", time.Second, log)
	now := time.Unix(1000, 0)
	p.beat(now)
	if at, ok := p.deadline(); !ok || at.Sub(now) != time.Second {
		t.Errorf("due at %v, %v", at, ok)
	}
	Tell("READY=1")
	if new(Signals).Silence(0) {
		t.Error("nobody has sent a signal")
	}
	buf := make([]byte, 100)
	for _, want := range []string{"WATCHDOG=1", "READY=1", "WATCHDOG=1"} {
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("%q, %v; want %q", buf[:n], err, want)
		}
	}
}

func TestNoPulse(t *testing.T) {
	var none *pulse
	none.disarm()
	if _, ok := none.deadline(); ok {
		t.Error("nobody is to be told")
	}
}
