package compat

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// resetPlugin is a plugin of cluster-glue's "external" that resets nothing: it writes down what it
// would reset, and fails as long as /etc/no-reset is there.
const resetPlugin = `#!/bin/sh
case "$1" in
gethosts) echo ha-master ha-slave ;;
on|off|reset) [ -e /etc/no-reset ] && exit 1; echo "$1 $2" >> $book ;;
status) : ;;
getconfignames) echo book ;;
getinfo-devid) printf external/labfile ;;
getinfo-devname) echo "the lab's plugin" ;;
getinfo-devdescr) echo "writes a file" ;;
getinfo-devurl) echo http://localhost/ ;;
getinfo-xml) echo '<parameters><parameter name="book" unique="1" required="1"><content type="string"/></parameter></parameters>' ;;
esac
`

// TestStonith has ha-master lose its power while the STONITH device fails, and then works: nothing is
// taken before ha-master has been reset. The original and ours do it side by side and log the same.
func TestStonith(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	var logs [2][]string
	for i, impl := range []lab.Impl{lab.Ours, lab.Original} {
		all.Go(func() {
			t.Run(impl.String(), func(t *testing.T) { logs[i] = playStonith(t, impl) })
		})
	}
	all.Wait()
	if t.Failed() || logs[0] == nil {
		return
	}
	if d := cmp.Diff(logs[1], logs[0]); d != "" {
		t.Errorf("ha-slave logs otherwise (-original +ours):\n%s", d)
	}
	t.Logf("both log\n%s", strings.Join(logs[0], "\n"))
}

func playStonith(t *testing.T, impl lab.Impl) []string {
	conf := func(master bool) map[string]string {
		text := strings.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"], "#stonith_host * baytech 10.0.0.3 mylogin mysecretpassword", "stonith_host * external/labfile /var/log/resets", 1)
		return map[string]string{"/etc/ha.d/ha.cf": text, "/etc/ha.d/systole.cf": "logdialect debian12\n"}
	}
	s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: impl, Slave: impl, Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ha-log of ha-slave (%v):\n%s", impl, s.Slave.Log())
		}
	})
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if err := d.WriteFile("/usr/lib/stonith/plugins/external/labfile", []byte(resetPlugin), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	if !s.seen(limit, func() bool { return strings.Contains(s.Slave.Log(), "remote resource transition completed.") }) {
		t.Fatal("the pair does not come to rest")
	}
	if err := s.Slave.WriteFile("/etc/no-reset", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Master.PowerOff(); err != nil {
		t.Fatal(err)
	}
	const failed = "STONITH of ha-master failed.  Retrying..."
	if !s.seen(limit, func() bool { return strings.Count(s.Slave.Log(), failed) >= 2 }) {
		t.Fatal("the reset that fails is not tried again")
	}
	if s.Slave.HoldsVIP() || strings.Contains(s.Slave.Log(), "Acquiring resource group") {
		t.Error("ha-slave has acquired something before ha-master was reset")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if r, err := s.Slave.Exec(ctx, "rm", "/etc/no-reset"); err != nil || r.Code != 0 {
		t.Fatal(r, err)
	}
	s.owner(s.Slave, s.Master)
	book, err := s.Slave.ReadFile("/var/log/resets")
	if err != nil || string(book) != "reset ha-master\n" {
		t.Errorf("the device was told %q %v", book, err)
	}
	if !s.seen(limit, func() bool { return strings.Contains(s.Slave.Log(), "mach_down takeover complete.") }) {
		t.Fatal("the takeover does not end")
	}
	return stonithLines(t, s.Slave.Log())
}

var (
	stonithLine = regexp.MustCompile(`STONITH|Resetting node|now reset|not reset|is dead$|Resources being acquired`)
	stonithPID  = regexp.MustCompile(`process \d+ `)
)

// stonithLines are the daemon's lines about the device and the takeover in their order; of the resets
// that failed only the first.
func stonithLines(t *testing.T, log string) (lines []string) {
	t.Helper()
	all, err := parseHALog(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if text := stonithPID.ReplaceAllString(l.text, "process PID "); l.who == "heartbeat" && stonithLine.MatchString(text) {
			again := slices.Contains(lines, text) && !strings.Contains(text, "Resetting") && !strings.Contains(text, "now reset")
			if !again && (len(lines) == 0 || lines[len(lines)-1] != text) {
				lines = append(lines, text)
			}
		}
	}
	return lines
}
