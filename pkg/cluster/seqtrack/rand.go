package seqtrack

// Rand is a small random number generator (splitmix64), so that one seed gives one run. The zero
// Rand is one with seed 0.
type Rand struct{ state uint64 }

// NewRand makes a generator.
func NewRand(seed uint64) *Rand { return &Rand{state: seed} }

// Uint64 is the next number.
func (r *Rand) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
