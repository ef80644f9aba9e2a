package applet

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/daemon"
)

// restartTest is set in the process that is restarted.
const restartTest = "RESTART_TEST"

// restarted is what that process does, before and after.
func restarted() int {
	if os.Getenv(daemonEnv) != "" {
		fmt.Println("again: " + os.Args[0])
		return exitOK
	}
	return restart(launch{Path: os.Getenv(restartTest)}, daemon.Outcome{Restart: true, Quick: true}, daemon.CatchSignals())
}

// A restart with the addresses in hand does not end for a program that is gone from its place.
func TestRestartWithoutProgram(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), restartTest+"=/nowhere/heartbeat")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "again: "+daemonTitle) {
		t.Errorf("%v: %s", err, out)
	}
}

// A disk that hangs does not hold up a reboot.
func TestWithin(t *testing.T) {
	within(time.Millisecond, func() { <-t.Context().Done() })
	done := false
	within(time.Minute, func() { done = true })
	if !done {
		t.Error("what takes no time was not waited for")
	}
}
