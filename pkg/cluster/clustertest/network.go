package clustertest

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// Network is how packets fare.
type Network struct {
	// Loss and Dup are the probabilities, in thousandths, that a packet is lost, or comes twice.
	Loss, Dup int
	// MinDelay and MaxDelay bound a packet's time on its way.
	MinDelay, MaxDelay time.Duration
	// Reorder lets packets overtake each other on their way.
	Reorder bool
}

// way is the way of packets from one machine to another over one link.
type way struct {
	cut  bool
	last time.Duration // when the last packet arrives, after Epoch
}

// Cut ends, or with cut false restores, the way of packets from one machine to another, over the
// links of that name; "" is every link.
func (s *Sim) Cut(from, to, link string, cut bool) {
	m, other := s.Machine(from), s.Machine(to)
	for i := range m.links {
		if link == "" || m.links[i] == link {
			m.ways[other.index][i].cut = cut
		}
	}
}

// Hears tells whether packets go from one machine to another over some link.
func (s *Sim) Hears(from, to *Machine) bool {
	return slices.ContainsFunc(from.ways[to.index], func(w way) bool { return !w.cut })
}

// Connected tells whether packets go both ways between two machines over one link at least.
func (s *Sim) Connected(a, b *Machine) bool {
	for i := range a.links {
		if !a.ways[b.index][i].cut && !b.ways[a.index][i].cut {
			return true
		}
	}
	return false
}

// transmit puts a packet on its ways: a broadcast reaches its sender too.
func (m *Machine) transmit(a cluster.Send) {
	if a.Media != "" {
		if !slices.Contains(m.Silent, a.Media) {
			m.deliver(m, a.Media, new(way), a.Bytes)
		}
		return
	}
	for _, to := range m.sim.Machines {
		for i, link := range m.links {
			if to == m && i > 0 && m.links[i-1] == link {
				continue // ucast does not come back
			}
			if w := &m.ways[to.index][i]; !w.cut {
				m.deliver(to, link, w, a.Bytes)
			}
		}
	}
}

func (m *Machine) deliver(to *Machine, link string, w *way, packet []byte) {
	s := m.sim
	copies := 1
	if to != m {
		if s.Loss > 0 && s.Rand(1000) < s.Loss {
			copies--
		}
		if s.Dup > 0 && s.Rand(1000) < s.Dup {
			copies++
		}
	}
	for range copies {
		delay := s.MinDelay
		if s.MaxDelay > s.MinDelay {
			delay += time.Duration(s.Rand(int(s.MaxDelay - s.MinDelay)))
		}
		now := s.Elapsed()
		if at := now + delay; at > w.last {
			w.last = at
		} else if !s.Reorder {
			delay = w.last - now
		}
		if to.Poll > 0 && to != m {
			at := s.Now.Add(delay)
			delay += to.Poll - at.Sub(to.began)%to.Poll
		}
		to.arrive(delay, func() { to.Step(cluster.Received{Link: link, From: m.Name, Bytes: packet}) })
	}
}
