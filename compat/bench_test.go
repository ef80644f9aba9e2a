package compat

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// benchDeadtime is shorter than the tutorial's, so that a run is not all waiting.
const benchDeadtime = 3 * time.Second

// benchTimers make its files so.
var benchTimers = strings.NewReplacer("keepalive 2\n", "keepalive 1\n", "deadtime 5\n", "deadtime 3\n", "warntime 3\n", "warntime 2\n")

// TestBenchTakeover measures a takeover after a power-off, a planned stop and the fail-back.
func TestBenchTakeover(t *testing.T) {
	for run := range *benchRuns {
		for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
			t.Logf("run %d of %d, %s", run+1, *benchRuns, impl)
			benchTakeover(t, impl)
		}
	}
}

// beatOf accepts the heartbeat packets of the node with that address.
func beatOf(addr netip.Addr) func(lab.Frame) bool {
	own := addr.As4()
	return func(f lab.Frame) bool {
		b := f.Data // Ethernet, IPv4 without options, UDP
		return len(b) > 42 && b[12] == 8 && b[13] == 0 && b[14] == 0x45 && b[23] == 17 && [4]byte(b[26:30]) == own && b[36] == 694>>8 && b[37] == 694&255
	}
}

func benchTakeover(t *testing.T, impl lab.Impl) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	conf := func(master bool) map[string]string {
		return map[string]string{"/etc/ha.d/ha.cf": benchTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])}
	}
	h, err := lab.NewHosts(ctx, lab.HostsOptions{
		Master: impl, Slave: impl, Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false),
	})
	must(err)
	defer h.Close()
	start := func(d *lab.Director) {
		t.Helper()
		r, err := d.Start(ctx)
		must(err)
		if r.Code != 0 {
			t.Fatalf("start %s: %d %s%s", d.Name(), r.Code, r.Stdout, r.Stderr)
		}
	}
	settle := func(d *lab.Director) {
		t.Helper()
		waitFor(t, 60*time.Second, d.Name()+" holds the address and its table is filled", func() bool {
			return d.HoldsVIP() && strings.Count(table(ctx, d), "->") >= 3
		})
	}
	start(h.Master)
	start(h.Slave)
	settle(h.Master)
	waitFor(t, 60*time.Second, "both are stable", func() bool {
		return strings.Contains(h.Slave.Log(), "remote resource transition completed.")
	})
	probe, err := h.Client.ProbeHTTP(netip.AddrPortFrom(lab.VIP, 80), 2*time.Millisecond, h.ClientAddrs...)
	must(err)
	defer probe.Stop()
	time.Sleep(time.Second) // the probe sees a service that runs

	// The master loses power.
	slave, err := h.Slave.WatchAddrs()
	must(err)
	forks, err := h.Slave.CountForks()
	must(err)
	wire, err := h.Capture("")
	must(err)
	_, err = wire.Wait(ctx, beatOf(h.Master.Addr()))
	must(err)
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if strings.Contains(d.Log(), "is dead") || strings.Contains(d.Log(), "Late heartbeat") {
			t.Errorf("%s (%v) was too late before anything was done; ha-log of ha-master:\n%s\nof ha-slave:\n%s", d.Name(), impl, h.Master.Log(), h.Slave.Log())
		}
	}
	must(h.Master.PowerOff())
	must(wire.Stop())
	up, err := slave.Wait(ctx, func(e lab.AddrEvent) bool { return e.Added && e.Addr.Addr() == lab.VIP })
	must(err)
	waitFor(t, 30*time.Second, "the takeover is complete", func() bool { return strings.Contains(h.Slave.Log(), "mach_down takeover complete.") })
	n, err := forks.Stop()
	must(err)
	dead := loggedAt(t, h.Slave, "node ha-master: is dead")
	bench.add("is dead to address up", "ms", "power-off; log line to the kernel's notice", of(impl), float64(up.Time.Sub(dead).Microseconds())/1000)
	var last time.Time
	for _, f := range wire.Frames() {
		if beatOf(h.Master.Addr())(f) {
			last = f.Time
		}
	}
	bench.add("deadtime over to address up", "ms", "from the last heartbeat packet plus deadtime to the kernel's notice", of(impl), float64(up.Time.Sub(last.Add(benchDeadtime)).Microseconds())/1000)
	bench.add("processes started by a takeover", "", "the kernel's process notices", of(impl), float64(n.Processes))
	settle2 := time.Now()
	waitFor(t, 30*time.Second, "clients are served again", func() bool { by, _ := probe.Answers(settle2, time.Now()); return len(by) > 0 })

	// It returns and takes back.
	begin := time.Now()
	must(h.Master.PowerOn())
	start(h.Master)
	settle(h.Master)
	waitFor(t, 30*time.Second, "the fail-back is over", func() bool { return !h.Slave.HoldsVIP() })
	time.Sleep(500 * time.Millisecond)
	bench.add("client outage of a fail-back", "ms", "GET / every 2 ms, longest time without an answer", of(impl), float64(probe.Longest(begin, time.Now()).Duration().Microseconds())/1000)

	// It is stopped.
	waitFor(t, 30*time.Second, "the pair is at rest", func() bool {
		_, after, done := strings.Cut(h.Master.Log(), "Standby resource acquisition done")
		return done && strings.Contains(after, "remote resource transition completed.")
	})
	time.Sleep(6 * time.Second) // ipfail's delayed giveup of what is not held
	begin = time.Now()
	r, err := h.Master.Stop(ctx)
	must(err)
	if r.Code != 0 {
		t.Fatalf("stop: %d %s%s", r.Code, r.Stdout, r.Stderr)
	}
	settle(h.Slave)
	time.Sleep(500 * time.Millisecond)
	bench.add("client outage of a planned stop", "ms", "GET / every 2 ms, longest time without an answer", of(impl), float64(probe.Longest(begin, time.Now()).Duration().Microseconds())/1000)
}
