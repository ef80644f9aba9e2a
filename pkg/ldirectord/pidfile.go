package ldirectord

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Running returns the pid of the process that this instance runs in, or 0. stale says that the
// pid file names a process that is gone or is no ldirectord. An instance of ours holds a lock
// on its pid file, whichever process it lives in; an original is known by its command line.
func (in Instance) Running() (pid int, stale bool) {
	f, err := os.Open(in.PIDFile)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	line, _, _ := strings.Cut(string(text), "\n")
	if err != nil || line == "" {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0, true
	}
	if locked(f) || isLdirectord(pid) {
		return pid, false
	}
	return 0, true
}

// locked says whether somebody, this process included, holds the lock of f's file. Asking does
// not take it.
func locked(f *os.File) bool {
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

// isLdirectord knows an ldirectord by its command line: the program itself, under whatever path;
// the original as perl shows it; one of its children by their title; or ours called through
// systole. An editor that has a file of that name open is none.
func isLdirectord(pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	switch program := filepath.Base(args[0]); {
	case program == "ldirectord", strings.HasPrefix(args[0], "ldirectord "):
		return true
	case program == "systole":
		return len(args) > 1 && args[1] == "ldirectord"
	case strings.HasPrefix(program, "perl"):
		for _, a := range args[1:] {
			if !strings.HasPrefix(a, "-") {
				return filepath.Base(a) == "ldirectord"
			}
		}
	}
	return false
}

// pidFile is a running instance's pid file, with its lock.
type pidFile struct {
	path string
	f    *os.File
}

// ErrRunning is what [Server.Run] returns when the instance runs already.
var ErrRunning = errors.New("already running")

// pidFileError is a pid file that cannot be made.
type pidFileError struct {
	path  string
	cause error
}

// Error is the original's text and the cause.
func (e *pidFileError) Error() string {
	cause := e.cause
	if p := new(fs.PathError); errors.As(cause, &p) {
		cause = p.Err
	}
	return "Can not open " + e.path + ": " + cause.Error()
}

// Unwrap gives the errno.
func (e *pidFileError) Unwrap() error { return e.cause }

// lockPIDFile writes this process's pid, replacing a stale file.
func (in Instance) lockPIDFile() (*pidFile, error) {
	for {
		f, err := os.OpenFile(in.PIDFile, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, &pidFileError{in.PIDFile, err}
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			f.Close()
			if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
				err = ErrRunning
			}
			return nil, fmt.Errorf("lock %s: %w", in.PIDFile, err)
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", in.PIDFile, err)
		}
		if there, err := os.Stat(in.PIDFile); err != nil || !os.SameFile(mine, there) {
			f.Close() // an instance that ended has just removed it
			continue
		}
		if text, _ := io.ReadAll(io.LimitReader(f, 64)); len(text) > 0 {
			line, _, _ := strings.Cut(string(text), "\n")
			pid, _ := strconv.Atoi(strings.TrimSpace(line))
			if pid > 1 && pid != os.Getpid() && isLdirectord(pid) {
				f.Close()
				return nil, fmt.Errorf("lock %s: %w as pid %d", in.PIDFile, ErrRunning, pid)
			}
		}
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("write %s: %w", in.PIDFile, err)
		}
		return &pidFile{path: in.PIDFile, f: f}, nil
	}
}

// remove takes the file away, as an orderly stop does.
func (p *pidFile) remove() {
	_ = os.Remove(p.path) // it is gone, or it will be found stale
	_ = p.f.Close()
}

// leave gives the lock up and leaves the file: the instance is to go on in a process of this
// pid (heartbeat's restart in place).
func (p *pidFile) leave() { _ = p.f.Close() }
