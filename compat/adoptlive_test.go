package compat

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// readmeCommands are the commands, without what is said of them, of the first example in a section of the README.
func readmeCommands(t *testing.T, section string) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var commands []string
	for line := range strings.Lines(rest) {
		if command, example := strings.CutPrefix(line, "    "); example {
			command, _, _ = strings.Cut(command, "#")
			commands = append(commands, strings.TrimSpace(command))
		} else if len(commands) > 0 {
			break
		}
	}
	return commands
}

// TestAdopt has a running pair of originals, from Debian's packages, adopted node by node while a client fetches a page
// from its address, and then given back: by the README's commands, word by word. It prints the longest time without an
// answer of each step, and compares the nodes' files.
func TestAdopt(t *testing.T) {
	t.Parallel()
	commands := readmeCommands(t, "Replace a running pair, and go back")
	if len(commands) != 4 {
		t.Fatalf("the README has %q, want four commands: look, adopt, adopt the one with the resources, undo", commands)
	}
	look, adopt, adoptWithResources, undo := commands[0], commands[1], commands[2], commands[3]
	a := newAdoption(t, true)
	h := a.Hosts
	a.refused(a.master, "--yes --undo", "Usage:")
	a.refused(a.slave, "--undo", "nothing to undo")
	a.refused(a.slave, "--yes --wait soon", "--wait soon: not a time")
	// What the other node needs for its takeover. One that hears of the start meanwhile, an original, keeps the resources.
	a.slave.run("sed -i '2i sleep 4' /usr/share/heartbeat/mach_down")
	probe := a.start()
	begin := a.files()

	// What would be an outage is refused.
	a.refused(a.master, "--yes", "move them first")
	dry := a.slave.run("PATH=$PATH:/tmp; " + look)
	for _, want := range []string{"/usr/libexec/heartbeat/heartbeat (dpkg-divert)", "/usr/sbin/ldirectord (dpkg-divert)", "the resources are on ha-master and stay there"} {
		if !strings.Contains(dry, want) {
			t.Errorf("--dry-run does not say %q:\n%s", want, dry)
		}
	}
	if d := a.difference(begin); len(d) > 0 {
		t.Errorf("looking changed %v", d)
	}

	a.step("adopt ha-slave", probe, a.slave, adopt, "/usr/sbin/systole")
	a.step("adopt ha-master, with --standby", probe, a.master, adoptWithResources, "/usr/sbin/systole")
	for _, changed := range a.difference(begin) {
		if !adopted.MatchString(changed) {
			t.Errorf("adopt changed %s", changed)
		}
	}
	a.refused(a.slave, "--yes", "adopted already")
	a.step("undo ha-slave", probe, a.slave, undo, "/usr/libexec/heartbeat/heartbeat")
	a.step("undo ha-master, with --standby", probe, a.master, undo+" --standby", "/usr/libexec/heartbeat/heartbeat")
	if d := a.difference(begin); len(d) > 0 {
		t.Errorf("after all was undone, these are not as before: %v", d)
	}

	// Alone, there is nobody to take over meanwhile.
	a.slave.run("/etc/init.d/heartbeat stop")
	waitFor(t, limit, "ha-slave is dead", func() bool {
		r, err := a.master.node.Exec(t.Context(), "cl_status", "nodestatus", "ha-slave")
		return err == nil && strings.TrimSpace(r.Stdout) == "dead"
	})
	a.refused(a.master, "--yes --standby", "no other node is active")
	if !h.Master.HoldsVIP() {
		t.Error("ha-master does not hold the address any more")
	}
}

// newAdoption is a pair of originals from Debian's packages, not started, with our program in /tmp. With systemd, that runs
// on ha-master, with the original's own unit; ha-slave has init scripts alone.
func newAdoption(t *testing.T, systemd bool) *adoption {
	lab.NeedPrograms(t, "dpkg-divert")
	conf := func(master bool) map[string]string {
		return map[string]string{"/etc/ha.d/ha.cf": fastTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])}
	}
	h := tutorial(t, lab.HostsOptions{
		Master: lab.Original, Slave: lab.Original, Userspace: true, Log: func(string, ...any) {},
		// The original's ipvsadm is a stand-in that keeps its table in a file, and ours a table that is forgotten: the
		// directors themselves answer at the address.
		Env:          []string{"SYSTOLE_NO_REBOOT=1", "SYSTOLE_IPVS=model"},
		MasterConfig: conf(true), SlaveConfig: conf(false),
	})
	a := &adoption{T: t, Hosts: h, systemd: systemd, master: machine{t, h.Master}, slave: machine{t, h.Slave}}
	if systemd {
		a.master.write("/etc/systemd/system/heartbeat.service.d/env.conf", "[Service]\nEnvironment=SYSTOLE_NO_REBOOT=1 SYSTOLE_IPVS=model\n", 0o644)
		a.master.node = lab.Boot(t, h.Master.Node)
	}
	t.Cleanup(func() {
		for _, d := range []*lab.Director{h.Master, h.Slave} {
			if t.Failed() {
				lines := strings.Split(d.Log(), "\n")
				t.Logf("ha-log of %s ends:\n%s", d.Name(), strings.Join(lines[max(0, len(lines)-150):], "\n"))
			}
		}
	})
	text, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []machine{a.master, a.slave} {
		if err := m.node.WriteFile("/tmp/systole", text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// start starts the pair, and a client that fetches a page from its address all the time.
func (a *adoption) start() *lab.Probe {
	a.Helper()
	if a.systemd {
		a.master.run("systemctl start heartbeat")
	}
	for _, d := range []*lab.Director{a.Master, a.Slave} {
		if d == a.Master && a.systemd {
			continue
		}
		if r, err := d.Start(a.Context()); err != nil || r.Code != 0 {
			a.Fatalf("%+v %v", r, err)
		}
	}
	waitFor(a.T, limit, "ha-master has the address", a.Master.HoldsVIP)
	a.whole()
	probe, err := a.Client.ProbeHTTP(netip.AddrPortFrom(lab.VIP, 80), 20*time.Millisecond)
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(probe.Stop)
	waitFor(a.T, limit, "the page", func() bool { by, _ := probe.Answers(time.Time{}, time.Now()); return len(by) > 0 })
	return probe
}

// TestReplace moves a pair over to ours and back five times; see replace.
func TestReplace(t *testing.T) {
	t.Parallel()
	replace(t, 5)
}

// TestSoakReplace does that a hundred times.
func TestSoakReplace(t *testing.T) { replace(t, 100) }

// replace has the two nodes of a running pair of originals adopted one after the other, and given back one after
// the other, while a client fetches a page. After each step the pair must have one owner. It prints the client's
// longest times without an answer.
func replace(t *testing.T, cycles int) {
	a := newAdoption(t, false)
	probe := a.start()
	steps := []struct {
		name, command, exe string
		on                 machine
		gaps               []time.Duration
	}{
		{name: "adopt ha-slave", on: a.slave, command: "systole adopt --yes --wait 3s", exe: "/usr/sbin/systole"},
		{name: "adopt ha-master", on: a.master, command: "systole adopt --yes --standby --wait 3s", exe: "/usr/sbin/systole"},
		{name: "undo ha-slave", on: a.slave, command: "systole adopt --undo --wait 3s", exe: "/usr/libexec/heartbeat/heartbeat"},
		{name: "undo ha-master", on: a.master, command: "systole adopt --undo --standby --wait 3s", exe: "/usr/libexec/heartbeat/heartbeat"},
	}
	for range cycles {
		for i := range steps {
			s := &steps[i]
			s.gaps = append(s.gaps, a.step(s.name, probe, s.on, s.command, s.exe))
		}
	}
	t.Logf("%d times the originals did not give the resources back of themselves", a.asked)
	for _, s := range steps {
		slices.Sort(s.gaps)
		t.Logf("%s, %d times: longest time without an answer: median %v, longest %v", s.name, cycles,
			s.gaps[len(s.gaps)/2].Round(time.Millisecond), s.gaps[len(s.gaps)-1].Round(time.Millisecond))
	}
}

// whole waits until the pair is stable, with all resources on one node.
func (a *adoption) whole() {
	a.Helper()
	quiet := func(m machine) bool {
		r, err := m.node.Exec(a.Context(), "cl_status", "rscstatus")
		return err == nil && r.Code == 0 && !strings.Contains(r.Stdout, "transition")
	}
	waitFor(a.T, limit, "the pair is whole", func() bool {
		return quiet(a.master) && quiet(a.slave) && a.Master.HoldsVIP() != a.Slave.HoldsVIP()
	})
}

// home waits until auto_failback has brought the resources home. A pair of originals sometimes does not manage
// that: the ipfail of each has it offer foreign resources, at the same time, and each ignores the other's offer. The
// administrator then asks for them.
func (a *adoption) home() {
	a.Helper()
	begin := time.Now()
	for !a.Master.HoldsVIP() && time.Since(begin) < 30*time.Second {
		time.Sleep(50 * time.Millisecond)
	}
	if !a.Master.HoldsVIP() {
		if !strings.Contains(a.Master.Log()+a.Slave.Log(), "new request from ha-master ignored") {
			a.Errorf("ha-master has not got its resources back\nha-master:\n%s\nha-slave:\n%s", lastLines(a.Master.Log(), 80), lastLines(a.Slave.Log(), 80))
		}
		a.asked++
		a.master.run("/usr/share/heartbeat/hb_takeover local")
	}
	waitFor(a.T, limit, "ha-master has its resources", a.Master.HoldsVIP)
}

// step adopts or undoes one node, looks at who runs then, and returns the client's longest time without an answer.
func (a *adoption) step(name string, probe *lab.Probe, m machine, command, exe string) time.Duration {
	a.Helper()
	begin := time.Now()
	out := m.run("PATH=$PATH:/tmp; " + command) // once it is adopted, by its own place
	if got := m.run("readlink -f /proc/$(tr -d ' ' </run/heartbeat.pid)/exe"); strings.TrimSpace(got) != exe {
		a.Fatalf("%s: the process is %s, not %s\n%s", name, got, exe, out)
	}
	a.whole()
	a.home()
	a.whole()
	gap := probe.Longest(begin, time.Now())
	_, failed := probe.Answers(begin, time.Now())
	a.Logf("%s: %.1f s, longest time without an answer %v, %d questions failed", name, time.Since(begin).Seconds(), gap.Duration().Round(time.Millisecond), failed)
	if gap.Duration() > 10*time.Second {
		a.Errorf("%s: an outage of %v", name, gap.Duration())
	}
	return gap.Duration()
}
