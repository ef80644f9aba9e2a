package compat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// killings is how often TestKilled kills a daemon, over all its pairs.
const killings = 50

// fastTimers make a pair's life short; initdead stays above a start's time on a loaded machine.
var fastTimers = strings.NewReplacer("keepalive 2\n", "keepalive 100ms\n", "deadtime 5\n", "deadtime 1500ms\n",
	"warntime 3\n", "warntime 700ms\n", "initdead 10\n", "initdead 3\n")

// TestKilled ends our daemon with SIGKILL at a random moment of a start, a takeover or a release,
// restarts what is dead, and looks: one owner, its table as wanted, and nothing left behind on the
// other. Each pair has a seed of its own, which is logged.
func TestKilled(t *testing.T) {
	t.Parallel()
	lab.NeedRoot(t)
	path := program(t)
	const pairs = 5
	var all sync.WaitGroup
	for i := range pairs {
		// t.Parallel would allow as many as there are processors; these mostly wait.
		all.Go(func() {
			t.Run(fmt.Sprintf("pair%d", i+1), func(t *testing.T) {
				seed := uint64(time.Now().UnixNano())
				t.Logf("seed %d", seed)
				killPair(t, path, rand.New(rand.NewPCG(seed, 1)), killings/pairs)
			})
		})
	}
	all.Wait()
}

// TestVMKilled is the same with the kernel's IPVS, whose table survives a daemon that is killed.
func TestVMKilled(t *testing.T) {
	const times = 6
	if !lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 8*time.Minute, 2048 }) {
		return
	}
	if !lab.HaveIPVS() {
		t.Fatal("no IPVS here")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	killPair(t, os.Getenv(lab.SystoleEnv), rand.New(rand.NewPCG(seed, 1)), times)
}

func killPair(t *testing.T, path string, rnd *rand.Rand, times int) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patient(10*time.Minute))
	defer cancel()
	conf := func(master bool) map[string]string {
		return map[string]string{"/etc/ha.d/ha.cf": fastTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])}
	}
	h, err := lab.NewHosts(ctx, lab.HostsOptions{
		Systole: path, Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	p := &pair{t: t, ctx: ctx, h: h}
	p.revive()
	p.settled("the first start")
	for i := range times {
		var what string
		switch i % 3 {
		case 0:
			what = p.killInStart(rnd)
		case 1:
			what = p.killInTakeover(rnd)
		default:
			what = p.killInRelease(rnd)
		}
		p.revive()
		p.settled(fmt.Sprintf("killing %d, %s", i+1, what))
		if t.Failed() {
			return
		}
	}
}

// pair is two directors of ours.
type pair struct {
	t   *testing.T
	ctx context.Context
	h   *lab.Hosts
}

func (p *pair) either(rnd *rand.Rand) *lab.Director {
	if rnd.IntN(2) == 0 {
		return p.h.Master
	}
	return p.h.Slave
}

// kill ends the node's daemon, if it is there still. What is dead must not be said to run: nobody
// would start it again.
func (p *pair) kill(d *lab.Director) (killed int) {
	p.t.Helper()
	n, err := d.Crash()
	if err != nil {
		p.t.Fatal(err)
	}
	if p.runs(d) {
		procs, err := d.Processes()
		p.t.Fatalf("%s runs after %d processes were killed: %+v %v", d.Name(), n, procs, err)
	}
	return n
}

// killInStart stops a node and kills it some time into its next start.
func (p *pair) killInStart(rnd *rand.Rand) string {
	d := p.either(rnd)
	p.stop(d)
	after := time.Duration(rnd.IntN(2500)) * time.Millisecond
	p.start(d)
	time.Sleep(after)
	if p.kill(d) == 0 {
		p.t.Fatalf("%s has ended by itself %v into its start:\n%s", d.Name(), after, d.Log())
	}
	return fmt.Sprintf("%s %v into its start", d.Name(), after)
}

// killInTakeover stops the owner and kills the other while it takes over.
func (p *pair) killInTakeover(rnd *rand.Rand) string {
	after := time.Duration(rnd.IntN(60)) * time.Millisecond
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.h.Master.Stop(p.ctx) // how it ends is seen by settled
	}()
	waitFor(p.t, 20*time.Second, "ha-master releases", func() bool { return !p.h.Master.HoldsVIP() })
	time.Sleep(after)
	p.kill(p.h.Slave)
	<-done
	return fmt.Sprintf("ha-slave %v into its takeover", after)
}

// killInRelease kills the owner while it gives its resources up.
func (p *pair) killInRelease(rnd *rand.Rand) string {
	after := time.Duration(rnd.IntN(60)) * time.Millisecond
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.h.Master.Stop(p.ctx)
	}()
	time.Sleep(after)
	p.kill(p.h.Master)
	<-done
	return fmt.Sprintf("ha-master %v after its stop began", after)
}

func (p *pair) stop(d *lab.Director) {
	p.t.Helper()
	if r, err := d.Stop(p.ctx); err != nil || r.Code != 0 {
		p.t.Fatalf("stop %s: %d %s%s %v", d.Name(), r.Code, r.Stdout, r.Stderr, err)
	}
}

func (p *pair) start(d *lab.Director) {
	p.t.Helper()
	if r, err := d.Start(p.ctx); err != nil || r.Code != 0 {
		p.t.Fatalf("start %s: %d %s%s %v", d.Name(), r.Code, r.Stdout, r.Stderr, err)
	}
}

func (p *pair) revive() {
	p.t.Helper()
	for _, d := range []*lab.Director{p.h.Master, p.h.Slave} {
		if !p.runs(d) {
			p.start(d)
		}
	}
}

func (p *pair) runs(d *lab.Director) bool {
	r, err := d.Exec(p.ctx, "/usr/libexec/heartbeat/heartbeat", "-s")
	return err == nil && r.Code == 0
}

// settled waits until ha-master, where the resources are at home, owns them alone, and stays so.
func (p *pair) settled(when string) {
	p.t.Helper()
	const calm = time.Second // longer than a message, a check and a stray release take
	begin, since := time.Now(), time.Time{}
	for {
		why := p.wrong()
		switch {
		case why != "":
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > calm:
			return
		}
		if time.Since(begin) > lab.Patient(time.Minute) {
			p.t.Errorf("after %s: %s", when, why)
			for _, d := range []*lab.Director{p.h.Master, p.h.Slave} {
				lines := strings.Split(strings.TrimSpace(d.Log()), "\n")
				p.t.Logf("%s's ha-log ends:\n%s", d.Name(), strings.Join(lines[max(0, len(lines)-60):], "\n"))
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// wrong says what is not as it should be; "" is nothing.
func (p *pair) wrong() string {
	switch {
	case !p.h.Master.HoldsVIP():
		return "ha-master does not hold the address"
	case p.h.Slave.HoldsVIP():
		return "ha-slave holds the address too"
	}
	have := table(p.ctx, p.h.Master)
	for _, want := range []string{"TCP  172.16.60.111:80 wlc persistent 600", "172.16.60.204:80", "172.16.60.205:80"} {
		if !strings.Contains(have, want) {
			return fmt.Sprintf("ha-master's table lacks %q:\n%s", want, have)
		}
	}
	if left := table(p.ctx, p.h.Slave); strings.Contains(left, "172.16.60.111") {
		return "ha-slave's table is not empty:\n" + left
	}
	return ""
}
