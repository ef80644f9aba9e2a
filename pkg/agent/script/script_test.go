package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
)

// path is a script of testdata.
func path(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withOutput makes an agent whose children write to a file, and gives what is in it.
func withOutput(t *testing.T, o Options) (*Agent, func() string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ha-debug")
	o.Output = func() (*os.File, error) { return os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) }
	return New(o), func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HA_CURHOST=ha-master"}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		script string
		args   []string
		op     agent.Op
		code   int
		signal int
		output string // what status gives
		debug  string // what is in the debug file
		err    string
	}{
		{script: "codes", args: []string{"0"}, op: agent.Start, debug: "asked for start\ntold start\n"},
		{script: "codes", args: []string{"1"}, op: agent.Stop, code: 1, debug: "asked for stop\ntold stop\n", err: "exit status 1"},
		{script: "codes", args: []string{"0"}, op: agent.Status, output: "asked for status\n", debug: "told status\n"},
		{script: "codes", args: []string{"3"}, op: agent.Status, code: 3, output: "asked for status\n", debug: "told status\n"},
		{script: "codes", args: []string{"255", "x"}, code: 255, debug: "asked for x\ntold x\n", err: "exit status 255"},
		{script: "killed", op: agent.Start, code: 137, signal: 9, err: "killed by signal 9"},
		{script: "plain", args: []string{"a"}, op: agent.Start, code: 4, debug: "no interpreter line, a start\n", err: "exit status 4"},
		{script: "notexec", op: agent.Start, code: 126, err: "permission denied"},
		{script: "missing", op: agent.Start, code: 127, err: "no such file or directory"},
	} {
		a, debug := withOutput(t, Options{})
		r, err := a.Run(t.Context(), agent.Call{Path: path(t, c.script), Args: c.args, Op: c.op, Env: environment})
		if r.Code != c.code || r.Signal != c.signal || r.Output != c.output || debug() != c.debug {
			t.Errorf("%s %v %s: %+v, debug file %q", c.script, c.args, c.op, r, debug())
		}
		if fmt.Sprint(err) == "<nil>" != (c.err == "") || !strings.Contains(fmt.Sprint(err), c.err) {
			t.Errorf("%s %v %s: error %v, want %q", c.script, c.args, c.op, err, c.err)
		}
	}
}

func TestWorld(t *testing.T) {
	leak, err := os.Create(filepath.Join(t.TempDir(), "leak")) // must not reach the child
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	t.Setenv("SECRET", "of our own")
	dir := t.TempDir()
	a, debug := withOutput(t, Options{Dir: dir})
	if _, err := a.Run(t.Context(), agent.Call{Path: path(t, "world"), Op: agent.Start, Env: environment}); err != nil {
		t.Fatal(err)
	}
	var pid int
	got := debug()
	if _, err := fmt.Sscanf(got[strings.Index(got, "group"):], "group %d", &pid); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("dir %s\nstdin /dev/null\ngroup %d of %d\n", dir, pid, pid)
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\nHA_CURHOST=ha-master\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n") || strings.Contains(got, "SECRET") || strings.Contains(got, "leak") {
		t.Errorf("got\n%s\nwant\n%s…", got, want)
	}
	// A working directory that is not there, and no environment at all.
	a, debug = withOutput(t, Options{Dir: filepath.Join(dir, "gone")})
	if _, err := a.Run(t.Context(), agent.Call{Path: path(t, "world"), Op: agent.Start}); err != nil {
		t.Fatal(err)
	}
	if got := debug(); !strings.HasPrefix(got, "dir /\n") || strings.Contains(got, "SECRET") {
		t.Error(got)
	}
}

func TestFlood(t *testing.T) {
	a, _ := withOutput(t, Options{})
	r, err := a.Run(t.Context(), agent.Call{Path: path(t, "flood"), Op: agent.Status, Env: environment})
	if err != nil || len(r.Output) != outputLimit || !strings.HasPrefix(r.Output, "it is running\n") {
		t.Errorf("%d bytes kept, code %d, error %v", len(r.Output), r.Code, err)
	}
}

// gone waits for a process to end, for some seconds.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

// pids reads the process ids that a script wrote, waiting for the file.
func pids(t *testing.T, file string) (out []int) {
	t.Helper()
	for range 1000 {
		if b, err := os.ReadFile(file); err == nil && strings.HasSuffix(string(b), "\n") {
			for _, f := range strings.Fields(string(b)) {
				pid, err := strconv.Atoi(f)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, pid)
			}
			return out
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %s", file)
	return nil
}

func TestHang(t *testing.T) {
	for name, end := range map[string]struct {
		timeout time.Duration
		want    error
		text    string
	}{
		"timeout":   {timeout: time.Second, want: context.DeadlineExceeded, text: "not done after 1s"},
		"cancelled": {want: context.Canceled, text: "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			a, _ := withOutput(t, Options{Timeout: end.timeout, Grace: 50 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if end.timeout == 0 {
				go func() { // ends when the script is there
					for {
						if _, err := os.Stat(file); err == nil || ctx.Err() != nil {
							cancel()
							return
						}
						time.Sleep(time.Millisecond)
					}
				}()
			}
			r, err := a.Run(ctx, agent.Call{Path: path(t, "hang"), Args: []string{file}, Op: agent.Start, Env: environment})
			if !errors.Is(err, end.want) || !strings.Contains(fmt.Sprint(err), end.text) {
				t.Errorf("error %v, want %v", err, end.want)
			}
			if r.Signal != int(syscall.SIGKILL) || r.Code != 137 {
				t.Errorf("%+v", r)
			}
			for _, pid := range pids(t, file) {
				gone(t, pid)
			}
		})
	}
}

// TestOrphan wants a status to be over when the script has ended, whoever still holds its output.
func TestOrphan(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	a, _ := withOutput(t, Options{})
	r, err := a.Run(t.Context(), agent.Call{Path: path(t, "orphan"), Args: []string{file}, Op: agent.Status, Env: environment})
	for _, pid := range pids(t, file) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("the process left behind: %v", err)
		}
	}
	if err != nil || r.Output != "is running\n" || r.Code != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestNoOutput wants scripts to run, and status to be heard, without a debug file.
func TestNoOutput(t *testing.T) {
	for what, output := range map[string]func() (*os.File, error){
		"there is none":       nil,
		"it cannot be opened": func() (*os.File, error) { return nil, syscall.EROFS },
	} {
		for op, want := range map[agent.Op]string{agent.Start: "", agent.Stop: "", agent.Status: "asked for status\n"} {
			r, err := New(Options{Output: output}).Run(t.Context(), agent.Call{Path: path(t, "codes"), Args: []string{"0"}, Op: op})
			if err != nil || r.Code != 0 || r.Output != want {
				t.Errorf("%s: %s: %+v, %v", what, op, r, err)
			}
		}
	}
}
