package cluster

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// What keeps copies of packets out where the keys ask for it (hmac-sha256), beyond what generations and
// sequence numbers do. These cover messages that have a number, of nodes that have been heard since our
// start. Here every packet has one, acknowledgements, pings and what is sent again too, in a run that
// has a random number; on each medium it counts once.
//
// The first packet of a run that we hear has to show that it is not from the past: by the clock, or by
// naming the number of our own run, which nobody could know before. So clocks may be wrong as long
// as the nodes hear each other, and a node that does not hear us is heard as long as the clocks are
// right.

// numbers are the newest packet numbers of a run that have passed.
type numbers struct {
	high uint64
	seen [16]uint64 // bit n%1024 for each number in (high-1024, high]
}

const maxNumbers = 16 * 64

// take tells whether the number has not passed yet, as far as is remembered, and remembers it.
func (w *numbers) take(n uint64) bool {
	switch {
	case n > w.high:
		if n-w.high >= maxNumbers {
			clear(w.seen[:])
		} else {
			for i := w.high + 1; i < n; i++ {
				w.seen[i/64%16] &^= 1 << (i % 64)
			}
		}
		w.high = n
	case w.high-n >= maxNumbers || w.seen[n/64%16]&(1<<(n%64)) != 0:
		return false
	}
	w.seen[n/64%16] |= 1 << (n % 64)
	return true
}

// from starts at a number: the earlier ones are as if they had passed.
func (w *numbers) from(n uint64) {
	w.high = n
	for i := range w.seen {
		w.seen[i] = ^uint64(0)
	}
}

// run is what a Screen knows of the run of a node.
type run struct {
	id, gen uint64
	numbers
}

// numbered looks at the number of a packet. own tells whether it has come from this node and back: a
// ping's answer, or what we hear of ourselves.
func (s *Screen) numbered(o *hamsg.Outline, now time.Time, from netip.AddrPort) verdict {
	id, ok := hamsg.ParseHex(o.Run)
	packet, ok2 := hamsg.ParseHex(o.Packet)
	if !ok || !ok2 || id == 0 || packet == 0 {
		s.bad.Fields++
		return refused
	}
	r := s.runs[string(o.Orig)]
	if r != nil && r.id == id {
		if r.take(packet) {
			return admitted
		}
		return s.replay()
	}
	if string(o.Orig) == s.cfg.Node || string(o.Type) == hamsg.TPingStatus {
		if id != s.cfg.Run {
			return s.stranger()
		}
		return s.adopt(o, run{id: id}, packet)
	}
	gen, _ := hamsg.ParseHex(o.Generation)
	if r != nil && gen < r.gen {
		return s.replay()
	}
	ts, _ := hamsg.ParseHex(o.Time)
	age := now.Unix() - int64(ts)
	if !s.namesUs(o.Echo) && max(age, -age) > int64(s.cfg.Window/time.Second) {
		return s.sight(o, age, from)
	}
	return s.adopt(o, run{id: id, gen: gen}, packet)
}

// verdict is what becomes of a packet.
type verdict uint8

const (
	refused verdict = iota
	sighted         // not to be believed, but the engine is to know of the run
	admitted
)

func (s *Screen) replay() verdict {
	s.bad.Replayed++
	return refused
}

// stranger is a packet of an earlier run of our own, or of another node with our name: the engine is to
// see some of them.
func (s *Screen) stranger() verdict {
	if s.old.take(s.now) {
		return admitted
	}
	return s.replay()
}

// adopt begins with a run.
func (s *Screen) adopt(o *hamsg.Outline, r run, packet uint64) verdict {
	if len(s.runs) >= maxMarks && s.runs[string(o.Orig)] == nil {
		return s.replay()
	}
	r.from(packet)
	s.runs[string(o.Orig)] = &r
	return admitted
}

// sight is a packet of a run that has not shown yet that it is not from the past.
func (s *Screen) sight(o *hamsg.Outline, age int64, from netip.AddrPort) verdict {
	if s.allow("sight", Warn) {
		s.tell(Warn, fmt.Sprintf("Packets of node %s on link %s from %s are not taken yet: by its clock they are %d s off ours (replaywindow %d s), and it has not answered us since we started.",
			oneLine(string(o.Orig)), s.cfg.Link, orUnknown(addrText(from), "?"), age, int64(s.cfg.Window/time.Second)))
	}
	s.bad.Replayed++
	if s.sights.take(s.now) {
		return sighted
	}
	return refused
}

// namesUs tells whether an echo has our node with our run.
func (s *Screen) namesUs(echo []byte) bool {
	for word := range bytes.FieldsSeq(echo) {
		node, text, _ := bytes.Cut(word, []byte("="))
		if run, ok := hamsg.ParseHex(text); ok && run == s.cfg.Run && string(node) == s.cfg.Node {
			return true
		}
	}
	return false
}
