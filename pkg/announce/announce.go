package announce

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"time"
)

// Schedule is how often an address is announced: the first two frames at once, each further one
// Every after the one before.
type Schedule struct {
	Frames int
	Every  time.Duration
}

// The originals' schedules. send_arp of the portable IPaddr sends ten requests and ten replies in
// turn, one frame each 250 ms (it waits that long before the first reply too); other variants send
// fewer or request frames only, in no more time. IPv6addr sends five advertisements.
var (
	ARPSchedule = Schedule{Frames: 20, Every: 250 * time.Millisecond}
	NASchedule  = Schedule{Frames: 5, Every: time.Second}
)

// Sender puts one frame on a link. It does not wait for anything, and is used by one goroutine at a
// time. One that is an io.Closer too is closed when Run ends.
type Sender interface {
	// ARP sends a gratuitous ARP frame, a request or a reply.
	ARP(link string, ip netip.Addr, reply bool) error
	// Advertise sends an unsolicited neighbour advertisement.
	Advertise(link string, ip netip.Addr) error
}

// Options is what an Announcer works with. Zero fields have the values of the original.
type Options struct {
	Sender  Sender // nil: the real network, in the namespace of the thread that runs Run
	ARP, NA Schedule
}

// Announcer sends announcements in the background. It is safe for use by several goroutines.
type Announcer struct {
	o    Options
	wake chan struct{}

	mu     sync.Mutex
	bursts []*burst // in the order in which they began
}

// burst is one address that is being announced.
type burst struct {
	link string
	ip   netip.Addr
	plan Schedule
	done func(error)
	sent int
	due  time.Time
	err  error // the first
}

// New makes an Announcer; Run makes it work.
func New(o Options) *Announcer {
	if o.Sender == nil {
		o.Sender = newNetwork()
	}
	if o.ARP == (Schedule{}) {
		o.ARP = ARPSchedule
	}
	if o.NA == (Schedule{}) {
		o.NA = NASchedule
	}
	return &Announcer{o: o, wake: make(chan struct{}, 1)}
}

// Announce begins to announce ip on link and returns at once; an announcement of the same address
// there begins anew. done, if not nil, is called when the last frame was sent, with the first
// error there was, by Run, which it must not hold up; it is not called after Cancel.
func (a *Announcer) Announce(link string, ip netip.Addr, done func(error)) {
	plan := a.o.ARP
	if ip.Is6() {
		plan = a.o.NA
	}
	a.mu.Lock()
	a.remove(link, ip)
	a.bursts = append(a.bursts, &burst{link: link, ip: ip, plan: plan, done: done, due: time.Now()})
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Cancel ends the announcement of ip on link, for example because the address is released, and
// reports whether there was one. No frame is sent after it has returned.
func (a *Announcer) Cancel(link string, ip netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remove(link, ip)
}

func (a *Announcer) remove(link string, ip netip.Addr) bool {
	for i, b := range a.bursts {
		if b.link == link && b.ip == ip {
			a.bursts = append(a.bursts[:i:i], a.bursts[i+1:]...)
			return true
		}
	}
	return false
}

// Idle reports whether nothing is being announced.
func (a *Announcer) Idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.bursts) == 0
}

// Run sends frames until ctx ends.
func (a *Announcer) Run(ctx context.Context) {
	if c, ok := a.o.Sender.(io.Closer); ok {
		defer c.Close()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		if next, ok := a.send(); ok {
			timer.Reset(time.Until(next))
		}
	}
}

// send sends what is due and says when the next frame is.
func (a *Announcer) send() (next time.Time, more bool) {
	now := time.Now()
	a.mu.Lock()
	var finished []*burst
	rest := a.bursts[:0:0]
	for _, b := range a.bursts {
		for b.sent < b.plan.Frames && !b.due.After(now) {
			a.one(b, now)
		}
		if b.sent >= b.plan.Frames {
			finished = append(finished, b)
			continue
		}
		rest = append(rest, b)
		if !more || b.due.Before(next) {
			next, more = b.due, true
		}
	}
	a.bursts = rest
	a.mu.Unlock()
	for _, b := range finished {
		if b.done != nil {
			b.done(b.err)
		}
	}
	return next, more
}

// one sends the next frame of b: at the start request and reply together.
func (a *Announcer) one(b *burst, now time.Time) {
	var err error
	if b.ip.Is6() {
		err = a.o.Sender.Advertise(b.link, b.ip)
	} else {
		err = a.o.Sender.ARP(b.link, b.ip, b.sent%2 == 1)
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	b.sent++
	if b.sent != 1 || b.ip.Is6() {
		b.due = b.due.Add(b.plan.Every)
		if !b.due.After(now) { // we were stopped for a while: go on from here, not in a rush
			b.due = now.Add(b.plan.Every)
		}
	}
}
