package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoadAgain has files break, and the machine lose what they name, between two runs.
func TestLoadAgain(t *testing.T) {
	p := PathsUnder(t.TempDir())
	if err := os.MkdirAll(p.Etc, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(p.Etc, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	const conf = "bcast lo\nauto_failback on\nnode alpha beta\n"
	good := func() {
		put("nodeinfo", "alpha\n", 0o644)
		put("ha.cf", conf, 0o644)
		put("authkeys", "auth 1\n1 sha1 secret\n", 0o600)
		put("haresources", "alpha 10.0.0.1\n", 0o644)
		put("systole.cf", "stopfailure log\n", 0o644)
	}
	good()
	first, problems := Load(p)
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	for name, breakIt := range map[string]func(){
		"ha.cf":           func() { put("ha.cf", "nonsense\n", 0o644) },
		"ha.cf is gone":   func() { os.Remove(filepath.Join(p.Etc, "ha.cf")) },
		"authkeys":        func() { put("authkeys", "auth 9\n", 0o600) },
		"mode":            func() { put("authkeys", "auth 1\n1 sha1 secret\n", 0o644) },
		"haresources":     func() { put("haresources", "gamma 10.0.0.1\n", 0o644) },
		"systole.cf":      func() { put("systole.cf", "stopfailure dance\n", 0o644) },
		"the node's name": func() { put("nodeinfo", "gamma\n", 0o644) },
	} {
		good()
		breakIt()
		f, problems, onDisk := LoadAgain(p, first.kept)
		if problems.Err() != nil || onDisk.Err() == nil {
			t.Errorf("%s: problems %v, on disk %v", name, problems, onDisk)
			continue
		}
		if f.Node != "alpha" || len(f.HA.Nodes) != 2 || f.Ring == nil || len(f.Groups) != 1 || f.Systole.StopFailure != "log" {
			t.Errorf("%s: goes on with %+v", name, f)
		}
		if _, problems, _ := LoadAgain(p, nil); problems.Err() == nil {
			t.Errorf("%s: a first start takes it", name)
		}
	}
	good()
	put("systole.cf", "stopfailure standby\n", 0o644)
	if f, _, onDisk := LoadAgain(p, first.kept); onDisk != nil || f.Systole.StopFailure != "standby" {
		t.Errorf("sound files: %v, %v", f.Systole, onDisk)
	}
	// An interface that is away.
	lost := &Kept{Node: "alpha", Uname: "alpha", Texts: map[string]Text{}}
	for path, text := range first.kept.Texts {
		text.Text = []byte(strings.ReplaceAll(string(text.Text), "bcast lo", "bcast away0\nserial /dev/away0"))
		lost.Texts[path] = text
	}
	put("ha.cf", string(lost.Texts[haPath(p)].Text), 0o644)
	if f, problems, onDisk := LoadAgain(p, lost); problems.Err() != nil || onDisk.Err() == nil || len(f.HA.Media) != 2 {
		t.Errorf("an interface that is away: %v, on disk %v", problems, onDisk)
	}
}
