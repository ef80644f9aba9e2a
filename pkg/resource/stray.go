package resource

import (
	"slices"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/config/haresources"
)

// dropGroup releases a group of which something is here although it should not be: what a daemon that
// was killed left behind. If there is nothing it does and logs nothing.
func (j *job) dropGroup(key string) int {
	s := j.script("ResourceManager")
	g, ok := j.group(s, key)
	if !ok || len(g.Resources) == 0 {
		return 0
	}
	word, ok := j.left(s, g)
	if !ok {
		return 0
	}
	s.log("WARN: %s is running here and should not be: an earlier heartbeat left it behind", word)
	return j.release(s, g)
}

// left is a member of a group that was left behind. The key is looked at: it starts first and stops
// last, so it runs in every half-done state. Another member may run here on purpose, such as a web
// server that the boot starts on both nodes; but no address does, and it may have been another line's key
// before haresources changed. And what surrounds the addresses starts before the key and stops after it,
// and knows by itself whether it was left.
func (j *job) left(s script, g haresources.Group) (word string, ok bool) {
	if j.runs(s, g.Resources[0]) {
		return g.Resources[0].Word, true
	}
	address := slices.IndexFunc(g.Resources, isAddress)
	for i, r := range g.Resources {
		if i > 0 && isAddress(r) && j.runs(s, r) {
			return r.Word, true
		}
		if ch, ok := j.choose(s, r.Script); ok && i > address && address >= 0 && surrounds(ch) {
			if ch.agent.(agent.Surrounder).Left(j.ctx, j.call(ch, r, agent.Status)) {
				return r.Word, true
			}
		}
	}
	return "", false
}

// complete reports whether every member of a key's group is running.
func (j *job) complete(key string) bool {
	s := j.script("ResourceManager")
	g, ok := j.group(s, key)
	return !ok || !slices.ContainsFunc(g.Resources, func(r haresources.Resource) bool { return !j.runs(s, r) })
}

// runs is owned without a trace in the log.
func (j *job) runs(s script, r haresources.Resource) bool {
	ch, ok := j.choose(s, r.Script)
	if !ok {
		return false
	}
	c := j.call(ch, r, agent.Status)
	c.Log = unheard{c.Log}
	l := j.lock(r.Word)
	l.Lock()
	defer l.Unlock()
	res, err := ch.agent.Run(j.ctx, c)
	return err == nil && isOwned(res.Output)
}

// unheard swallows an agent's lines.
type unheard struct{ agent.Log }

// Script drops the line.
func (unheard) Script(string, string) {}

// Print drops the text.
func (unheard) Print(string) {}
