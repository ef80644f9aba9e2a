package clustertest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// Plan is one run from beginning to end: a cluster, and what befalls it. It has a text form, so
// that a run that has shown a fault can be kept.
type Plan struct {
	// Seed is that of the network and of the engines.
	Seed uint64
	// Settings are "name=value" words as Set takes them, besides nodes and groups.
	Nodes    []string
	Groups   []cluster.Group
	Settings []string
	Steps    []Step
}

// Step is one command at its time after the beginning.
type Step struct {
	At      time.Duration
	Command string
}

// String is the plan's text form:
//
//	seed 17
//	nodes alpha bravo
//	groups alpha:A bravo:B
//	set failback=off links=eth0,eth1
//	0.000 start alpha
//	…
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nnodes %s\ngroups", p.Seed, strings.Join(p.Nodes, " "))
	for _, g := range p.Groups {
		fmt.Fprintf(&b, " %s:%s", g.Node, g.Key)
	}
	fmt.Fprintf(&b, "\nset %s\n", strings.Join(p.Settings, " "))
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%.6f %s\n", s.At.Seconds(), s.Command)
	}
	return b.String()
}

// ParsePlan reads the text form; empty lines and those that begin with # are skipped.
func ParsePlan(text string) (*Plan, error) {
	p := &Plan{}
	for n, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' {
			continue
		}
		var err error
		switch f[0] {
		case "seed":
			p.Seed, err = strconv.ParseUint(f[1], 10, 64)
		case "nodes":
			p.Nodes = f[1:]
		case "groups":
			for _, g := range f[1:] {
				node, key, _ := strings.Cut(g, ":")
				p.Groups = append(p.Groups, cluster.Group{Node: node, Key: key})
			}
		case "set":
			p.Settings = f[1:]
		default:
			var at float64
			at, err = strconv.ParseFloat(f[0], 64)
			p.Steps = append(p.Steps, Step{time.Duration(at * float64(time.Second)).Round(time.Microsecond), strings.Join(f[1:], " ")})
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", n+1, line, err)
		}
	}
	return p, nil
}

// build makes the cluster of a plan. Signatures are the cheapest kind.
func (p *Plan) build() (*Sim, error) {
	ring, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: hbauth.CRC}}, 1)
	if err != nil {
		return nil, err
	}
	sim := New(p.Seed)
	for _, n := range p.Nodes {
		c := Config(n, p.Seed, p.Nodes, p.Groups)
		c.Ring, c.Links, c.Pings, c.Netstring = ring, []string{"eth0"}, nil, true
		for _, s := range p.Settings {
			name, value, _ := strings.Cut(s, "=")
			if err := Set(&c, name, value); err != nil {
				return nil, err
			}
		}
		sim.Add(c)
	}
	return sim, nil
}

// Shrink leaves out what the failure does not need, as long as fails still tells of one.
func (p *Plan) Shrink(fails func(*Plan) bool) *Plan {
	best := *p
	for size := len(best.Steps) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(best.Steps); {
			try := best
			try.Steps = slices.Delete(slices.Clone(best.Steps), at, at+size)
			if fails(&try) {
				best = try
			} else {
				at++
			}
		}
	}
	return &best
}
