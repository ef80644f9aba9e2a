package adopt

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lasting"
)

func (m *machine) adopt() error { return Adopt(m.Context(), m.options()) }
func (m *machine) undo() error  { return Undo(m.Context(), m.options()) }

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatalf("%v\n%s", err, m.out.String())
	}
}

func (m *machine) fails(err error, why string) {
	m.Helper()
	if err == nil || !strings.Contains(err.Error(), why) {
		m.Fatalf("got %v, want %q\n%s", err, why, m.out.String())
	}
}

func (m *machine) wasTold(want string) {
	m.Helper()
	if got := m.did(); got != want {
		m.Errorf("the init script was told: %s\nwant: %s", got, want)
	}
}

func TestAdoptAndUndo(t *testing.T) {
	m := newMachine(t)
	before := m.files()
	m.must(m.adopt())
	for _, p := range originalPrograms {
		if to, err := os.Readlink(m.root + p); err != nil || to != m.root+"/usr/sbin/systole" {
			t.Errorf("%s -> %s, %v", p, to, err)
		}
	}
	m.fails(m.adopt(), "adopted already")
	m.write("/usr/sbin/.systole.systole", "half") // left by one that was killed
	m.write(recordFile+lasting.Unfinished, "half")
	m.must(m.undo())
	m.same(before)
	m.wasTold("stop original, start ours, stop ours, start original")
	m.fails(m.undo(), "nothing to undo")
}

// TestOnlyNode has the other node die while ours starts: ours has taken everything, and must not be stopped.
func TestOnlyNode(t *testing.T) {
	for what, start := range map[string]string{
		"has all":        "echo all >ROOT/fake/resources; echo dead >ROOT/fake/peer",
		"will have all":  "echo transition >ROOT/fake/resources; echo dead >ROOT/fake/peer",
		"waits for them": "echo dead >ROOT/fake/peer",
		"a failed start": "echo all >ROOT/fake/resources; exit 1",
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			m.write("/fake/start", start)
			m.fails(m.adopt(), "left running")
			m.wasTold("stop original, start ours")
		})
	}
}

// TestNotUp has ours end at once, or hang while the other node is there.
func TestNotUp(t *testing.T) {
	for what, start := range map[string]string{
		"ends":            "rm -f ROOT/run/heartbeat",
		"does not settle": "[ $whose = original ] || echo transition >ROOT/fake/resources",
	} {
		t.Run(what, func(t *testing.T) {
			m := newMachine(t)
			before := m.files()
			m.write("/fake/start", start)
			m.fails(m.adopt(), "systole has started, but")
			m.same(before)
			m.wasTold("stop original, start ours, stop ours, start original")
		})
	}
}

// TestNoRoom has nothing stopped when the program cannot be copied.
func TestNoRoom(t *testing.T) {
	m := newMachine(t)
	m.remove("/copied/systole")
	before := m.files()
	m.fails(m.adopt(), "no such file")
	m.same(before)
	m.wasTold("")
}

// TestDpkgCannotSay has dpkg end before it has said whose the files are: to rename them without a diversion would be wrong.
func TestDpkgCannotSay(t *testing.T) {
	m := newMachine(t)
	m.write("/fake/dpkg", "#!/bin/sh\nkill -9 $$\n")
	before := m.files()
	m.fails(m.adopt(), "dpkg -S")
	m.same(before)
	m.wasTold("")
}

// TestStopFails has heartbeat started again after an error that came when it was stopped.
func TestStopFails(t *testing.T) {
	m := newMachine(t)
	before := m.files()
	m.write("/fake/stop", "exit 1")
	m.fails(m.adopt(), "exit status 1")
	m.same(before)
	m.wasTold("stop original, start original")
	m.remove("/fake/stop")
	m.must(m.adopt())
	m.write("/fake/stop", "exit 1")
	m.remove("/run/log")
	m.fails(m.undo(), "exit status 1")
	m.wasTold("stop ours, start ours")
}

// TestDivertFails has an original heartbeat run when a diversion cannot be removed, which another try mends.
func TestDivertFails(t *testing.T) {
	m := newMachine(t)
	before := m.files()
	m.must(m.adopt())
	m.write("/fake/fail", "")
	m.fails(m.undo(), "no room")
	m.wasTold("stop original, start ours, stop ours, start original")
	m.remove("/fake/fail")
	m.must(m.undo())
	m.same(before)
}

// TestDivertedBefore has a diversion that is registered already, without a file aside: dpkg-divert then renames nothing.
func TestDivertedBefore(t *testing.T) {
	m := newMachine(t)
	before := m.files()
	path := m.root + "/usr/bin/cl_status"
	m.must(run("dpkg-divert", "--quiet", "--local", "--no-rename", "--divert", path+aside, "--add", path))
	m.must(m.adopt())
	if to, err := os.Readlink(path); err != nil || to != m.root+"/usr/sbin/systole" {
		t.Errorf("%s -> %s, %v", path, to, err)
	}
	m.must(m.undo())
	m.same(before)
}

// TestUpgraded has a program upgraded by rpm, which puts its file in our link's place.
func TestUpgraded(t *testing.T) {
	m := newMachine(t)
	before := m.files()
	m.must(m.adopt())
	m.remove("/usr/sbin/ldirectord")
	m.write("/usr/sbin/ldirectord", "#!/bin/sh\n# newer\n")
	m.must(m.undo())
	if !strings.Contains(m.out.String(), "/usr/sbin/ldirectord has been installed anew: that stays") {
		t.Errorf("nothing is said of it:\n%s", m.out.String())
	}
	m.same(strings.Replace(before, `/usr/sbin/ldirectord ---------- "#!/bin/sh\n# the original\n[ -e `+m.root+`/run/heartbeat ]\n"`,
		`/usr/sbin/ldirectord ---------- "#!/bin/sh\n# newer\n"`, 1))
	m.must(m.adopt())
}

// TestUndoDryRun wants to be told whether it can be done now.
func TestUndoDryRun(t *testing.T) {
	for _, c := range []struct{ resources, peer, want string }{
		{"none", "active", "restarted here; the resources are on n2"},
		{"local", "active", "has 1 of 2 resource groups: with --standby"},
		{"all", "dead", "Not now: no other node is active"},
		{"transition", "active", "Not now: resources are on the move"},
	} {
		m := newMachine(t)
		m.must(m.adopt())
		m.write("/fake/resources", c.resources)
		m.write("/fake/peer", c.peer)
		m.out.Reset()
		o := m.options()
		o.DryRun = true
		before := m.files()
		m.must(Undo(t.Context(), o))
		m.same(before)
		if out := m.out.String(); !strings.Contains(out, c.want) || !strings.Contains(out, "comes back to /usr/sbin/ldirectord") {
			t.Errorf("it does not say %q:\n%s", c.want, out)
		}
	}
}

// TestTerminal wants what is started out of reach of a Ctrl-C: in a process group of its own.
func TestTerminal(t *testing.T) {
	m := newMachine(t)
	m.write("/fake/group", "#!/bin/sh\nread -r _ _ _ _ group _ </proc/$$/stat; echo $group >>ROOT/run/groups; echo $group\n")
	group := m.root + "/fake/group"
	m.must(run(group))
	m.must(quiet(group))
	if _, code := ask(t.Context(), group); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	text, err := os.ReadFile(m.root + "/run/groups")
	m.must(err)
	groups := strings.Fields(string(text))
	if len(groups) != 3 {
		t.Fatalf("%q", groups)
	}
	for _, g := range groups {
		if g == strconv.Itoa(unix.Getpgrp()) {
			t.Errorf("a program was started in this process' group: %v", groups)
		}
	}
}
