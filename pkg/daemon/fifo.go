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
// never ends while writers come and go. It is a new one each time: what was written for an earlier run, also by
// programs that have waited since for somebody to read it, was for another time.
func openFIFO(path string, log *halog.Logger) (*os.File, error) {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		log.Logf(halog.Info, "Creating FIFO %s.", path)
	} else if old, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
		defer old.Close() // who waits goes on, and finds that nobody reads
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace FIFO: %w", err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("create FIFO %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open FIFO: %w", err)
	}
	return f, nil
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
