package cluster

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
)

const (
	// phasePause is the time between our shutdone and the end of the clients, and between that
	// and our own: what was lost on its way can be asked for again.
	phasePause = time.Second
	// restartExtra is added to the deadtime that we announce before a restart.
	restartExtra = 30 * time.Second
	// emergencyAfter limits a shutdown.
	emergencyAfter = 60 * time.Minute
	// partitionRestart is how long after a healed partition legacy mode restarts.
	partitionRestart = 2 * time.Second
)

// ending is how far the end of the daemon has come.
type ending struct {
	asked       bool // a shutdown was asked for
	restart     bool
	quick       bool // keeping resources
	quickWaits  bool // for a job to end
	silent      bool // fenced: nothing is sent any more but shutdone
	phase       int  // 0 not begun, 1 waits for the clients' turn, 2 clients stop, 3 last pause
	phaseAt     time.Time
	jobsLast    bool // all is done but for jobs under way
	emergencyAt time.Time
	over        bool
}

func (n *ending) begun() bool { return n.asked || n.silent }

// shutdown begins the orderly end (hb_initiate_shutdown). Before communication is up nothing is
// held, so that nothing has to be waited for.
func (e *Engine) shutdown(restart bool) {
	if e.end.silent {
		return
	}
	if e.end.quick {
		// The clients are being, or have been, stopped for a restart that keeps the resources. It
		// becomes an end that gives them up.
		e.end.quick, e.end.restart, e.end.jobsLast = false, false, false
		e.end.phase, e.end.phaseAt = 0, time.Time{}
	}
	e.end.asked, e.end.quickWaits = true, false
	e.end.restart = e.end.restart || restart
	e.reqnodesAt = time.Time{}
	if e.end.emergencyAt.IsZero() {
		e.end.emergencyAt = e.now.Add(emergencyAfter)
	}
	if !restart {
		e.sendStatus()
	}
	if e.cfg.Unmanaged {
		if e.end.phase == 0 {
			e.stopClients()
		}
		return
	}
	e.readLate()
	e.rsc.Close()
}

// fence is for a node that has not run for so long that the others have declared it dead and taken
// over what it holds. It lets go of everything, silently (a heartbeat would make the others
// believe in a healed partition), and starts anew.
func (e *Engine) fence() {
	e.log(Warn, "node "+e.cfg.Node+": is dead")
	e.log(Error, "No local heartbeat. Forcing restart.")
	e.log(Info, "See URL: http://linux-ha.org/wiki/FAQ#No_Local_Heartbeat")
	e.end.silent, e.end.asked, e.end.restart = true, true, true
	e.reqnodesAt = time.Time{}
	e.end.emergencyAt = e.now.Add(emergencyAfter)
	if e.cfg.Unmanaged {
		e.stopClients()
		return
	}
	e.readLate()
	e.dropJobs()
	e.rsc.Fence()
}

// shutDone is called when our shutdone has been sent: all is released.
func (e *Engine) shutDone() {
	if e.end.phase != 0 {
		return
	}
	if e.end.silent {
		e.stopClients()
		return
	}
	e.end.phase = 1
	e.end.phaseAt = e.now.Add(phasePause)
}

// stopClients is phase 0 of hb_mcp_final_shutdown.
func (e *Engine) stopClients() {
	e.end.phase = 2
	e.end.phaseAt = time.Time{}
	e.sendStatus()
	e.emit(StopClients{})
}

// clientsStopped is phase 1.
func (e *Engine) clientsStopped() {
	if e.end.phase != 2 {
		return
	}
	e.end.phase = 3
	if e.end.silent {
		e.finishIdle()
		return
	}
	if e.end.restart {
		e.deadtime += restartExtra
		e.sendStatus()
	}
	e.sendStatus()
	e.end.phaseAt = e.now.Add(phasePause)
}

// endTimers goes on with a shutdown.
func (e *Engine) endTimers() {
	if due(e.end.phaseAt, e.now) {
		e.end.phaseAt = time.Time{}
		switch e.end.phase {
		case 1:
			e.stopClients()
		case 3:
			e.finishIdle()
		}
	}
	if due(e.end.emergencyAt, e.now) {
		e.log(Crit, "Emergency Shutdown: Attempting to kill everything ourselves")
		e.exit(Exit{Code: 100})
	}
}

// finishIdle ends the daemon when no job is under way. A restart that keeps the resources must not
// cut one short: neither node would know of what it leaves half done. And what a new haresources has
// to be given up for, nobody else gives up.
func (e *Engine) finishIdle() {
	regroups := slices.ContainsFunc(e.jobs, func(j *job) bool { return j.name == regroupJob })
	if e.end.jobsLast = e.end.quick && len(e.jobs) > 0 || regroups; !e.end.jobsLast {
		e.finish()
	}
}

// finish is phase 2 and the end.
func (e *Engine) finish() {
	e.log(Info, e.cfg.Node+" Heartbeat shutdown complete.")
	if !e.end.restart {
		e.exit(Exit{})
		return
	}
	e.log(Info, "Heartbeat restart triggered.")
	e.log(Info, "Restarting heartbeat.")
	e.log(Info, "Performing heartbeat restart exec.")
	x := Exit{Restart: true}
	switch {
	case e.end.quick && !e.commUp && !e.cfg.Restarted:
		// Nothing has been acquired yet.
	case e.end.quick:
		x.Quick, x.Held, x.Awaited = true, e.rsc.Held(), e.awaited
	case !e.end.silent, e.others(func(n *node) bool { return n.Status == liveness.Active }) > 0:
		// Until then the others have seen that we are gone, and have taken over; an original that had done so
		// before, when it declared us dead, does it again, and must not be asked to give anything meanwhile.
		x.Wait = (e.cfg.Deadtime + time.Second - 1).Truncate(time.Second) + time.Second
	}
	e.exit(x)
}

func (e *Engine) exit(x Exit) {
	e.emit(x)
	e.end.over = true
}

// reread takes new configuration: keys at once, a changed ha.cf by a restart that keeps the
// resources.
func (e *Engine) reread(in Reread) {
	if in.Ring != nil {
		e.ring = in.Ring
	}
	if in.Regroup != nil {
		e.regroup(in.Regroup)
	}
	switch {
	case in.ConfigChanged:
		if e.end.begun() {
			return
		}
		e.end.quickWaits = true
		e.quickIfDue()
	case in.Ring != nil:
		e.log(Info, "Rereading authentication file.")
	case in.Regroup == nil:
		e.log(Info, "Configuration unchanged.")
	}
}

// quickIfDue begins the restart that keeps resources, once no job is under way that it would
// cut short.
func (e *Engine) quickIfDue() {
	if e.end.quickWaits {
		e.readLate()
	}
	if !e.end.quickWaits || len(e.jobs) > 0 || len(e.queue) > 0 || e.end.begun() {
		return
	}
	e.end.quickWaits = false
	e.end.asked, e.end.restart, e.end.quick = true, true, true
	e.reqnodesAt = time.Time{}
	e.end.emergencyAt = e.now.Add(emergencyAfter)
	e.rsc.CloseKeeping()
	e.sendStatus()
	e.stopClients()
}
