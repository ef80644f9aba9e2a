package lab

import (
	"context"
	"os"
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
