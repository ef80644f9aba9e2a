package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// A fault in the engine is told of, and costs nothing that was decided before it.
func TestEngineFault(t *testing.T) {
	log, book := newLog(t)
	loads := 0
	l := &loop{core: log, engine: cluster.New(cluster.Config{
		Node: "alpha", Nodes: []string{"alpha", "bravo"}, Links: []string{"eth0"}, Ring: oneKey(t, hbauth.CRC, ""),
		Keepalive: time.Second, Deadtime: 10 * time.Second, Initdead: 20 * time.Second,
		Load: func() string {
			if loads++; loads == 2 {
				panic("no load")
			}
			return ""
		},
	}, time.Now())}
	sent := func() (packets int) {
		for _, a := range l.decide(cluster.Tick{}) {
			if _, ok := a.(cluster.Send); ok {
				packets++
			}
		}
		return packets
	}
	if n := sent(); n != 1 || !strings.Contains(book.String(), "CRIT: internal error on cluster.Tick: no load; the input is dropped") {
		t.Errorf("%d packets sent before the fault; logged %s", n, book)
	}
}
