//go:build !race

package cluster_test

// defaultSeeds is how many random runs are made by default.
const defaultSeeds = 2000
