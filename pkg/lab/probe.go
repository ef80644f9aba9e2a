package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Sample is one question of a [Probe] and its answer.
type Sample struct {
	Sent time.Time
	Done time.Time // of the answer, or of the failure
	Who  string    // HTTP: the first line of the page; ICMP: empty
	Err  error     // nil when it was answered
}

// probeLimit is how long an answer is waited for.
const probeLimit = time.Second

// Probe asks an address at a steady rhythm, each question on its own: a slow answer delays none.
type Probe struct {
	mu      sync.Mutex
	samples []Sample // in the order of their ends
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
	begun   time.Time
	ended   time.Time
}

// asker is a kind of question. All calls come from one goroutine in the node's network.
type asker interface {
	ask(now time.Time) (Sample, bool)              // a failure at once is returned
	wanted() []unix.PollFd                         // what to wait for
	ready(p []unix.PollFd, now time.Time) []Sample // what that brought, and what took too long
	close()
}

// ProbeHTTP fetches / from an HTTP server at that address, each time over a new connection, which
// comes from the given addresses of the node in turn if there are any.
func (n *Node) ProbeHTTP(server netip.AddrPort, every time.Duration, from ...netip.Addr) (*Probe, error) {
	return n.probe(every, func() (asker, error) { return &httpAsker{server: server, from: from}, nil })
}

// ProbeICMP sends echo requests to an IPv4 address.
func (n *Node) ProbeICMP(addr netip.Addr, every time.Duration) (*Probe, error) {
	return n.probe(every, func() (asker, error) { return newEchoAsker(addr) })
}

func (n *Node) probe(every time.Duration, open func() (asker, error)) (*Probe, error) {
	fd := n.netFD()
	p := &Probe{stop: make(chan struct{}), done: make(chan struct{}), begun: time.Now()}
	opened := make(chan error, 1)
	go func() { // ends by Stop
		defer close(p.done)
		runtime.LockOSThread() // never unlocked: the thread stays in the node
		err := netns.Set(netns.NsHandle(fd))
		var a asker
		if err == nil {
			a, err = open()
		}
		opened <- err
		if err == nil {
			p.run(a, every)
		}
	}()
	if err := <-opened; err != nil {
		return nil, fmt.Errorf("lab: probe from %s: %w", n.Name(), err)
	}
	n.net.onClose(func() error { p.Stop(); return nil })
	return p, nil
}

func (p *Probe) run(a asker, every time.Duration) {
	defer a.close()
	next := time.Now()
	for {
		select {
		case <-p.stop:
			return
		default:
		}
		now := time.Now()
		if !now.Before(next) {
			if s, failed := a.ask(now); failed {
				p.add(s)
			}
			next = next.Add(every)
			if now.Sub(next) > time.Second { // the machine stood still
				next = now.Add(every)
			}
		}
		fds := a.wanted()
		timeout := unix.NsecToTimespec(max(0, time.Until(next)).Nanoseconds())
		if _, err := unix.Ppoll(fds, &timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		p.add(a.ready(fds, time.Now())...)
	}
}

func (p *Probe) add(s ...Sample) {
	if len(s) > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.samples = append(p.samples, s...)
	}
}

// Samples returns what is known so far, in the order of the answers.
func (p *Probe) Samples() []Sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.samples)
}

// Stop ends the probe; its samples stay. It may be called again.
func (p *Probe) Stop() {
	p.once.Do(func() {
		close(p.stop)
		<-p.done
		p.ended = time.Now()
	})
}

// Gap is a time without an answer.
type Gap struct{ Begin, End time.Time }

// Duration is the length of the gap.
func (g Gap) Duration() time.Duration { return g.End.Sub(g.Begin) }

// Longest returns the longest time without an answer that has a part between from and to; zero times
// stand for all the time that was probed.
func (p *Probe) Longest(from, to time.Time) Gap {
	now := time.Now()
	select {
	case <-p.done:
		now = p.ended
	default:
	}
	if from.IsZero() {
		from = p.begun
	}
	if to.IsZero() || to.After(now) {
		to = now
	}
	return longest(p.Samples(), from, to, p.begun, now)
}

func longest(samples []Sample, from, to, begun, now time.Time) Gap {
	var worst Gap
	last := begun
	consider := func(end time.Time) {
		if g := (Gap{last, end}); end.After(from) && last.Before(to) && g.Duration() > worst.Duration() {
			worst = g
		}
		last = end
	}
	for _, s := range samples {
		if s.Err == nil {
			consider(s.Done)
		}
	}
	consider(now)
	return worst
}

// Answers counts the answers that ended between from and to by who gave them, and the failures.
func (p *Probe) Answers(from, to time.Time) (by map[string]int, failed int) {
	by = map[string]int{}
	for _, s := range p.Samples() {
		switch {
		case s.Done.Before(from) || s.Done.After(to):
		case s.Err != nil:
			failed++
		default:
			by[s.Who]++
		}
	}
	return by, failed
}

// firstLine is the first line of an HTTP answer's body; ok is false while there is none.
func firstLine(answer []byte) (line string, ok bool) {
	_, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	if !ok {
		return "", false
	}
	line, _, ok = strings.Cut(body, "\n")
	return strings.TrimSpace(line), ok
}
