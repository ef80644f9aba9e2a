package resource

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

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
