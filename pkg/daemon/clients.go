package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/realtime"
)

// Client is one respawn (or failfast) directive.
type Client struct {
	User     string
	Command  string // as in ha.cf, run by "sh -c exec ..."
	Failfast bool   // its death, but for an orderly one, ends this machine
}

// The rule of heartbeat.c's ManagedChildDied: a client that lived less than shortLife counts as
// fast, the one after maxFast fast deaths in a row is not started again.
const (
	shortLife = 30 * time.Second
	maxFast   = 10
	noRespawn = 100 // exit code of a client that wants to stay down
)

// clients are the managed clients: programs that ha.cf's respawn names, and ipfail, which is
// served in process. All methods but watch are called by the loop's goroutine.
type clients struct {
	log     *halog.Logger
	env     []string
	debug   func() int // the level of the moment
	done    func()     // tells the engine that no client is left
	reboot  func()     // ends this machine at once
	events  chan func()
	wg      sync.WaitGroup
	ctx     context.Context // ends with the daemon: frees the watchers
	list    []*client
	ipfail  *ipfailClient
	ending  bool
	awaited *client // has been asked to end, and has not yet
	stopped bool
}

// client is one directive with its process.
type client struct {
	Client
	started time.Time
	pid     int // 0: not running
	fast    int
	dead    bool // will not be started again
	asked   bool // to end
}

// isIpfail knows the ipfail of either family of distributions; the program is served in process
// unless the administrator points at a place of their own.
func isIpfail(command string) bool {
	name, _, _ := strings.Cut(strings.TrimSpace(command), " ")
	switch filepath.Dir(name) {
	case "/usr/lib/heartbeat", "/usr/lib64/heartbeat", "/usr/libexec/heartbeat":
		return filepath.Base(name) == "ipfail"
	}
	return false
}

// start starts every client in the order of ha.cf.
func (c *clients) start(now time.Time) {
	for _, cl := range c.list {
		c.launch(now, cl)
	}
}

// launch starts one client. One whose last life was short begins a second later, when its process is
// there already in the original and sleeps.
func (c *clients) launch(now time.Time, cl *client) {
	uid, gid, err := lookup(cl.User)
	if err != nil {
		c.log.Logf(halog.Error, "Cannot start client %q: %v", cl.Command, err)
		cl.dead = true
		return
	}
	if cl.pid != 0 {
		c.log.Logf(halog.Error, "OOPS! client %s already running as pid %d", cl.Command, cl.pid)
		return
	}
	served := c.ipfail != nil && isIpfail(cl.Command)
	if program, _, _ := strings.Cut(cl.Command, " "); !served {
		if err := unix.Access(program, unix.X_OK); err != nil {
			c.log.Logf(halog.Error, "Cannot exec %s: %v", cl.Command, strerror(err))
			cl.dead = true
			return
		}
	}
	c.log.Logf(halog.Info, "Starting child client %q (%d,%d)", cl.Command, uid, gid)
	switch {
	case served:
		g := c.log.Child()
		cl.started, cl.pid = now, g.PID()
		g.Logf(halog.Info, "Starting %q as uid %d  gid %d (pid %d)", cl.Command, uid, gid, cl.pid)
		c.ipfail.signOn(now, g.PID())
	case cl.fast > 0:
		c.later(time.Second, func() { c.exec(time.Now(), cl, uid, gid) })
	default:
		c.exec(now, cl, uid, gid)
	}
}

// exec runs a client's program.
func (c *clients) exec(now time.Time, cl *client, uid, gid int) {
	cmd := exec.Command("/bin/sh", "-c", "exec "+cl.Command)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), forManager), c.env...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("HA_debug=%d", c.debug()))
	// The directory is the daemon's: a client's user could not go to it, as os/exec would have them do.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true,
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: groups(cl.User)},
	}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Credential = nil // a test: there is nobody else to be
	}
	cl.started = now
	if err := cmd.Start(); err != nil {
		c.log.Logf(halog.Error, "Cannot exec %s: %v", cl.Command, err)
		cl.dead = true
		return
	}
	cl.pid = cmd.Process.Pid
	realtime.Release(cl.pid)
	c.log.ChildOf(cl.pid).Logf(halog.Info, "Starting %q as uid %d  gid %d (pid %d)", cl.Command, uid, gid, cl.pid)
	c.wg.Add(1)
	go c.watch(cl, cmd)
}

// strerror is an error as the C library words it: with a capital.
func strerror(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// forManager knows variables by which systemd speaks to the daemon alone.
func forManager(kv string) bool {
	return strings.HasPrefix(kv, "NOTIFY_SOCKET=") || strings.HasPrefix(kv, "WATCHDOG_") || strings.HasPrefix(kv, "LISTEN_")
}

// watch waits for a client's end and tells the loop.
func (c *clients) watch(cl *client, cmd *exec.Cmd) {
	defer c.wg.Done()
	err := cmd.Wait()
	select {
	case c.events <- func() { c.died(time.Now(), cl, cmd.ProcessState, err) }:
	case <-c.ctx.Done():
	}
}

// died is the original's ManagedChildDied: what becomes of a client that has ended.
func (c *clients) died(now time.Time, cl *client, st *os.ProcessState, err error) {
	pid := cl.pid
	cl.pid = 0
	code, ws := st.ExitCode(), st.Sys().(syscall.WaitStatus)
	if !c.ending {
		LogDeath(c.log, cl.Command, pid, ws)
	}
	logCore(c.log, cl.Command, pid, ws)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.log.Logf(halog.Error, "wait for client %q: %v", cl.Command, err)
	}
	if cl.Failfast && !c.ending && code != 0 {
		c.log.Logf(halog.Emerg, "Rebooting system.  Reason: %s", cl.Command)
		c.reboot()
	}
	if c.ending {
		if cl == c.awaited { // another's death is seen when its turn comes
			c.awaited = nil
			c.stopNext()
		}
		return
	}
	if code == noRespawn {
		cl.dead = true
		return
	}
	if now.Sub(cl.started) < shortLife {
		cl.fast++
	} else {
		cl.fast = 0
	}
	if cl.fast > maxFast {
		c.log.Logf(halog.Error, "Client %s \"respawning too fast\"", cl.Command)
		cl.fast, cl.dead = 0, true
		return
	}
	c.log.Logf(halog.Error, "Respawning client %q:", cl.Command)
	c.launch(now, cl)
}

// later runs f in the loop after d, unless the daemon ends first.
func (c *clients) later(d time.Duration, f func()) {
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		select {
		case <-time.After(d):
		case <-c.ctx.Done():
			return
		}
		select {
		case c.events <- func() {
			if !c.ending {
				f()
			}
		}:
		case <-c.ctx.Done():
		}
	}()
}

// stop ends the clients, last started first, one after the other, and answers by done, each time that it is
// asked to: a restart may become an end. As in the original a client that ignores SIGTERM is waited for.
func (c *clients) stop() {
	switch {
	case c.stopped:
		c.done()
	case !c.ending:
		c.ending = true
		c.stopNext()
	}
}

func (c *clients) stopNext() {
	for i := len(c.list) - 1; i >= 0; i-- {
		cl := c.list[i]
		if cl.asked {
			continue
		}
		cl.asked = true
		if cl.pid == 0 {
			c.log.Logf(halog.Info, "client [%s] is not running.", cl.Command)
			continue
		}
		c.log.Logf(halog.Info, "killing %s process group %d with signal 15", cl.Command, cl.pid)
		if c.ipfail != nil && isIpfail(cl.Command) {
			c.ipfail.signOff()
			cl.pid = 0
			continue
		}
		// One that has ended by itself just now has still to be told of.
		if err := unix.Kill(-cl.pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
			c.log.Logf(halog.Error, "kill client %q: %v", cl.Command, err)
			cl.pid = 0
			continue
		}
		c.awaited = cl
		return // died goes on
	}
	c.stopped = true
	c.done()
}

// kill ends at once the clients that still run: the end of a shutdown that took too long. It is called
// when the loop has ended, and nobody is told of their deaths.
func (c *clients) kill() {
	for _, cl := range c.list {
		if cl.pid == 0 || c.ipfail != nil && isIpfail(cl.Command) {
			continue
		}
		c.log.Logf(halog.Warn, "killing %s process group %d with signal 9", cl.Command, cl.pid)
		if err := unix.Kill(-cl.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			c.log.Logf(halog.Error, "kill client %q: %v", cl.Command, err)
		}
	}
}

// deliver passes a message of the cluster to those who listen.
func (c *clients) deliver(now time.Time, d cluster.Deliver) {
	if c.ipfail != nil {
		c.ipfail.deliver(now, d)
	}
}

func (c *clients) deadline() (time.Time, bool) {
	if c.ipfail == nil {
		return time.Time{}, false
	}
	return c.ipfail.deadline()
}

func (c *clients) tick(now time.Time) { c.ipfail.tick(now) }

// lookup finds a user's ids by name or number.
func lookup(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return 0, 0, fmt.Errorf("user %q: unknown", name)
		}
	}
	return number(u.Uid), number(u.Gid), nil
}

// number reads an id, which on Linux is always decimal; -1 makes sure that a surprise is refused
// by the kernel and not taken for root.
func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil {
		return -1
	}
	return n
}

// groups are the user's supplementary groups; none are given when they cannot be read.
func groups(name string) []uint32 {
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var out []uint32
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}
