package daemon

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/halog"
)

// device is the STONITH device of ha.cf. It is worked by cluster-glue's command stonith, which has the
// plugins.
type device struct {
	conf    *hacf.Stonith
	command string // "stonith"
	done    func(cluster.StonithDone)
	ctx     context.Context // when it ends, what is under way is killed
	wg      sync.WaitGroup
}

// deviceLimit is how long the device may take. A plugin that hangs is ended, which counts as a failure
// and so is tried again. (The original waits for ever, and never takes anything over.)
const deviceLimit = 5 * time.Minute

// badHost is the exit status of the command for a host that the device does not control (S_BADHOST).
const badHost = 4

// args is the command line for what the engine wants.
func (d *device) args(a cluster.Stonith) []string {
	args := []string{"-t", d.conf.Type, "-p", d.conf.Params}
	if d.conf.Config != "" {
		args = []string{"-t", d.conf.Type, "-F", d.conf.Config}
	}
	if a.Node == "" {
		return append(args, "-S")
	}
	return append(args, "-T", "reset", a.Node)
}

// operate does what the engine wants, in a goroutine of its own that wait waits for.
func (d *device) operate(a cluster.Stonith, log *halog.Logger) {
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		if done := d.run(a, log); d.ctx.Err() == nil {
			d.done(done)
		}
	}()
}

func (d *device) wait() { d.wg.Wait() }

// mostSaid is how much of what the device prints is kept.
const mostSaid = 64 << 10

// head keeps the beginning of what is written to it.
type head struct{ strings.Builder }

// Write is io.Writer. It takes everything, so that the writer never waits.
func (h *head) Write(p []byte) (int, error) {
	if room := mostSaid - h.Len(); room > 0 {
		h.Builder.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (d *device) run(a cluster.Stonith, log *halog.Logger) cluster.StonithDone {
	ctx, cancel := context.WithTimeout(d.ctx, deviceLimit)
	defer cancel()
	c := exec.CommandContext(ctx, d.command, d.args(a)...)
	c.Dir = "/"
	c.WaitDelay = time.Second // what the plugin has started may keep the pipe open
	// A plugin is a program of its own, or has started one: that must not go on beside the next attempt.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGKILL) }
	var out head
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	done := cluster.StonithDone{ID: a.ID}
	if c.Process != nil {
		done.PID = c.Process.Pid
	}
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return done
	case ctx.Err() != nil:
		done.Result = cluster.StonithFailed
		log.Logf(halog.Error, "stonith: no answer within %v", deviceLimit)
	case errors.As(err, &exit) && exit.ExitCode() == badHost:
		done.Result = cluster.StonithBadHost
	default:
		done.Result = cluster.StonithFailed
		if exit == nil {
			log.Logf(halog.Error, "stonith: %v", err) // the command is missing
		}
	}
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(line); line != "" {
			log.Log(halog.Error, "stonith: "+line)
		}
	}
	return done
}
