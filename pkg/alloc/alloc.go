// Package alloc tells what a piece of code allocates, for tests that hold what input from a file or
// a packet may cost.
package alloc

import "runtime"

// Packet is the most, in bytes, that a packet of 64 KiB may cost to decode and to verify.
const Packet = 1 << 20

// Text is the most that a configuration text of 64 KiB may cost to read, its problems included.
const Text = 32 << 20

// Bytes is what f allocates in all, freed or not. It counts what other goroutines allocate
// meanwhile, too.
func Bytes(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
