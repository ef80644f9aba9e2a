package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A network's processes are this same program under another name. That is decided here, before
// main or a test's own main sees the arguments.
func init() {
	if len(os.Args) > 0 && os.Args[0] == initName && os.Getpid() == 1 {
		os.Exit(nodeInit())
	}
}

// nodeInit is process 1 of a node: it arranges the file tree, reaps, keeps the system log, and
// answers on the control socket until that ends. With it the kernel ends all of the node.
func nodeInit() int {
	ctl := os.NewFile(3, "control")
	in := bufio.NewReader(ctl)
	line, err := in.ReadBytes('\n')
	var c initConfig
	if err == nil {
		err = json.Unmarshal(line, &c)
	}
	if err == nil {
		err = c.arrange()
	}
	var log *net.UnixConn
	if err == nil && c.Disk != "" {
		log, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	}
	if err != nil {
		_, _ = fmt.Fprintf(ctl, "%s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return 1
	}
	unix.CloseOnExec(3)
	go reap()
	if log != nil {
		if err := os.Chmod("/dev/log", 0o666); err != nil {
			return 1
		}
		go keepSyslog(log)
	}
	if _, err := fmt.Fprintln(ctl, "ready"); err != nil {
		return 1
	}
	for {
		request, err := in.ReadString('\n')
		if err != nil {
			break
		}
		if request == "lastpid\n" {
			b, _ := os.ReadFile("/proc/loadavg") // an unreadable one is answered as an empty line
			f := strings.Fields(string(b))
			if len(f) == 0 {
				f = []string{""}
			}
			if _, err := fmt.Fprintln(ctl, f[len(f)-1]); err != nil {
				break
			}
		}
	}
	if c.RemoveAtEnd != "" {
		for i := 0; i < 50 && os.RemoveAll(c.RemoveAtEnd) != nil; i++ {
			time.Sleep(20 * time.Millisecond)
		}
	}
	return 0
}

// reap waits for every process that the node's init inherits.
func reap() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	for range signals {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
	}
}

// SyslogFile is where a node's init writes what comes to /dev/log, each line after its arrival
// time in microseconds and as it came: priority, date, tag.
const SyslogFile = "/var/log/syslog"

const syslogTime = "2006-01-02T15:04:05.000000Z07:00"

func keepSyslog(log *net.UnixConn) {
	out, err := os.OpenFile(SyslogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	_ = log.SetReadBuffer(4 << 20) // a smaller buffer only makes the writers wait
	buf := make([]byte, 64<<10)
	for {
		n, err := log.Read(buf)
		if err != nil {
			return
		}
		text := strings.ReplaceAll(strings.TrimRight(string(buf[:n]), "\x00\n"), "\n", `\n`)
		if _, err := fmt.Fprintf(out, "%s %s\n", time.Now().Format(syslogTime), text); err != nil {
			return
		}
	}
}

// arrange gives the node its host name and file tree.
func (c initConfig) arrange() error {
	if err := unix.Sethostname([]byte(c.Host)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if c.Disk != "" {
		for _, step := range []func() error{c.overlays, c.writable, c.privates, c.run, c.dev} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	// /sys shows the network's interfaces; nothing here needs it, and not every container may mount it.
	_ = mount("sysfs", "/sys", "sysfs", "")
	return mount("proc", "/proc", "proc", "")
}

// overlayName writes a path so that overlayfs does not take a part of it for the next option, or for
// the next directory.
var overlayName = strings.NewReplacer(`\`, `\\`, ",", `\,`, ":", `\:`)

func (c initConfig) overlays() error {
	for _, dir := range overlaid {
		lower := []string{}
		for _, r := range c.Roots {
			if d := filepath.Join(r, dir); isDir(d) {
				lower = append(lower, overlayName.Replace(d))
			}
		}
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(append(lower, dir), ":"),
			overlayName.Replace(filepath.Join(c.Disk, dir)), overlayName.Replace(filepath.Join(c.Work, dir)))
		if c.UserXattr {
			opts += ",userxattr"
		}
		if err := mount("overlay", dir, "overlay", opts); err != nil {
			return err
		}
	}
	return nil
}

// writable covers heartbeat's directory where the machine's, through the overlay, is not ours to
// write: in a user namespace it belongs to a user that is nobody here. It begins empty then at each
// PowerOn.
func (c initConfig) writable() error {
	const dir = "/var/lib/heartbeat"
	if !isDir(dir) || unix.Access(dir, unix.W_OK) == nil {
		return nil
	}
	return mount("heartbeat", dir, "tmpfs", "mode=755")
}

// privates binds the node's own directories, /tmp last: the disk may be below it.
func (c initConfig) privates() error {
	for _, dir := range private {
		if err := unix.Mount(filepath.Join(c.Disk, dir), dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

func (c initConfig) run() error {
	if err := mount("run", "/run", "tmpfs", "mode=755"); err != nil {
		return err
	}
	return errors.Join(os.MkdirAll("/run/lock/subsys", 0o755), os.Chmod("/run/lock", os.ModeSticky|0o777))
}

// dev makes a /dev of the node's own with the usual devices of the machine in it, bound rather than
// made, which a user namespace may do too. It is built below /run, whose own mount is new.
func (c initConfig) dev() error {
	const tmp = "/run/dev"
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	if err := mount("dev", tmp, "tmpfs", "mode=755"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		f, err := os.Create(filepath.Join(tmp, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), unix.Mount("/dev/"+name, f.Name(), "", unix.MS_BIND, "")); err != nil {
			return fmt.Errorf("mount /dev/%s: %w", name, err)
		}
	}
	for _, d := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o755); err != nil {
			return err
		}
	}
	err := errors.Join(
		mount("devpts", tmp+"/pts", "devpts", "newinstance,ptmxmode=0666,mode=620"),
		mount("shm", tmp+"/shm", "tmpfs", "mode=1777"),
		os.Symlink("pts/ptmx", tmp+"/ptmx"),
		os.Symlink("/proc/self/fd", tmp+"/fd"),
		os.Symlink("/proc/self/fd/0", tmp+"/stdin"),
		os.Symlink("/proc/self/fd/1", tmp+"/stdout"),
		os.Symlink("/proc/self/fd/2", tmp+"/stderr"))
	if err != nil {
		return err
	}
	if err := unix.Mount(tmp, "/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	return os.Remove(tmp)
}

func mount(source, target, fstype, options string) error {
	if err := unix.Mount(source, target, fstype, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, target, err)
	}
	return nil
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}
