package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// SystoleEnv names our program for [Tutorial], which builds it where this is not set.
const SystoleEnv = "SYSTOLE_LAB_PROGRAM"

// Tutorial makes the tutorial's five hosts for a test, closed at its end. Our program is built from
// the module that the test is in. A test is skipped where originals are asked for and not installed.
func Tutorial(t TB, o HostsOptions) *Hosts {
	t.Helper()
	NeedRoot(t)
	if o.Master == Original || o.Slave == Original {
		NeedPrograms(t, "/usr/libexec/heartbeat/heartbeat", "/usr/sbin/ldirectord", "/etc/ha.d/resource.d/IPaddr")
	}
	if o.Nginx {
		NeedPrograms(t, "nginx")
	}
	if o.Systole == "" && o.Root == "" && (o.Master == Ours || o.Slave == Ours) {
		o.Systole = systole(t)
	}
	if o.Log == nil {
		o.Log = t.Logf
	}
	h, err := NewHosts(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return h
}

// NeedPrograms skips the test when one of the programs (names, or paths) is not installed.
func NeedPrograms(t TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if _, err := exec.LookPath(filepath.Join("/usr/sbin", p)); err != nil {
				lacking(t, fmt.Sprintf("no %s here (scripts/setup installs it)", p))
			}
		}
	}
}

// WithSystole has InVM build our program beforehand, outside the virtual machine, for [Tutorial].
func WithSystole(t TB) func(*Spec) {
	t.Helper()
	return func(s *Spec) {
		dir, err := os.MkdirTemp("", "systole-lab-program-")
		if err != nil {
			t.Fatalf("%v", err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		file := filepath.Join(dir, "systole")
		if err := copyFile(systole(t), file, 0o755); err != nil {
			t.Fatalf("%v", err)
		}
		if s.Env == nil {
			s.Env = os.Environ()
		}
		s.Env = append(s.Env, SystoleEnv+"="+file)
	}
}

func systole(t TB) string {
	t.Helper()
	if p := os.Getenv(SystoleEnv); p != "" {
		return p
	}
	path, err := buildSystole()
	if err != nil {
		t.Fatalf("lab: build our program: %v", err)
	}
	return path
}

// buildSystole builds cmd/systole of the module around the current directory, once a process. The
// result is a file without a name, so that nothing is left behind.
var buildSystole = sync.OnceValues(func() (path string, err error) {
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}")
	root, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	dir, err := os.MkdirTemp("", "systole-lab-build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "systole")
	build := exec.Command("go", "build", "-o", file, "./cmd/systole")
	build.Dir = strings.TrimSpace(string(root))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	in, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	program, err := memFile()
	if err != nil {
		return "", err
	}
	defer program.Close()
	if _, err := io.Copy(program, in); err != nil {
		return "", err
	}
	// A number, not an os.File, which would be closed when nothing refers to it.
	fd, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
})
