package compat

import (
	"flag"
	"runtime/debug"
	"testing"

	"github.com/systole-ha/systole/pkg/cluster/clustertest"
)

var (
	soakFirst = flag.Uint64("soak.first", 1, "the first seed of TestSoakSimulation")
	soakSeeds = flag.Int("soak.seeds", 1_000_000, "how many random runs it makes")
)

// TestSoakSimulation makes a million random runs of the protocol engine, the first of which TestSimulation of
// pkg/cluster makes, too; about an hour on two processors. -soak.first is for runs that nobody has made yet.
func TestSoakSimulation(t *testing.T) {
	const part = 50_000
	defer debug.SetGCPercent(debug.SetGCPercent(2000))
	for done := 0; done < *soakSeeds && !t.Failed(); done += part {
		r := clustertest.Simulate(*soakFirst+uint64(done), min(part, *soakSeeds-done), 5)
		for i, f := range r.Failed {
			t.Error(f)
			if i == 0 {
				t.Log(f.Story())
			}
		}
		t.Logf("from seed %d: %v", *soakFirst+uint64(done), r)
	}
}
