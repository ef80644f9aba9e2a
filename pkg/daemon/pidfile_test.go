package daemon

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestPIDFileAsked starts while others ask whether a heartbeat runs: no start is refused, and none
// that runs is missed.
func TestPIDFileAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heartbeat.pid")
	var askers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					Running(path)
				}
			}
		})
	}
	for range 2000 {
		p, err := LockPIDFile(path)
		if err != nil {
			t.Error(err)
			break
		}
		if pid, _ := Running(path); pid != os.Getpid() {
			t.Errorf("runs as %d", pid)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	askers.Wait()
}
