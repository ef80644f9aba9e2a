package compat

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestBenchLoad measures how regular heartbeats are on a machine whose processors are all busy: ours and the original,
// with realtime priority and without.
func TestBenchLoad(t *testing.T) {
	for range *benchRuns {
		for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
			for _, realtime := range []string{"yes", "no"} {
				// A test of its own: its pair ends with it.
				t.Run(fmt.Sprintf("%v, realtime %s", impl, realtime), func(t *testing.T) {
					gaps := benchLoad(t, impl, realtime)
					const how = "keepalive 50 ms, 10 s, four loops a processor, as a wire sees it"
					note := func(name string, gap time.Duration) {
						bench.add("between two heartbeats under full load, realtime "+realtime+": "+name, "ms", how, of(impl), float64(gap.Microseconds())/1000)
					}
					note("p99", gaps[len(gaps)*99/100])
					note("longest", gaps[len(gaps)-1])
				})
			}
		}
	}
}

func benchLoad(t *testing.T, impl lab.Impl, realtime string) []time.Duration {
	t.Helper()
	conf := strings.NewReplacer("keepalive 2\n", "keepalive 50ms\n", "deadtime 5\n", "deadtime 3\n", "warntime 3\n", "warntime 1\n", "initdead 10\n", "initdead 3\nrealtime "+realtime+"\n")
	h := tutorial(t, lab.HostsOptions{
		Master: impl, Slave: impl, Userspace: true, Env: []string{"SYSTOLE_NO_REBOOT=1"}, Log: func(string, ...any) {},
		MasterConfig: map[string]string{"/etc/ha.d/ha.cf": conf.Replace(lab.TutorialConfig(true)["/etc/ha.d/ha.cf"])},
		Config:       map[string]string{"/etc/ha.d/haresources": "ha-master 172.16.60.111\n"},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if r, err := h.Master.Start(ctx); err != nil || r.Code != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	waitFor(t, limit, "ha-master has the address", h.Master.HoldsVIP)
	for range 4 * runtime.NumCPU() { // ends with the node's commands
		go func() { _, _ = h.Client.Exec(ctx, "/bin/sh", "-c", "while :; do :; done") }()
	}
	c, err := h.Capture("")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	var gaps []time.Duration
	var last time.Time
	for _, f := range c.Frames() {
		// Broadcasts to port 694 from ha-master.
		if len(f.Data) < 42 || !bytes.HasPrefix(f.Data, bytes.Repeat([]byte{0xff}, 6)) || binary.BigEndian.Uint16(f.Data[36:]) != 694 || !bytes.Contains(f.Data, []byte("t=status")) {
			continue
		}
		if !last.IsZero() {
			gaps = append(gaps, f.Time.Sub(last))
		}
		last = f.Time
	}
	if len(gaps) < 10 {
		t.Fatalf("%d heartbeats", len(gaps))
	}
	slices.Sort(gaps)
	return gaps
}
