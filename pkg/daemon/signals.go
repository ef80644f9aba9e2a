package daemon

import (
	"os"
	"os/signal"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Signals are those that the process has got. Their default action would end it with its addresses up, so
// they are caught from its first moment to its end, whether or not there is a run that could act on them.
type Signals struct {
	stop   chan os.Signal // SIGTERM, which others never crowd out
	others chan os.Signal
}

// CatchSignals catches this process's signals for good. It is to be called first, and once.
func CatchSignals() *Signals {
	s := &Signals{stop: make(chan os.Signal, 1), others: make(chan os.Signal, 8)}
	signal.Notify(s.stop, unix.SIGTERM)
	signal.Notify(s.others, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGINT, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU)
	return s
}

// Stop has the next run end as SIGTERM has.
func (s *Signals) Stop() {
	select {
	case s.stop <- unix.SIGTERM:
	default: // it has come again
	}
}

// Leave has a program that takes this one's place find SIGHUP and SIGTERM ignored until it catches them. It
// tells whether SIGTERM has come. Children that are started by then do not inherit that: there is none to be.
func (s *Signals) Leave() (stop bool) {
	signal.Ignore(unix.SIGHUP, unix.SIGTERM)
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// Silence waits as the time before a restart has it, and lets systemd know that it is on purpose. SIGTERM
// ends it: it tells whether that has come.
func (s *Signals) Silence(d time.Duration) (stop bool) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	over := time.After(d)
	for {
		Tell(daemon.SdNotifyWatchdog)
		select {
		case <-s.stop:
			return true
		case <-over:
			return false
		case <-every.C:
		}
	}
}
