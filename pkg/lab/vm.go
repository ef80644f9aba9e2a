package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Spec is a job for a virtual machine. Only Command is needed.
type Spec struct {
	Command []string  // program and arguments; the program is a path, or found in PATH
	Dir     string    // where it starts; "" is the current directory
	Env     []string  // nil is this process's environment; GuestEnv=1 is added
	Stdout  io.Writer // nil discards
	Stderr  io.Writer
	Share   []string      // directories that the guest writes through to; all else it only seems to write
	Modules []string      // kernel modules besides the usual ones
	Memory  int           // MB; 0 is 1024
	CPUs    int           // 0 is as many as this machine has, at most 4
	Limit   time.Duration // of the whole run, after which the guest is killed; 0 is 8 minutes
	NIC     *os.File      // a network's port, from Network.Tap: the guest's eth0
	Monitor *Monitor      // by which the guest can be suspended
	Line    func(string)  // told each line that a test prints, by InVM
}

// GuestEnv is set to 1 in the environment of a job in a virtual machine.
const GuestEnv = "SYSTOLE_LAB_GUEST"

// KernelEnv names the directory with boot/vmlinuz-* and lib/modules/* for virtual machines, where
// scripts/vm-kernel puts them. By default it is systole/vm-kernel in the user's cache directory.
const KernelEnv = "SYSTOLE_VM_KERNEL"

// ErrNoVM is at the root of the error of RunVM on a machine that lacks QEMU or a kernel for it.
var ErrNoVM = errors.New("no virtual machine here")

// InGuest tells whether this process runs in a virtual machine of this package's.
func InGuest() bool { return os.Getenv(GuestEnv) != "" }

// RunVM boots a virtual machine with Debian's stock kernel, runs the command in it as root, and
// returns its exit status. The guest sees this machine's files and can change none of them outside
// s.Share, though it may seem so to the guest. It has real IPVS, and no network but what the job makes.
//
// The guest is emulated in software: KVM is not asked for, as it is not to be had inside many
// virtual machines.
func RunVM(ctx context.Context, s Spec) (status int, err error) {
	status, err = runVM(ctx, s)
	if err != nil {
		err = fmt.Errorf("vm: %w", err)
	}
	return status, err
}

func runVM(ctx context.Context, s Spec) (int, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return 0, fmt.Errorf("%w: %w (scripts/setup installs it)", ErrNoVM, err)
	}
	k, err := findKernel()
	if err != nil {
		return 0, err
	}
	job, err := s.job()
	if err != nil {
		return 0, err
	}
	// Files without names: there is nothing to remove, however this process ends.
	initrd, err := memFile()
	if err != nil {
		return 0, err
	}
	defer initrd.Close()
	if err := k.writeInitrd(initrd, job, s.Modules); err != nil {
		return 0, fmt.Errorf("initrd: %w", err)
	}
	console, err := memFile()
	if err != nil {
		return 0, err
	}
	defer console.Close()
	limit := s.Limit
	if limit == 0 {
		limit = Patience * 2 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, s.qemuArgs(k.image, "/dev/fd/3", "/dev/fd/4")...)
	cmd.ExtraFiles = []*os.File{initrd, console}
	if s.NIC != nil {
		cmd.Args = append(cmd.Args, "-netdev", fmt.Sprintf("tap,id=lan,fd=%d", 3+len(cmd.ExtraFiles)), "-device", "virtio-net-pci,netdev=lan,romfile=")
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.NIC)
	}
	if s.Monitor != nil {
		cmd.Args = append(cmd.Args, "-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", 3+len(cmd.ExtraFiles)), "-mon", "chardev=monitor,mode=control")
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.Monitor.file)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	// The guest's port counts as closed while standard input is at its end.
	if _, err := cmd.StdinPipe(); err != nil {
		return 0, err
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	// The death signal is tied to the thread that starts the machine.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	status, ended, readErr := demux(out, s.Stdout, s.Stderr)
	waitErr := cmd.Wait()
	switch {
	case ended:
		return status, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		err = errors.Join(errors.New("ended before its job"), readErr, waitErr)
	}
	return 0, fmt.Errorf("%w: %s%s", err, complaints.String(), tail(console))
}

func (s Spec) qemuArgs(kernel, initrd, console string) []string {
	memory, cpus := s.Memory, s.CPUs
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = min(runtime.NumCPU(), 4)
	}
	args := []string{
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable random.trust_cpu=on",
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		"-device", "virtio-serial-pci", "-chardev", "stdio,id=job,signal=off", "-device", "virtserialport,chardev=job",
		"-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
	}
	for i, d := range s.Share {
		args = append(args, "-virtfs", fmt.Sprintf("local,path=%s,mount_tag=share%d,security_model=none,multidevs=remap", d, i))
	}
	return args
}

// job is what the guest's init is told.
type job struct {
	Command, Env, Share []string
	Dir                 string
}

func (s Spec) job() ([]byte, error) {
	j := job{Command: s.Command, Env: s.Env, Share: s.Share, Dir: s.Dir}
	if len(j.Command) == 0 {
		return nil, errors.New("no command")
	}
	path, err := exec.LookPath(j.Command[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, err
	}
	j.Command = append([]string{path}, j.Command[1:]...)
	if j.Env == nil {
		j.Env = os.Environ()
	}
	j.Env = append(slices.Clone(j.Env), GuestEnv+"=1")
	if j.Dir == "" {
		if j.Dir, err = os.Getwd(); err != nil {
			return nil, err
		}
	}
	return json.Marshal(j)
}

// What the guest's init sends is packets: a kind, a length (4 bytes, little endian), data.
const (
	packetStdout = 1
	packetStderr = 2
	packetExit   = 3 // the exit status, 4 bytes
	packetError  = 4 // why the job could not be run, as text
)

// demux passes the guest's output on until the guest's end.
func demux(r io.Reader, stdout, stderr io.Writer) (status int, ended bool, err error) {
	var head [5]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return status, ended, err
		}
		data := make([]byte, binary.LittleEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(r, data); err != nil {
			return status, ended, err
		}
		var to io.Writer
		switch head[0] {
		case packetStdout:
			to = stdout
		case packetStderr:
			to = stderr
		case packetExit:
			status, ended = int(binary.LittleEndian.Uint32(data)), true
		case packetError:
			return 0, false, errors.New(string(data))
		}
		if to != nil {
			if _, err := to.Write(data); err != nil {
				return status, ended, err
			}
		}
	}
}

// tail is the end of a guest's console, for an error's text.
func tail(console *os.File) string {
	s := strings.ToValidUTF8(contents(console), "")
	return s[max(0, len(s)-4000):]
}
