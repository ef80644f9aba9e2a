package compat

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestBenchLoss drops 30 % of all frames to and from both nodes for two minutes, with one medium
// (ucast), and counts how often a node that lives was declared dead. All pairs suffer at the same
// time, with the tutorial's timers: they hardly compute.
func TestBenchLoss(t *testing.T) {
	var all sync.WaitGroup
	for range *benchRuns {
		for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
			all.Go(func() { t.Run(impl.String(), func(t *testing.T) { benchLoss(t, impl) }) })
		}
	}
	all.Wait()
}

func benchLoss(t *testing.T, impl lab.Impl) {
	h := benchPair(t, impl, func(master bool) map[string]string {
		return map[string]string{
			"/etc/ha.d/ha.cf":       strings.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"], "bcast eth0\n", "", 1),
			"/etc/ha.d/haresources": "ha-master 172.16.60.111\n",
		}
	})
	// Twice 30 %: as in the record S8-30, each frame passes the rule of one node and of the other.
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if err := h.Loss(d.Node, 30); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Minute)
	if err := h.Heal(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(15 * time.Second)
	const how = "30 % loss, ucast only, 2 minutes, both nodes' logs"
	log := h.Master.Log() + h.Slave.Log()
	dead := strings.Count(log, "node ha-master: is dead") + strings.Count(log, "node ha-slave: is dead")
	bench.add("loss: living nodes declared dead", "", how, of(impl), float64(dead))
	bench.add("loss: late heartbeats", "", how, of(impl), float64(strings.Count(log, "Late heartbeat: Node ha-")))
	if impl == lab.Ours {
		waitFor(t, time.Minute, "one owner is left", func() bool { return h.Master.HoldsVIP() != h.Slave.HoldsVIP() })
	}
}
