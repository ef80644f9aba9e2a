package compat

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// adopted are the files that adopt may change.
var adopted = regexp.MustCompile(`^ha-\w+:(/usr/(libexec|share)/heartbeat/[\w-]+(\.original)?|/usr/s?bin/(cl_\w+|ldirectord)(\.original)?|/usr/sbin/systole|/var/lib/systole(/adopted)?|/var/lib/dpkg/diversions)$`)

type adoption struct {
	*testing.T
	*lab.Hosts
	systemd       bool // on ha-master
	master, slave machine
	asked         int // how often the administrator had to ask for the resources
}

func (a *adoption) refused(m machine, args, why string) {
	a.Helper()
	r, err := m.node.Exec(a.Context(), "/bin/sh", "-c", "/tmp/systole adopt "+args)
	if err != nil || r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, why) {
		a.Errorf("adopt %s: exit status %d, %v, want %q in\n%s%s", args, r.Code, err, why, r.Stdout, r.Stderr)
	}
}

// files are the files of both nodes, but for those that a running heartbeat writes.
func (a *adoption) files() map[string]string {
	a.Helper()
	all := map[string]string{}
	for name, m := range map[string]machine{"ha-master": a.master, "ha-slave": a.slave} {
		list := m.run(`find /etc /usr /var/lib -path /var/lib/heartbeat -prune -o -path '*/dpkg/diversions-old' -prune -o ` +
			`-path '/var/lib/fake-ipvsadm*' -prune -o \( -type d -printf '%p dir %m\n' -o -type l -printf '%p -> %l\n' -o -printf '%p %s %m\n' \); ` +
			`find /etc /var/lib/dpkg/diversions -type f -exec sha256sum {} + | awk '{print $2 "# " $1}'`)
		for line := range strings.Lines(list) {
			path, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			all[name+":"+path] = rest
		}
	}
	return all
}

func (a *adoption) difference(before map[string]string) []string {
	a.Helper()
	now := a.files()
	changed := map[string]bool{}
	for _, pair := range [][2]map[string]string{{before, now}, {now, before}} {
		for path, text := range pair[0] {
			if pair[1][path] != text {
				changed[strings.TrimSuffix(path, "#")] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

// TestAdoptAlone has the node with the resources die while the other one is adopted: that one then serves, and is not
// stopped. It takes initdead and a minute.
func TestAdoptAlone(t *testing.T) {
	t.Parallel()
	a := newAdoption(t, false)
	a.start()
	a.slave.run(`{ /tmp/systole adopt --yes; echo "exit status $?"; } >/tmp/told 2>&1 &`)
	told := func(what string) func() bool {
		return func() bool { return strings.Contains(a.slave.read("/tmp/told"), what) }
	}
	waitFor(t, limit, "ours starts", told("Starting systole..."))
	if _, err := a.Master.Crash(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, limit, "ha-slave takes the address", a.Slave.HoldsVIP)
	waitFor(t, 3*time.Minute, "adopt ends", told("exit status"))
	if text := a.slave.read("/tmp/told"); !strings.Contains(text, "left running") || !strings.Contains(text, "exit status 1\n") {
		t.Errorf("adopt has said\n%s", text)
	}
	if got := strings.TrimSpace(a.slave.run("readlink -f /proc/$(tr -d ' ' </run/heartbeat.pid)/exe")); got != "/usr/sbin/systole" || !a.Slave.HoldsVIP() {
		t.Errorf("ha-slave runs %s, and has the address: %v", got, a.Slave.HoldsVIP())
	}
	// It is put back as it was said.
	a.refused(a.slave, "--undo", "no other node is active")
	a.slave.run("/etc/init.d/heartbeat stop && /usr/sbin/systole adopt --undo && /etc/init.d/heartbeat start")
	waitFor(t, limit, "the original has the address", a.Slave.HoldsVIP)
}

// TestAdoptStopped is the same on a node whose heartbeat does not run, without dpkg on the second: it is about files.
func TestAdoptStopped(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "dpkg-divert")
	h := tutorial(t, lab.HostsOptions{Master: lab.Original, Slave: lab.Original, Userspace: true, Log: func(string, ...any) {}})
	a := &adoption{T: t, Hosts: h, master: machine{t, h.Master}, slave: machine{t, h.Slave}}
	text, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []machine{a.master, a.slave} {
		if err := m.node.WriteFile("/tmp/systole", text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.slave.write("/usr/bin/dpkg", "#!/bin/sh\nexit 127\n", 0o755)
	before := a.files()
	for _, m := range []machine{a.master, a.slave} {
		// What ends a program at a terminal does not leave this one half done.
		out := m.run(`timeout 60 sh -c '/tmp/systole adopt --yes & p=$!; until [ -e /var/lib/systole/adopted ]; do :; done; kill -TERM $p; kill -INT $p; kill -HUP $p; wait $p'`)
		if got := m.run("readlink -f /usr/libexec/heartbeat/heartbeat /usr/sbin/ldirectord /usr/share/heartbeat/hb_standby /usr/bin/cl_status | sort -u"); got != "/usr/sbin/systole\n" {
			t.Errorf("the programs are %s\n%s", got, out)
		}
		m.run("/usr/libexec/heartbeat/heartbeat -V | grep -q systole && /usr/libexec/heartbeat/heartbeat.original -V | grep -qv systole")
	}
	// An upgrade of the original's package leaves ours in place.
	a.master.run("dpkg-divert --list '*heartbeat/heartbeat' | grep -q 'local diversion'")
	for _, changed := range a.difference(before) {
		if !adopted.MatchString(changed) {
			t.Errorf("adopt changed %s", changed)
		}
	}
	a.refused(a.master, "--yes", "adopted already")
	for _, m := range []machine{a.master, a.slave} {
		m.run("/usr/sbin/systole adopt --undo")
	}
	if d := a.difference(before); len(d) > 0 {
		t.Errorf("after all was undone, these are not as before: %v", d)
	}
	// A file with an error is not adopted.
	a.master.write("/etc/ha.d/ha.cf", "nonsense\n", 0o644)
	a.refused(a.master, "--yes", "have errors")
}
