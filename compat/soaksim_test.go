package compat

import (
	"flag"
	"runtime/debug"
	"testing"

	"github.com/systole-ha/systole/pkg/cluster/clustertest"
)

var soakSeeds = flag.Int("soak.seeds", 1_000_000, "how many random runs TestSoakSimulation makes")

// TestSoakSimulation makes a million random runs of the protocol engine, other ones than
// TestSimulation of pkg/cluster makes; about an hour on two processors.
func TestSoakSimulation(t *testing.T) {
	const first, part = 1_000_000_000, 50_000
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for done := 0; done < *soakSeeds && !t.Failed(); done += part {
		r := clustertest.Simulate(uint64(first+done), min(part, *soakSeeds-done), 5)
		for i, f := range r.Failed {
			t.Error(f)
			if i == 0 {
				t.Log(f.Story())
			}
		}
		t.Logf("from seed %d: %v", first+done, r)
	}
}
