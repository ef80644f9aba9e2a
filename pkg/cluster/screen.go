package cluster

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// What a Screen lets pass besides the newest message of each node: as much as an honest network brings
// by far, and as little as an engine can bear.
const (
	// Messages that came late or again, acknowledgements, requests to send again, pings.
	lateRate, lateBurst = 2000, 1000
	// Messages that the engine will drop as replayed: enough for it to say so.
	oldRate, oldBurst = 1, 5
	// repeatGap is the time in which the very same packet counts once. A node asks again for a lost
	// message with the same bytes, but not as soon as that.
	repeatGap = 10 * time.Millisecond
	// oldSeq is how many numbers behind the newest a message is old: the length of a node's history.
	oldSeq = 500
	// oldTime is by how many seconds of its node's clock a message without a number is old. The clock is
	// that of the newest message, so that one which is set back has its effect at once.
	oldTime = 60
	// maxMarks bounds the nodes that are remembered. With crc anybody can make names up.
	maxMarks = 128
	// maxRepeats is how many packets are remembered.
	maxRepeats = 64
)

// Screen is the first look at the packets of one medium, in front of the engine's queue: it keeps out
// what the engine would drop, so that a flood of it costs no good packet its place there. What it
// lets pass the engine looks at again as if there were no Screen: this is to be cheap, not to be
// believed. It is for one goroutine at a time.
//
// Of a packet only lengths are followed and the signature is checked; no memory is spent. A message
// that is newer than all of its node passes. For the others, which may be copies of real ones,
// there is a limit in time.
type Screen struct {
	complaints
	cfg    ScreenConfig
	marks  map[string]*mark
	runs   map[string]*run // of nodes, and of ours at ping nodes
	seen   [maxRepeats]sighting
	next   int // of seen
	late   bucket
	old    bucket
	sights bucket
}

// ScreenConfig is what a Screen is told.
type ScreenConfig struct {
	Link  string // name of the medium's link
	Node  string // own name
	Run   uint64 // of this run, as in [Config]
	Ring  *hbauth.Ring
	Quiet bool // log_badpack off
	// Window is how far the clocks of two nodes may be apart that do not hear each other yet; it
	// matters with keys that ask for numbers only.
	Window time.Duration
}

// mark is the newest message of a node.
type mark struct{ gen, seq, ts uint64 }

// sighting is when a packet passed.
type sighting struct {
	sum uint64
	at  time.Time
}

// NewScreen makes a screen. It tells log what the engine would have logged.
func NewScreen(cfg ScreenConfig, log func(Log)) *Screen {
	return &Screen{
		complaints: complaints{
			quiet: cfg.Quiet, kinds: map[string]*throttle{},
			tell: func(l Level, text string) { log(Log{Level: l, Text: text}) },
		},
		cfg:    cfg,
		marks:  map[string]*mark{},
		runs:   map[string]*run{},
		late:   bucket{rate: lateRate, burst: lateBurst},
		old:    bucket{rate: oldRate, burst: oldBurst},
		sights: bucket{rate: oldRate, burst: oldBurst},
	}
}

// Use gives the Screen the keys of another authkeys file, and another window.
func (s *Screen) Use(ring *hbauth.Ring, window time.Duration) {
	s.cfg.Ring, s.cfg.Window = ring, window
}

// Bad are the packets that did not pass.
func (s *Screen) Bad() BadPackets { return s.bad }

// Admit makes of a packet that has come in now what the engine is to get: a [Received] with a copy of
// the bytes, sometimes a [Sighted], or nil. What does not pass is counted, and told of at a limited rate.
// from need not be valid.
func (s *Screen) Admit(now time.Time, from netip.AddrPort, packet []byte) Input {
	o, v := s.judge(now, from, packet)
	switch v {
	case admitted:
		return s.received(from, bytes.Clone(packet))
	case sighted:
		run, _ := hamsg.ParseHex(o.Run)
		return Sighted{Node: string(o.Orig), Run: run}
	}
	return nil
}

func (s *Screen) received(from netip.AddrPort, packet []byte) Received {
	return Received{Link: s.cfg.Link, From: addrText(from), Bytes: packet}
}

func (s *Screen) judge(now time.Time, from netip.AddrPort, packet []byte) (hamsg.Outline, verdict) {
	s.now = now
	o, ok := hamsg.Outlined(packet)
	if !ok {
		switch {
		case bytes.HasPrefix(packet, []byte(">>>\n")):
			return s.text(from, packet)
		case bytes.HasPrefix(packet, []byte("###\n")):
			return o, s.refuse("syntax", &s.bad.Malformed, from, packet)
		}
		s.bad.Malformed++ // no message at all: the engine says nothing of that
		return o, refused
	}
	method, ok := s.cfg.Ring.Signed(o.Signed, o.Auth)
	if !ok {
		return o, s.refuse("auth", &s.bad.Unsigned, from, packet)
	}
	return o, s.pass(&o, method, from)
}

// pass judges a message that is signed well.
func (s *Screen) pass(o *hamsg.Outline, method hbauth.Method, from netip.AddrPort) verdict {
	sum := fnv(o.Auth)
	if string(o.Type) != hamsg.TPingStatus && s.again(sum) {
		s.bad.Repeated++
		return refused
	}
	v := admitted
	if method.Numbered() {
		v = s.numbered(o, s.now, from)
	}
	if v == admitted {
		v = s.timely(o, from)
	}
	if v == admitted {
		s.seen[s.next] = sighting{sum, s.now}
		s.next = (s.next + 1) % maxRepeats
	}
	return v
}

// refuse counts a packet that the engine would not take, and has it complained of if there has been
// no such complaint for a while.
func (s *Screen) refuse(kind string, count *uint64, from netip.AddrPort, packet []byte) verdict {
	if s.silent(kind) {
		*count++
		s.skip(kind)
		return refused
	}
	// Nothing passes: a packet without an outline does not decode, one that is not signed does not
	// verify.
	s.open(s.cfg.Ring, s.received(from, packet))
	return refused
}

// text looks at a message in text form, as serial lines have them, and nodes of heartbeat 2.
func (s *Screen) text(from netip.AddrPort, packet []byte) (o hamsg.Outline, v verdict) {
	m, ok := s.open(s.cfg.Ring, s.received(from, packet))
	if !ok {
		return o, refused
	}
	for name, at := range map[string]*[]byte{
		hamsg.FAuth: &o.Auth, hamsg.FType: &o.Type, hamsg.FOrig: &o.Orig, hamsg.FSeq: &o.Seq, hamsg.FGeneration: &o.Generation,
		hamsg.FTime: &o.Time, hamsg.FRun: &o.Run, hamsg.FPacket: &o.Packet, hamsg.FEcho: &o.Echo,
	} {
		if m.Has(name) {
			*at = []byte(m.Get(name))
		}
	}
	return o, s.pass(&o, s.cfg.Ring.Named(string(o.Auth)), from)
}

// timely tells whether a message is the newest of its node, or there is room for one that is not.
func (s *Screen) timely(o *hamsg.Outline, from netip.AddrPort) verdict {
	gen, _ := hamsg.ParseHex(o.Generation)
	seq, _ := hamsg.ParseHex(o.Seq)
	ts, _ := hamsg.ParseHex(o.Time)
	sequenced := !bytes.HasPrefix(o.Type, []byte(hamsg.UnsequencedHead))
	m := s.mark(o.Orig)
	if sequenced && m != nil && (gen > m.gen || gen == m.gen && seq > m.seq) {
		*m = mark{gen, seq, ts}
		return admitted
	}
	limit := &s.late
	if m != nil && (gen > 0 && gen < m.gen || sequenced && seq+oldSeq < m.seq || !sequenced && ts+oldTime < m.ts) {
		limit = &s.old
	}
	if limit.take(s.now) {
		return admitted
	}
	if s.allow("replay", Warn) {
		s.tell(Warn, "Old packets, or copies of packets, come in on link "+s.cfg.Link+" faster than any node sends, from "+
			orUnknown(addrText(from), "?")+" in the name of "+oneLine(string(o.Orig))+": most are dropped.")
	}
	return s.replay()
}

// mark is the mark of a node, or nil if there are too many nodes.
func (s *Screen) mark(name []byte) *mark {
	m := s.marks[string(name)]
	if m == nil && len(s.marks) < maxMarks {
		m = new(mark)
		s.marks[string(name)] = m
	}
	return m
}

// again tells whether the packet with that authenticator has passed a moment ago.
func (s *Screen) again(sum uint64) bool {
	for i := range s.seen {
		if x := &s.seen[i]; x.sum == sum && s.now.Sub(x.at) < repeatGap {
			return true
		}
	}
	return false
}

// fnv is the hash FNV-1a.
func fnv(b []byte) uint64 {
	sum := uint64(14695981039346656037)
	for _, c := range b {
		sum = (sum ^ uint64(c)) * 1099511628211
	}
	return sum
}

// addrText is an address for a log line; "" if there is none.
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// bucket lets events pass at a rate, after a pause so many at once.
type bucket struct {
	rate, burst float64 // a second, at once
	used        float64
	at          time.Time
}

func (b *bucket) take(now time.Time) bool {
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.used = max(0, b.used-passed*b.rate)
		b.at = now
	}
	if b.used >= b.burst {
		return false
	}
	b.used++
	return true
}
