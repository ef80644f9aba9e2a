package halog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const (
	rotationCheck = time.Second            // the original looks every 60 s; sooner loses fewer lines to the old file
	writeLimit    = 200 * time.Millisecond // for a log "file" that is a pipe nobody reads,
	stuckPause    = 5 * time.Second        // after which it is left alone for a while
	complainEvery = time.Minute
)

// file is a log file that notices when it was rotated away.
type file struct {
	path     string
	uid, gid int
	format   Formatter
	now      func() time.Time
	record   func(Prio, string) Record
	complain func(text string) // tells syslogd that the file cannot be opened

	f          *os.File
	stuck      time.Time // until then nothing is written
	checked    time.Time
	complained time.Time
}

// Write is io.Writer for a whole line. It never fails: a line that cannot be written is lost for
// this destination only, as in the original.
func (f *file) Write(p []byte) (int, error) {
	f.followRotation()
	if f.f == nil && !f.open() || time.Now().Before(f.stuck) {
		return len(p), nil
	}
	_ = f.f.SetWriteDeadline(time.Now().Add(writeLimit)) // an error says that it is a regular file
	if _, err := f.f.Write(p); errors.Is(err, os.ErrDeadlineExceeded) {
		f.stuck = time.Now().Add(stuckPause)
	}
	return len(p), nil
}

// followRotation reopens the path if another file, or none, is there now, and begins the new file
// with the original's line about it.
func (f *file) followRotation() {
	now := f.now()
	if since := now.Sub(f.checked); f.f == nil || since >= 0 && since < rotationCheck {
		return
	}
	f.checked = now
	here, err := f.f.Stat()
	if err != nil {
		f.close()
		return
	}
	there, err := os.Stat(f.path)
	if err == nil && os.SameFile(here, there) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return
	}
	f.close()
	if f.open() {
		_, _ = f.f.Write(f.format(nil, f.record(Info, "log-rotate detected on logfile "+f.path)))
	}
}

func (f *file) open() bool {
	o, err := openAppend(f.path)
	if err != nil {
		if now := f.now(); now.Sub(f.complained) >= complainEvery {
			f.complained = now
			var errno syscall.Errno
			if errors.As(err, &errno) {
				err = errno
			}
			f.complain(fmt.Sprintf("Failed to open log file %s: %v", f.path, err))
		}
		return false
	}
	if f.uid != 0 || f.gid != 0 {
		_ = o.Chown(f.uid, f.gid) // others' programs write there too; without the right to, they complain themselves
	}
	f.f, f.checked = o, f.now()
	return true
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
}

// openAppend opens without waiting for the reader of a named pipe.
func openAppend(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o644)
}
