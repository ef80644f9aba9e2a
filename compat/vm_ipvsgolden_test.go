package compat

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/systole-ha/systole/pkg/lab"
)

const recordDir = "../testdata/ipvsadm"

var update = flag.Bool("update", false, "record the original's output anew")

// shareRecords lets the guest write what it records.
func shareRecords(s *lab.Spec) {
	if dir, err := filepath.Abs(recordDir); err == nil && *update {
		s.Share = append(s.Share, dir)
	}
}

// testRecords holds testdata/ipvsadm against the original, so that the tests of pkg/ipvs may
// trust it.
func testRecords(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(recordDir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("records: %v, %v", files, err)
	}
	original := newSide(t, false)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := false
		for i := range archive.Files {
			f := &archive.Files[i]
			switch f.Name {
			case "hosts", "services":
				if err := os.WriteFile("/etc/"+f.Name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			case "rules":
				original.run("ipvsadm", "", "-C")
				if r := original.run("ipvsadm", string(f.Data), "-R"); r != (result{}) {
					t.Errorf("%s: the original does not like its rules: %v", file, r)
				}
			default:
				r := original.run("ipvsadm", "", strings.Fields(f.Name)...)
				if r.stdout == string(f.Data) && r.stderr == "" && r.status == 0 {
					continue
				}
				if changed = true; !*update {
					t.Errorf("%s: ipvsadm %s: the original prints\n%vthe record is\n%s", file, f.Name, r, f.Data)
				}
				f.Data = []byte(r.stdout)
			}
		}
		if changed && *update {
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Our program with the system's names: what the last archive left in /etc.
	ours := newSide(t, true)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rules := original.run("ipvsadm", "", "-S").stdout
	if r := ours.exec(self, "ipvsadm-restore", "# a comment\n"+rules); r != (result{}) {
		t.Errorf("ours does not like the original's rules: %v", r)
	}
	for _, args := range [][]string{{"-L"}, {"-S"}, {"-L", "--stats"}, {"-Ln"}} {
		if a, b := original.run("ipvsadm", "", args...), ours.exec(self, "ipvsadm", "", args...); a != b {
			t.Errorf("ipvsadm %v:\n--- original\n%v--- ours\n%v", args, a, b)
		}
	}
}
