package daemon

import (
	"errors"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
)

// pulse tells those who watch this process that its loop goes round: the watchdog device of ha.cf, which resets the
// machine when that stops, systemd, which ends the process, and apphbd, which says so. The loop's goroutine alone uses it; nil is nobody.
type pulse struct {
	log   *halog.Logger
	dev   *os.File // nil: no device
	unit  bool     // systemd wants to be told
	hb    *apphbd  // nil: ha.cf does not use it
	every time.Duration
	next  time.Time
}

// newPulse opens the watchdog device, if there is one, and learns what systemd wants.
func newPulse(device string, deadtime time.Duration, log *halog.Logger) *pulse {
	p := &pulse{log: log, every: time.Hour}
	if usual, err := daemon.SdWatchdogEnabled(false); err == nil && usual > 0 {
		p.unit, p.every = true, usual/3
	}
	if device == "" {
		return p
	}
	f, err := os.OpenFile(device, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		log.Logf(halog.Error, "Cannot open watchdog device: %s: %v", device, strerror(cause(err)))
		return p
	}
	log.Logf(halog.Notice, "Using watchdog device: %s", device)
	// The machine is to be reset soon after its peer has called it dead.
	seconds := int((deadtime + 10*time.Millisecond + time.Second - 1) / time.Second)
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		log.Logf(halog.Error, "WDIOC_SETTIMEOUT: Failed to set watchdog timer to %d seconds.: %s", seconds, strerror(err))
	}
	p.dev, p.every = f, min(p.every, time.Duration(seconds)*time.Second/4)
	return p
}

// register has apphbd be told, too, in time for none to be late.
func (p *pulse) register(hb *apphbd) {
	p.hb, p.every = hb, min(p.every, max(hb.warn/3, time.Millisecond))
}

// deadline is when the next beat is due.
func (p *pulse) deadline() (time.Time, bool) {
	if p == nil || p.dev == nil && !p.unit && p.hb == nil {
		return time.Time{}, false
	}
	return p.next, true
}

func (p *pulse) beat(now time.Time) {
	p.next = now.Add(p.every)
	if p.unit {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) // it will find out
	}
	if p.hb != nil {
		p.hb.beat()
	}
	if p.dev == nil {
		return
	}
	if _, err := p.dev.Write([]byte{0}); err != nil {
		p.log.Logf(halog.Error, "Watchdog write failure: closing %s!: %s", p.dev.Name(), strerror(cause(err)))
		p.disarm()
	}
}

// disarm stops the watchdog: this is an orderly end. A crash does not get here, and the machine is reset.
func (p *pulse) disarm() {
	if p == nil || p.dev == nil {
		return
	}
	_, err := p.dev.WriteString("V") // the driver's magic
	if err = errors.Join(err, p.dev.Close()); err != nil {
		p.log.Logf(halog.Error, "Watchdog %s: %v", p.dev.Name(), err)
	}
	p.dev = nil
}

// Tell tells systemd of a state of this process, such as "READY=1"; without systemd nobody is told.
func Tell(state string) {
	_, _ = daemon.SdNotify(false, state) // a daemon runs with a deaf service manager, too
}
