package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestRestartSignals (25 s) sends signals to a daemon that is being replaced in place with its address up, as
// it does when ha.cf has changed: SIGHUP in a loop changes nothing, SIGTERM gives everything up, and none is
// ignored by children.
func TestRestartSignals(t *testing.T) {
	t.Parallel()
	conf := func(master bool) map[string]string {
		text := strings.Replace(fastTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]), "respawn root", "#respawn root", 1)
		return map[string]string{"/etc/ha.d/ha.cf": text + "respawn root /bin/sleep 4321\n"}
	}
	s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ha-log of ha-master:\n%s\nof ha-slave:\n%s", s.Master.Log(), s.Slave.Log())
		}
	})
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	s.atRest()
	watch, err := s.WatchAddrs(s.Master.Node)
	if err != nil {
		t.Fatal(err)
	}
	pid := heartbeatPID(t, s.Master)
	file := func(name string) string { return fmt.Sprintf("/proc/%d/root/etc/ha.d/%s", s.Master.Node.Pid(), name) }
	change := func(more string) {
		if err := s.Master.WriteFile("/etc/ha.d/ha.cf", []byte(conf(true)["/etc/ha.d/ha.cf"]+more), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	change("warntime 800ms\n")
	if !s.seen(limit, func() bool { // it looks every 50 ms or so
		if err := unix.Kill(pid, unix.SIGHUP); err != nil {
			t.Fatalf("the daemon has died of SIGHUP: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
		return strings.Count(s.Master.Log(), "Local status now set to: 'active'") == 2 && strings.Count(s.Master.Log(), "Starting child client \"/bin/sleep 4321\"") == 2
	}) {
		t.Fatal("ha-master does not come back")
	}
	if now := heartbeatPID(t, s.Master); now != pid {
		t.Fatalf("the daemon is process %d, and was %d", now, pid)
	}
	s.owner(s.Master, s.Slave)
	for _, e := range watch.Events() {
		if e.Addr.Addr() == lab.VIP && !e.Added {
			t.Errorf("the address went down at %v", e.Time)
		}
	}
	if strings.Contains(s.Slave.Log(), "node ha-master: is dead") {
		t.Error("ha-slave has called ha-master dead")
	}
	var ignored uint64
	if !s.seen(limit, func() (runs bool) { ignored, runs = ignoredBy(t, s.Master, "/bin/sleep 4321"); return runs }) {
		t.Fatal("no client runs")
	}
	if ignored&(1<<(unix.SIGHUP-1)|1<<(unix.SIGTERM-1)) != 0 { // who runs the tests may have others ignored
		t.Errorf("a child ignores the signals %#x", ignored)
	}

	// authkeys is a pipe: whoever reads it waits.
	keys, err := os.ReadFile(file("authkeys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file("authkeys.pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file("authkeys.pipe"), file("authkeys")); err != nil {
		t.Fatal(err)
	}
	read := func(meanwhile func()) { // waits until somebody reads
		w, err := os.OpenFile(file("authkeys"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		meanwhile()
		if _, err := w.Write(keys); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	change("warntime 900ms\n")
	before := len(s.Master.Log())
	since := func() string { return s.Master.Log()[before:] }
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	read(func() {})
	if !s.seen(limit, func() bool { return strings.Contains(since(), "Performing heartbeat restart exec.") }) {
		t.Fatal("it does not restart")
	}
	read(func() {
		for range 3 {
			if err := unix.Kill(pid, unix.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Kill(pid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		plain := file("authkeys.plain")
		if err := os.WriteFile(plain, keys, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(plain, file("authkeys")); err != nil {
			t.Fatal(err)
		}
	})
	if !s.seen(limit, func() bool {
		_, err := os.Stat(filepath.Join("/proc", fmt.Sprint(pid), "exe"))
		return err != nil
	}) {
		t.Fatal("it does not end")
	}
	if text := since(); !comeInOrder(text, "Heartbeat restart triggered.", "Giving up all HA resources.", "All HA resources relinquished.", "Heartbeat shutdown complete.") {
		t.Errorf("ha-master does not give up what it has:\n%s", text)
	}
	s.owner(s.Slave, s.Master)
}

// ignoredBy is the mask of the signals that a program of a node ignores; false if it does not run.
func ignoredBy(t *testing.T, d *lab.Director, args string) (mask uint64, runs bool) {
	procs, err := d.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if p.Args != args {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.HostPID))
		if err != nil {
			return 0, false
		}
		_, rest, _ := strings.Cut(string(text), "SigIgn:")
		if mask, err = strconv.ParseUint(strings.Fields(rest)[0], 16, 64); err != nil {
			t.Fatal(err)
		}
		return mask, true
	}
	return 0, false
}
