package daemon

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/apphb"
	"github.com/systole-ha/systole/pkg/halog"
)

const (
	// apphbdName and apphbdInstance are what heartbeat registers as.
	apphbdName, apphbdInstance = "heartbeat", "master_control_process"
	// apphbdRetry is the pause between two attempts to register; of apphbdTold attempts that fail
	// one is told of.
	apphbdRetry = time.Minute
	apphbdTold  = 60
)

// apphbd has apphbd watch over this process (ha.cf use_apphbd): it says so when the loop has not gone
// round for the deadtime.
type apphbd struct {
	socket   string
	interval time.Duration // silence that apphbd calls a failure
	warn     time.Duration // silence that it calls late
	retry    time.Duration
	log      *halog.Logger
	beats    chan struct{} // one element: the loop never waits
}

func newApphbd(socket string, deadtime, warntime time.Duration, log *halog.Logger) *apphbd {
	return &apphbd{socket: socket, interval: deadtime, warn: warntime, retry: apphbdRetry, log: log, beats: make(chan struct{}, 1)}
}

// beat is the loop's sign of life.
func (a *apphbd) beat() {
	select {
	case a.beats <- struct{}{}:
	default: // the last one is still to be sent
	}
}

// run registers, and again when apphbd was restarted, and hands on what the loop says, until ctx ends.
func (a *apphbd) run(ctx context.Context) {
	for failed := 0; ; {
		c, err := a.register()
		if err == nil {
			failed = 0
			a.log.Logf(halog.Info, "Registered with apphbd as %s/%s.", apphbdName, apphbdInstance)
			if err = a.serve(ctx, c); err == nil {
				return
			}
			a.log.Logf(halog.Error, "apphb_hb() failed.: %s", errnoText(err))
		} else {
			if failed%apphbdTold == 0 {
				a.log.Logf(halog.Error, "Unable to register with apphbd.: %s", errnoText(err))
				a.log.Log(halog.Info, "Continuing to try and register.")
			}
			failed++
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.retry):
		}
	}
}

// errnoText is what perror(3) says of the system's error in err.
func errnoText(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		err = e
	}
	return strerror(err)
}

func (a *apphbd) register() (*apphb.Client, error) {
	c, err := apphb.Dial(a.socket, apphbdName, apphbdInstance)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.Set(apphb.SetInterval, a.interval), c.Set(apphb.SetWarn, a.warn)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// serve sends heartbeats until one cannot be sent, or ctx ends (nil): then it unregisters, as the silence
// that follows is meant.
func (a *apphbd) serve(ctx context.Context, c *apphb.Client) error {
	for {
		select {
		case <-ctx.Done():
			_ = c.Close() // apphbd finds out in either case
			return nil
		case <-a.beats:
			if err := c.Beat(); err != nil {
				_ = c.Close() // it is broken
				return err
			}
		}
	}
}
