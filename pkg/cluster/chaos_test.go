package cluster_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
	"github.com/systole-ha/systole/pkg/hbauth"
)

var (
	chaosSeeds = flag.Int("chaos.seeds", defaultSeeds, "how many random runs TestChaos makes")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "make only this run, and show what happens in it")
)

// What a run is held to.
const (
	// twoOwners is how long a group may be up on two machines that hear each other, with no call under
	// way: a dead time, the wait for the other to yield, and what lost packets cost.
	twoOwners = 45 * time.Second
	// noOwner is how long a group may be up nowhere while a daemon runs undisturbed: its start (initdead),
	// the wait for its peer, and a peer's death.
	noOwner = 60 * time.Second
	// stormLimit is how many messages a machine may send within stormWindow.
	stormWindow = 10 * time.Second
	stormLimit  = 1500
)

// chaos is one random run: two machines, a network that fails, an operator who does anything.
type chaos struct {
	sim       *clustertest.Sim
	keys      []string
	hashed    bool // hash is kept
	hash      [32]byte
	trace     func(format string, args ...any)
	disturbed map[string]time.Time // when a machine was last started, stopped or frozen
	network   time.Time            // when the network last changed
	dual      map[string]time.Time // since when a group has two owners
	none      map[string]time.Time // since when it has none
	stopped   map[string]bool
	sent      map[string]int
	window    time.Time
	busy      time.Time // when a call was last under way
	err       error
}

func newChaos(seed uint64, trace func(string, ...any)) *chaos {
	c := &chaos{
		sim: clustertest.New(seed), trace: trace, disturbed: map[string]time.Time{}, dual: map[string]time.Time{},
		none: map[string]time.Time{}, stopped: map[string]bool{}, sent: map[string]int{}, window: clustertest.Epoch,
	}
	nodes := []string{"alpha", "bravo"}
	groups := []cluster.Group{{Node: "alpha", Key: "A"}}
	if c.sim.Rand(2) == 0 {
		groups = append(groups, cluster.Group{Node: "bravo", Key: "B"})
	}
	if c.sim.Rand(4) == 0 {
		groups = append(groups, cluster.Group{Node: "alpha", Key: "C"})
	}
	for _, g := range groups {
		c.keys = append(c.keys, g.Key)
	}
	failback := cluster.FailbackOn
	if c.sim.Rand(3) == 0 {
		failback = cluster.FailbackOff
	}
	ring, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.CRC}}, 1) // the fastest
	if err != nil {
		panic(err)
	}
	links := []string{"eth0"}
	if c.sim.Rand(2) == 0 {
		links = append(links, "eth1")
	}
	for _, n := range nodes {
		cfg := clustertest.Config(n, seed, nodes, groups)
		cfg.Failback, cfg.Links, cfg.Ring = failback, links, ring
		m := c.sim.Add(cfg)
		if c.sim.Rand(3) == 0 {
			for _, v := range []cluster.Verb{cluster.TakeGroup, cluster.GiveGroup, cluster.Harc, cluster.ReqResource} {
				m.CallTime[v] = time.Duration(c.sim.Rand(2000)) * time.Millisecond
			}
		}
		if c.sim.Rand(4) == 0 {
			m.Poll = 500 * time.Millisecond
		}
		c.stopped[n] = true
	}
	c.sim.Reorder = c.sim.Rand(4) == 0
	c.sim.OnSend = func(m *clustertest.Machine, s cluster.Send) {
		if c.hashed {
			c.note(m.Name, s.Type, string(s.Bytes))
		}
		if c.trace != nil && s.Media == "" && s.Type != "status" {
			c.trace("%8.3f %s > %s", c.elapsed(), m.Name, clustertest.Summary(clustertest.Decode(s.Bytes)))
		}
		c.sent[m.Name]++
	}
	c.sim.OnLog = func(m *clustertest.Machine, l cluster.Log) {
		if c.hashed {
			c.note(m.Name, l.Text)
		}
		if c.trace != nil {
			c.trace("%8.3f %s %s: %s", c.elapsed(), m.Name, l.Level, l.Text)
		}
	}
	c.sim.OnChange = func(m *clustertest.Machine, key string, up bool) {
		if c.trace != nil {
			c.trace("%8.3f %s %s up=%v", c.elapsed(), m.Name, key, up)
		}
	}
	return c
}

func (c *chaos) elapsed() float64 { return c.sim.Now.Sub(clustertest.Epoch).Seconds() }

// note adds to the hash of all that was sent and logged.
func (c *chaos) note(words ...string) {
	c.hash = sha256.Sum256(fmt.Appendf(c.hash[:], "%s %q", c.sim.Now, words))
}

// run does random things, then lets the cluster heal, and says what was wrong.
func (c *chaos) run() error {
	for range 12 {
		c.disturb()
		for range 1 + c.sim.Rand(40) {
			c.pass(500 * time.Millisecond)
		}
	}
	c.heal()
	well := 0
	for i := 0; i < 360 && well < 4; i++ {
		c.pass(500 * time.Millisecond)
		if i%10 == 9 {
			if well++; c.healthy() != nil {
				well = 0
			}
		}
		for _, m := range c.sim.Machines {
			if m.Engine == nil && c.stopped[m.Name] { // was still stopping
				m.Start()
				c.stopped[m.Name] = false
			}
		}
	}
	if c.err != nil {
		return c.err
	}
	return c.healthy()
}

// disturb does one random thing.
func (c *chaos) disturb() {
	m := c.sim.Machines[c.sim.Rand(2)]
	other := c.sim.Machines[0]
	if other == m {
		other = c.sim.Machines[1]
	}
	what := ""
	switch n := c.sim.Rand(16); n {
	case 0, 1, 2, 3:
		what = "start"
		if m.Engine == nil {
			m.Start()
			c.stopped[m.Name] = false
		}
	case 4:
		what = "stop"
		m.Step(cluster.Shutdown{})
		c.stopped[m.Name] = true
	case 5:
		what = "kill"
		m.Kill()
		c.stopped[m.Name] = true
	case 6:
		what = "poweroff"
		m.PowerOff()
		c.stopped[m.Name] = true
	case 7:
		what = "freeze"
		m.Freeze()
	case 8:
		what = "thaw"
		m.Thaw()
	case 9, 10:
		what = "cut"
		c.sim.Cut(m.Name, other.Name, true)
		if n == 9 {
			c.sim.Cut(other.Name, m.Name, true)
		}
		c.network = c.sim.Now
	case 11, 12:
		what = "heal"
		c.sim.Cut(m.Name, other.Name, false)
		c.sim.Cut(other.Name, m.Name, false)
		c.network = c.sim.Now
	case 13:
		what = "loss"
		c.sim.Loss, c.sim.Dup = c.sim.Rand(300), c.sim.Rand(100)
	case 14:
		what = "standby"
		m.Tell("t=ask_resources", "rsc_hold="+[]string{"all", "local", "foreign"}[c.sim.Rand(3)], "info=me")
	case 15:
		what = "takeover"
		m.Tell("t=hb_takeover", "rsc_hold="+[]string{"all", "local", "foreign"}[c.sim.Rand(3)])
	}
	c.disturbed[m.Name] = c.sim.Now
	if c.trace != nil {
		c.trace("%8.3f --- %s %s", c.elapsed(), what, m.Name)
	}
}

// heal repairs everything and starts every daemon.
func (c *chaos) heal() {
	c.sim.Loss, c.sim.Dup = 0, 0
	c.sim.Cut("alpha", "bravo", false)
	c.sim.Cut("bravo", "alpha", false)
	c.network = c.sim.Now
	if c.trace != nil {
		c.trace("%8.3f --- heal and start all", c.elapsed())
	}
	for _, m := range c.sim.Machines {
		m.Thaw()
		c.disturbed[m.Name] = c.sim.Now
	}
}

// pass lets time go by and looks at what must hold.
func (c *chaos) pass(d time.Duration) {
	c.sim.Run(d)
	if c.err != nil {
		return
	}
	now := c.sim.Now
	quiet, healthy := true, false
	for _, m := range c.sim.Machines {
		if m.Busy() {
			c.busy = now
		}
		switch {
		case m.Engine == nil, m.Frozen():
			c.disturbed[m.Name] = now
			quiet = false
		case now.Sub(c.disturbed[m.Name]) >= noOwner && !c.stopped[m.Name]:
			healthy = true
		}
		if m.Engine == nil && !c.stopped[m.Name] {
			if x := m.Exited(); x == nil || !x.Restart {
				c.fail("%s has ended unasked: %+v", m.Name, x)
			}
		}
		if m.Engine == nil && c.stopped[m.Name] && m.Exited() != nil && !m.Exited().Restart && len(m.Up) > 0 {
			c.fail("%s was stopped and has left up %v", m.Name, m.Up)
		}
	}
	for _, key := range c.keys {
		owners := c.sim.Owners(key)
		if len(owners) < 2 || !quiet || !c.sim.Connected("alpha", "bravo") || c.busy == now {
			delete(c.dual, key)
		} else if since, ok := c.dual[key]; !ok {
			c.dual[key] = now
		} else if now.Sub(since) > twoOwners {
			c.fail("%s is up on both machines since %v", key, since.Sub(clustertest.Epoch))
		}
		if len(owners) > 0 || !healthy || now.Sub(c.network) < noOwner || c.busy == now {
			delete(c.none, key)
		} else if since, ok := c.none[key]; !ok {
			c.none[key] = now
		} else if now.Sub(since) > noOwner {
			c.fail("%s is up nowhere since %v", key, since.Sub(clustertest.Epoch))
		}
	}
	if now.Sub(c.window) >= stormWindow {
		for name, n := range c.sent {
			if n > stormLimit {
				c.fail("%s has sent %d messages within %v", name, n, stormWindow)
			}
		}
		c.sent, c.window = map[string]int{}, now
	}
}

// healthy tells what is wrong with a cluster that should have recovered.
func (c *chaos) healthy() error {
	state := ""
	for _, m := range c.sim.Machines {
		state += "\n" + m.State()
	}
	for _, m := range c.sim.Machines {
		if m.Engine == nil {
			return fmt.Errorf("%s does not run%s", m.Name, state)
		}
		switch st := m.Engine.Status(); {
		case !st.Stable || st.Phase != "STABLE" || len(st.Jobs) > 0:
			return fmt.Errorf("%s is not stable%s", m.Name, state)
		}
	}
	a, b := c.sim.Machines[0].Engine.Status(), c.sim.Machines[1].Engine.Status()
	if a.Held != b.PeerHeld || b.Held != a.PeerHeld || a.Held.Other()|b.Held != cluster.All {
		return fmt.Errorf("the two do not agree on who holds what%s", state)
	}
	for _, key := range c.keys {
		if owners := c.sim.Owners(key); len(owners) != 1 {
			return fmt.Errorf("%s is up on %v%s", key, owners, state)
		}
	}
	return nil
}

func (c *chaos) fail(format string, args ...any) {
	if c.err == nil {
		state := ""
		for _, m := range c.sim.Machines {
			state += "\n" + m.State()
		}
		c.err = fmt.Errorf("after %.1f s: "+format+"%s", append(append([]any{c.elapsed()}, args...), state)...)
	}
}

// TestChaos makes random runs. -chaos.seed N shows one.
func TestChaos(t *testing.T) {
	if *chaosSeed > 0 {
		if err := newChaos(*chaosSeed, func(f string, a ...any) { fmt.Printf(f+"\n", a...) }).run(); err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := *chaosSeeds
	if testing.Short() {
		seeds /= 10
	}
	const shards = 2
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			failed := 0
			for seed := uint64(shard + 1); seed <= uint64(seeds); seed += shards {
				if err := newChaos(seed, nil).run(); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					if failed++; failed == 5 {
						t.Fatal("and more")
					}
				}
			}
		})
	}
}

// TestSameSeedSameBytes makes some runs twice.
func TestSameSeedSameBytes(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, b := newChaos(seed, nil), newChaos(seed, nil)
		a.hashed, b.hashed = true, true
		if err1, err2 := a.run(), b.run(); err1 != nil || err2 != nil {
			t.Errorf("seed %d: %v, %v", seed, err1, err2)
		}
		if a.hash != b.hash || a.hash == [32]byte{} {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}

// TestTraceOfChaos guards against a run that tests nothing.
func TestTraceOfChaos(t *testing.T) {
	seen := map[string]bool{}
	for seed := uint64(1); seed <= 60; seed++ {
		newChaos(seed, func(f string, a ...any) {
			text := fmt.Sprintf(f, a...)
			for _, want := range []string{"is dead", "returning after partition", "Restarting", "Forcing restart", "standby", "lost packet", "NS_rexmit", "mach_down", "Late heartbeat"} {
				if strings.Contains(text, want) {
					seen[want] = true
				}
			}
		}).run()
	}
	if len(seen) < 9 {
		t.Errorf("random runs show only %v", seen)
	}
}
