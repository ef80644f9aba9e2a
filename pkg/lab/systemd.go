package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Systemd is systemd as process 1 of namespaces of its own inside a node: the node's files and network, but process ids,
// mounts and control groups apart. Its /proc/sys is read-only but for the network's part, and nothing of the machine's is
// within its reach.
type Systemd struct {
	*Node
	cmd *Cmd
	pid string // of systemd, as the node knows it
}

// systemdScript boots systemd into sysinit.target and basic.target. The control groups are a version 2 tree of its own,
// wherever the machine has that mounted; the name of the group is the script's first argument.
const systemdScript = `
set -e
mkdir -p /run/cgroup2
mount -t cgroup2 cgroup2 /run/cgroup2
group=/run/cgroup2/$1
mkdir -p $group
echo $$ >$group/cgroup.procs
umount /run/cgroup2
exec unshare --cgroup --mount --pid --fork --kill-child /bin/sh -c '
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,rw /proc/sys/net
if [ -e /proc/sysrq-trigger ]; then
	mount --bind /proc/sysrq-trigger /proc/sysrq-trigger
	mount -o remount,bind,ro /proc/sysrq-trigger
fi
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,bind,ro /sys
rm -f /dev/log
container=lab exec /lib/systemd/systemd --system --unit=basic.target --log-target=journal
' </dev/null
`

// Systemd boots systemd in the node. It ends with Close, or with the node.
func (n *Node) Systemd(ctx context.Context) (*Systemd, error) {
	s := &Systemd{Node: n, cmd: n.Command(context.WithoutCancel(ctx), "/bin/sh", "-c", systemdScript, "systemd", n.cgroup())}
	var text strings.Builder
	s.cmd.Stderr = &text
	fail := func(err error) (*Systemd, error) {
		return nil, fmt.Errorf("lab: node %s: systemd: %w: %s", n.Name(), err, text.String())
	}
	// systemd names the host after this file.
	if err := n.WriteFile("/etc/hostname", []byte(n.Name()+"\n"), 0o644); err != nil {
		return fail(err)
	}
	if err := s.cmd.Start(); err != nil {
		return fail(err)
	}
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }() // Close waits for it, too
	ctx, cancel := context.WithTimeout(ctx, Patient(time.Minute))
	defer cancel()
	for {
		if s.pid == "" {
			s.pid = child(s.cmd.Process.Pid)
		}
		if s.pid != "" {
			r, err := s.Exec(ctx, "systemctl", "is-active", "basic.target")
			if err == nil && strings.TrimSpace(r.Stdout) == "active" {
				return s, nil
			}
		}
		select {
		case <-ended:
			return fail(errors.New("it has ended"))
		case <-ctx.Done():
			return fail(errors.Join(ctx.Err(), s.Close()))
		case <-time.After(50 * time.Millisecond): // whose end nothing tells
		}
	}
}

// cgroup is the name of the node's control group.
func (n *Node) cgroup() string { return fmt.Sprintf("systole-lab-%d-%s", n.Pid(), n.Name()) }

// child is the only child of a process of the machine's when it has become systemd, as the child's parent knows it; ""
// before that.
func child(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	kids := strings.Fields(string(b))
	if err != nil || len(kids) != 1 {
		return ""
	}
	status, err := os.ReadFile("/proc/" + kids[0] + "/status")
	if err != nil || !strings.HasPrefix(string(status), "Name:\tsystemd\n") {
		return ""
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if f := strings.Fields(ids); len(f) >= 2 {
				return f[len(f)-2] // the last is 1
			}
		}
	}
	return ""
}

// Command prepares a command beside systemd's services.
func (s *Systemd) Command(ctx context.Context, name string, arg ...string) *Cmd {
	return s.Node.Command(ctx, "nsenter", append([]string{"-t", s.pid, "-m", "-p", "-C", "--", name}, arg...)...)
}

// Exec runs a command beside systemd's services to its end.
func (s *Systemd) Exec(ctx context.Context, name string, arg ...string) (Result, error) {
	return s.Command(ctx, name, arg...).Result()
}

// Close ends systemd and all that it runs, none of them asked.
func (s *Systemd) Close() error {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill() // --kill-child does the rest
		_ = s.cmd.Wait()
	}
	return nil
}

// removeCgroup removes the group that the node's systemd had, when its processes have gone.
func removeCgroup(name string) error {
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		dir := top + "/" + name
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		var err error
		for range 100 {
			// Only directories are there to remove, from below.
			if err = exec.Command("find", dir, "-depth", "-type", "d", "-delete").Run(); err == nil {
				return nil
			}
			time.Sleep(20 * time.Millisecond)
		}
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// NeedSystemd skips the test where there is none to run.
func NeedSystemd(t TB) {
	t.Helper()
	NeedRoot(t)
	NeedPrograms(t, "/lib/systemd/systemd", "systemctl", "nsenter")
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(b), "cgroup2") {
		lacking(t, "needs control groups, version 2")
	}
}

// Boot boots systemd in a node for a test.
func Boot(t TB, n *Node) *Systemd {
	t.Helper()
	NeedSystemd(t)
	group := n.cgroup()
	s, err := n.Systemd(t.Context())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), removeCgroup(group)); err != nil {
			t.Errorf("%v", err)
		}
	})
	return s
}

// MainPID is the process of a unit, as processes beside it know it; 0 when it does not run.
func (s *Systemd) MainPID(ctx context.Context, unit string) (int, error) {
	r, err := s.Exec(ctx, "systemctl", "show", "-P", "MainPID", unit)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(r.Stdout))
}
