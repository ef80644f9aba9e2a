package compat

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestDemo runs the demo to its end as root and as nobody, and interrupts it at several moments; each
// time in a process namespace of its own, in which nothing may be left of it afterwards, nor in its
// temporary directory, nor among the mounts.
func TestDemo(t *testing.T) {
	lab.NeedRoot(t)
	t.Parallel()
	lab.NeedPrograms(t, "unshare", "setpriv", "ps")
	dir := t.TempDir()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) { // nobody is to come in
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	systole := filepath.Join(dir, "systole")
	if err := os.WriteFile(systole, text, 0o755); err != nil {
		t.Fatal(err)
	}
	const told = `"$0" demo; echo status $?`
	interrupted := func(signal, when string) string {
		return `"$0" demo >"$TMPDIR/told" & demo=$!
while ! grep -q '` + when + `' "$TMPDIR/told"; do kill -0 $demo || exit; sleep .05; done
kill -` + signal + ` $demo; wait $demo; echo status $?; rm "$TMPDIR/told"`
	}
	for name, c := range map[string]struct {
		user   string
		script string
		status string
		rows   int
	}{
		"root":           {"0", told, "0", 9},
		"nobody":         {"65534", told, "0", 9},
		"hosts built":    {"0", interrupted("INT", "^  client "), "1", 0},
		"interrupted":    {"0", interrupted("INT", "1\\. both directors start"), "1", 0},
		"terminated":     {"0", interrupted("TERM", "3\\. rs-204"), "1", 0},
		"nobody hung up": {"65534", interrupted("HUP", "^  client "), "1", 0},
		"nobody, too":    {"65534", interrupted("INT", "2\\. requests"), "1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.user != "0" && !userNamespaces(c.user) {
				t.Skip("no user namespaces for users here")
			}
			tmp := filepath.Join(dir, name)
			if err := os.Mkdir(tmp, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(tmp, 0o777); err != nil {
				t.Fatal(err)
			}
			after := "\necho left; ls -A \"$TMPDIR\"; grep \"$TMPDIR\" /proc/self/mountinfo; ps -e -o args="
			cmd := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child",
				"setpriv", "--reuid", c.user, "--regid", c.user, "--clear-groups", "sh", "-c", c.script+after, systole)
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			story, left, _ := bytes.Cut(out, []byte("left\n"))
			if !bytes.Contains(story, []byte("status "+c.status+"\n")) {
				t.Errorf("not status %s:\n%s", c.status, story)
			}
			if c.rows > 0 && !regexp.MustCompile(`^This kernel has (no )?ip_vs`).Match(story) {
				t.Errorf("the first line does not tell which table is used:\n%s", story)
			}
			if c.rows > 0 {
				checkStory(t, string(story))
			}
			rows := regexp.MustCompile(`(?m)^ +[a-z][a-z0-9' -]+ +\d+\.\d\d s +ha-(master|slave) +\d+ +\d+ +\d+ +\d+ +(-|\d+ ms) *$`).FindAll(story, -1)
			if len(rows) != c.rows {
				t.Errorf("%d lines in the summary, want %d:\n%s", len(rows), c.rows, story)
			}
			// sh itself, under its script, and ps
			for line := range strings.Lines(string(left)) {
				if args := strings.TrimSpace(line); !strings.HasPrefix(args, "sh -c ") && !strings.HasPrefix(args, "ps -e ") {
					t.Errorf("left behind: %s", args)
				}
			}
		})
	}
}

// checkStory holds what a whole demo printed against what its reader is told to expect.
func checkStory(t *testing.T, story string) {
	t.Helper()
	for _, want := range []string{
		"[root@ha-master ~]# ipvsadm -Ln", "TCP  172.16.60.111:80 wlc persistent 600", "Now: the virtual address is on ha-slave; the client got ",
		"heartbeat: WARN: node ha-master: is dead", "client     is served by sorry page", "VIP        is on ha-slave", "ResourceManager: info: Acquiring resource group",
	} {
		if !strings.Contains(story, want) {
			t.Errorf("the demo never said %q:\n%s", want, story)
		}
	}
}

// TestVMDemo tells the story on a kernel with ip_vs.
func TestVMDemo(t *testing.T) {
	if !lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 5*time.Minute, 2048 }) {
		return
	}
	story, err := exec.Command(os.Getenv(lab.SystoleEnv), "demo").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(story), "This kernel has ip_vs") {
		t.Errorf("demo: %v\n%s", err, story)
	}
	checkStory(t, string(story))
}

// userNamespaces tells whether that user may make one.
func userNamespaces(user string) bool {
	return exec.Command("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "unshare", "--user", "--map-root-user", "true").Run() == nil
}
