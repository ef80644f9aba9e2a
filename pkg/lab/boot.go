package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// initName is the argv[0] under which a process of this program is a node's init.
const initName = "lab-node"

// initConfig is what a node's init is told over its control socket, one line of JSON.
type initConfig struct {
	Host        string
	Disk        string   // the node's own files; "" leaves the machine's file tree as it is
	Work        string   // the overlays' work directories
	Roots       []string // install roots, the first on top
	UserXattr   bool     // overlays of a user namespace
	RemoveAtEnd string   // removed when the control socket ends
}

// Directories of a node: overlaid are the machine's with changes of the node's own, private begin
// empty and are kept over a PowerOff. /run is made anew at each boot.
var (
	overlaid = []string{"/etc", "/usr", "/var/lib"}
	private  = []string{"/var/log", "/tmp"}
)

// boot starts the node's init in new namespaces and waits until it is ready.
func (n *Node) boot(c initConfig) error {
	c.Host = n.Name()
	if !n.Spec.bare {
		c.Disk, c.Work, c.Roots = n.disk(), filepath.Join(n.dir, "work"), n.Spec.Roots
		c.UserXattr = inUserNamespace()
		if err := n.format(); err != nil {
			return err
		}
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "lab"), os.NewFile(uintptr(fds[1]), "lab")
	defer theirs.Close()
	ctl, err := net.FileConn(ours)
	if err = errors.Join(err, ours.Close()); err != nil {
		return err
	}
	pidfd := -1
	var stderr strings.Builder
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{initName}, Dir: "/",
		Env:        []string{"GOMAXPROCS=1", "PATH=" + searchPath},
		ExtraFiles: []*os.File{theirs},
		Stderr:     &stderr,
		SysProcAttr: &unix.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID,
			Setsid:     true, PidFD: &pidfd,
		},
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("namespaces: %w", err), ctl.Close())
	}
	fail := func(err error) error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "signal: killed"
		return errors.Join(err, ctl.Close(), unix.Close(pidfd))
	}
	line, err := json.Marshal(c)
	if err != nil {
		return fail(err)
	}
	if _, err := ctl.Write(append(line, '\n')); err != nil {
		return fail(fmt.Errorf("init: %w", err))
	}
	switch answer, err := bufio.NewReader(ctl).ReadString('\n'); {
	case err != nil:
		return fail(fmt.Errorf("init: %w %s", err, stderr.String()))
	case answer != "ready\n":
		return fail(fmt.Errorf("init: %s", strings.TrimSpace(answer)))
	}
	ns, err := netns.GetFromPid(cmd.Process.Pid)
	if err != nil {
		return fail(fmt.Errorf("network namespace: %w", err))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.init, n.ctl, n.pidfd, n.netns = cmd, ctl, pidfd, ns
	return nil
}

// format makes the directories that the node's mounts need.
func (n *Node) format() error {
	for _, d := range append(append([]string(nil), overlaid...), private...) {
		if err := os.MkdirAll(n.disk(d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range overlaid {
		// A work directory that was in use when the node lost its power is of no more use.
		w := filepath.Join(n.dir, "work", d)
		if err := errors.Join(os.RemoveAll(w), os.MkdirAll(w, 0o755)); err != nil {
			return err
		}
	}
	return os.Chmod(n.disk("tmp"), os.ModeSticky|0o777)
}

// LastPID is the process id that the node gave out last. Differences count new processes and
// threads together; asking makes none.
func (n *Node) LastPID() (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.init == nil {
		return 0, fmt.Errorf("lab: node %s is off", n.Name())
	}
	if _, err := io.WriteString(n.ctl, "lastpid\n"); err != nil {
		return 0, fmt.Errorf("lab: node %s: %w", n.Name(), err)
	}
	line, err := bufio.NewReader(n.ctl).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("lab: node %s: %w", n.Name(), err)
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// inUserNamespace tells whether this process has only some of the machine's user ids.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err == nil && len(f) == 3 && f[2] != "4294967295"
}
