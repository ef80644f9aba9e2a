package daemon

import (
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/media"
)

// gate stands between a medium and the loop's queue. It works in the goroutine that reads the medium:
// there, a flood takes the place of nobody's packets but its own.
type gate struct {
	mu     sync.Mutex // the keys may change
	screen *cluster.Screen
	told   cluster.BadPackets
}

func newGate(cfg cluster.ScreenConfig, log *halog.Logger) *gate {
	return &gate{screen: cluster.NewScreen(cfg, func(l cluster.Log) { log.Log(halog.Prio(l.Level), l.Text) })}
}

// admit makes of a packet what the engine is to get; nil for one that it is not to get.
func (g *gate) admit(f media.Frame) cluster.Input {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.screen.Admit(time.Now(), f.From, f.Bytes)
}

// bad are the packets that did not pass, and whether there are more than when it was asked last. Copies
// do not count for that: on an interface with several media they are usual.
func (g *gate) bad() (b cluster.BadPackets, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b = g.screen.Bad()
	now, before := b, g.told
	now.Repeated, before.Repeated = 0, 0
	g.told = b
	return b, now != before
}

// use gives the gate the keys of another authkeys file.
func (g *gate) use(keys *hbauth.Ring, window time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.screen.Use(keys, window)
}
