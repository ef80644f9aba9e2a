package compat

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestBenchIdle measures what heartbeat costs a node that has nothing to do, at keepalive 2 s and
// 100 ms: pairs of ours and pairs of originals idle at the same time, with an address as their
// only resource (the original's ldirectord would be a process of its own).
func TestBenchIdle(t *testing.T) {
	for range *benchRuns {
		var all sync.WaitGroup
		for _, timers := range []struct{ keepalive, from, to string }{
			{"2 s", "", ""},
			{"100 ms", "keepalive 2\n", "keepalive 100ms\n"},
		} {
			for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
				all.Go(func() {
					t.Run(fmt.Sprintf("%s, keepalive %s", impl, timers.keepalive), func(t *testing.T) {
						benchIdle(t, impl, timers.keepalive, strings.NewReplacer(timers.from, timers.to))
					})
				})
			}
		}
		all.Wait()
	}
}

const idleTime = 30 * time.Second

func benchIdle(t *testing.T, impl lab.Impl, keepalive string, timers *strings.Replacer) {
	h := benchPair(t, impl, func(master bool) map[string]string {
		return map[string]string{
			"/etc/ha.d/ha.cf":       timers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]),
			"/etc/ha.d/haresources": "ha-master 172.16.60.111\n",
		}
	})
	time.Sleep(5 * time.Second) // ipfail and the last messages of the start
	before := heartbeatCost(t, h.Master)
	time.Sleep(idleTime)
	after := heartbeatCost(t, h.Master)
	const how = "the holder's heartbeat processes, schedstat over 30 s"
	note := func(name, unit string, value float64) {
		bench.add(name+", keepalive "+keepalive, unit, how, of(impl), value)
	}
	note("idle: CPU", "% of a core", float64(after.cpu-before.cpu)/float64(idleTime)*100)
	note("idle: wakeups", "/s", float64(after.switches-before.switches)/idleTime.Seconds())
	note("idle: memory (RSS)", "MiB", after.rss/1024)
	note("idle: memory (PSS)", "MiB", after.pss/1024)
	note("idle: processes", "", float64(after.processes))
}

// benchPair starts both nodes of a pair of one implementation and waits until all is at rest.
func benchPair(t *testing.T, impl lab.Impl, conf func(master bool) map[string]string) *lab.Hosts {
	t.Helper()
	h, err := lab.NewHosts(t.Context(), lab.HostsOptions{
		Master: impl, Slave: impl, Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if r, err := d.Start(context.WithoutCancel(t.Context())); err != nil || r.Code != 0 {
			t.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	waitFor(t, time.Minute, "ha-master holds the address", h.Master.HoldsVIP)
	waitFor(t, time.Minute, "both are stable", func() bool {
		return strings.Contains(h.Slave.Log(), "remote resource transition completed.")
	})
	return h
}

// cost is what a node's heartbeat processes have used so far.
type cost struct {
	processes, switches int
	cpu                 time.Duration
	rss, pss            float64 // KiB
}

func heartbeatCost(t *testing.T, d *lab.Director) (c cost) {
	t.Helper()
	procs, err := d.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if !strings.HasPrefix(p.Args, "heartbeat: ") && !strings.Contains(p.Args, "/heartbeat/") {
			continue
		}
		c.processes++
		dir := fmt.Sprintf("/proc/%d/", p.HostPID)
		tasks, err := filepath.Glob(dir + "task/*/schedstat")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range tasks {
			if text, err := os.ReadFile(file); err == nil {
				ns, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64) // the kernel writes numbers
				c.cpu += time.Duration(ns)
			}
			for key, n := range procNumbers(strings.TrimSuffix(file, "schedstat") + "status") {
				if strings.HasSuffix(key, "voluntary_ctxt_switches") {
					c.switches += int(n)
				}
			}
		}
		c.rss += procNumbers(dir + "status")["VmRSS"]
		c.pss += procNumbers(dir + "smaps_rollup")["Pss"]
	}
	return c
}

// procNumbers reads the lines "Name: number ..." of a file of proc.
func procNumbers(path string) map[string]float64 {
	numbers := map[string]float64{}
	text, err := os.ReadFile(path)
	if err != nil {
		return numbers // it ended
	}
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) > 1 {
			if n, err := strconv.ParseFloat(f[1], 64); err == nil {
				numbers[strings.TrimSuffix(f[0], ":")] = n
			}
		}
	}
	return numbers
}
