package resource

import (
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/config/haresources"
)

// keys are the keys of a node's groups, as `ResourceManager listkeys NODE` gives them.
func (m *Manager) keys(node string) []string {
	var keys []string
	for _, g := range m.o.Groups() {
		if strings.EqualFold(g.Node, node) && len(g.Resources) > 0 {
			keys = append(keys, g.Key())
		}
	}
	return keys
}

// group finds the line that a key stands for: any of its resources will do. The original takes the
// key for a regular expression and joins all lines that match; we take the first.
func (m *Manager) group(s script, key string) (found haresources.Group, ok bool) {
	for _, g := range m.o.Groups() {
		if !slices.ContainsFunc(g.Resources, func(r haresources.Resource) bool { return r.Word == key }) {
			continue
		}
		if ok {
			s.log("WARN: %s is in more than one line of haresources; the one of node %s is used", key, found.Node)
			break
		}
		found, ok = g, true
	}
	return found, ok
}

// line is a group as the log shows it.
func line(g haresources.Group) string {
	words := []string{g.Node}
	for _, r := range g.Resources {
		words = append(words, r.Word)
	}
	return strings.Join(words, " ")
}

// takeGroup is `ResourceManager takegroup KEY`: it starts what is not running, left to right. A
// member that cannot be started brings the whole group down. The exit status of a failed start is,
// as in the original, that of the release.
func (j *job) takeGroup(key string) int {
	key, _, _ = strings.Cut(key, " ") // the rest of a whole line is not looked at
	s := j.script("ResourceManager")
	g, ok := j.group(s, key)
	if !ok {
		return 0
	}
	s.log("info: Acquiring resource group: %s", line(g))
	var early *ahead
	defer func() { early.wait() }()
	for i, r := range g.Resources {
		if !early.has(i) && j.owned(s, r) {
			j.renew(s, r)
			continue
		}
		if j.ctx.Err() != nil {
			return 1
		}
		if early == nil && isAddress(r) {
			early = j.startAhead(s, g, i+1)
		}
		var code int
		if early.has(i) {
			code = j.startedAhead(s, early, g, i)
		} else {
			code = j.operate(s, r, agent.Start)
		}
		if code == 0 {
			continue
		}
		if j.ctx.Err() != nil {
			return 1
		}
		early.wait()
		s.log("CRIT: Giving up resources due to failure of %s", r.Word)
		code = j.release(s, g)
		what := "foreign"
		if g.Node == j.o.Node && !j.o.AlwaysForeign {
			what = "local"
		}
		j.standbyLater(j.o.StandbyDelay, what)
		return code
	}
	return 0
}

// giveGroup is `ResourceManager givegroup KEY`.
func (j *job) giveGroup(key string) int {
	key, _, _ = strings.Cut(key, " ")
	s := j.script("ResourceManager")
	g, ok := j.group(s, key)
	if !ok {
		return 0
	}
	return j.release(s, g)
}

// release stops every member of a group, running or not, right to left. The work of those that
// surround the group's addresses is done when these are gone.
func (j *job) release(s script, g haresources.Group) (code int) {
	s.log("info: Releasing resource group: %s", line(g))
	address := slices.IndexFunc(g.Resources, isAddress)
	var late []*operation
	stop := func(o *operation) {
		if c := j.stop(s, o); c != 0 {
			code = c
		}
	}
	for i := len(g.Resources) - 1; i >= 0; i-- {
		o := j.begin(s, g.Resources[i], agent.Stop)
		if i > address && address >= 0 && surrounds(o.choice) {
			late = append(late, o)
			continue
		}
		stop(o)
		if i == address {
			for _, o := range late {
				stop(o)
			}
		}
		if j.ctx.Err() != nil {
			return 1
		}
	}
	return code
}

// stop carries out a stop that was begun, with retries. What is running still after the last is a
// case for Options.StopFailure; what is not counts as stopped.
func (j *job) stop(s script, o *operation) int {
	r := o.resource
	code := j.carryOut(s, o)
	for n := 0; code != 0 && (j.o.StopRetries < 0 || n < j.o.StopRetries); n++ {
		if !j.sleep(j.o.RetryDelay) {
			return code
		}
		s.log("info: Retrying failed stop operation [%s]", r.Word)
		code = j.operate(s, r, agent.Stop)
	}
	if code == 0 {
		j.stuckIs(r, false)
		return 0
	}
	if !j.owned(s, r) {
		s.log("ERROR: Resource script for %s probably not LSB-compliant.", r.Word)
		s.log("WARN: it (%s) MUST succeed on a stop when already stopped", r.Word)
		s.log("WARN: Machine reboot narrowly avoided!")
		j.stuckIs(r, false)
		return 0
	}
	switch j.o.StopFailure {
	case GoStandby:
		if j.stuckIs(r, true) { // the standby that was asked for stops it, too
			s.log("CRIT: Resource STOP failure. %s is still running here (stopfailure standby).", r.Word)
			break
		}
		// What it was to be stopped for is under way: a standby that is asked for meanwhile is refused.
		s.log("CRIT: Resource STOP failure. %s is still running here; going standby in %v (stopfailure standby).", r.Word, j.o.StandbyDelay)
		j.standbyLater(j.o.StandbyDelay, "all")
	case OnlyLog:
		s.log("CRIT: Resource STOP failure. %s is still running here (stopfailure log).", r.Word)
	default:
		s.log("CRIT: Resource STOP failure. Reboot required!")
		s.log("CRIT: Killing heartbeat ungracefully!")
		if j.o.Reboot == nil {
			s.log("CRIT: Unable to force reboot.")
		} else {
			j.o.Log.Flush(flushLimit) // the last chance for these lines
			j.o.Reboot()
		}
	}
	return code
}

// stuckIs notes whether a resource is one that could not be stopped, and tells what it was before.
func (m *Manager) stuckIs(r haresources.Resource, stuck bool) (was bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was = m.stuck[r.Word]
	if delete(m.stuck, r.Word); stuck {
		m.stuck[r.Word] = true
	}
	return was
}

const flushLimit = 500 * time.Millisecond

// sleep waits, and reports whether that was not cut short by the end of the job.
func (j *job) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-j.ctx.Done():
		return false
	}
}
