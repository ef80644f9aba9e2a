package adopt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is, for TestKilled, an Adopt or Undo that is killed after a number of changes.
func TestMain(m *testing.M) {
	what := os.Getenv("KILLED_TEST")
	if what == "" {
		os.Exit(m.Run())
	}
	left, _ := strconv.Atoi(os.Getenv("KILLED_AFTER")) // 0: not at all
	step = func() {
		if left--; left == 0 {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	o := (&machine{root: os.Getenv("KILLED_ROOT")}).options()
	o.Out = os.Stdout
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

// killed runs an Adopt or Undo, has it killed, and tells whether it came to that.
func (m *machine) killed(what, where string, n int) bool {
	m.Helper()
	_ = os.Remove(m.root + "/run/calls")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KILLED_TEST="+what, "KILLED_ROOT="+m.root, where+"="+strconv.Itoa(n))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(interface{ Signaled() bool }).Signaled():
		return true
	}
	m.Fatalf("%s: %v\n%s", what, err, out)
	return false
}

// TestKilled kills Adopt and Undo after each change that they make, and in the middle of each dpkg-divert. Undo must then
// bring everything back.
func TestKilled(t *testing.T) {
	for _, what := range []string{"adopt", "undo"} {
		for _, where := range []string{"KILLED_AFTER", "KILLED_AT"} {
			t.Run(what+" "+where, func(t *testing.T) {
				m := newMachine(t)
				before := m.files()
				n := 1
				for ; ; n++ {
					if what == "undo" {
						m.must(m.adopt())
					}
					done := !m.killed(what, where, n)
					if done && what == "undo" {
						break
					}
					for _, p := range originalPrograms {
						if _, err := os.Stat(m.root + p); err != nil && what == "undo" {
							t.Errorf("killed at %d: for a moment there is no program: %v", n, err)
						}
					}
					if err := m.undo(); err != nil && !errors.Is(err, ErrNotAdopted) {
						t.Fatalf("killed at %d: undo: %v\n%s", n, err, m.out.String())
					}
					m.same(before)
					if strings.Contains(m.files(), ".original") {
						t.Fatalf("killed at %d", n)
					}
					m.write("/run/heartbeat", "") // the administrator starts it
					if done {
						break
					}
				}
				if n < 4 {
					t.Errorf("it was killed %d times only", n-1)
				}
				t.Logf("killed %d times", n-1)
			})
		}
	}
}
