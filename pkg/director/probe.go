package director

import (
	"container/heap"
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
)

// probeKey is what makes two servers of different services one checked server: the original's
// identity, and here also everything else that a check depends on.
type probeKey struct {
	id                                             string
	interval, jitter, timeout, connectTimeout      time.Duration
	every, count                                   int
	url, method, login, password, database, secret string
	options                                        systolecf.Options
}

// probe is one checked server, in one or more services.
type probe struct {
	key      probeKey
	members  []*member
	failures int       // in a row
	rises    int       // good checks in a row
	recent   []Failure // the last ones, the latest last
	left     int       // connects until the next negotiate of checktype=N; 0 or less: negotiate
	connect  bool      // the check under way is a connect of checktype=N

	phase    time.Duration // of its interval, so that checks spread over it
	due      time.Duration
	index    int           // in the heap, or -1
	running  uint64        // the ID of the check under way, or 0
	answered time.Duration // when the last check was answered
	checks   uint64        // answered so far
	failed   uint64        // of them
	took     time.Duration // the last one
	spent    time.Duration // all of them
	agent    agentState
	warned   time.Duration // when the last warning was logged
	warning  string        // of the last check
	urgent   bool          // a member waits for its first verdict
	fresh    bool          // made or kept by the configuration that is being put in force
}

// Failures that are kept of each server, and how long their transcripts may be.
const (
	keptFailures = 3
	keptTrace    = 8 << 10
)

// note keeps a failure, for status.
func (p *probe) note(f Failure) {
	size := 0
	for i, line := range f.Trace {
		if size += len(line); size > keptTrace {
			f.Trace = append(f.Trace[:i:i], "...")
			break
		}
	}
	if len(p.recent) == keptFailures {
		p.recent = append(p.recent[:0], p.recent[1:]...)
	}
	p.recent = append(p.recent, f)
}

// watched says whether a failure would mean anything.
func (p *probe) watched() bool {
	for _, m := range p.members {
		if m.health != Down {
			return true
		}
	}
	return false
}

// beginCombined says whether the next check is the connect of a checktype=N.
func (p *probe) beginCombined() bool {
	p.connect = p.left > 0
	return p.connect
}

// endCombined counts: one negotiate, N connects, and negotiates only after a failure.
func (p *probe) endCombined(up bool) {
	switch {
	case !up:
		p.left = 0
	case p.connect:
		p.left--
	default:
		p.left = p.key.every
	}
}

// schedule says when each probe is due.
type schedule struct {
	probes  map[probeKey]*probe
	order   []*probe // of the configuration being put in force
	running map[uint64]*probe
	heap    dueHeap
	lastID  uint64
	phases  uint64
}

// First checks start this long after one another, so that many servers do not make one burst.
const burstGap = 500 * time.Microsecond

func newSchedule() schedule {
	return schedule{probes: map[probeKey]*probe{}, running: map[uint64]*probe{}}
}

// due is when the next probe is.
func (s *schedule) due() (time.Duration, bool) {
	if len(s.heap) == 0 {
		return 0, false
	}
	return s.heap[0].due, true
}

// take starts the check of a probe that is due, or returns nil.
func (s *schedule) take(now time.Duration) *probe {
	if len(s.heap) == 0 || s.heap[0].due > now {
		return nil
	}
	p := heap.Pop(&s.heap).(*probe)
	s.lastID++
	p.running = s.lastID
	s.running[p.running] = p
	return p
}

// answered ends the check with that ID and says when the next is due. It returns nil if nobody
// waits for that check.
func (s *schedule) answered(id uint64, now time.Duration) *probe {
	p := s.running[id]
	if p == nil {
		return nil
	}
	delete(s.running, id)
	p.checks++
	p.running, p.answered, p.urgent = 0, now, false
	p.due = p.next(now)
	if p.checks == 1 && p.due < now+p.key.interval/2 {
		p.due += p.key.interval
	}
	heap.Push(&s.heap, p)
	return p
}

// next is the first of the probe's times after now. They are an interval apart, whatever the
// checks take, but for the jitter; times that pass while a check is under way are left out.
func (p *probe) next(now time.Duration) time.Duration {
	n := max(now-p.phase, 0) / p.key.interval
	for ; ; n++ {
		if at := p.phase + n*p.key.interval + p.late(n); at > now {
			return at
		}
	}
}

// late is the jitter of the probe's n-th time: anything up to key.jitter, always the same for the
// same probe and n.
func (p *probe) late(n time.Duration) time.Duration {
	if p.key.jitter <= 0 {
		return 0
	}
	x := uint64(n)*golden + uint64(p.phase)
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9 // the finalizer of splitmix64
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return time.Duration((x ^ x>>31) % uint64(p.key.jitter))
}

// golden is 2^64 over the golden ratio: its multiples are spread evenly.
const golden = 0x9E3779B97F4A7C15

// mark begins a new configuration: what is not joined until sweep goes.
func (s *schedule) mark() {
	for _, p := range s.probes {
		p.fresh = false
	}
	s.order = nil
}

// join gives m its probe: one of the configuration before, one that another service has
// already, or a new one.
func (s *schedule) join(m *member) {
	c := m.v.config
	key := probeKey{
		id: m.real.ID, interval: c.CheckInterval, jitter: c.Jitter(), timeout: c.Timeout(), connectTimeout: c.CheckTimeout,
		every: c.Every, count: c.CheckCount,
		url: m.real.URL, method: c.HTTPMethod, login: c.Login, password: c.Password, database: c.Database, secret: c.Secret,
		options: c.Options,
	}
	key.options.Rise, key.options.LeaveEdits = 0, false // say nothing about the check
	if c.CheckType != ldirectordcf.Combined {
		key.every = 0
	}
	p := s.probes[key]
	if p == nil {
		p = &probe{key: key, index: -1, phase: s.phase(key.interval), urgent: true}
		s.probes[key] = p
	}
	if !p.fresh {
		p.fresh = true
		p.members = nil
		s.order = append(s.order, p)
	}
	p.members = append(p.members, m)
	m.probe = p
}

// Checks start at multiples of slot, a few together: a machine that wakes up for each of them alone
// computes longer for waking up than for the checks.
const slot = 25 * time.Millisecond

// phase spreads probes evenly over their interval, however many there will be: multiples of
// the golden ratio, but for slot.
func (s *schedule) phase(interval time.Duration) time.Duration {
	s.phases++
	part := s.phases * golden >> 32
	return time.Duration(float64(interval) * float64(part) / (1 << 32)).Truncate(slot)
}

// sweep ends what mark began: probes that were not joined go, new ones and urgent ones are due
// now. It returns the checks that nobody waits for any more.
func (s *schedule) sweep(now time.Duration) (cancelled []uint64) {
	for key, p := range s.probes {
		if p.fresh {
			continue
		}
		delete(s.probes, key)
		if p.index >= 0 {
			heap.Remove(&s.heap, p.index)
		}
		if p.running != 0 {
			delete(s.running, p.running)
			cancelled = append(cancelled, p.running)
		}
	}
	at := now
	for _, p := range s.order {
		if !p.urgent || p.running != 0 {
			continue
		}
		p.due = at
		at += burstGap
		if p.index >= 0 {
			heap.Fix(&s.heap, p.index)
		} else {
			heap.Push(&s.heap, p)
		}
	}
	slices.Sort(cancelled)
	return cancelled
}

// clear ends all checks and returns those under way.
func (s *schedule) clear() []uint64 {
	var ids []uint64
	for id := range s.running {
		ids = append(ids, id)
	}
	*s = newSchedule()
	slices.Sort(ids)
	return ids
}

// dueHeap orders probes by due; container/heap.
type dueHeap []*probe

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].key.id < h[j].key.id // any order, but always the same
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is heap.Interface.
func (h *dueHeap) Push(x any) {
	p := x.(*probe)
	p.index = len(*h)
	*h = append(*h, p)
}

// Pop is heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.index = -1
	return p
}
