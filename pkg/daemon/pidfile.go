package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Running returns the pid of the heartbeat that path names; pid is 0 when none runs. stale says
// that the file names a process that is gone or is no heartbeat. A heartbeat of ours holds the
// lock on the file; an original is known by its command name (design: a pid file that names some
// other program is stale).
func Running(path string) (pid int, stale bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, false
	}
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return 0, true
	}
	// After a boot the pid in a file that was kept may by now be that of the process that asks, or of the
	// start that asks through it.
	self := pid == os.Getpid() || pid == os.Getppid()
	if locked(path) || !self && isHeartbeat(pid) {
		return pid, false
	}
	return 0, true
}

// locked says whether somebody, this process included, holds the lock of the file. Asking does not
// take it: a start at the same time is not refused.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

// isHeartbeat knows an original by its process titles ("heartbeat: master control process") and
// a heartbeat of any kind by its program's name.
func isHeartbeat(pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	arg0, _, _ := bytes.Cut(cmdline, []byte{0})
	return strings.HasPrefix(string(arg0), "heartbeat:") || filepath.Base(string(arg0)) == "heartbeat"
}

// PIDFile is this process's pid file, locked for as long as the process lives.
type PIDFile struct{ f *os.File }

// ErrRunning is what [LockPIDFile] returns when another heartbeat runs.
var ErrRunning = errors.New("already running")

// LockPIDFile writes and locks the pid file: the pid right-aligned in ten columns and a line
// feed, as cl_pidfile.c writes it. It replaces a stale file, and the file of this very process
// after a restart in place.
func LockPIDFile(path string) (*PIDFile, error) {
	if pid, _ := Running(path); pid != 0 && pid != os.Getpid() {
		return nil, fmt.Errorf("lock %s: %w as pid %d", path, ErrRunning, pid)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create pid file: %w", err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrRunning
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// In this order nobody reads an empty file.
	text := fmt.Sprintf("%10d\n", os.Getpid())
	if _, err = f.WriteAt([]byte(text), 0); err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &PIDFile{f: f}, nil
}

// Close gives the lock up; the file stays, as the original's does.
func (p *PIDFile) Close() error { return p.f.Close() }

// stopAgain is how often a heartbeat of ours that does not end is asked to.
const stopAgain = time.Second

// Stop asks the running heartbeat to end and waits until it is gone, however long its scripts
// take. It reports whether one was running.
func Stop(path string) (was bool, err error) {
	pid, _ := Running(path)
	if pid == 0 {
		return false, nil
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return true, fmt.Errorf("kill pid %d: %w", pid, err)
	}
	// A signal is lost on a program that is just about to take another's place in the process.
	for again := time.Now().Add(stopAgain); !ended(pid); time.Sleep(20 * time.Millisecond) {
		if now := time.Now(); now.After(again) && locked(path) { // ours: an original would start anew to stop
			again = now.Add(stopAgain)
			_ = unix.Kill(pid, unix.SIGTERM) // it may be gone by now
		}
	}
	return true, nil
}

// ended tells whether a process is gone, or has ended and is not yet waited for: some containers' first process waits
// for nobody.
func ended(pid int) bool {
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := bytes.Cut(stat, []byte(") "))
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // the last one has let go of the files
	return err == nil && bytes.HasPrefix(state, []byte("Z")) && len(threads) <= 1
}
