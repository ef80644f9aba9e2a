package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/hacf"
)

// TestCompletion (4 s) types command lines into bash, with the completion as it is installed, and looks at what it offers. What
// it offers as a program's own words, the program has to know.
func TestCompletion(t *testing.T) {
	t.Parallel()
	root, bin := installRoot(t, "--ipvsadm"), t.TempDir()
	if err := os.Symlink(filepath.Join(root, "usr/sbin/systole"), filepath.Join(bin, "systole")); err != nil {
		t.Fatal(err)
	}
	offers := func(line string) []string {
		t.Helper()
		name, _, _ := strings.Cut(line, " ")
		cmd := exec.Command("bash", "-c", `. "$1" || exit
set -- $(complete -p "${2%% *}") "$2"
COMP_WORDS=(${@: -1}) # the line; a blank at its end begins a word
case ${@: -1} in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$3" && printf '%s\n' "${COMPREPLY[@]}"`, "bash", filepath.Join(root, "usr/share/bash-completion/completions", name), line)
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		return strings.Fields(string(out))
	}
	for line, want := range map[string]string{
		"hb_standby f": "foreign failback", "hb_takeover l": "local", "systole hb_standby a": "all", "systole ad": "adopt",
		"systole adopt --": "--dry-run --yes --undo --standby --wait --help", "cl_status li": "listnodes listhblinks", "systole cl_status rsc": "rscstatus",
		"cl_status hbparameter ": "-p -m", "cl_status hbparameter -p auto": "auto_failback", "cl_status listnodes -": "-p -n -v -m",
		"ldirectord ldirectord.cf re": "restart reload", "ldirectord x.cf drain 10.0.0.1 --w": "--wait", "ldirectord status --": "--verbose --json",
		"systole show --kind h": "ha.cf haresources", "systole install --layout ": "debian rhel", "heartbeat --": "--help",
		"ResourceManager take": "takegroup", "ipvsadm --start": "--start-daemon", "cl_respawn -": "-m -i -w -p -r -h", "systole help ldirectord.": "ldirectord.cf",
	} {
		if got := strings.Join(offers(line), " "); got != want {
			t.Errorf("%q offers %q, want %q", line, got, want)
		}
	}
	// Of ha.cf's directives those are offered of which heartbeat answers with a value.
	cfg, problems := hacf.Parse("ha.cf", []byte("node a\nbcast eth0\nbaud 9600\nudpport 694\n"), hacf.Host{Node: "a"})
	if err := problems.Err(); err != nil {
		t.Error(err)
	}
	for _, name := range offers("cl_status hbparameter -p ") {
		if _, ok := cfg.Param(name); !ok && name != "hbversion" {
			t.Errorf("hbparameter -p offers %q, which has no value", name)
		}
	}
	output := func(command ...string) string {
		out, _ := exec.Command(filepath.Join(root, "usr/sbin/systole"), command...).CombinedOutput() // usages end with any status
		return string(out)
	}
	if got, want := offers("systole "), strings.Fields(output("programs")+" --help --version"); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("systole offers %q, want %q", got, want)
	}
	for _, c := range []struct{ line, usage string }{
		{"cl_status ", output("cl_status")},
		{"ldirectord x.cf ", output("ldirectord", "--help")},
		{"heartbeat ", output("heartbeat", "--help")},
		{"cl_respawn ", output("cl_respawn", "-h")},
		{"ipvsadm ", output("ipvsadm", "--help")},
		{"systole adopt ", output("adopt", "--help")},
		{"systole realserver ", output("realserver", "--help")},
		{"systole install ", output("install", "--help")},
		{"systole check ", output("check", "--help")},
		{"systole show ", output("show", "--help")},
		{"systole status ", output("status", "--help")},
		{"systole metrics ", output("metrics", "--help")},
	} {
		words := offers(c.line)
		if len(words) == 0 {
			t.Errorf("%q offers nothing", c.line)
		}
		for _, w := range words {
			if w != "--help" && !strings.Contains(c.usage, w) && w != "-Ln" {
				t.Errorf("%q offers %q, of which the usage says nothing", c.line, w)
			}
		}
	}
	links, err := filepath.Glob(filepath.Join(root, "usr/share/bash-completion/completions/*"))
	if err != nil || len(links) < 14 {
		t.Errorf("%d files, %v", len(links), err)
	}
	for _, l := range links {
		if _, err := os.Stat(l); err != nil {
			t.Error(err)
		}
		offers(filepath.Base(l) + " ") // its file is found by its name, and is for it
	}
}
