package realtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what ha.cf says.
type Options struct {
	Priority int  // rtprio: 1 to 99
	Reserve  int  // memreserve: kB of memory to have in hand
	Spare    bool // lower the process's place with the out-of-memory killer
}

// Problem is what could not be done: the original's text, with its level word.
type Problem struct{ Level, Text string }

const (
	// ready is how many threads there are to be from the start, so that few come later.
	ready = 16
	// look is how often at most new threads are looked for.
	look = time.Second
	// spared is the process's oom_score_adj: below all that leave theirs alone, above what must never be ended (-1000).
	spared = -900
)

// Enter makes the process realtime; report is called with what cannot be done. Whatever fails leaves the rest in force:
// a heartbeat at ordinary priority is better than none.
func Enter(o Options, report func(Problem)) {
	spawnThreads(ready)
	if err := setAll(o.Priority); err != nil {
		report(Problem{"ERROR", "Unable to set scheduler parameters.: " + strerror(err)})
	}
	if p, ok := lockMemory(); !ok {
		report(p)
	} else {
		reserve(o.Reserve)
	}
	if o.Spare {
		_ = os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(spared)), 0o644) // not ours to do in a container
	}
}

// Keeper gives threads that come later what [Enter] gave those that there were. Nil does nothing.
type Keeper struct {
	o     Options
	had   uint64
	looks int
	next  time.Time
}

// NewKeeper makes a keeper; o is what Enter was given.
func NewKeeper(o Options) *Keeper { return &Keeper{o: o} }

// Look looks for new threads, if it is time to. It is to be called by a goroutine that is awake
// anyway, about once a second: to wake up for this alone would cost more than a heartbeat.
func (k *Keeper) Look(now time.Time) {
	if k == nil || now.Before(k.next) {
		return
	}
	k.next = now.Add(look)
	// One may have come as another went: at times all are looked at.
	if n := threads(); n != k.had || k.looks%60 == 0 {
		k.had = n
		_ = setAll(k.o.Priority) // told of by Enter
	}
	k.looks++
}

// threads is how many there are, from the number of links of their directory; 0 if that is not to be had.
func threads() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/task", &st); err != nil {
		return 0
	}
	return uint64(st.Nlink)
}

// setAll gives every thread the realtime policy that has not got it.
func setAll(priority int) error {
	want := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: uint32(priority)}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		have, err := unix.SchedGetAttr(tid, 0)
		if errors.Is(err, unix.ESRCH) || err == nil && have.Policy == want.Policy && have.Priority == want.Priority {
			continue
		}
		if err == nil {
			err = unix.SchedSetAttr(tid, &want, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// spawnThreads has the runtime make so many threads; it keeps them for later.
func spawnThreads(n int) {
	var begun, end sync.WaitGroup
	begun.Add(n)
	end.Add(1)
	for range n {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begun.Done()
			end.Wait()
		}()
	}
	begun.Wait()
	end.Done()
}

// lockMemory locks all memory of the process, pages that come later as they are first touched: what the runtime only
// reserves takes none. With a limit in force it is left: the runtime ends a process that gets no memory.
func lockMemory() (Problem, bool) {
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited) // looked at below
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &now); err == nil && now.Cur != unix.RLIM_INFINITY && !mayLock() {
		return Problem{"ERROR", "Cannot lock ourselves into memory:  System limits on locked-in memory are too small."}, false
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return Problem{"ERROR", fmt.Sprintf("Unable to lock pid %d in memory: %s", os.Getpid(), strerror(err))}, false
	}
	return Problem{}, true
}

// mayLock tells whether limits do not count for this process: CAP_IPC_LOCK, and not in a user namespace of its own.
func mayLock() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&head, &data[0]) != nil || data[0].Effective&(1<<unix.CAP_IPC_LOCK) == 0 {
		return false
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") == "0 0 4294967295"
}

// reserve touches so much memory once. The runtime keeps it for a while, locked.
func reserve(kB int) {
	block := make([]byte, kB<<10)
	for i := 0; i < len(block); i += os.Getpagesize() {
		block[i] = 1
	}
	runtime.KeepAlive(block)
}

// Release takes back from a child process what it has inherited and is not to have: its place with the out-of-memory
// killer. (The scheduling policy is not inherited, nor is locked memory.)
func Release(pid int) {
	file := filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj")
	if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(spared) {
		_ = os.WriteFile(file, []byte("0"), 0o644) // the child may be gone
	}
}

// strerror is an error as the C library words it: with a capital.
func strerror(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
