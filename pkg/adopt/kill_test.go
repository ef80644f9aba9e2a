package adopt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestMain is, for TestKilled, an Adopt or Undo that is killed after a number of changes.
func TestMain(m *testing.M) {
	what := os.Getenv("KILLED_TEST")
	if what == "" {
		os.Exit(m.Run())
	}
	left, _ := strconv.Atoi(os.Getenv("KILLED_AFTER")) // 0: not at all
	o := (&machine{root: os.Getenv("KILLED_ROOT")}).options()
	o.Out = os.Stdout
	o.step = func() {
		if left--; left == 0 {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	runtime.LockOSThread() // strace counts each thread's calls
	do := Adopt
	if what == "undo" {
		do = Undo
	}
	if err := do(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// calls are the system calls that strace kills at; it counts each by itself. The first is dpkg-divert's.
var calls = []string{"rename", "renameat", "symlinkat"}

// killed runs an Adopt or Undo, has it killed, and tells whether it came to that.
func (m *machine) killed(what, where string, n int) bool {
	m.Helper()
	_ = os.Remove(m.root + "/run/calls")
	cmd := exec.Command(os.Args[0])
	strace := slices.Contains(calls, where)
	if strace {
		cmd = exec.Command("strace", "-f", "-o", "/dev/null", "-e", "trace="+where, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", where, n), os.Args[0])
	}
	cmd.Env = append(os.Environ(), "KILLED_TEST="+what, "KILLED_ROOT="+m.root, where+"="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && (strace || exit.Sys().(interface{ Signaled() bool }).Signaled()):
		return true // with strace it may have been dpkg's
	}
	m.Fatalf("%s: %v\n%s", what, err, out)
	return false
}

// TestKilled kills Adopt and Undo after each change that they make, in the middle of each dpkg-divert, and at each system
// call that gives a file its name, theirs and dpkg's. Undo must then bring everything back.
func TestKilled(t *testing.T) {
	lab.NeedPrograms(t, "strace")
	kills := 0
	for _, what := range []string{"adopt", "undo"} {
		for _, where := range append([]string{"KILLED_AFTER", "KILLED_AT"}, calls...) {
			t.Run(what+" "+where, func(t *testing.T) {
				m := newMachine(t)
				before := m.files()
				n := 0
				for killed := true; killed; {
					n++
					if what == "undo" {
						m.must(m.adopt())
					}
					killed = m.killed(what, where, n)
					for _, p := range originalPrograms {
						if _, err := os.Stat(m.root + p); err != nil && what == "undo" {
							t.Errorf("for a moment there is no program: %v", err)
						}
					}
					if err := m.undo(); err != nil && !errors.Is(err, ErrNotAdopted) {
						t.Errorf("undo: %v\n%s", err, m.out.String())
					}
					m.same(before)
					if t.Failed() {
						t.Fatalf("killed at %d", n)
					}
					m.write("/run/heartbeat", "") // the administrator starts it
				}
				kills += n - 1
				t.Logf("killed %d times", n-1)
			})
		}
	}
	if kills < 40 {
		t.Errorf("there were %d kills only", kills)
	}
}
