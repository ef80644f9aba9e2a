package compat

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

const (
	logd           = "/usr/lib/heartbeat/ha_logd"
	originalApphbd = "/usr/libexec/heartbeat/apphbd"
	apphbdCopy     = "/usr/local/sbin/apphbd" // whoever's heartbeat the node has
)

// TestLogdAndApphbd has ours and an original log through cluster-glue's ha_logd, and both watched by the
// original's apphbd: both log the same of it. Then ours loses ha_logd, and no line; and apphbd sees it
// stand still.
func TestLogdAndApphbd(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, logd, originalApphbd)
	program, err := os.ReadFile(originalApphbd)
	if err != nil {
		t.Fatal(err)
	}
	conf := func(master bool) map[string]string {
		var b strings.Builder
		for line := range strings.Lines(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]) {
			if word, _, _ := strings.Cut(line, " "); !slices.Contains([]string{"logfile", "debugfile", "logfacility"}, word) {
				b.WriteString(line)
			}
		}
		return map[string]string{
			"/etc/ha.d/ha.cf":      "use_logd yes\nconn_logd_time 5\nuse_apphbd yes\n" + b.String(),
			"/etc/ha.d/systole.cf": "logdialect debian12\n",
			"/etc/logd.cf":         "logfile /var/log/ha-log\ndebugfile /var/log/ha-debug\nlogfacility none\n",
			"/etc/apphbd.cf":       "realtime no\nlogfile /var/log/apphbd-log\ndebugfile /var/log/apphbd-debug\n",
		}
	}
	s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: lab.Ours, Slave: lab.Original, Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	apphbdLog := func(d *lab.Director) string {
		b, _ := d.ReadFile("/var/log/apphbd-log") // not yet there
		return string(b)
	}
	t.Cleanup(func() {
		for _, d := range []*lab.Director{s.Master, s.Slave} {
			if t.Failed() {
				t.Logf("ha-log of %s (%v):\n%s\napphbd's log:\n%s", d.Name(), d.Impl, d.Log(), apphbdLog(d))
			}
		}
	})
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if err := d.WriteFile(apphbdCopy, program, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"mkdir -p /var/run/heartbeat", logd + " -d -c /etc/logd.cf", apphbdCopy + " -c /etc/apphbd.cf"} {
			if r, err := d.Exec(t.Context(), "sh", "-c", line); err != nil || r.Code != 0 {
				t.Fatalf("%s: %s: %+v %v", d.Name(), line, r, err)
			}
		}
		if !s.seen(limit, func() bool { return strings.Contains(d.Log(), "logd started with /etc/logd.cf.") }) {
			t.Fatal("ha_logd does not start")
		}
	}
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	if !s.seen(limit, func() bool {
		return strings.Contains(s.Master.Log(), "remote resource transition completed.") && strings.Contains(s.Slave.Log(), "remote resource transition completed.")
	}) {
		t.Fatal("the pair does not come to rest")
	}
	ours, theirs := logdLines(s.Master.Log()), logdLines(s.Slave.Log())
	slices.Sort(ours) // apphbd answers when it does: our start does not wait for it
	slices.Sort(theirs)
	if d := cmp.Diff(theirs, ours); d != "" || len(ours) < 4 {
		t.Errorf("ours says otherwise (-original +ours):\n%s", d)
	}
	// Scripts' lines come through the daemon, too: its form has no date of theirs.
	if !regexp.MustCompile(`(?m)^\w{3} \d\d [\d:]+ ha-master ResourceManager\(default\)\[\d+\]: \[\d+\]: info: Acquiring resource group: `).MatchString(s.Master.Log()) {
		t.Error("ResourceManager's lines do not come from ha_logd")
	}

	// Without ha_logd.
	if r, err := s.Master.Exec(t.Context(), logd, "-k"); err != nil || r.Code != 0 {
		t.Fatal(r, err)
	}
	s.do("stop ha-slave", s.Slave.Stop)
	for _, want := range []string{"Initializing connection to logging daemon failed. Logging daemon may not be running", "Received shutdown notice from 'ha-slave'."} {
		if !s.seen(limit, func() bool { return strings.Contains(s.Master.Log(), want) }) {
			t.Errorf("without ha_logd ha-log has no %q", want)
		}
	}
	if r, err := s.Master.Exec(t.Context(), logd, "-d", "-c", "/etc/logd.cf"); err != nil || r.Code != 0 {
		t.Fatal(r, err)
	}

	// apphbd: standing still is noticed, and so is the end of it.
	pid := heartbeatPID(t, s.Master)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const who = "apphb client 'heartbeat' / 'master_control_process' (pid "
	said := func(what string) func() bool {
		return func() bool {
			return regexp.MustCompile(regexp.QuoteMeta(who) + `\d+\) ` + what).MatchString(apphbdLog(s.Master))
		}
	}
	failed := s.seen(limit, said("failed to heartbeat"))
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !failed {
		t.Fatal("apphbd has not noticed that heartbeat stands still")
	}
	if !s.seen(limit, said("resumed heartbeats")) {
		t.Error("apphbd has not noticed that heartbeat goes on")
	}
	s.do("stop ha-master", s.Master.Stop)
	if said("hangup")() {
		t.Error("an orderly stop is a hangup for apphbd")
	}
	if !s.seen(20*time.Second, func() bool { return strings.Contains(s.Master.Log(), "Heartbeat shutdown complete") }) {
		t.Error("the last line is missing")
	}
}

// heartbeatPID is the process of our heartbeat, as the machine knows it.
func heartbeatPID(t *testing.T, d *lab.Director) int {
	t.Helper()
	procs, err := d.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if strings.HasPrefix(p.Args, "heartbeat: master control process") {
			return p.HostPID
		}
	}
	t.Fatalf("%s runs no heartbeat", d.Name())
	return 0
}

// logdLines are the daemon's lines about its logging and about apphbd, and some others as a sample.
func logdLines(log string) (lines []string) {
	about := regexp.MustCompile(` heartbeat: \[\d+\]: (.*(?:logd|logging daemon|apphb|Configuration validated|Local status now|heartbeat: version).*)`)
	for _, m := range about.FindAllStringSubmatch(log, -1) {
		lines = append(lines, m[1])
	}
	return lines
}
