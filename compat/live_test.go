package compat

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// program builds our program once for all live tests of a run.
func program(t *testing.T) string {
	t.Helper()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildProgram = sync.OnceValues(func() (string, error) {
	removePrograms()
	dir, err := os.MkdirTemp("", fmt.Sprintf("systole-compat-%d-", os.Getpid()))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "systole")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "../cmd/systole")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &buildError{string(out), err}
	}
	return path, nil
})

// removePrograms removes what [program] built in this run, and in runs that were killed or panicked.
func removePrograms() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "systole-compat-*-*")) // the pattern is sound
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(dir), "-")[2])
		if err == nil && (pid == os.Getpid() || unix.Kill(pid, 0) != nil) {
			_ = os.RemoveAll(dir) // what stays is the next run's to remove
		}
	}
}

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return "build: " + e.err.Error() + "\n" + e.out }

// waitFor polls until ok holds; what names it when it does not come. In a guest it is more patient.
func waitFor(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	limit = lab.Patient(limit)
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// unchanged is a condition to wait for: what look sees has been the same for so long.
func unchanged[T comparable](span time.Duration, look func() T) func() bool {
	last, since := look(), time.Now()
	return func() bool {
		if now := look(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > span
	}
}

// table is `ipvsadm -Ln` of a director; "" when it cannot be had.
func table(ctx context.Context, d *lab.Director) string {
	r, err := d.Exec(ctx, "ipvsadm", "-Ln")
	if err != nil || r.Code != 0 {
		return ""
	}
	return r.Stdout
}

// loggedAt is when the line with that text came to the director's syslog.
func loggedAt(t *testing.T, d *lab.Director, text string) time.Time {
	t.Helper()
	lines, err := d.Syslog()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if strings.Contains(l.Text, text) {
			return l.Time
		}
	}
	t.Fatalf("%s never logged %q", d.Name(), text)
	return time.Time{}
}
