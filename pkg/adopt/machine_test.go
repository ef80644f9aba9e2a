package adopt

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// machine is a directory with the originals' programs, an init script and a heartbeat that is a file, run/heartbeat. Its
// dpkg is the real one, with a database of its own, to which all programs but ldirectord belong.
type machine struct {
	*testing.T
	root string
	out  bytes.Buffer
}

var originalPrograms = []string{
	"/usr/libexec/heartbeat/heartbeat", "/usr/share/heartbeat/hb_standby", "/usr/bin/cl_status", "/usr/sbin/ldirectord",
}

func newMachine(t *testing.T) *machine {
	lab.NeedPrograms(t, "dpkg", "dpkg-divert")
	real, err := exec.LookPath("dpkg-divert")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{T: t, root: t.TempDir()}
	t.Setenv("DPKG_ADMINDIR", m.root+"/dpkg")
	t.Setenv("PATH", m.root+"/fake:"+os.Getenv("PATH"))
	var owned strings.Builder
	for _, p := range originalPrograms {
		m.write(p, "#!/bin/sh\n# the original\n[ -e ROOT/run/heartbeat ]\n")
		if p != "/usr/sbin/ldirectord" {
			fmt.Fprintln(&owned, m.root+p)
		}
	}
	m.write("/dpkg/info/heartbeat.list", owned.String())
	m.write("/dpkg/status", "Package: heartbeat\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n\n")
	m.write("/dpkg/diversions", "")
	m.write("/var/lib/dpkg/here", "")
	m.write("/copied/systole", "#!/bin/sh\n# ours\n[ -e ROOT/run/heartbeat ]\n")
	m.write("/run/heartbeat", "")
	m.write("/fake/resources", "none\n")
	m.write("/fake/peer", "active\n")
	m.write("/fake/cl_status", `#!/bin/sh
[ -e ROOT/run/heartbeat ] || exit 1
case $1 in
rscstatus) cat ROOT/fake/resources ;;
nodestatus) cat ROOT/fake/peer ;;
esac
`)
	m.write("/etc/init.d/heartbeat", `#!/bin/sh
whose=original
[ ! -L ROOT/usr/libexec/heartbeat/heartbeat ] || whose=ours
echo "$1 $whose" >>ROOT/run/log
case $1 in
start) touch ROOT/run/heartbeat ;;
stop) rm -f ROOT/run/heartbeat ;;
esac
[ ! -e ROOT/fake/$1 ] || . ROOT/fake/$1
`)
	// The real one, unless KILLED_AT is this call: then it, and who called it, end in the middle of it. A new diversion
	// has been written down then, and nothing has been renamed; one that is to be removed is still written down.
	m.write("/fake/dpkg-divert", `#!/bin/sh
if [ -n "$KILLED_AT" ]; then
	echo >>ROOT/run/calls
	if [ "$(wc -l <ROOT/run/calls)" = "$KILLED_AT" ]; then
		case " $* " in *" --add "*) REAL "$@" --no-rename ;; esac
		kill -9 $PPID
		exit 1
	fi
fi
[ ! -e ROOT/fake/fail ] || case " $* " in *" --remove "*) echo no room >&2; exit 2 ;; esac
exec REAL "$@"
`, "REAL", real)
	return m
}

func (m *machine) write(name, text string, replace ...string) {
	m.Helper()
	name = m.root + name
	text = strings.NewReplacer(append(replace, "ROOT", m.root)...).Replace(text)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) remove(name string) {
	m.Helper()
	if err := os.Remove(m.root + name); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) options() Options {
	return Options{
		Self: m.root + "/copied/systole", Programs: []string{"heartbeat", "hb_standby", "cl_status", "ldirectord"},
		Node: "n1", Peers: []string{"n2"}, Homes: []string{"n1", "n2"}, Out: &m.out, root: m.root,
		Initdead: -time.Minute + 300*time.Millisecond, // up adds the minute
	}
}

// did is what the init script was told, and whose heartbeat was in place.
func (m *machine) did() string {
	text, err := os.ReadFile(m.root + "/run/log")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ", ")
}

// files are all but what a running heartbeat and the test change.
func (m *machine) files() string {
	m.Helper()
	var list strings.Builder
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, m.root)
		switch {
		case err != nil:
			return err
		case name == "/run" || name == "/fake":
			return filepath.SkipDir
		case strings.HasPrefix(name, "/dpkg/diversions-"), d.IsDir():
			if d.IsDir() {
				fmt.Fprintln(&list, name)
			}
			return nil
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			fmt.Fprintln(&list, name, "->", to)
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&list, "%s %v %q\n", name, d.Type(), text)
		return err
	})
	if err != nil {
		m.Fatal(err)
	}
	return list.String()
}

func (m *machine) same(before string) {
	m.Helper()
	if now := m.files(); now != before {
		m.Errorf("not as before:\n%s\nbefore:\n%s", now, before)
	}
}
