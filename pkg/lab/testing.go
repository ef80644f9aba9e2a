package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// TB is what this package asks of a testing.TB. It is not testing's own type, so that a program
// which builds a network does not carry that package.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Name() string
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
}

// RequireEnv names the environment variable that turns the skipping of tests which lack what they
// need into failing. CI sets it.
const RequireEnv = "SYSTOLE_LAB_REQUIRED"

// Net makes a network for a test, which is closed at the test's end. A test that may not make one is
// skipped.
func Net(t TB, segments ...string) *Network {
	t.Helper()
	NeedRoot(t)
	n, err := New(context.WithoutCancel(t.Context()), Options{Segments: segments, Log: t.Logf})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return n
}

// NeedRoot skips the test when the process may not make namespaces.
func NeedRoot(t TB) {
	t.Helper()
	if !Privileged() {
		lacking(t, "needs root (or: unshare -Urnm go test ...)")
	}
}

// lacking skips the test, or fails it where nothing may be skipped.
func lacking(t TB, what string) {
	t.Helper()
	if os.Getenv(RequireEnv) != "" {
		t.Fatalf("lab: %s", what)
	}
	t.Skipf("lab: %s", what)
}

// VM runs a job in a virtual machine, its output in the test's log, and returns its exit status. A
// test on a machine that cannot have one is skipped.
func VM(t TB, s Spec) (status int) {
	t.Helper()
	for _, w := range []*io.Writer{&s.Stdout, &s.Stderr} {
		if *w == nil {
			lines := &lineLog{t: t}
			defer lines.flush()
			*w = lines
		}
	}
	status, err := RunVM(t.Context(), s)
	if errors.Is(err, ErrNoVM) {
		lacking(t, err.Error())
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	return status
}

// Patience is by how much a limit that a guest meets with ease may be exceeded on a slow machine that has other work to
// do: what is emulated takes all the time there is. InVM multiplies [Spec].Limit by it.
const Patience = 4

// Patient is the limit of a wait: longer in a guest.
func Patient(limit time.Duration) time.Duration {
	if InGuest() {
		return limit * Patience
	}
	return limit
}

// InVM is called first by a test that needs a kernel with IPVS:
//
//	if !lab.InVM(t) {
//		return
//	}
//
// In the guest it returns true. On the machine it runs the same test (of the same test binary) in a
// virtual machine, makes its result the caller's, and returns false. With several tests in a
// package, let them be subtests of one, which then boots once.
func InVM(t TB, with ...func(*Spec)) bool {
	t.Helper()
	if InGuest() {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := Spec{Limit: 3 * time.Minute}
	for _, f := range with {
		f(&s)
	}
	s.Limit *= Patience
	limit := max(s.Limit, time.Minute) - 20*time.Second // the test's own end comes before the guest's
	s.Command = []string{self, "-test.run=" + runPattern(t.Name()), "-test.v=true", "-test.count=1", "-test.timeout=" + limit.String()}
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, "-test.") || strings.HasPrefix(a, "-test.short") {
			s.Command = append(s.Command, a)
		}
	}
	lines := &lineLog{t: t, each: s.Line}
	defer lines.flush()
	s.Stdout = lines
	if status := VM(t, s); status != 0 {
		t.Fatalf("in the virtual machine: exit status %d", status)
	}
	if lines.saw("--- SKIP: " + t.Name() + " ") {
		lacking(t, "skipped in the virtual machine")
	}
	if !lines.saw("--- PASS: " + t.Name() + " ") {
		t.Fatalf("did not run in the virtual machine")
	}
	return false
}

// runPattern is the -test.run that selects exactly the test of that name.
func runPattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// lineLog writes whole lines to a test's log and remembers them.
type lineLog struct {
	t    TB
	part []byte
	all  []string
	each func(string) // may be nil
}

func (l *lineLog) Write(b []byte) (int, error) {
	l.part = append(l.part, b...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.t.Logf("| %s", line)
		l.all = append(l.all, string(line))
		if l.each != nil {
			l.each(string(line))
		}
		l.part = rest
	}
}

func (l *lineLog) flush() {
	if len(l.part) > 0 {
		_, _ = l.Write([]byte("\n")) // never fails
	}
}

func (l *lineLog) saw(prefix string) bool {
	return slices.ContainsFunc(l.all, func(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), prefix) })
}
