package realtime

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alarm tells one goroutine that a time has come, to the microsecond, and costs one wakeup. A
// [time.Timer] comes up to a millisecond late, because the runtime waits for packets in whole
// milliseconds, and costs dozens: until it has come, a thread of the runtime looks every 20 µs.
type Alarm struct {
	C   <-chan struct{} // has a value when the time has come
	c   chan<- struct{}
	f   *os.File
	raw syscall.RawConn
}

// NewAlarm makes an alarm that is not set.
func NewAlarm() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	f := os.NewFile(uintptr(fd), "timer")
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	c := make(chan struct{}, 1)
	return &Alarm{C: c, c: c, f: f, raw: raw}, nil
}

// Set sets the alarm to a time, and no longer to the one before.
func (a *Alarm) Set(at time.Time) {
	// Nothing at all would switch it off.
	left := unix.NsecToTimespec(max(int64(time.Until(at)), 1))
	_ = a.raw.Control(func(fd uintptr) { // fails when Run has ended
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: left}, nil)
	})
}

// Run serves C until ctx ends.
func (a *Alarm) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = a.f.Close() }) // nothing was written to it
	defer stop()
	var times uint64
	// One call of Read for all: what comes while C is served is not lost. Reading never blocks, so
	// the runtime need not know of it.
	_ = a.raw.Read(func(fd uintptr) (done bool) { // ends with the file
		_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&times)), unsafe.Sizeof(times))
		if errno == 0 {
			select {
			case a.c <- struct{}{}:
			default:
			}
		}
		return false
	})
}
