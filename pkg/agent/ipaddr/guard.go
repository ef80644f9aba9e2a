package ipaddr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// GuardOptions say what is done about an address that somebody else has taken away, or whose
// interface is lost. The original does nothing: it does not look.
type GuardOptions struct {
	Log func(p halog.Prio, text string)
	// OnlyLog leaves everything as it is.
	OnlyLog bool
	// Lost is called once when an address has been out of reach for lostAfter: its interface is gone,
	// down or without carrier. Nil: that is only logged.
	Lost func()
}

const (
	// guardPause is the least time between two repairs: somebody may be fighting for the address.
	guardPause = time.Second
	// lostAfter is how long an interface may be lost before Lost is called.
	lostAfter = 2 * time.Second
	// guardRewatch is the pause before the kernel's notices are asked for again.
	guardRewatch = time.Second
)

// hold begins to guard an address that was started.
func (a *Agent) hold(ip netip.Addr) {
	list, err := a.o.Host.Addrs()
	if err != nil {
		return
	}
	for _, at := range list {
		if at.Prefix.Addr() == ip && !strings.HasPrefix(at.Link, "lo") {
			a.mu.Lock()
			a.held[ip] = at
			a.mu.Unlock()
			return
		}
	}
}

// release ends the guard, before the address is stopped, and tells where it was.
func (a *Agent) release(ip netip.Addr) (at netif.Addr, held bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, held = a.held[ip]
	delete(a.held, ip)
	return at, held
}

// Hold begins to guard the address of a resource that is started, if it is up.
func (a *Agent) Hold(arg string) {
	if ip, err := netip.ParseAddr(parseTarget(arg).ip); err == nil {
		a.hold(ip)
	}
}

// Resume is Hold for a resource that an earlier run of this daemon has started. If the address is where it
// belongs, that is remembered, as by its start: its stop may come when no route says so any more.
func (a *Agent) Resume(arg string) {
	a.Hold(arg)
	x := &ipaddr2{call: &call{Agent: a, c: agent.Call{Log: silent{}}}, target: parseTarget(arg)}
	if p, no := x.find(false); no == nil {
		if _, ok := x.served(p.prefix.Addr(), p.link, p.prefix.Bits()); ok {
			a.keep(p)
		}
	}
}

// Guard watches the addresses that are started, until ctx ends: what was removed by somebody else
// is put back and announced, and what comes back with its interface is announced.
func (a *Agent) Guard(ctx context.Context, o GuardOptions) {
	g := &guard{a: a, o: o, told: map[netip.Addr]string{}, mended: map[netip.Addr]int{}, lost: map[netip.Addr]time.Time{}}
	changed := make(chan struct{}, 1)
	poke := func(netif.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	watching := make(chan struct{})
	go func() { // ends with ctx; joined below
		defer close(watching)
		for ctx.Err() == nil {
			if err := a.o.Host.Watch(ctx, poke); err != nil {
				o.Log(halog.Warn, err.Error())
			}
			poke(netif.Event{}) // what was missed meanwhile
			select {
			case <-ctx.Done():
			case <-time.After(guardRewatch):
			}
		}
	}()
	defer func() { <-watching }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(time.Hour)
		if len(g.lost) > 0 {
			timer.Reset(lostAfter / 2)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
		if g.look(time.Now()) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(guardPause):
				poke(netif.Event{})
			}
		}
	}
}

// guard is what Guard remembers; its goroutine alone uses it.
type guard struct {
	a      *Agent
	o      GuardOptions
	told   map[netip.Addr]string // what is wrong with an address, as it was logged
	mended map[netip.Addr]int    // how often an address was put back
	lost   map[netip.Addr]time.Time
}

// look compares what is held with what is there, and tells whether it has put something back.
func (g *guard) look(now time.Time) (repaired bool) {
	g.a.mu.Lock()
	held := make([]netif.Addr, 0, len(g.a.held))
	for _, at := range g.a.held {
		held = append(held, at)
	}
	g.a.mu.Unlock()
	slices.SortFunc(held, func(x, y netif.Addr) int { return cmp.Compare(x.Prefix.String(), y.Prefix.String()) })
	addrs, err := g.a.o.Host.Addrs()
	links, err2 := g.a.o.Host.Links()
	if err = errors.Join(err, err2); err != nil {
		g.o.Log(halog.Warn, err.Error())
		return false
	}
	for ip := range g.lost {
		if !slices.ContainsFunc(held, func(h netif.Addr) bool { return h.Prefix.Addr() == ip }) {
			delete(g.lost, ip)
			delete(g.told, ip)
		}
	}
	for _, h := range held {
		there := slices.ContainsFunc(addrs, func(x netif.Addr) bool { return x.Link == h.Link && x.Prefix == h.Prefix })
		why := reachable(links, h.Link)
		if !there && why == "" {
			repaired = g.mend(h) || repaired
			continue
		}
		g.note(h, why, now)
	}
	return repaired
}

// reachable says what is wrong with an interface; "" is nothing.
func reachable(links []netif.Link, name string) string {
	i := slices.IndexFunc(links, func(l netif.Link) bool { return l.Name == name })
	switch {
	case i < 0:
		return "is gone"
	case !links[i].Up:
		return "is down"
	case !links[i].Running:
		return "has no carrier"
	}
	return ""
}

// note follows the state of an address' interface.
func (g *guard) note(h netif.Addr, why string, now time.Time) {
	ip := h.Prefix.Addr()
	if was := g.told[ip]; why != was {
		g.told[ip] = why
		if why == "" {
			g.o.Log(halog.Info, fmt.Sprintf("%s is back: %s is announced again", h.Link, ip))
			g.announce(h)
		} else {
			g.o.Log(halog.Warn, fmt.Sprintf("%s %s: %s cannot be reached", h.Link, why, ip))
		}
	}
	since, lost := g.lost[ip]
	switch {
	case why == "":
		delete(g.lost, ip)
	case !lost:
		g.lost[ip] = now
	case !since.IsZero() && now.Sub(since) >= lostAfter:
		g.lost[ip] = time.Time{} // once
		if g.o.Lost != nil {
			g.o.Lost()
		}
	}
}

// mend puts an address back.
func (g *guard) mend(h netif.Addr) bool {
	ip := h.Prefix.Addr()
	g.mended[ip]++
	loud := g.mended[ip] <= 3 || g.mended[ip]%60 == 0
	if g.o.OnlyLog {
		if g.told[ip] != "removed" {
			g.told[ip] = "removed"
			g.o.Log(halog.Error, fmt.Sprintf("%s was removed from %s by somebody else", h.Prefix, h.Link))
		}
		return false
	}
	// Between the look and now it may have been stopped; a stop that begins now waits for us, and
	// removes what we add.
	g.a.mu.Lock()
	_, still := g.a.held[ip]
	var err error
	if still {
		err = g.a.o.Host.AddAddr(netif.Addr{Link: h.Link, Prefix: h.Prefix, Broadcast: h.Broadcast, Label: h.Label})
	}
	g.a.mu.Unlock()
	switch {
	case !still:
		return false
	case err != nil && !errors.Is(err, syscall.EEXIST):
		if loud {
			g.o.Log(halog.Error, fmt.Sprintf("%s was removed from %s by somebody else, and cannot be put back: %v", h.Prefix, h.Link, err))
		}
		return true
	}
	if loud {
		g.o.Log(halog.Warn, fmt.Sprintf("%s was removed from %s by somebody else: put back (%d)", h.Prefix, h.Link, g.mended[ip]))
	}
	g.told[ip] = ""
	g.announce(h)
	return true
}

// announce announces an address, unless it has been stopped since it was looked at: by now the other node
// may have it, and its neighbours would send here what is for that node.
func (g *guard) announce(h netif.Addr) {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	if _, still := g.a.held[h.Prefix.Addr()]; still {
		g.a.o.Announcer.Announce(h.Link, h.Prefix.Addr(), func(error) {}) // the next change says more
	}
}
