package applet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/apphb"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/halog"
)

var apphbdProgram = program{
	name:    "apphbd",
	summary: "watch the heartbeats of applications, and feed a watchdog",
	run:     runApphbd,
}

const apphbdUsage = "usage: apphbd [-srkh][-c configure file]\n\t-d\tsets debug level\n\t-s\tgets daemon status\n" +
	"\t-r\trestarts daemon\n\t-k\tstops daemon\n\t-h\thelp message\n"

// apphbdEnv tells a process that it is the daemon; its value is the path of the configuration.
const apphbdEnv = "SYSTOLE_APPHBD"

// apphbdPaths are its files.
func apphbdPaths(paths daemon.Paths) (pidfile, socket string) {
	return filepath.Join(paths.Run, "apphbd.pid"), filepath.Join(paths.Run, "heartbeat/apphb.comm")
}

func runApphbd(env Env, args []string) int {
	paths := clientPaths(env)
	pidfile, _ := apphbdPaths(paths)
	r, err := grammarOf("srdkhc:").Parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "%s: %s\n%s", env.Arg0, strings.ReplaceAll(err.Error(), "\n", "\n"+env.Arg0+": "), apphbdUsage)
		return exitFailed
	case r.Has("h"):
		fmt.Fprint(env.Stdout, apphbdUsage)
		return exitOK
	case r.Has("s"):
		if pid := runningAs(pidfile, "apphbd"); pid != 0 {
			fmt.Fprintf(env.Stderr, "apphbd is running [pid: %d]\n", pid)
			return exitOK
		}
		fmt.Fprintln(env.Stderr, "apphbd is stopped.")
		if _, err := os.Stat(pidfile); err == nil {
			return exitStale
		}
		return exitNotRunning
	case r.Has("k"):
		return stopApphbd(env, pidfile)
	case r.Has("r"):
		if code := stopApphbd(env, pidfile); code != exitOK {
			return code
		}
	}
	file, ok := r.Value("c")
	if !ok {
		file = "./apphbd.cf"
	}
	return startApphbd(env, paths, file, r.Count("d"))
}

// runningAs is the process that a pid file names, if it runs and is of that name or holds the
// file's lock; else 0.
func runningAs(path, name string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 || unix.Kill(pid, 0) == unix.ESRCH {
		return 0
	}
	if held, _ := daemon.Running(path); held == pid {
		return pid
	}
	if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		arg0, _, _ := strings.Cut(string(args), "\x00")
		if filepath.Base(arg0) == name {
			return pid
		}
	}
	return 0
}

func stopApphbd(env Env, pidfile string) int {
	pid := runningAs(pidfile, "apphbd")
	if pid == 0 {
		return exitOK
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		fmt.Fprintf(env.Stderr, "Cannot kill pid %d: %v\n", pid, err)
		return exitFailed
	}
	for unix.Kill(pid, 0) == nil { // as long as it takes
		time.Sleep(20 * time.Millisecond)
	}
	return exitOK
}

// apphbdConfig is apphbd.cf.
type apphbdConfig struct {
	debug     int
	watchdog  string
	tickle    time.Duration
	debugfile string
	logfile   string
}

// readApphbd reads a configuration. complain gets every mistake.
func readApphbd(file string, debug int, complain func(format string, args ...any)) (c apphbdConfig, ok bool) {
	c = apphbdConfig{debug: 3, tickle: time.Second}
	text, err := os.ReadFile(file)
	if err != nil {
		complain("Cannot open config file:[%s]", file)
		return c, false
	}
	ok = true
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		value := word(f, 1)
		switch f[0] {
		case "debug_level":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 255 {
				complain("invalid debug_level [%s] specified", value)
				ok = false
			}
			c.debug = n
		case "watchdog_device":
			c.watchdog = value
		case "watchdog_interval_ms":
			n, err := strconv.Atoi(value)
			if err != nil || n <= 0 || n > 1<<30 {
				complain("invalid watchdog_interval_ms [%s] specified", value)
				ok = false
			}
			c.tickle = time.Duration(n) * time.Millisecond
		case "debugfile":
			c.debugfile = value
		case "logfile":
			c.logfile = value
		case "realtime", "notify_plugin":
		default:
			complain("Illegal directive [%s] in %s", f[0], file)
			ok = false
		}
	}
	if debug > 0 {
		c.debug = debug
	}
	return c, ok
}

// log is where the configuration has the daemon log; stderr may be nil.
func (c apphbdConfig) log(env Env, stderr io.Writer) *halog.Log {
	_, uname, err := daemon.NodeName(clientPaths(env))
	if err != nil {
		uname = "localhost"
	}
	h := halog.Config{Node: uname, Entity: "apphbd", Stderr: stderr, DebugLevel: c.debug}
	h.Facility, _ = halog.ParseFacility("daemon") // is one
	if c.debug > 0 {
		h.LogFile, h.DebugFile = c.logfile, c.debugfile
	}
	return halog.New(h)
}

// startApphbd checks the configuration and starts the daemon; in the daemon's own process it is it.
func startApphbd(env Env, paths daemon.Paths, file string, debug int) int {
	pidfile, socket := apphbdPaths(paths)
	if env.Getenv(apphbdEnv) != "" {
		_ = os.Unsetenv(apphbdEnv)
		return apphbdDaemon(env, pidfile, socket, file, debug)
	}
	log := apphbdConfig{}.log(env, env.Stderr)
	defer log.Close()
	out := log.Logger("apphbd", os.Getpid())
	if _, ok := readApphbd(file, debug, func(format string, args ...any) { out.Logf(halog.Error, format, args...) }); !ok {
		return exitConfig
	}
	if pid := runningAs(pidfile, "apphbd"); pid != 0 {
		out.Logf(halog.Crit, "already running: [pid %d].", pid)
		return exitOK
	}
	abs, err := filepath.Abs(file) // the daemon's directory is another
	if err != nil {
		out.Logf(halog.Crit, "cannot start daemon: %v", err)
		return exitFailed
	}
	ready, w, err := os.Pipe()
	if err != nil {
		out.Logf(halog.Crit, "cannot start daemon: %v", err)
		return exitFailed
	}
	defer ready.Close()
	argv := []string{env.Arg0, "-c", abs}
	if filepath.Base(env.Arg0) != "apphbd" {
		argv = append([]string{env.Arg0, "apphbd"}, argv[1:]...)
	}
	for range debug {
		argv = append(argv, "-d")
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: argv, Dir: "/", Env: append(os.Environ(), apphbdEnv+"=1"),
		ExtraFiles: []*os.File{w}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	w.Close()
	if err == nil {
		if text, rerr := io.ReadAll(ready); rerr != nil || string(text) != "" {
			err = errors.Join(rerr, errors.New(string(text)))
		}
	}
	if err != nil {
		out.Logf(halog.Crit, "cannot start daemon: %v", err)
		return exitFailed
	}
	return exitOK
}

// apphbdDaemon is the daemon's process. Descriptor 3 is a pipe: what comes over it is why the daemon
// cannot start; nothing is well.
func apphbdDaemon(env Env, pidfile, socket, file string, debug int) int {
	starter := os.NewFile(readyFD, "starter")
	syscall.CloseOnExec(readyFD)
	fail := func(err error) int {
		fmt.Fprint(starter, err)
		starter.Close()
		return exitFailed
	}
	unix.Umask(0o022)
	cfg, ok := readApphbd(file, debug, func(string, ...any) {})
	if !ok {
		return fail(errors.New("configuration error"))
	}
	lock, err := daemon.LockPIDFile(pidfile)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = errors.Join(os.Remove(pidfile), lock.Close()) }()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return fail(err)
	}
	if err := api.OpenToAll(socket); err != nil {
		return fail(err)
	}
	log := cfg.log(env, nil)
	defer log.Close()
	w := &apphbWatch{log: log.Logger("apphbd", os.Getpid()), inputs: make(chan func())}
	w.log.Log(halog.Info, "Starting apphbd")
	if err := w.openWatchdog(cfg); err != nil {
		return fail(err)
	}
	signals := make(chan os.Signal, 4) // before anybody is told that it runs, and stops it
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	defer signal.Stop(signals)
	starter.Close()
	w.run(l, signals)
	w.log.Log(halog.Info, "[apphbd] stopped")
	return exitOK
}

// apphbWatch is the daemon at work. The goroutine of run owns the ledger.
type apphbWatch struct {
	log      *halog.Logger
	ledger   apphb.Ledger
	inputs   chan func()
	watchdog *os.File
	tickle   time.Duration
	wg       sync.WaitGroup
	conns    int // numbers given
}

// openWatchdog opens the watchdog, if there is to be one: it reboots the machine unless it is written to.
func (w *apphbWatch) openWatchdog(cfg apphbdConfig) error {
	if w.tickle = cfg.tickle; cfg.watchdog == "" {
		return nil
	}
	f, err := os.OpenFile(cfg.watchdog, os.O_WRONLY, 0)
	if err != nil {
		w.log.Logf(halog.Error, "Cannot open watchdog device: %s", cfg.watchdog)
		return err
	}
	w.watchdog = f
	w.log.Logf(halog.Notice, "Using watchdog device: %s", cfg.watchdog)
	return nil
}

// feed writes to the watchdog; "V" disarms it.
func (w *apphbWatch) feed(text string) {
	if w.watchdog == nil {
		return
	}
	if _, err := w.watchdog.WriteString(text); err != nil {
		w.log.Logf(halog.Error, "Watchdog write failure: closing watchdog!: %v", err)
		_ = w.watchdog.Close()
		w.watchdog = nil
	}
}

// run works until a signal ends it.
func (w *apphbWatch) run(l *net.UnixListener, signals <-chan os.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	w.wg.Go(func() { w.accept(ctx, l) })
	defer func() {
		cancel()
		l.Close()
		w.wg.Wait()
	}()
	tickle := time.NewTicker(w.tickle)
	defer tickle.Stop()
	w.feed("\x00")
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		wait := time.Hour
		if at, ok := w.ledger.Deadline(); ok {
			wait = max(time.Until(at), 0)
		}
		due.Reset(wait)
		select {
		case f := <-w.inputs:
			f()
		case <-due.C:
			w.tell(w.ledger.Tick(time.Now()))
		case <-tickle.C:
			w.feed("\x00")
		case s := <-signals:
			if s == unix.SIGTERM || s == unix.SIGINT {
				w.feed("V")
				return
			}
		}
	}
}

// tell logs events. A client that the machine is not to run without takes the machine with it.
func (w *apphbWatch) tell(events []apphb.Event) {
	for _, e := range events {
		switch e.Kind {
		case apphb.Note:
			w.log.Log(halog.Info, e.Text)
		case apphb.Warning:
			w.log.Log(halog.Warn, e.Text)
		case apphb.Reboot:
			w.log.Log(halog.Emerg, e.Text)
			w.log.Logf(halog.Emerg, "Rebooting system.  Reason: %s", e.Name)
			reboot()
		}
	}
}

func (w *apphbWatch) accept(ctx context.Context, l *net.UnixListener) {
	for ctx.Err() == nil {
		c, err := l.AcceptUnix()
		if err != nil {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		w.conns++
		id := w.conns
		w.wg.Go(func() { w.serve(ctx, id, c) })
	}
}

// serve passes on what a client says, one message at a time.
func (w *apphbWatch) serve(ctx context.Context, id int, c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	do := func(f func()) {
		done := make(chan struct{})
		select {
		case w.inputs <- func() { f(); close(done) }:
			<-done
		case <-ctx.Done():
		}
	}
	for {
		body, err := frame.Read(c)
		var m apphb.Message
		if err == nil {
			m, err = apphb.Parse(body)
		}
		if err != nil {
			do(func() { w.tell(w.ledger.Gone(id)) })
			return
		}
		var answer syscall.Errno
		var answered bool
		do(func() {
			var events []apphb.Event
			events, answer, answered = w.ledger.Handle(time.Now(), id, m)
			w.tell(events)
			switch {
			case answer != 0:
			case m.Kind == apphb.Register:
				w.log.Logf(halog.Debug, "apphb_client_register: client: [%s]/[%s] pid %d (uid,gid) = (%d,%d)", m.Name, m.Instance, m.PID, m.UID, m.GID)
			case m.Kind == apphb.Unregister:
				w.log.Logf(halog.Info, "apphb_client_remove: client: %d", w.pid(c))
			}
		})
		if !answered {
			continue
		}
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			continue // closed: the next read says so
		}
		_, _ = c.Write(frame.Append(nil, binary.NativeEndian.AppendUint32(nil, uint32(answer)))) // likewise
	}
}

// pid is the process at the other end.
func (w *apphbWatch) pid(c *net.UnixConn) (pid int32) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	return pid
}
