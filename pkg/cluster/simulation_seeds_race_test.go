//go:build race

package cluster_test

// defaultSeeds is smaller under the race detector, which slows the runs down tenfold.
const defaultSeeds = 250
