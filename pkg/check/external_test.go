package check

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// script writes an executable shell script and returns its path.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func externalSpec(command string) Spec {
	return Spec{
		Service: "external", Command: command,
		Virtual: netip.MustParseAddrPort("10.0.0.1:80"), Real: netip.MustParseAddrPort("10.0.0.2:8080"),
	}
}

func TestExternalVerdicts(t *testing.T) {
	tests := []struct {
		name, text, reason string
	}{
		{"up", "exit 0", ""},
		{"down", "echo because; exit 3", "exit status 3"},
		{"killed", "kill -9 $$", "killed by signal: killed"},
		{"a child keeps the output open", "sleep 1 & exit 0", ""},
		{"much output", "head -c 3000000 /dev/zero; exit 1", "exit status 1"},
		{"no input", "read x && exit 1; exit 0", ""},
		{"directory", `[ "$(pwd)" = / ]`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, externalSpec(program(t, tt.text)), 5*time.Second)
			if r.Up != (tt.reason == "") || r.Reason != tt.reason {
				t.Errorf("%+v", r)
			}
			for _, line := range r.Trace {
				if len(line) > 2*outputLimit {
					t.Errorf("trace of %d bytes", len(line))
				}
			}
		})
	}
	r := run(t, externalSpec(filepath.Join(t.TempDir(), "nothing here")), time.Second)
	if r.Up || !strings.Contains(r.Reason, "no such file or directory") ||
		!strings.HasPrefix(r.Log, "Exiting with exit_status 127: exec(/") || !strings.HasSuffix(r.Log, "here 10.0.0.1 80 10.0.0.2 8080) failed: No such file or directory") {
		t.Errorf("no program: %+v", r)
	}
}

func TestExternalArguments(t *testing.T) {
	out := filepath.Join(t.TempDir(), "args")
	s := externalSpec(program(t, `printf '%s\n' $# "$@" > `+out))
	tests := []struct {
		edit func(*Spec)
		want string
	}{
		{func(*Spec) {}, "4 10.0.0.1 80 10.0.0.2 8080"},
		{func(s *Spec) { s.FWMark, s.Virtual = 7, netip.AddrPort{} }, "4 7 0 10.0.0.2 8080"},
		{func(s *Spec) {
			s.Virtual, s.Real = netip.MustParseAddrPort("[fc00::1]:80"), netip.MustParseAddrPort("[fc00::2]:0")
		}, "4 [fc00::1] 80 [fc00::2] 0"},
	}
	for _, tt := range tests {
		spec := s
		tt.edit(&spec)
		if r := run(t, spec, 5*time.Second); !r.Up {
			t.Fatalf("%+v", r)
		}
		got, err := os.ReadFile(out)
		if err != nil || strings.Join(strings.Fields(string(got)), " ") != tt.want {
			t.Errorf("%q, %v; want %q", got, err, tt.want)
		}
	}
}

func TestExternalPerl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "check.pl")
	if err := os.WriteFile(path, []byte(`exit($ARGV[3] == 8080 ? 0 : 1);`), 0o644); err != nil {
		t.Fatal(err)
	}
	s := externalSpec(path)
	s.Service = "external-perl"
	if r := run(t, s, 10*time.Second); !r.Up {
		t.Errorf("%+v", r)
	}
	s.Real = netip.MustParseAddrPort("10.0.0.2:1")
	if r := run(t, s, 10*time.Second); r.Up || r.Reason != "exit status 1" {
		t.Errorf("%+v", r)
	}
}

// TestExternalTimeout wants the program and its children gone at the deadline, also those that
// ignore TERM.
func TestExternalTimeout(t *testing.T) {
	for name, trap := range map[string]string{"obedient": "", "stubborn": "trap '' TERM\n"} {
		t.Run(name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pids")
			s := externalSpec(program(t, trap+"sleep 600 & echo $$ $! > "+pids+"; wait; sleep 600"))
			t.Parallel() // no sooner: a program that is being written when another is started cannot be started
			const limit = time.Second
			began := time.Now()
			s.Timeout = limit
			want := "system_timeout(1, " + s.Command + " 10.0.0.1 80 10.0.0.2 8080) timed out, kill -TERM child"
			if r := run(t, s, limit); r.Up || r.Reason != "timed out, killed" || time.Since(began) < limit || r.Log != want {
				t.Errorf("%+v", r)
			}
			text, err := os.ReadFile(pids)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(word)
				if err != nil {
					t.Fatal(err)
				}
				waitGone(t, pid)
			}
		})
	}
}

// TestExternalHangsBeforeItRuns: a program that cannot even be started, as on a file server that is gone, is down in
// time, and is not started again and again meanwhile. Here the kernel keeps it for somebody who holds a lease.
func TestExternalHangsBeforeItRuns(t *testing.T) {
	s := externalSpec(program(t, "exit 0"))
	f, err := os.Open(s.Command)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		if os.Getenv(lab.RequireEnv) != "" {
			t.Fatal(err)
		}
		t.Skip("the file system has no leases:", err)
	}
	const limit = 500 * time.Millisecond
	s.Timeout = limit
	for _, reason := range []string{"not started in time", "not started: an earlier start has not ended"} {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		r := externalChecker{}.Check(ctx, s)
		if cancel(); r.Up || r.Reason != reason || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), r)
		}
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		r := run(t, s, 5*time.Second)
		if r.Up {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%+v", r)
		}
	}
}

// waitGone waits until a process is dead, or a zombie that somebody else has to reap.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d lives on", pid)
}
