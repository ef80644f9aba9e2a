package takeover

import (
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// Host carries out what the machine decides. Its methods are called from within the machine's own
// methods, and Send calls back into them: see [Machine.Handle].
type Host interface {
	// Now is the time of the event that is being handled.
	Now() time.Time

	// Info, Warn, Fail and Debug log a line of that level (Fail is ERROR).
	Info(text string)
	Warn(text string)
	Fail(text string)
	Debug(text string)

	// Send gives a message its control fields and sends it to all nodes. Before it returns, it
	// hands the message to [Machine.Handle] as one from ourselves, as the original does: states
	// change by our own messages as they do by the peer's.
	Send(m *hamsg.Msg)

	// RequestOurs starts the job that asks for our own groups (req_our_resources). The job sends
	// [Machine.Report] when it ends.
	RequestOurs()
	// Move starts the job that takes or gives the groups of a set (go_standby). It ends by
	// sending an ask_resources message with info=done and rsc_hold=report, unless quiet.
	Move(mv Move)
	// DropStrays starts the job that releases the groups of a set if they are running: what an
	// earlier run of the daemon has left behind. It sends nothing.
	DropStrays(set Hold)
	// GiveUpAll starts the job that releases the groups of all nodes (hb_giveup_resources). It
	// ends by sending shutdone.
	GiveUpAll()
	// Reset has a node reset by the STONITH device, and calls done when that has succeeded, however long
	// it takes; it returns false if there is no device.
	Reset(node string, done func()) bool
	// Resetting tells whether a reset is under way.
	Resetting() bool
	// Releasing tells whether a quiet [Move] that gives what is the peer's waits or is under way.
	Releasing() bool
	// Stonith tells the cluster that a node is not reset: n_stnth (no device) or unneeded.
	Stonith(node, result string)
	// NotifyDead queues the notification (rc.d/status, mach_down) that a node is dead.
	NotifyDead(node string)
	// Jobs is how many jobs are under way; waiting notifications do not count.
	Jobs() int
	// AwaitSync begins, or ends, the wait until the peer knows our connections: see [Machine.Synced].
	AwaitSync(on bool)
	// GivingUp says that the release of everything begins: the line with the daemon's pid.
	GivingUp()
	// Restart asks for a shutdown with restart, because of a conflict that the peer does not end.
	Restart()
	// ShutDone says that our own shutdone has been sent: nothing is held any more.
	ShutDone()
}

// Move is a transfer of groups, as part of a standby or after a conflict.
type Move struct {
	// Take is true to acquire, false to release.
	Take bool
	// Set is which groups, from our own viewpoint.
	Set Hold
	// Report is what the closing message says.
	Report Hold
	// Quiet moves send no closing message; the machine is told by [Machine.Moved].
	Quiet bool
}
