package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	for _, p := range Pages() {
		if n := p.Names(); len(n) == 0 || n[0] != p.Name || p.Summary() == "" {
			t.Errorf("%s: NAME has %q - %q", p.Name, n, p.Summary())
		}
		roff := string(p.Roff())
		if !strings.Contains(roff, `.TH "`+p.Name+`" "`+p.Section+`"`) && !strings.Contains(roff, `.TH `+p.Name+` `+p.Section) && !strings.Contains(strings.ToLower(roff), `.th "`+strings.ToLower(p.Name)+`" "`+p.Section+`"`) {
			t.Errorf("%s: title line: %q", p.Name, roff[:min(200, len(roff))])
		}
		if text := p.Text(false); strings.Contains(text, "**") || strings.Contains(text, "\x1b") || !strings.HasPrefix(text, "NAME\n") {
			t.Errorf("%s: not plain text:\n%s", p.Name, text)
		}
	}
}

// Every page that a page names is there, or belongs to another project.
func TestReferences(t *testing.T) {
	others := map[string]bool{"man": true, "stonith": true}
	for _, p := range Pages() {
		parts := strings.Split(p.source, "**(")
		for _, before := range parts[:len(parts)-1] {
			name := before[strings.LastIndex(before, "**")+2:]
			if _, ok := Find(name); !ok && !others[name] {
				t.Errorf("%s refers to %s, which has no page", p.Name, name)
			}
		}
	}
}

func TestFind(t *testing.T) {
	for topic, want := range map[string]string{"ha.cf": "ha.cf", "HB_TAKEOVER": "hb_standby", "mach_down": "ResourceManager"} {
		if p, ok := Find(topic); !ok || p.Name != want {
			t.Errorf("%s: %s %v", topic, p.Name, ok)
		}
	}
	if _, ok := Find("nothing"); ok {
		t.Error("found what is not there")
	}
}

// TestMan has man itself read the pages, where it is installed.
func TestMan(t *testing.T) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("no man here")
	}
	dir := t.TempDir()
	for _, p := range Pages() {
		file := filepath.Join(dir, p.Name+"."+p.Section)
		if err := os.WriteFile(file, p.Roff(), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("man", "--warnings", "-l", file)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80", "PAGER=cat", "MANPAGER=cat")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil || complaints.Len() > 0 || !strings.Contains(string(out), "NAME") {
			t.Errorf("man %s: %v %s", file, err, complaints.String())
		}
	}
}
