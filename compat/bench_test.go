package compat

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// The benchmarks are no tests: they assert nothing about time. They print figures of ours and of
// the original, taken in one run, turn by turn, on the same hosts with the same files.

const benchRuns = 5

// benchTimers are the tutorial's files with a shorter deadtime, so that a run is not all waiting.
var benchTimers = strings.NewReplacer("keepalive 2\n", "keepalive 1\n", "deadtime 5\n", "deadtime 3\n", "warntime 3\n", "warntime 2\n")

// figure is one thing measured, run by run.
type figure struct {
	name, unit string
	runs       map[lab.Impl][]float64
}

type figures []*figure

func (fs *figures) add(name, unit string, impl lab.Impl, value float64) {
	for _, f := range *fs {
		if f.name == name {
			f.runs[impl] = append(f.runs[impl], value)
			return
		}
	}
	*fs = append(*fs, &figure{name, unit, map[lab.Impl][]float64{impl: {value}}})
}

// print writes the table: min, median, max of each, and the original's median over ours.
func (fs figures) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "figure\tours min\tmedian\tmax\toriginal min\tmedian\tmax\toriginal/ours\tunit\t")
	for _, f := range fs {
		fmt.Fprintf(w, "%s\t", f.name)
		var medians []float64
		for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
			v := slices.Sorted(slices.Values(f.runs[impl]))
			if len(v) == 0 {
				fmt.Fprint(w, "-\t-\t-\t")
				continue
			}
			m := v[len(v)/2]
			medians = append(medians, m)
			fmt.Fprintf(w, "%.4g\t%.4g\t%.4g\t", v[0], m, v[len(v)-1])
		}
		ratio := "-"
		if len(medians) == 2 && medians[0] > 0 {
			ratio = fmt.Sprintf("%.1f", medians[1]/medians[0])
		}
		fmt.Fprintf(w, "%s\t%s\t\n", ratio, f.unit)
	}
	if err := w.Flush(); err != nil {
		panic(err)
	}
}

// TestBenchTakeover measures a takeover after a power-off, a planned stop and the fail-back.
func TestBenchTakeover(t *testing.T) {
	var fs figures
	for run := range benchRuns {
		for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
			t.Logf("run %d of %d, %s", run+1, benchRuns, impl)
			benchTakeover(t, impl, &fs)
		}
	}
	fs.print()
}

func benchTakeover(t *testing.T, impl lab.Impl, fs *figures) {
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
	must(h.Master.PowerOff())
	up, err := slave.Wait(ctx, func(e lab.AddrEvent) bool { return e.Added && e.Addr.Addr() == lab.VIP })
	must(err)
	waitFor(t, 30*time.Second, "the takeover is complete", func() bool { return strings.Contains(h.Slave.Log(), "mach_down takeover complete.") })
	n, err := forks.Stop()
	must(err)
	dead := loggedAt(t, h.Slave, "node ha-master: is dead")
	fs.add("is dead to address up", "ms", impl, float64(up.Time.Sub(dead).Microseconds())/1000)
	fs.add("processes started by a takeover", "", impl, float64(n.Processes))
	settle2 := time.Now()
	waitFor(t, 30*time.Second, "clients are served again", func() bool { by, _ := probe.Answers(settle2, time.Now()); return len(by) > 0 })

	// It returns and takes back.
	begin := time.Now()
	must(h.Master.PowerOn())
	start(h.Master)
	settle(h.Master)
	waitFor(t, 30*time.Second, "the fail-back is over", func() bool { return !h.Slave.HoldsVIP() })
	time.Sleep(500 * time.Millisecond)
	fs.add("client outage of a fail-back", "ms", impl, float64(probe.Longest(begin, time.Now()).Duration().Microseconds())/1000)

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
	fs.add("client outage of a planned stop", "ms", impl, float64(probe.Longest(begin, time.Now()).Duration().Microseconds())/1000)
}
