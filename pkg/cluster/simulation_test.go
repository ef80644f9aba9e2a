package cluster_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/systole-ha/systole/pkg/cluster/clustertest"
)

var (
	simSeeds  = flag.Int("sim.seeds", defaultSeeds, "how many random runs TestSimulation makes")
	simFirst  = flag.Uint64("sim.first", 1, "the first seed")
	simSeed   = flag.Uint64("sim.seed", 0, "make only this run, and tell its story")
	simShrink = flag.Bool("sim.shrink", false, "leave out of the story what the failure does not need")
	simStop   = flag.Int("sim.stop", 5, "after how many failed runs to stop")
	simWire   = flag.Bool("sim.wire", false, "the story tells of messages too")
)

// TestSimulation makes random runs of two and three nodes and holds them to what must hold:
// see clustertest.Watch. -sim.seed N tells one run's story.
func TestSimulation(t *testing.T) {
	if *simSeed > 0 {
		p := clustertest.Chaos(*simSeed)
		if *simShrink {
			p = p.Shrink(func(p *clustertest.Plan) bool { return p.Run().Err != nil })
		}
		fmt.Print(p)
		if res := p.Run(clustertest.Told(os.Stdout, *simWire)); res.Err != nil {
			t.Fatal(res.Err)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(2000))
	r := clustertest.Simulate(*simFirst, *simSeeds, *simStop)
	for i, f := range r.Failed {
		t.Error(f)
		if i == 0 {
			t.Log(f.Story())
		}
	}
	t.Log(r)
}

// TestReplay makes some runs twice, the second time all at once: every byte is the same.
func TestReplay(t *testing.T) {
	const n = 100
	var first [n]clustertest.Result
	for seed := range first {
		first[seed] = clustertest.Chaos(uint64(seed)).Run(clustertest.Hashed)
	}
	var all sync.WaitGroup
	for seed := range first {
		all.Go(func() {
			again := clustertest.Chaos(uint64(seed)).Run(clustertest.Hashed)
			if again.Hash != first[seed].Hash || again.Hash == [32]byte{} {
				t.Errorf("seed %d: two runs differ: %x, %x", seed, first[seed].Hash, again.Hash)
			}
		})
	}
	all.Wait()
}

// TestFound replays runs that have shown faults.
func TestFound(t *testing.T) {
	files, err := filepath.Glob("testdata/found/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			p, err := clustertest.ParsePlan(string(text))
			if err != nil {
				t.Fatal(err)
			}
			var story strings.Builder
			if res := p.Run(clustertest.Told(&story, true)); res.Err != nil {
				t.Errorf("%v\n%s", res.Err, story.String())
			}
		})
	}
}
