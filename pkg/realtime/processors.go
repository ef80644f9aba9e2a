package realtime

import (
	"runtime"
	"sync"
)

// processors is on how many processors Go code runs at once.
var processors struct {
	mu    sync.Mutex
	all   int // as the runtime had it; 0 before OneProcessor
	users int // of Many
}

// OneProcessor has Go code run on one processor at a time: heartbeats need no more, and with more the runtime wakes a
// second thread for every packet, which costs half as much again.
func OneProcessor() {
	processors.mu.Lock()
	defer processors.mu.Unlock()
	if processors.all == 0 {
		processors.all = runtime.GOMAXPROCS(0)
	}
	limit()
}

// Many has it run on all processors, as it did before OneProcessor, until done is called: for health checks, of which
// there may be thousands a second.
func Many() (done func()) {
	processors.mu.Lock()
	defer processors.mu.Unlock()
	processors.users++
	limit()
	return sync.OnceFunc(func() {
		processors.mu.Lock()
		defer processors.mu.Unlock()
		processors.users--
		limit()
	})
}

func limit() {
	want := processors.all
	switch {
	case want == 0:
		return
	case processors.users == 0:
		want = 1
	}
	if runtime.GOMAXPROCS(0) != want {
		runtime.GOMAXPROCS(want)
	}
}
