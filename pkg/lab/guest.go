package lab

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const jobFile = "/lab/job"

// In a virtual machine this program is the kernel's first process, too.
func init() {
	if os.Getpid() != 1 || len(os.Args) == 0 || os.Args[0] != "/init" {
		return
	}
	if _, err := os.Stat(jobFile); err != nil {
		return
	}
	guest()
}

// guest is the life of a virtual machine: modules, file tree, job, power off.
func guest() {
	defer func() {
		unix.Sync()
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // the machine's, which is gone if it works
		os.Exit(0)                                       // and a panic of its kernel if not
	}()
	port, err := guestPort()
	if err != nil {
		fmt.Println("lab:", err)
		return
	}
	out := &packets{w: port}
	status, err := runJob(out)
	if err != nil {
		out.send(packetError, []byte(err.Error()))
		return
	}
	out.send(packetExit, binary.LittleEndian.AppendUint32(nil, uint32(status)))
}

// guestPort loads the modules and opens the way out.
func guestPort() (*os.File, error) {
	err := errors.Join(mount("proc", "/proc", "proc", ""), mount("sysfs", "/sys", "sysfs", ""), mount("dev", "/dev", "devtmpfs", ""))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return nil, err
	}
	for _, m := range files {
		// A module of no use here (a device that is missing) may refuse; the job says what it lacks.
		if err := loadModule(m); err != nil {
			fmt.Println("lab: module", m, err)
		}
		if err := os.Remove(m); err != nil {
			return nil, err
		}
	}
	const name = "/dev/vport0p1"
	for range 500 {
		if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			return f, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, errors.New("no " + name)
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func runJob(out *packets) (int, error) {
	text, err := os.ReadFile(jobFile)
	if err != nil {
		return 0, err
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		return 0, err
	}
	if err := guestRoot(j.Share); err != nil {
		return 0, err
	}
	if err := guestHost(); err != nil {
		return 0, err
	}
	cmd := &exec.Cmd{
		Path: j.Command[0], Args: j.Command, Dir: j.Dir, Env: j.Env,
		Stdout: out.stream(packetStdout), Stderr: out.stream(packetStderr),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		WaitDelay:   time.Second,
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	}
	return 0, err
}

// guestRoot makes the root directory: the machine's files, under an overlay that is forgotten.
func guestRoot(shares []string) error {
	const options = "trans=virtio,version=9p2000.L,msize=512000"
	if err := unix.Mount("root", "/lower", "9p", unix.MS_RDONLY, options+",cache=loose"); err != nil {
		return fmt.Errorf("mount the machine's files: %w", err)
	}
	err := errors.Join(
		mount("upper", "/upper", "tmpfs", "size=80%"),
		os.Mkdir("/upper/changes", 0o755), os.Mkdir("/upper/work", 0o755),
		mount("root", "/root", "overlay", "lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work"),
		mount("run", "/root/run", "tmpfs", "mode=755"),
		unix.Mount("/proc", "/root/proc", "", unix.MS_MOVE, ""),
		unix.Mount("/sys", "/root/sys", "", unix.MS_MOVE, ""),
		unix.Mount("/dev", "/root/dev", "", unix.MS_MOVE, ""))
	if err != nil {
		return err
	}
	for i, d := range shares {
		target := filepath.Join("/root", d)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := mount(fmt.Sprintf("share%d", i), target, "9p", options+",access=any"); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chdir("/root"), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/")); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := errors.Join(os.MkdirAll("/dev/pts", 0o755), os.MkdirAll("/dev/shm", 0o755), os.MkdirAll("/run/lock", 0o1777)); err != nil {
		return err
	}
	return errors.Join(
		mount("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666"),
		mount("shm", "/dev/shm", "tmpfs", "mode=1777"))
}

// guestHost gives the guest a name and loopback, without which the kernel has no local routes.
func guestHost() error {
	if err := unix.Sethostname([]byte("guest")); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// packets sends the guest's output to the machine.
type packets struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *packets) send(kind byte, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	head := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	if _, err := p.w.Write(append(head, data...)); err != nil {
		fmt.Println("lab: output:", err)
	}
}

func (p *packets) stream(kind byte) io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		p.send(kind, b)
		return len(b), nil
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
