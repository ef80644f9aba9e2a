package compat

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestBenchLoad measures how regular heartbeats are on a machine whose processors are all busy: ours and the original,
// with realtime priority and without. It prints the median, the 99th of a hundred and the longest distance of two heartbeats.
func TestBenchLoad(t *testing.T) {
	for run := range *benchRuns {
		for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
			for _, realtime := range []string{"yes", "no"} {
				gaps := benchLoad(t, impl, realtime)
				t.Logf("run %d of %d, %s, realtime %s, keepalive 50ms: %d heartbeats, median %v, 99 %% %v, longest %v", run+1, *benchRuns, impl, realtime,
					len(gaps), gaps[len(gaps)/2].Round(100*time.Microsecond), gaps[len(gaps)*99/100].Round(100*time.Microsecond), gaps[len(gaps)-1].Round(100*time.Microsecond))
			}
		}
	}
}

func benchLoad(t *testing.T, impl lab.Impl, realtime string) []time.Duration {
	t.Helper()
	conf := strings.NewReplacer("keepalive 2\n", "keepalive 50ms\n", "deadtime 5\n", "deadtime 3\n", "warntime 3\n", "warntime 1\n", "initdead 10\n", "initdead 3\nrealtime "+realtime+"\n")
	h := lab.Tutorial(t, lab.HostsOptions{
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
	time.Sleep(20 * time.Second)
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
