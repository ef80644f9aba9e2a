package resource

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/layout"
)

func TestFingerprint(t *testing.T) {
	want := fingerprint([]byte("echo a"))
	if fingerprint([]byte("# x\n\n  echo a\nROUTE=/sbin/route\n")) != want {
		t.Error("comments, blanks or tool paths count")
	}
	if fingerprint([]byte("echo a\necho b\n")) == want {
		t.Error("a second line does not count")
	}
}

// ours is the text of a file as we install it.
func ours(t *testing.T, file string) string {
	t.Helper()
	for _, f := range layout.Debian.Files(layout.Options{}) {
		if f.Path == file {
			return string(f.Text)
		}
	}
	t.Fatalf("%s is not installed", file)
	return ""
}

// theirs is the text of a file of an original on this machine.
func theirs(t *testing.T, file string) string {
	t.Helper()
	lab.NeedPrograms(t, file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// edited is a script with a line of the administrator's before its first command: the comments in front, ours
// "Part of systole" among them, stay.
func edited(text string) string {
	lines := strings.SplitAfter(text, "\n")
	first := slices.IndexFunc(lines, func(l string) bool { return l != "\n" && !strings.HasPrefix(l, "#") })
	return strings.Join(lines[:first], "") + "echo the administrator was here; exit 0\n" + strings.Join(lines[first:], "")
}

// TestEditedHooks wants harc and the scripts of rc.d, ours and the originals', in process as they are installed, and run
// once they are edited.
func TestEditedHooks(t *testing.T) {
	for _, name := range append(slices.Sorted(maps.Keys(hooks)), "harc") {
		file := "/etc/ha.d/rc.d/" + name
		if name == "harc" {
			file = "/etc/ha.d/harc"
		}
		for whose, text := range map[string]func(*testing.T, string) string{"ours": ours, "theirs": theirs} {
			t.Run(name+" "+whose, func(t *testing.T) {
				text := text(t, file)
				b := newBench(t, "ha-slave okay", halog.C6, Options{})
				place := strings.TrimPrefix(file, "/etc/")
				b.program(t, place, text)
				call := cluster.Call{Verb: cluster.Harc, Arg: "status", Env: []string{"HA_st=active", "HA_src=ha-slave"}}
				if name != "harc" {
					call.Arg = name
				}
				ran := func() bool {
					b.Do(t.Context(), call)
					return strings.Contains(b.fresh(t, b.debug, "", letters{}), "the administrator was here")
				}
				if ran(); strings.Contains(b.log(t), "not the stock script") {
					t.Error("the script as installed is run")
				}
				b.program(t, place, edited(text))
				if !ran() {
					t.Error("the edited script is not run")
				}
				if log := b.log(t); !strings.Contains(log, "info: /etc/ha.d//"+strings.TrimPrefix(file, "/etc/ha.d/")+" is not the stock script: it is run as a child\n") {
					t.Error(log)
				}
			})
		}
	}
	if isStockHook("status", t.TempDir()) {
		t.Error("a directory is a stock script")
	}
}

// TestSystoleCalled wants a script of the administrator's that calls systole run.
func TestSystoleCalled(t *testing.T) {
	b := newBench(t, "ha-slave okay", halog.C6, Options{})
	b.program(t, "ha.d/rc.d/status", "#!/bin/sh\n[ -x /nosuch/systole ] && /nosuch/systole status\necho mine\n")
	b.Do(t.Context(), cluster.Call{Verb: cluster.Harc, Arg: "status"})
	if got := b.fresh(t, b.debug, "", letters{}); !strings.Contains(got, "\nmine\n") {
		t.Error(got)
	}
}

// TestEditedScripts wants the built-in agent in the place of scripts, ours and the originals', as they are installed, and
// the scripts themselves once they are edited.
func TestEditedScripts(t *testing.T) {
	for _, file := range []string{
		"/etc/ha.d/resource.d/IPaddr", "/etc/ha.d/resource.d/IPaddr2", "/etc/ha.d/resource.d/IPv6addr", "/etc/init.d/ipvsadm", "/etc/init.d/ldirectord",
	} {
		name := filepath.Base(file)
		for whose, text := range map[string]func(*testing.T, string) string{"ours": ours, "theirs": theirs} {
			if name == "ipvsadm" && whose == "ours" {
				continue // we have none
			}
			t.Run(name+" "+whose, func(t *testing.T) {
				text := text(t, file)
				f := &fake{}
				b := newBench(t, "ha-master "+name+"::x", halog.C6, Options{Agents: map[string]agent.Agent{name: f}})
				place := strings.TrimPrefix(file, "/etc/")
				b.program(t, place, text)
				b.take(t, name+"::x")
				if !slices.Contains(f.calls, name+" x start via "+filepath.Base(filepath.Dir(place))) {
					t.Errorf("as installed: calls %q\n%s", f.calls, b.log(t))
				}
				f.calls = nil
				b.log(t)
				b.fresh(t, b.debug, "", letters{})
				b.program(t, place, edited(text))
				b.take(t, name+"::x")
				if debug := b.fresh(t, b.debug, "", letters{}); len(f.calls) != 0 || !strings.Contains(debug, "the administrator was here") {
					t.Errorf("edited: calls %q, debug file %q", f.calls, debug)
				}
				if log := b.log(t); strings.Count(log, "info: "+file+" is not the stock script: it is run, not the built-in agent") != 1 {
					t.Errorf("edited:\n%s", log)
				}
			})
		}
	}
}

// TestOwnScripts wants scripts of the administrator's run whatever they call, unless systole.cf says otherwise.
func TestOwnScripts(t *testing.T) {
	for name, text := range map[string]string{
		"ipvsadm":           "ipvsadm-restore </etc/ipvsadm.mine; . /etc/default/ipvsadm; IPVSADM_RULES=x",
		"ldirectord":        "exec /usr/sbin/ldirectord \"$@\"",
		"IPaddr":            ". /etc/ha.d/resource.d/hto-mapfuncs; ra_execocf $2",
		"IPaddr2":           "# Part of systole\nsystole IPaddr2 \"$@\"",
		"LVSSyncDaemonSwap": "ipvsadm --start-daemon syncmaster",
	} {
		for _, place := range []string{"ha.d/resource.d/", "init.d/"} {
			t.Run(place+name, func(t *testing.T) {
				f := &fake{}
				b := newBench(t, "ha-master "+name, halog.C6, Options{Agents: map[string]agent.Agent{name: f}})
				b.program(t, place+name, "#!/bin/sh\necho mine $*; exit 0\n"+text+"\n")
				b.take(t, name)
				b.give(t, name)
				if debug := b.fresh(t, b.debug, "", letters{}); len(f.calls) != 0 || !strings.Contains(debug, "mine start\n") || !strings.Contains(debug, "mine stop\n") {
					t.Errorf("calls %q, debug file %q", f.calls, debug)
				}
				want := "ResourceManager(default)[A]: info: /etc/" + place + name + " is not the stock script: it is run, not the built-in agent (to have that: builtin " + name + " in systole.cf)\n"
				if log := b.log(t); strings.Count(log, want) != 1 || strings.Count(log, "not the stock script") != 1 {
					t.Errorf("the choice is not told once:\n%s", log)
				}

				b.o.Builtin = []string{"x", name}
				b.take(t, name)
				b.give(t, name)
				if len(f.calls) < 2 || strings.Contains(b.fresh(t, b.debug, "", letters{}), "mine") {
					t.Errorf("with builtin: calls %q", f.calls)
				}
				want = "info: /etc/" + place + name + " is not the stock script: it is not run, but the built-in agent (systole.cf: builtin " + name + ")\n"
				if log := b.log(t); strings.Count(log, want) != 1 {
					t.Errorf("the choice is not told once:\n%s", log)
				}
			})
		}
	}
}

// TestProgramItself wants ldirectord's own program, by whatever link, to be stock, and a script that is not there or too
// long not.
func TestProgramItself(t *testing.T) {
	dir := t.TempDir()
	sbin := filepath.Join(dir, "sbin")
	if err := os.Mkdir(sbin, 0o755); err != nil {
		t.Fatal(err)
	}
	program, link, long := filepath.Join(sbin, "ldirectord"), filepath.Join(dir, "ldirectord"), filepath.Join(dir, "ipvsadm")
	for path, text := range map[string][]byte{program: []byte("#!/usr/bin/perl\n"), long: bytes.Repeat([]byte("#\n"), mostScript)} {
		if err := os.WriteFile(path, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	if !IsStock("ldirectord", link) {
		t.Error("a link to sbin/ldirectord is not stock")
	}
	if IsStock("ipvsadm", link) || IsStock("ipvsadm", long) || IsStock("ipvsadm", filepath.Join(dir, "gone")) {
		t.Error("another program, a file of only comments, or none is stock")
	}
}

// TestUpgraded wants a link to our program to be stock also when an upgrade has put another one in the place of that which
// runs.
func TestUpgraded(t *testing.T) {
	if program := os.Getenv("STOCK_TEST_PROGRAM"); program != "" { // the program that is replaced
		err := os.Remove(program)
		if err == nil {
			err = os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !IsStock("ldirectord", filepath.Join(filepath.Dir(program), "ldirectord")) {
			t.Error("the new program is not stock")
		}
		return
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "systole")
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err == nil {
		err = os.Symlink(program, filepath.Join(dir, "ldirectord"))
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program, "-test.run=^TestUpgraded$", "-test.count=1")
	c.Env = append(os.Environ(), "STOCK_TEST_PROGRAM="+program)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
