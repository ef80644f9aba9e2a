package userspace

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// dest is a destination with what scheduling needs to know of it. All fields are guarded by
// the Forwarder's lock.
type dest struct {
	cfg        ipvs.Dest
	active     uint32 // open connections, or live UDP sessions
	inact      uint32 // closed ones that the kernel would still list
	persist    uint32
	overloaded bool
	removed    bool // deleted from the service; its connections drain
	stats      ipvs.Stats
}

func (d *dest) usable() bool { return d.cfg.Weight > 0 && !d.overloaded && !d.removed }

// overhead is what least-connection schedulers compare: an inactive connection costs 1/256 of
// an active one, as ip_vs_dest_conn_overhead has it.
func (d *dest) overhead() int64 { return int64(d.active)<<8 + int64(d.inact) }

// updateOverload applies the thresholds as ip_vs_dest_totalconns and its callers do: overloaded
// at the upper one, free again below the lower one or, without a lower one, below three
// quarters of the upper.
func (d *dest) updateOverload() {
	total := uint64(d.active) + uint64(d.inact)
	upper, lower := uint64(d.cfg.UpperThreshold), uint64(d.cfg.LowerThreshold)
	switch {
	case upper == 0:
		d.overloaded = false
	case total >= upper:
		d.overloaded = true
	case lower != 0:
		if total < lower {
			d.overloaded = false
		}
	case total*4 < upper*3:
		d.overloaded = false
	}
}

// scheduler picks the destination of a new connection; nil when none is usable. Each service
// has its own, since the round-robin ones remember where they were.
type scheduler struct {
	last   int   // rr and wrr: index of the last choice
	weight int32 // wrr: the current weight of its cycle
}

func (s *scheduler) pick(name string, dests []*dest, client, vip netip.AddrPort) *dest {
	switch name {
	case "wrr":
		return s.weighted(dests)
	case "lc":
		return least(dests, func(d *dest) (int64, int64) { return d.overhead(), 1 })
	case "wlc", "lblc", "lblcr":
		// The locality-based ones are for caches whose clients ask many addresses; behind
		// one listening address they come down to wlc.
		return least(dests, func(d *dest) (int64, int64) { return d.overhead(), int64(d.cfg.Weight) })
	case "sed":
		return least(dests, func(d *dest) (int64, int64) { return int64(d.active) + 1, int64(d.cfg.Weight) })
	case "nq":
		for _, d := range dests {
			if d.usable() && d.active == 0 {
				return d
			}
		}
		return least(dests, func(d *dest) (int64, int64) { return int64(d.active) + 1, int64(d.cfg.Weight) })
	case "sh":
		return hashed(dests, client.Addr())
	case "dh":
		return hashed(dests, vip.Addr())
	case "mh":
		return rendezvous(dests, client.Addr())
	case "fo":
		return least(dests, func(d *dest) (int64, int64) { return -int64(d.cfg.Weight), 1 })
	case "ovf":
		return overflow(dests)
	default: // rr, and whatever the kernel would have loaded a module for
		return s.roundRobin(dests)
	}
}

func (s *scheduler) roundRobin(dests []*dest) *dest {
	for i := 1; i <= len(dests); i++ {
		at := (s.last + i) % len(dests)
		if dests[at].usable() {
			s.last = at
			return dests[at]
		}
	}
	return nil
}

// weighted is the interleaved weighted round robin of ip_vs_wrr: cycles of falling weight, in
// each of which every destination of at least that weight gets one connection.
func (s *scheduler) weighted(dests []*dest) *dest {
	var top, step int32
	for _, d := range dests {
		if d.cfg.Weight > 0 && !d.removed {
			top = max(top, d.cfg.Weight)
			step = gcd(step, d.cfg.Weight)
		}
	}
	if top == 0 {
		return nil
	}
	if s.weight > top {
		s.weight = top
	}
	// At most one round of each weight has to be looked at.
	for range int(top/step) + 1 {
		for at := s.last + 1; at < len(dests); at++ {
			if d := dests[at]; d.usable() && d.cfg.Weight >= s.weight && s.weight > 0 {
				s.last = at
				return d
			}
		}
		s.last = -1
		if s.weight -= step; s.weight <= 0 {
			s.weight = top
		}
	}
	return nil
}

func gcd(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// least returns the usable destination with the smallest load/weight quotient, the first of equals.
func least(dests []*dest, cost func(*dest) (load, weight int64)) *dest {
	var best *dest
	var bestLoad, bestWeight int64
	for _, d := range dests {
		if !d.usable() {
			continue
		}
		load, weight := cost(d)
		if best == nil || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = d, load, weight
		}
	}
	return best
}

// overflow fills the destination of the highest weight until it has more connections than its
// weight, then the next; when all have, clients are refused, as ip_vs_ovf does.
func overflow(dests []*dest) *dest {
	var best *dest
	for _, d := range dests {
		if d.usable() && int64(d.active) <= int64(d.cfg.Weight) && (best == nil || d.cfg.Weight > best.cfg.Weight) {
			best = d
		}
	}
	return best
}

// hashed maps an address to one slot of a table in which each destination has as many
// neighbouring slots as its weight; an unusable one sends its clients to the next usable.
func hashed(dests []*dest, a netip.Addr) *dest {
	var total uint64
	for _, d := range dests {
		total += uint64(max(d.cfg.Weight, 1))
	}
	if total == 0 {
		return nil
	}
	slot := hash(a, netip.AddrPort{}) % total
	at := 0
	for ; slot >= uint64(max(dests[at].cfg.Weight, 1)); at++ {
		slot -= uint64(max(dests[at].cfg.Weight, 1))
	}
	for i := range dests {
		if d := dests[(at+i)%len(dests)]; d.usable() {
			return d
		}
	}
	return nil
}

// rendezvous gives each client its highest-scoring destination, so that a destination's loss
// moves only its own clients: what mh is used for.
func rendezvous(dests []*dest, client netip.Addr) *dest {
	var best *dest
	var bestScore uint64
	for _, d := range dests {
		if !d.usable() {
			continue
		}
		if score := hash(client, d.cfg.Addr); best == nil || score > bestScore {
			best, bestScore = d, score
		}
	}
	return best
}

func hash(a netip.Addr, d netip.AddrPort) uint64 {
	h := fnv.New64a()
	b := a.As16()
	h.Write(b[:])
	if d.IsValid() {
		b = d.Addr().As16()
		h.Write(b[:])
		var port [2]byte
		binary.BigEndian.PutUint16(port[:], d.Port())
		h.Write(port[:])
	}
	return mix(h.Sum64())
}

// mix spreads FNV's weak high bits (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
