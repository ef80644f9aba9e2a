package compat

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestVMClock sets the clock of the machine of a running pair of ours, in a virtual machine, a year ahead
// and two back, and ahead again: nothing happens but a line, and the pair works as before. It takes a minute.
func TestVMClock(t *testing.T) {
	if !lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 5*time.Minute, 2048 }) {
		return
	}
	conf := func(master bool) map[string]string {
		return map[string]string{
			"/etc/ha.d/ha.cf":       strings.NewReplacer("keepalive 2\n", "keepalive 500ms\n", "respawn root", "#respawn root").Replace(patient(master)),
			"/etc/ha.d/haresources": "ha-master IPaddr::172.16.60.111\n",
		}
	}
	s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	t.Cleanup(func() {
		for _, d := range []*lab.Director{s.Master, s.Slave} {
			if t.Failed() {
				t.Logf("ha-log of %s:\n%s", d.Name(), d.Log())
			}
		}
	})
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	// ha-master may still have something to say of its start then.
	if !s.seen(limit, func() bool { return strings.Contains(s.Slave.Log(), "remote resource transition completed.") }) ||
		!s.seen(limit, unchanged(3*time.Second, func() string { return s.Master.Log() + s.Slave.Log() })) {
		t.Fatal("the pair does not come to rest")
	}
	const year = 365 * 24 * time.Hour
	for _, jump := range []time.Duration{year, -2 * year, year} {
		before := [2]int{len(s.Master.Log()), len(s.Slave.Log())}
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
		ts = unix.NsecToTimespec(ts.Nano() + int64(jump))
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()                                                     // monotonic
		s.seen(limit, func() bool { return time.Since(begun) > 6*time.Second }) // a dozen heartbeats
		s.owner(s.Master, s.Slave)
		for i, d := range []*lab.Director{s.Master, s.Slave} {
			if jump < 0 && !strings.Contains(d.Log()[before[i]:], "Clock jumped backwards.") {
				t.Errorf("%s has not seen the clock jump back", d.Name())
			}
			for line := range strings.Lines(d.Log()[before[i]:]) {
				if jump < 0 && strings.HasSuffix(line, "info: Clock jumped backwards. Compensating.\n") {
					continue
				}
				t.Errorf("%s has something to say of a jump of %v: %s", d.Name(), jump, line)
			}
		}
	}
	if strings.Contains(s.Slave.Log(), "is dead") {
		t.Error("ha-slave has called ha-master dead")
	}
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.do("start ha-master", s.Master.Start)
	s.owner(s.Master, s.Slave)
}

// patient is the tutorial's ha.cf with longer times, for what is not about a death: a virtual machine that
// computes its processor may stand still for seconds.
func patient(master bool) string {
	return strings.NewReplacer("deadtime 5\n", "deadtime 30\n", "warntime 3\n", "warntime 20\n", "initdead 10\n", "initdead 60\n").
		Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])
}
