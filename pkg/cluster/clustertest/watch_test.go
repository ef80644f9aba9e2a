package clustertest

import (
	"strings"
	"testing"
	"time"
)

// TestWatch: a watch finds what a faulty daemon would do.
func TestWatch(t *testing.T) {
	const quiet = "seed 3\nnodes alpha bravo\ngroups alpha:A bravo:B\nset failback=on\n0.0 start alpha\n1.0 start bravo\n"
	for _, tt := range []struct {
		name, steps string
		fault       func(*Sim) // done once, after 30 s
		want        string
	}{
		{"nothing", "60.0 standby alpha all\n120.0 poweroff bravo\n", func(*Sim) {}, ""},
		{"second owner", "60.0 clock alpha 1s\n", func(s *Sim) { s.Machine("bravo").set("A", true) }, "A is up on alpha and bravo"},
		{"no owner", "60.0 clock alpha 1s\n", func(s *Sim) { s.Machine("alpha").set("A", false) }, "A is up nowhere"},
		{"storm", "60.0 clock alpha 1s\n", func(s *Sim) {
			for range 2000 {
				s.Machine("alpha").Tell("t=nonsense")
			}
		}, "messages within"},
		{"one message too many", "60.0 clock alpha 1s\n", func(s *Sim) {
			var tell func()
			tell = func() { s.Machine("alpha").Tell("t=nonsense"); s.After(time.Second, tell) }
			tell()
		}, "messages within"},
		{"false death", "60.0 clock alpha 1s\n", func(s *Sim) { s.Cut("alpha", "bravo", "eth0", true) }, "bravo begins to take A, and alpha has not released it yet"},
		{"left behind", "60.0 stop bravo\n", func(s *Sim) {
			m := s.Machine("bravo")
			change := s.OnChange
			s.OnChange = func(x *Machine, key string, up bool) {
				change(x, key, up)
				if x == m && key == "B" && !up {
					s.OnChange = change
					m.set("B", true)
				}
			}
		}, "alpha begins to take B, and bravo has not released it yet"},
	} {
		p, err := ParsePlan(quiet + tt.steps)
		if err != nil {
			t.Fatal(err)
		}
		res := p.Run(Alter(func(s *Sim) { s.After(30*time.Second, func() { tt.fault(s) }) }))
		switch {
		case tt.want == "" && res.Err != nil:
			t.Errorf("%s: %v", tt.name, res.Err)
		case tt.want != "" && (res.Err == nil || !strings.Contains(res.Err.Error(), tt.want)):
			t.Errorf("%s: %v, want %s", tt.name, res.Err, tt.want)
		}
	}
}

// TestPlan: a plan's text gives the plan.
func TestPlan(t *testing.T) {
	for seed := range uint64(50) {
		p := Chaos(seed)
		again, err := ParsePlan(p.String())
		if err != nil || again.String() != p.String() {
			t.Errorf("seed %d: %v\n%s\n%s", seed, err, p, again)
		}
		if a, b := p.Run(Hashed), again.Run(Hashed); a.Hash != b.Hash {
			t.Errorf("seed %d: what was written down runs otherwise", seed)
		}
	}
}

// TestShrink leaves what is needed.
func TestShrink(t *testing.T) {
	p := &Plan{Steps: make([]Step, 37)}
	p.Steps[5].Command, p.Steps[30].Command = "this", "that"
	short := p.Shrink(func(p *Plan) bool {
		text := p.String()
		return strings.Contains(text, "this") && strings.Contains(text, "that")
	})
	if len(short.Steps) != 2 {
		t.Errorf("%s", short)
	}
}
