package clustertest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/seqtrack"
)

// Chaos makes a plan from a seed: the same seed gives the same plan. Seeds differ in the cluster,
// and in what may befall it: some know planned moves only, some a network that loses packets,
// crashes, partitions, scripts that fail, or all of it; in a quarter of them, by the seed itself,
// haresources changes, too.
func Chaos(seed uint64) *Plan {
	c := &chaos{rand: seqtrack.NewRand(seed ^ 0x5eed), plan: &Plan{Seed: seed}}
	c.cluster()
	for _, n := range c.plan.Nodes {
		c.machine(n)
	}
	c.kinds()
	for i, n := range c.plan.Nodes {
		if i == 0 || c.one(4) {
			c.add("start " + n)
			c.pause()
		}
	}
	for range 4 + c.n(14) {
		c.add(c.any(c.events...)())
		c.pause()
	}
	if seed/8%4 == 1 {
		c.haresources() // after all else: what that has chosen stays as it was
	}
	return c.plan
}

type chaos struct {
	rand    *seqtrack.Rand
	plan    *Plan
	at      time.Duration
	dead    time.Duration // deadtime
	links   []string
	stonith bool
	events  []func() string
}

func (c *chaos) n(below int) int { return int(c.rand.Uint64() % uint64(below)) }

// one is true once in of times.
func (c *chaos) one(of int) bool { return c.n(of) == 0 }

func (c *chaos) any(of ...func() string) func() string { return of[c.n(len(of))] }

func (c *chaos) word(of ...string) string { return of[c.n(len(of))] }

func (c *chaos) add(command string) {
	if command != "" {
		c.plan.Steps = append(c.plan.Steps, Step{c.at, command})
	}
}

// span is a random time below limit, in microseconds.
func (c *chaos) span(limit time.Duration) time.Duration {
	return time.Duration(c.n(int(limit/time.Microsecond)+1)) * time.Microsecond
}

// pause lets some time go by: mostly short ones, in which things meet, or long ones, after which all
// is quiet.
func (c *chaos) pause() { c.at += c.gap() }

func (c *chaos) gap() time.Duration {
	limits := []time.Duration{2 * time.Millisecond, 50 * time.Millisecond, c.dead, 2 * c.dead, 12 * time.Second, 12 * time.Second, 90 * time.Second}
	return c.span(limits[c.n(len(limits))])
}

// cluster chooses nodes, groups and settings.
func (c *chaos) cluster() {
	p := c.plan
	p.Nodes = []string{"alpha", "bravo"}
	if c.one(12) {
		p.Nodes = append(p.Nodes, "charlie")
	}
	p.Groups = []cluster.Group{{Node: "alpha", Key: "A"}}
	if !c.one(3) {
		p.Groups = append(p.Groups, cluster.Group{Node: "bravo", Key: "B"})
	}
	if c.one(4) {
		p.Groups = append(p.Groups, cluster.Group{Node: "alpha", Key: "C"})
	}
	failback := c.word("on", "on", "on", "off", "off", "legacy")
	c.links = []string{"eth0"}
	if c.one(2) {
		c.links = append(c.links, "eth1")
	}
	times := [][3]time.Duration{ // keepalive, deadtime, initdead
		{2 * time.Second, 5 * time.Second, 10 * time.Second},
		{2 * time.Second, 30 * time.Second, 60 * time.Second},
		{time.Second, 10 * time.Second, 20 * time.Second},
		{100 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second},
		{10 * time.Millisecond, 30 * time.Millisecond, time.Second},
	}
	// Fast timers make many messages, and slow runs.
	t := times[[...]int{0, 0, 0, 0, 0, 0, 1, 2, 2, 2}[c.n(10)]]
	if c.one(80) {
		t = times[[...]int{3, 3, 4}[c.n(3)]]
	}
	c.dead = t[1]
	if c.stonith = len(p.Nodes) == 2 && c.one(8); c.stonith {
		defer func() { p.Settings = append(p.Settings, "stonith=device") }()
	}
	p.Settings = []string{
		"failback=" + failback, "links=" + strings.Join(c.links, ","),
		fmt.Sprintf("keepalive=%v", t[0]), fmt.Sprintf("deadtime=%v", t[1]), fmt.Sprintf("warntime=%v", t[1]/2), fmt.Sprintf("initdead=%v", t[2]),
	}
	// By the seed itself: what the others choose stays as it was. In one case the wait is too short.
	switch p.Seed % 8 {
	case 1:
		p.Settings = append(p.Settings, fmt.Sprintf("failbacksync=%v", syncTime/2))
	case 5:
		p.Settings = append(p.Settings, fmt.Sprintf("failbacksync=%v", 7*syncTime))
	}
}

// machine chooses how fast scripts are on a machine.
func (c *chaos) machine(n string) {
	if c.one(3) {
		for _, v := range []cluster.Verb{cluster.TakeGroup, cluster.GiveGroup, cluster.Harc, cluster.ReqResource} {
			c.add(fmt.Sprintf("slow %s %s %v", n, v, c.span(2*time.Second)))
		}
	}
	if c.one(5) && c.dead >= time.Second {
		c.add("poll " + n + " 500ms")
	}
}

// kinds chooses what may happen.
func (c *chaos) kinds() {
	// Planned moves are always among it.
	c.events = []func() string{c.start, c.start, c.stop, c.standby, c.standby, c.takeover, c.takeover, c.reload, c.clock, c.slow}
	rough := map[string][]func() string{
		"network":   {c.loss, c.loss, c.delay, c.reorder, c.calm},
		"crash":     {c.kill, c.poweroff, c.start, c.start},
		"freeze":    {c.freeze, c.thaw, c.thaw},
		"partition": {c.cut, c.cut, c.heal, c.heal, c.heal},
		"script":    {c.noStart, c.noStop, c.mend},
		"restart":   {c.restart},
	}
	if c.stonith {
		c.events = append(c.events, c.noReset, c.noReset)
	}
	for _, kind := range []string{"network", "crash", "freeze", "partition", "script", "restart"} {
		if c.one(3) {
			c.events = append(c.events, rough[kind]...)
		}
	}
}

func (c *chaos) node() string  { return c.plan.Nodes[c.n(len(c.plan.Nodes))] }
func (c *chaos) set() string   { return c.word("all", "local", "foreign") }
func (c *chaos) group() string { return c.plan.Groups[c.n(len(c.plan.Groups))].Key }

func (c *chaos) start() string    { return "start " + c.node() }
func (c *chaos) stop() string     { return "stop " + c.node() }
func (c *chaos) restart() string  { return "restart " + c.node() }
func (c *chaos) reload() string   { return "reload " + c.node() }
func (c *chaos) kill() string     { return "kill " + c.node() }
func (c *chaos) poweroff() string { return "poweroff " + c.node() }
func (c *chaos) thaw() string     { return "thaw " + c.node() }
func (c *chaos) standby() string  { return "standby " + c.node() + " " + c.set() }
func (c *chaos) takeover() string { return "takeover " + c.node() + " " + c.set() }
func (c *chaos) noStart() string  { return "nostart " + c.node() + " " + c.group() + " on" }
func (c *chaos) noStop() string   { return "nostop " + c.node() + " " + c.group() + " on" }

// freeze stops a daemon, or in a quarter of the runs, by the seed itself, its whole machine.
func (c *chaos) freeze() string {
	if c.plan.Seed/8%4 == 3 {
		return "suspend " + c.node()
	}
	return "freeze " + c.node()
}

func (c *chaos) noReset() string { return "noreset " + c.node() + " " + c.word("on", "off") }

func (c *chaos) mend() string {
	return c.word("nostart", "nostop") + " " + c.node() + " " + c.group() + " off"
}

func (c *chaos) clock() string {
	d := c.span(3 * time.Hour)
	if c.one(2) {
		d = -d
	}
	return fmt.Sprintf("clock %s %v", c.node(), d)
}

func (c *chaos) slow() string {
	verb := c.word(string(cluster.TakeGroup), string(cluster.GiveGroup), string(cluster.Harc), string(cluster.ReqResource))
	return fmt.Sprintf("slow %s %s %v", c.node(), verb, c.span([]time.Duration{time.Millisecond, time.Second, 15 * time.Second}[c.n(3)]))
}

// ends are two nodes, and perhaps one link, and perhaps both directions.
func (c *chaos) ends() string {
	a := c.n(len(c.plan.Nodes))
	b := (a + 1 + c.n(len(c.plan.Nodes)-1)) % len(c.plan.Nodes)
	words := c.plan.Nodes[a] + " " + c.plan.Nodes[b]
	if len(c.links) > 1 && c.one(3) {
		words += " " + c.word(c.links...)
	}
	return words
}

func (c *chaos) cut() string {
	if c.one(3) {
		return "cut " + c.ends()
	}
	return "cut " + c.ends() + " both"
}

func (c *chaos) heal() string { return "heal " + c.ends() + " both" }
func (c *chaos) loss() string { return fmt.Sprintf("loss %d", c.n(400)) }
func (c *chaos) calm() string { return "loss 0" }

func (c *chaos) delay() string {
	if c.one(3) {
		return fmt.Sprintf("dup %d", c.n(300))
	}
	low := c.span(c.dead / 10)
	return fmt.Sprintf("delay %v %v", low, low+c.span(c.dead/10)+time.Microsecond)
}

func (c *chaos) reorder() string { return "reorder " + c.word("on", "off") }

// haresources has the file changed some times, each time on one node first and on the others later; what
// else befalls the cluster goes on in between.
func (c *chaos) haresources() {
	steps, end := c.plan.Steps, c.at
	groups, at := c.plan.Groups, time.Duration(0)
	for range 1 + c.n(3) {
		at += c.span(max(end-at, 0))
		if i := slices.IndexFunc(steps, func(s Step) bool { return s.At >= at }); i >= 0 && c.one(2) {
			at = steps[i].At + c.span(50*time.Millisecond) // in the midst of what that begins
		}
		groups = c.edit(groups)
		if c.one(4) {
			groups = c.edit(groups)
		}
		first := c.n(len(c.plan.Nodes))
		for i := range c.plan.Nodes {
			n := c.plan.Nodes[(first+i)%len(c.plan.Nodes)]
			c.plan.Steps = append(c.plan.Steps, Step{at, strings.Join(append([]string{"haresources", n}, lineWords(groups)...), " ")})
			at += c.gap()
		}
	}
	slices.SortStableFunc(c.plan.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
}

// edit is a file with a line more, or less, or on another node, or with a member more, or less, or in
// another line.
func (c *chaos) edit(lines []cluster.Group) []cluster.Group {
	lines = slices.Clone(lines)
	at := c.n(len(lines))
	all := members(lines[at])
	member := c.n(len(all))
	fresh := ""
	for _, key := range []string{"C", "D", "E", "B", "A", "F", "G", "H", "I"} {
		if fresh == "" && nodeOf(lines, key) == "" {
			fresh = key
		}
	}
	insert := func(at int, key string) { // not as the first, which the line is known by
		all := members(lines[at])
		lines[at].Key = strings.Join(slices.Insert(all, 1+c.n(len(all)), key), "+")
	}
	remove := func() {
		if len(all) == 1 {
			lines = slices.Delete(lines, at, at+1)
		} else {
			lines[at].Key = strings.Join(slices.Delete(slices.Clone(all), member, member+1), "+")
		}
	}
	switch c.n(8) {
	case 0:
		if len(lines) > 1 {
			return slices.Delete(lines, at, at+1)
		}
	case 1:
		if len(lines) > 1 || len(all) > 1 {
			remove()
			return lines
		}
	case 2, 3:
		lines[at].Node = c.node()
		return lines
	case 4:
		insert(at, fresh)
		return lines
	case 5, 6:
		if len(lines) > 1 {
			insert((at+1+c.n(len(lines)-1))%len(lines), all[member])
			remove()
			return lines
		}
	}
	return slices.Insert(lines, at, cluster.Group{Node: c.node(), Key: fresh})
}
