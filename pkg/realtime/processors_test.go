package realtime

import (
	"runtime"
	"testing"
)

func TestProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	want := func(n int) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != n {
			t.Errorf("%d processors, want %d", got, n)
		}
	}
	Many()()
	want(3)
	OneProcessor()
	want(1)
	one, two := Many(), Many()
	want(3)
	one()
	one()
	want(3)
	two()
	want(1)
	OneProcessor()
	want(1)
}
