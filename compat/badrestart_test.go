package compat

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestBadRestart has a node restart because it stood still, with three files broken and an interface gone
// meanwhile: it comes back with the configuration that was in force, and the medium when the interface is
// there again. It takes 40 s.
func TestBadRestart(t *testing.T) {
	t.Parallel()
	conf := func(master bool) map[string]string {
		files := withFailback(master, "on")
		files["/etc/ha.d/ha.cf"] = strings.Replace(files["/etc/ha.d/ha.cf"], "bcast eth0\n", "bcast eth0 eth1\n", 1)
		return files
	}
	h := tutorial(t, lab.HostsOptions{
		Master: lab.Ours, Slave: lab.Ours, SecondLink: true, MasterConfig: conf(true), SlaveConfig: conf(false),
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, Log: func(string, ...any) {},
	})
	s := &interop{T: t, Hosts: h}
	t.Cleanup(func() {
		if s.Failed() {
			s.Logf("ha-log of ha-master:\n%s", s.Master.Log())
		}
	})
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	s.atRest()
	pid := heartbeatPID(t, s.Master)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	taken := s.seen(limit, func() bool {
		return s.Slave.HoldsVIP() && strings.Contains(s.Slave.Log(), "mach_down takeover complete for node ha-master.")
	})
	for name, text := range map[string]string{"ha.cf": "nonsense\n", "authkeys": "auth 9\n", "haresources": "nobody 10.0.0.1\n"} {
		if err := s.Master.WriteFile("/etc/ha.d/"+name, []byte(text), lab.ConfigMode("/etc/ha.d/"+name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Master.RemoveCard("eth1"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !taken {
		t.Fatal("ha-slave has not taken over from a node that stands still")
	}
	if !s.seen(limit, func() bool {
		return strings.Count(s.Master.Log(), "Local status now set to: 'active'") == 2
	}) {
		t.Fatal("ha-master does not come back")
	}
	for _, says := range []string{
		"ERROR: Configuration error: heartbeat goes on with the configuration that was in force",
		"ha.cf:1:1: ", "authkeys:", "opening it when that is possible.",
	} {
		if !strings.Contains(s.Master.Log(), says) {
			t.Errorf("ha-log has no %q", says)
		}
	}
	if last := s.settledOwner(); last != s.Master {
		t.Errorf("at last %s has the address", last.Name())
	}
	const up = "Link ha-slave:eth1 up."
	before := strings.Count(s.Master.Log(), up)
	for _, l := range s.Master.Spec.Links {
		if l.Name != "eth1" {
			continue
		}
		if err := s.Master.InsertCard(l); err != nil {
			t.Fatal(err)
		}
	}
	if !s.seen(limit, func() bool { return strings.Count(s.Master.Log(), up) > before }) {
		t.Errorf("eth1, which is back, carries no heartbeats")
	}
}
