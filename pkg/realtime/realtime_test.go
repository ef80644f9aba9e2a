package realtime

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const childEnv = "REALTIME_TEST"

// TestMain: a test's own process must not become realtime for good, so the tests look at a child.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	o := Options{Priority: 7, Reserve: 1000, Spare: true}
	Enter(o, func(p Problem) { fmt.Println("problem", p.Level, p.Text) })
	go func() {
		for k := NewKeeper(o); ; time.Sleep(look / 10) {
			k.Look(time.Now())
		}
	}()
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	Release(cmd.Process.Pid)
	fmt.Println("child", cmd.Process.Pid)
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

type process struct {
	*testing.T
	pid, child int
	said       string
}

func begin(t *testing.T, kind string, prefix ...string) process {
	t.Helper()
	argv := append(prefix, "/proc/self/exe")
	cmd := exec.Command(argv[0], argv[1:]...)
	if len(prefix) > 0 {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args[len(cmd.Args)-1] = self
	}
	cmd.Env = append(os.Environ(), childEnv+"="+kind)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	p := process{T: t, pid: cmd.Process.Pid}
	buf := make([]byte, 4096)
	for p.child == 0 {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%v: %s", err, p.said)
		}
		p.said += string(buf[:n])
		if i := strings.Index(p.said, "child "); i >= 0 && strings.HasSuffix(p.said, "\n") {
			p.child, _ = strconv.Atoi(strings.TrimSpace(p.said[i+6:]))
		}
	}
	return p
}

// realtimeThreads counts the process's threads with and without the policy.
func (p process) realtimeThreads() (with, without int) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid))
	if err != nil {
		p.Fatal(err)
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		a, err := unix.SchedGetAttr(tid, 0)
		switch {
		case err != nil:
		case a.Policy == unix.SCHED_RR && a.Priority == 7 && a.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0:
			with++
		default:
			without++
		}
	}
	return with, without
}

func TestKeep(t *testing.T) {
	if err := exec.Command("chrt", "-r", "1", "true").Run(); err != nil {
		t.Skipf("no realtime scheduling here: %v", err)
	}
	p := begin(t, "strong")
	with, without := p.realtimeThreads()
	for range 500 {
		if with >= ready && without == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
		with, without = p.realtimeThreads()
	}
	if with < ready || without > 0 {
		t.Errorf("%d threads are realtime, %d are not", with, without)
	}
	a, err := unix.SchedGetAttr(p.child, 0)
	if err != nil || a.Policy != unix.SCHED_NORMAL {
		t.Errorf("the child's policy is %d, %v", a.Policy, err)
	}
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.child)); err != nil || strings.HasPrefix(string(text), "-") {
		t.Errorf("the child's place with the out-of-memory killer is %s, %v", text, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		t.Fatal(err)
	}
	var locked, resident int
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmLck: %d", &locked)
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &resident)
	}
	if !strings.Contains(p.said, "Cannot lock") && locked == 0 {
		t.Errorf("no memory is locked: %s", p.said)
	}
	if resident > 100<<10 {
		t.Errorf("%d kB are resident: locking took what is only reserved", resident)
	}
}

// Without the rights it says so, and the process goes on.
func TestWeak(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to take rights away")
	}
	p := begin(t, "weak", "setpriv", "--bounding-set=-sys_nice,-ipc_lock,-sys_resource", "--inh-caps=-all", "--")
	for _, want := range []string{
		"ERROR Unable to set scheduler parameters.: Operation not permitted",
		"ERROR Cannot lock ourselves into memory:  System limits on locked-in memory are too small.",
	} {
		if !strings.Contains(p.said, want) {
			t.Errorf("no %q in %q", want, p.said)
		}
	}
}
