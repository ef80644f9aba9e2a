package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/applet"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/ipvstest"
	"github.com/systole-ha/systole/pkg/ipvs/kernel"
	"github.com/systole-ha/systole/pkg/lab"
)

// This test program is our ipvsadm, too, when it is called by that name.
func init() {
	switch filepath.Base(os.Args[0]) {
	case "ipvsadm", "ipvsadm-save", "ipvsadm-restore":
		os.Exit(applet.Main(os.Args, applet.OS()))
	}
}

// TestVMIPVS needs a kernel with ip_vs: it runs in a virtual machine.
func TestVMIPVS(t *testing.T) {
	limit := func(s *lab.Spec) { s.Limit = 6*time.Minute + time.Duration(*randomLines)*time.Second }
	if !lab.InVM(t, limit, shareRecords) {
		return
	}
	t.Run("Conformance", func(t *testing.T) {
		ipvstest.Run(t, func(t *testing.T) ipvs.Table {
			table, err := kernel.Open(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return table
		})
	})
	t.Run("Traffic", testTraffic)
	t.Run("Records", testRecords)
	t.Run("CommandLines", testCommandLines)
	t.Run("Program", testProgram)
	t.Run("Counters", testCounters)
	t.Run("Random", testRandomCommandLines)
}

// testTraffic is the conformance suite's traffic through the kernel's table, in IPv4 and IPv6. All of
// the addresses are this machine's.
func testTraffic(t *testing.T) {
	open := func(t *testing.T) ipvs.Table {
		table, err := kernel.Open(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	for family, prefix := range map[string]string{"IPv4": "10.78.0.%d/16", "IPv6": "fd78::%d/64"} {
		var addrs []netip.Addr
		run := func(args ...string) {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v\n%s", args, err, out)
			}
		}
		run("link", "add", family, "type", "dummy")
		run("link", "set", family, "up")
		for i := range 6 {
			p := netip.MustParsePrefix(fmt.Sprintf(prefix, i+1))
			addrs = append(addrs, p.Addr())
			args := []string{"addr", "add", p.String(), "dev", family}
			if p.Addr().Is6() {
				args = append(args, "nodad")
			}
			run(args...)
		}
		t.Run(family, func(t *testing.T) {
			ipvstest.RunTraffic(t, ipvstest.Site{VIP: addrs[0], Reals: [3]netip.Addr(addrs[1:4]), Clients: [2]netip.Addr(addrs[4:6])}, open)
		})
	}
}

// side is an ipvsadm and a network namespace, with a table of its own, to run it in.
type side struct {
	ours bool
	jobs chan func()
}

// newSide makes a namespace on a thread that does all of the side's work.
func newSide(t *testing.T, ours bool) *side {
	s := &side{ours: ours, jobs: make(chan func())}
	t.Cleanup(func() { close(s.jobs) })
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		for job := range s.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	if r := s.exec("ip", "ip", "", "link", "set", "lo", "up"); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	return s
}

// do runs f on the side's thread.
func (s *side) do(f func()) {
	done := make(chan struct{})
	s.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

type result struct {
	stdout, stderr string
	status         int
}

func (r result) String() string {
	return fmt.Sprintf("%s--- stderr\n%s--- exit status %d\n", r.stdout, r.stderr, r.status)
}

// run runs a program of the side's by its name. Ours run in this process, which emulation makes
// many times as fast as a process of their own.
func (s *side) run(name, stdin string, args ...string) result {
	if !s.ours {
		return s.exec("/usr/sbin/"+name, name, stdin, args...)
	}
	return s.inProcess(name, stdin, args...)
}

// inProcess runs a program of ours.
func (s *side) inProcess(name, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	r := result{}
	s.do(func() {
		env := applet.Env{Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
		r.status = applet.Main(append([]string{name}, args...), env)
	})
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

func (s *side) exec(path, name, stdin string, args ...string) (r result) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path)
	cmd.Args = append([]string{name}, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var err error
	s.do(func() { err = cmd.Run() })
	r = result{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.status = exit.ExitCode()
	case err != nil:
		r.stderr += err.Error()
		r.status = -1
	}
	return r
}
