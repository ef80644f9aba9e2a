package ipaddr

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// quiet is an Announcer for several goroutines.
type quiet struct {
	mu sync.Mutex
	n  int
}

func (q *quiet) Announce(string, netip.Addr, func(error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.n++
}
func (q *quiet) Cancel(string, netip.Addr) bool { return false }

// guarded is a fake host whose agent has started the tutorial's address, under guard.
type guarded struct {
	t     *testing.T
	host  *netif.Fake
	ann   *quiet
	a     *Agent
	mu    sync.Mutex
	lines []string
	lost  int
	stop  func()
}

func newGuarded(t *testing.T, o GuardOptions) *guarded {
	g := &guarded{t: t, host: netif.NewFake("eth0"), ann: &quiet{}}
	if err := g.host.AddAddr(netif.Addr{Link: "eth0", Prefix: netip.MustParsePrefix("172.16.60.206/24")}); err != nil {
		t.Fatal(err)
	}
	g.a = New(Options{Host: g.host, Announcer: g.ann, Dialect: halog.C6, StateDir: t.TempDir()})
	o.Log = func(p halog.Prio, text string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.lines = append(g.lines, p.String()+": "+text)
	}
	o.Lost = func() { g.mu.Lock(); g.lost++; g.mu.Unlock() }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.a.Guard(ctx, o) }()
	g.stop = func() { cancel(); <-done }
	g.run(agent.Start)
	synctest.Wait()
	return g
}

func (g *guarded) run(op agent.Op) {
	g.t.Helper()
	if _, err := g.a.Run(g.t.Context(), agent.Call{Op: op, Name: "IPaddr", Args: []string{"172.16.60.111"}, Log: &record{}}); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) there() bool {
	list, err := g.host.Addrs()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, a := range list {
		if a.Prefix.Addr().String() == "172.16.60.111" {
			return true
		}
	}
	return false
}

func (g *guarded) steal() {
	g.t.Helper()
	if err := g.host.DelAddr("eth0", netip.MustParsePrefix("172.16.60.111/24")); err != nil {
		g.t.Fatal(err)
	}
	synctest.Wait()
}

func (g *guarded) logged(want ...string) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := strings.Join(g.lines, "\n"); got != strings.Join(want, "\n") {
		g.t.Errorf("logged\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	g.lines = nil
}

func TestGuardPutsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, GuardOptions{})
		defer g.stop()
		before := g.ann.n
		g.steal()
		if !g.there() || g.ann.n != before+1 {
			t.Errorf("address there: %v; %d announcements", g.there(), g.ann.n-before)
		}
		g.logged("WARN: 172.16.60.111/24 was removed from eth0 by somebody else: put back (1)")

		// A second theft at once waits for its turn.
		g.steal()
		if g.there() {
			t.Error("put back within the pause")
		}
		time.Sleep(guardPause)
		synctest.Wait()
		if !g.there() {
			t.Error("not put back after the pause")
		}
		g.logged("WARN: 172.16.60.111/24 was removed from eth0 by somebody else: put back (2)")

		// The agent's own stop is no theft.
		time.Sleep(2 * guardPause)
		g.run(agent.Stop)
		synctest.Wait()
		time.Sleep(2 * guardPause)
		if g.there() {
			t.Error("put back after its stop")
		}
		g.logged()
	})
}

func TestGuardOnlyLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, GuardOptions{OnlyLog: true})
		defer g.stop()
		g.steal()
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.there() {
			t.Error("put back")
		}
		g.logged("ERROR: 172.16.60.111/24 was removed from eth0 by somebody else")
	})
}

// meddling is a host with which something happens once as its interfaces are listed.
type meddling struct {
	netif.Host
	meddle func()
}

func (m *meddling) Links() ([]netif.Link, error) {
	if f := m.meddle; f != nil {
		m.meddle = nil
		f()
	}
	return m.Host.Links()
}

// An address that is stopped while the guard looks is the other node's to announce.
func TestGuardDuringStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, GuardOptions{})
		g.stop()
		m := &meddling{Host: g.host}
		g.a.o.Host = m
		look := &guard{a: g.a, o: GuardOptions{Log: func(halog.Prio, string) {}}, told: map[netip.Addr]string{}, mended: map[netip.Addr]int{}, lost: map[netip.Addr]time.Time{}}
		g.host.SetDown("eth0")
		look.look(time.Now())
		if err := g.host.SetUp("eth0"); err != nil {
			t.Fatal(err)
		}
		before := g.ann.n
		m.meddle = func() { g.run(agent.Stop) }
		look.look(time.Now())
		if g.there() || g.ann.n != before {
			t.Errorf("address there: %v; %d announcements", g.there(), g.ann.n-before)
		}
	})
}

func TestGuardLostInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t, GuardOptions{})
		defer g.stop()
		before := g.ann.n
		g.host.SetDown("eth0")
		synctest.Wait()
		g.logged("WARN: eth0 is down: 172.16.60.111 cannot be reached")
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.lost != 1 {
			t.Errorf("Lost called %d times, want once", g.lost)
		}
		if err := g.host.SetUp("eth0"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if g.ann.n != before+1 {
			t.Errorf("%d announcements when the interface was back, want 1", g.ann.n-before)
		}
		g.logged("info: eth0 is back: 172.16.60.111 is announced again")
	})
}
