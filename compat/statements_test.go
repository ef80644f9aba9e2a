package compat

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestStatements: the tests that LDIRECTORD.md names exist.
func TestStatements(t *testing.T) {
	text, err := os.ReadFile("LDIRECTORD.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.HasSuffix(name, ".txtar") || filepath.Base(filepath.Dir(path)) == "testdata" && strings.HasSuffix(name, ".txt"):
			have[name] = true
		case strings.HasSuffix(name, "_test.go"):
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range function.FindAllStringSubmatch(string(source), -1) {
				have[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || strings.HasPrefix(cells[1], "---") || cells[2] == " test " {
			continue
		}
		rows++
		for _, name := range strings.Split(cells[2], ",") {
			if name = strings.TrimSpace(name); !have[name] {
				t.Errorf("%q: there is no test %q", strings.TrimSpace(cells[1]), name)
			}
		}
	}
	if rows < 50 {
		t.Errorf("only %d statements were read", rows)
	}
}
