package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
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

// A process that has ended and that nobody waits for is gone.
func TestStopOfZombie(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heartbeat.pid")
	cmd := &exec.Cmd{Path: "/bin/sleep", Args: []string{"heartbeat: master control process", "60"}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	if err := os.WriteFile(path, fmt.Appendf(nil, "%10d\n", cmd.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // the child's argv is there once it has exec'd
		if pid, _ := Running(path); pid == cmd.Process.Pid {
			break
		}
		time.Sleep(time.Millisecond)
	}
	done := make(chan error, 1)
	go func() {
		was, err := Stop(path)
		if !was {
			err = errors.New("it did not run")
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("still waits")
	}
}
