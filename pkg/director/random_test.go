package director_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// TestRandomDays lets anything happen in any order: servers die and return, files are reloaded,
// the table is tampered with or refuses. Two things must hold: no real server is ever given
// traffic that has not answered a check of this director, and once the world is quiet the table
// is what the last file and the servers say.
func TestRandomDays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		stranger := ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{
			VIP:       ipvs.VIP{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("10.9.9.9:80"), Family: ipvs.IPv4},
			Scheduler: "rr",
		}}
		if err := w.table.Do(context.Background(), stranger); err != nil {
			rt.Fatal(err)
		}
		r := &randomDay{world: w, rt: rt, answered: map[string]bool{}, drained: map[director.Server]bool{}}
		r.reload()
		for range rapid.IntRange(1, 25).Draw(rt, "events") {
			r.happen()
		}
		// The last file may leave out anything, and its first reading may be refused.
		r.configure(false)
		r.run(time.Duration(rapid.IntRange(0, 3000).Draw(rt, "ms")) * time.Millisecond)
		clear(w.refuse)
		w.broken, w.slow = false, 0
		r.run(40 * time.Second)
		r.expect()
		w.ops = 0
		r.run(5 * time.Second)
		if w.ops > 0 {
			rt.Fatalf("%d operations although nothing happens", w.ops)
		}
		r.tamper()
		r.run(3 * time.Second) // the longest interval
		r.expect()
		w.step(director.Stop{Signal: "TERM"})
		w.run(time.Second)
		if got, want := w.rulesText(), "-A -t 10.9.9.9:80 -s rr\n"; got != want {
			rt.Fatalf("after stop the table is\n%swant\n%s", got, want)
		}
	})
}

type randomDay struct {
	*world
	rt       *rapid.T
	config   *ldirectordcf.Config
	fallback string                   // in config
	answered map[string]bool          // servers that have answered a check, or were a fallback
	drained  map[director.Server]bool // those of the world as a set
}

var randomReals = []string{"10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"}

func (r *randomDay) happen() {
	switch rapid.SampledFrom([]string{"servers", "run", "run", "run", "reload", "tamper", "refuse", "broken", "slow", "drain"}).Draw(r.rt, "event") {
	case "servers":
		r.scriptServers([]string{"up", "up", "down", "hang", "slow"})
	case "run":
		r.run(time.Duration(rapid.IntRange(1, 4000).Draw(r.rt, "ms")) * time.Millisecond)
	case "reload":
		r.reload()
	case "tamper":
		r.tamper()
	case "refuse":
		clear(r.refuse)
		if what := rapid.SampledFrom([]string{"", "add", "change", "delete", "add service", "delete real"}).Draw(r.rt, "what"); what != "" {
			r.refuse[what] = "no buffer space"
		}
	case "slow":
		r.slow = time.Duration(rapid.SampledFrom([]int{0, 1, 30, 700}).Draw(r.rt, "slow")) * time.Millisecond
	case "drain":
		r.drain()
	case "broken":
		r.broken = rapid.Bool().Draw(r.rt, "broken")
	}
}

func (r *randomDay) drain() {
	clear(r.drained)
	var servers []director.Server
	for _, v := range []string{"tcp:10.0.0.1:80", "tcp:10.0.0.9:80"} {
		for _, real := range randomReals {
			if s := (director.Server{Virtual: v, Real: real}); rapid.IntRange(0, 3).Draw(r.rt, "drain "+real) == 0 {
				servers = append(servers, s)
				r.drained[s] = true
			}
		}
	}
	r.world.drained = servers
	r.step(director.Drain{Servers: servers})
}

func (r *randomDay) scriptServers(states []string) {
	for _, name := range randomReals {
		r.servers[name] = server{state: rapid.SampledFrom(states).Draw(r.rt, name)}
	}
}

// run is world.run that notes who has answered and looks at every operation.
func (r *randomDay) run(d time.Duration) {
	r.onCheck = func(a director.StartCheck) {
		if s := r.servers[a.Real.Addr.String()].state; s == "up" || s == "slow" {
			r.answered[a.Real.Addr.String()] = true
		}
	}
	r.onChange = func(op ipvs.Op) {
		name := op.Dest.Addr.String()
		if (op.Kind == ipvs.AddDest || op.Kind == ipvs.EditDest) && op.Dest.Weight > 0 && !r.answered[name] && !op.Dest.Addr.Addr().IsLoopback() {
			had := false
			for _, e := range r.snapshot() {
				for _, d := range e.Dests {
					had = had || e.VIP == op.Service.VIP && d.Addr == op.Dest.Addr && d.Weight > 0
				}
			}
			if !had {
				r.rt.Fatalf("%s: %v: it has answered no check", r.since(r.now), op)
			}
		}
	}
	r.world.run(d)
}

func (r *randomDay) snapshot() []ipvs.Entry {
	entries, err := r.table.Snapshot(context.Background())
	if err != nil {
		r.rt.Fatal(err)
	}
	return entries
}

func (r *randomDay) reload() {
	r.configure(true)
	r.run(0)
}

// configure makes a file. With a quiet one the servers are from then on up or down only.
func (r *randomDay) configure(wild bool) {
	var b strings.Builder
	yesno := rapid.SampledFrom([]string{"yes", "no"})
	fmt.Fprintf(&b, "checkinterval=%d\nchecktimeout=2\nquiescent=%s\nreaddquiescent=%s\n",
		rapid.IntRange(1, 3).Draw(r.rt, "interval"), yesno.Draw(r.rt, "quiescent"), yesno.Draw(r.rt, "readd"))
	r.fallback = rapid.SampledFrom([]string{"", "127.0.0.1:80", randomReals[1]}).Draw(r.rt, "fallback")
	if r.fallback != "" {
		b.WriteString("fallback=" + r.fallback + "\n")
		r.answered[r.fallback] = true // it may have traffic, and then keeps it as a real server
	}
	for _, v := range []string{"10.0.0.1:80", "10.0.0.9:80"} {
		if rapid.IntRange(0, 3).Draw(r.rt, "without "+v) == 0 {
			continue
		}
		fmt.Fprintf(&b, "virtual=%s\n    service=http\n    failurecount=%d\n    scheduler=%s\n", v,
			rapid.IntRange(1, 3).Draw(r.rt, "failurecount"), rapid.SampledFrom([]string{"rr", "wlc"}).Draw(r.rt, "scheduler"))
		for _, real := range randomReals {
			if rapid.IntRange(0, 4).Draw(r.rt, "without "+real) > 0 {
				fmt.Fprintf(&b, "    real=%s gate %d\n", real, rapid.IntRange(1, 2).Draw(r.rt, "weight"))
			}
		}
	}
	b.WriteString("# end\n")
	config, problems := ldirectordcf.Parse("cf", []byte(b.String()), ldirectordcf.Options{})
	if err := problems.Err(); err != nil {
		r.rt.Fatal(err)
	}
	if !wild {
		r.scriptServers([]string{"up", "down", "hang"})
	}
	r.config = config
	r.step(director.ConfigRead{Config: config, Drained: r.world.drained})
}

// tamper does what somebody else may do, except to give a server weight.
func (r *randomDay) tamper() {
	var ops []ipvs.Op
	for _, e := range r.snapshot() {
		if e.Scheduler == "rr" && e.Addr.Addr() == netip.MustParseAddr("10.9.9.9") {
			continue
		}
		if rapid.IntRange(0, 3).Draw(r.rt, "delete service") == 0 {
			ops = append(ops, ipvs.Op{Kind: ipvs.DelService, Service: e.Service})
			continue
		}
		if rapid.IntRange(0, 3).Draw(r.rt, "change service") == 0 {
			e.Scheduler = "lc"
			ops = append(ops, ipvs.Op{Kind: ipvs.EditService, Service: e.Service})
		}
		for _, d := range e.Dests {
			switch rapid.SampledFrom([]string{"", "delete", "weight", "method"}).Draw(r.rt, "server") {
			case "delete":
				ops = append(ops, ipvs.Op{Kind: ipvs.DelDest, Service: e.Service, Dest: d.Dest})
			case "weight":
				if d.Weight > 0 {
					d.Weight = rapid.Int32Range(0, 3).Draw(r.rt, "weight")
					ops = append(ops, ipvs.Op{Kind: ipvs.EditDest, Service: e.Service, Dest: d.Dest})
				}
			case "method":
				d.Forward = ipvs.Masq
				ops = append(ops, ipvs.Op{Kind: ipvs.EditDest, Service: e.Service, Dest: d.Dest})
			}
		}
	}
	for _, op := range ops {
		if err := r.table.Do(context.Background(), op); err != nil {
			r.rt.Fatal(err)
		}
	}
}

// expect holds the table against the last file and the servers.
func (r *randomDay) expect() {
	have := map[ipvs.VIP]map[netip.AddrPort]ipvs.Dest{}
	services := map[ipvs.VIP]ipvs.Service{}
	for _, e := range r.snapshot() {
		services[e.VIP] = e.Service
		have[e.VIP] = map[netip.AddrPort]ipvs.Dest{}
		for _, d := range e.Dests {
			have[e.VIP][d.Addr] = d.Dest
		}
	}
	if len(have) != len(r.config.Virtuals)+1 {
		r.rt.Fatalf("%d services in the table, want %d and a stranger's:\n%s", len(have), len(r.config.Virtuals), r.rulesText())
	}
	for i := range r.config.Virtuals {
		v := &r.config.Virtuals[i]
		dests, in := have[v.VIP]
		if !in {
			r.rt.Fatalf("%s is not in the table", v.ID())
		}
		if got := services[v.VIP]; got.Scheduler != v.Scheduler {
			r.rt.Errorf("%s: scheduler %s", v.ID(), got.Scheduler)
		}
		up := 0
		for _, real := range v.Reals {
			if r.servers[real.Addr.String()].state == "up" && !r.isDrained(v, real) {
				up++
			}
		}
		for _, real := range v.Reals {
			if up == 0 && real.Addr.String() == r.fallback {
				continue // the fallback's
			}
			d, in := dests[real.Addr]
			switch r.servers[real.Addr.String()].state {
			case "up":
				weight := real.Weight
				if r.isDrained(v, real) {
					weight = 0
				}
				if !in || d.Weight != weight || d.Forward != ipvs.Route {
					r.rt.Errorf("%s: %v is up, and in the table as %+v (%v)", v.ID(), real.Addr, d, in)
				}
			default: // quiescent: with weight 0, or not at all if it was deleted by hand
				if in && (d.Weight != 0 || !v.Quiescent) {
					r.rt.Errorf("%s: %v is down, and in the table as %+v", v.ID(), real.Addr, d)
				}
			}
			delete(dests, real.Addr)
		}
		if v.Fallback != nil {
			if d, in := dests[v.Fallback.Addr]; in != (up == 0) || in && (d.Weight != 1 || d.Forward != ipvs.Route) {
				r.rt.Errorf("%s: fallback in the table: %v %+v, with %d servers up", v.ID(), in, d, up)
			}
			delete(dests, v.Fallback.Addr)
		}
		for a := range dests {
			r.rt.Errorf("%s: stranger %v in the table", v.ID(), a)
		}
	}
}

func (r *randomDay) isDrained(v *ldirectordcf.Virtual, real ldirectordcf.Real) bool {
	return r.drained[director.Server{Virtual: v.ID(), Real: real.Addr.String()}]
}
