package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// fifoLimit bounds one message of the FIFO; what is longer is dropped whole. Writers are told to
// keep to PIPE_BUF (4096).
const fifoLimit = 64 << 10

// openFIFO makes the command FIFO (mode 0600) and opens it for reading and writing, so that it
// never ends while writers come and go. What an earlier run left in it is thrown away: those
// commands were for another time.
func openFIFO(path string, log *halog.Logger) (*os.File, error) {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		log.Logf(halog.Info, "Creating FIFO %s.", path)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("replace FIFO: %w", err)
		}
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return nil, fmt.Errorf("create FIFO %s: %w", path, err)
		}
	} else if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("protect FIFO: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open FIFO: %w", err)
	}
	drain(f)
	return f, nil
}

// drain empties the pipe: the descriptor is non-blocking, so reading by number ends with EAGAIN.
func drain(f *os.File) {
	rc, err := f.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	_ = rc.Read(func(fd uintptr) bool {
		for {
			if n, err := unix.Read(int(fd), buf); n <= 0 || err != nil {
				return true
			}
		}
	})
}

// readFIFO hands each message between ">>>" and "<<<", or "###" and "%%%" (netstrings), to say until ctx ends. Text outside of
// messages is skipped, and so is a message that another writer's line broke into: what is cut
// off by a new ">>>" is lost, the new one is not.
func readFIFO(ctx context.Context, f *os.File, log *halog.Logger, say func([]byte)) {
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	warn := func(text string) { log.Logf(halog.Warn, "FIFO %s", text) }
	if err := hamsg.EachMessage(f, fifoLimit, warn, say); ctx.Err() == nil {
		log.Logf(halog.Error, "FIFO %s: %v", f.Name(), err)
	}
}
