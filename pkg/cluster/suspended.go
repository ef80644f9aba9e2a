package cluster

import (
	"fmt"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// A suspended virtual machine's clocks stand still with it, so that wake cannot notice. But the others'
// clocks have gone on: by what they say in their packets, and by the news that they have declared us
// dead, a machine knows that it was away.

// leastBehind is the least time that counts as standing still: the others tell theirs in whole seconds.
const leastBehind = 2 * time.Second

// readingTime is how long a clock is read: packets may have waited for us.
const readingTime = time.Second

// clock is what we know of another node's wall clock, by our own time.
type clock struct {
	old, last reading // last is at most a deadtime old, old is the one before
	newest    uint64  // Unix seconds
}

type reading struct {
	at time.Time
	ts uint64
}

// noteClock reads the time of a packet.
func (e *Engine) noteClock(n *node, m *hamsg.Msg) {
	if ts, ok := m.GetHex(hamsg.FTime); ok && n != e.self && !n.Ping {
		n.clock.read(e.now, ts, e.cfg.Deadtime)
	}
}

func (c *clock) read(now time.Time, ts uint64, deadtime time.Duration) {
	if c.last.at.IsZero() || now.Sub(c.last.at) >= deadtime {
		c.old, c.last = c.last, reading{now, ts}
		c.newest = max(c.old.ts, ts)
	}
	if now.Sub(c.last.at) < readingTime {
		c.last.ts = max(c.last.ts, ts) // what had waited came first
	}
	c.newest = max(c.newest, ts)
}

// behind is how much less time has passed here than there, lately.
func (c *clock) behind(now time.Time) time.Duration {
	from := c.old
	if from.at.IsZero() {
		from = c.last
	}
	if from.at.IsZero() || c.newest-from.ts > uint64(maxDeadtime/time.Second) {
		return 0 // or it has been set
	}
	return time.Duration(c.newest-from.ts)*time.Second - now.Sub(from.at)
}

// buried is called when a node, which we hear, says that it has declared us dead.
func (e *Engine) buried(n *node, m *hamsg.Msg) {
	stood := n.clock.behind(e.now)
	if n.Status == liveness.Active && !e.end.begun() && stood >= max(leastBehind, (e.cfg.Deadtime-e.cfg.Keepalive)/2) {
		e.log(Warn, fmt.Sprintf("This machine stood still for %d s by the clock of %s, which has declared us dead.", stood/time.Second, n.Name))
		e.fence()
		return
	}
	if m.Get(hamsg.FResult) != "unneeded" && e.rsc.Nice() && e.rsc.Settles() && !e.end.begun() {
		e.sendStatus() // sooner than it is due: the node shall hear that we live
	}
	e.rsc.Buried()
}
