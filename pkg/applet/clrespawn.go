package applet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/apphb"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/halog"
)

var clRespawnProgram = program{
	name:    "cl_respawn",
	summary: "run a program and start it again when it ends",
	run:     runClRespawn,
}

const clRespawnUsage = `Usage cl_respawn [<options>] <monitored_program> [<arg1>] [<arg2>] ...
Options are as below:
-m magic_exit_code
	When monitored_program exit as this magic_exit_code, then cl_respawn
	will not try to respawn it.
-i interval
	Set the interval(ms) of application hearbeat or plumbing its client.
-w warntime
	Set the warning time (ms) of application heartbeat.
-p pidfile
	Set the name of a pid file to use.
-r	Recover itself from crash. Only called by other monitor programs like	recovery manager.
-l	List the program monitored by cl_respawn.
	Notice: do not support yet.
-h	Display this simple help.

`

// clRespawnLetters are its options; l is without effect, as in the original.
const clRespawnLetters = "rm:i:w:p:lh"

// respawn is one run of cl_respawn.
type respawn struct {
	log      *halog.Logger
	argv     []string
	magic    int
	interval time.Duration // of the application heartbeat
	warn     time.Duration
	socket   string        // apphbd's
	beat     *apphb.Client // nil when no apphbd runs
}

// Defaults of cl_respawn.
const (
	respawnMagic    = 100
	respawnInterval = 2000
	respawnWarn     = 6000
	// unknownEnd is how a process ended that is not a child: nobody can tell, so it counts as a failure.
	unknownEnd = syscall.WaitStatus(0xff00)
	// respawnPause keeps a program that ends at once from being started in a loop.
	respawnPause = time.Second
)

func runClRespawn(env Env, args []string) int {
	paths := clientPaths(env)
	quiet := env
	quiet.Getenv = func(string) string { return "" } // the original takes no notice of where heartbeat's log goes
	log := clientLog(quiet, paths, "cl_respawn", "daemon")
	defer log.Close()
	out := log.Logger("cl_respawn", os.Getpid())
	g := grammarOf(clRespawnLetters)
	g.InOrder = true
	r, err := g.Parse(args)
	usage := func(code int) int {
		fmt.Fprint(env.Stdout, clRespawnUsage)
		return code
	}
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintf(env.Stderr, "%s: %s\n", env.Arg0, first)
		out.Log(halog.Error, "getopt returnedcharacter code ?.")
		return usage(exitUsage)
	}
	switch {
	case r.Has("h"):
		return usage(exitOK)
	case len(args) == 0:
		return usage(exitUsage)
	}
	number := func(opt string, otherwise int) int {
		if v, ok := r.Value(opt); ok {
			if n, err := strconv.Atoi(v); err == nil && n > 0 {
				return n
			}
		}
		return otherwise
	}
	p := &respawn{
		log: out, argv: r.Operands, magic: respawnMagic,
		interval: time.Duration(number("i", respawnInterval)) * time.Millisecond,
		warn:     time.Duration(number("w", respawnWarn)) * time.Millisecond,
	}
	if v, ok := r.Value("m"); ok {
		p.magic, _ = strconv.Atoi(v) // no number is 0, as for the original
	}
	running := 0
	if r.Has("r") {
		if running, _ = strconv.Atoi(env.Getenv("RSP_PID")); running <= 0 {
			out.Log(halog.Error, "cannot get monitored PID from the environment variable which should be set by the recovery program.")
			return exitUsage
		}
		if p.argv = strings.Fields(env.Getenv("RSP_CMD")); len(p.argv) == 0 {
			out.Log(halog.Error, "cannot get the argument of the monitored program from the environment variable, which should be set by the recovery program.")
			out.Log(halog.Error, "Failed to transfer the CLI string to the argv[] style.")
			return exitUsage
		}
	}
	if len(p.argv) == 0 || !p.find() {
		out.Log(halog.Error, "Please give the program name which will be run as a child process of cl_respawn.")
		return usage(exitUsage)
	}
	if file, ok := r.Value("p"); ok {
		if pid := runningAs(file, "cl_respawn"); pid != 0 {
			out.Logf(halog.Warn, "pidfile [%s] says we're already running as pid [%d]", file, pid)
			return exitOK
		}
		lock, err := daemon.LockPIDFile(file)
		if err != nil {
			out.Logf(halog.Error, "Cannot create pidfile [%s]: %v", file, err)
			return exitFailed
		}
		defer lock.Close()
	}
	log.SetStderr(nil)
	detachSession()
	p.socket = filepath.Join(paths.Run, "heartbeat/apphb.comm")
	return p.run(running)
}

// find makes the program's path one that holds in another directory.
func (p *respawn) find() bool {
	path, err := exec.LookPath(p.argv[0])
	if err != nil {
		return false
	}
	if path, err = filepath.Abs(path); err != nil {
		return false
	}
	p.argv = append([]string{path}, p.argv[1:]...)
	return true
}

// detachSession leaves the session, the directory and the standard files of who has started us; the
// process stays the same, and in the foreground.
func detachSession() {
	_, _ = unix.Setsid() // fails for the leader of a group: then the terminal's signals still come
	_ = os.Chdir("/")
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			_ = unix.Dup3(int(null.Fd()), fd, 0)
		}
		null.Close()
	}
}

func (p *respawn) register() {
	c, err := apphb.Dial(p.socket, "cl_respawn", fmt.Sprintf("cl_respawn_%dd", os.Getpid()))
	if err == nil {
		if err = errors.Join(c.Set(apphb.SetInterval, p.interval), c.Set(apphb.SetWarn, p.warn)); err == nil {
			p.log.Log(halog.Info, "Registered with apphbd.")
			p.beat = c
			return
		}
		_ = c.Close()
	}
	p.log.Log(halog.Warn, "Failed to register with apphbd.")
	p.log.Log(halog.Warn, "Maybe apphd isn't running.")
}

// run keeps the program running until a signal, or its magic exit status. running is the process of
// an earlier cl_respawn's program; 0 is none.
func (p *respawn) run(running int) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPIPE, unix.SIGHUP) // only the first ends it
	defer signal.Stop(signals)
	defer func() {
		if p.beat != nil {
			_ = p.beat.Close()
		}
	}()
	tick := time.NewTicker(max(p.interval/2, time.Millisecond))
	defer tick.Stop()
	for first := true; ; first = false {
		pid, done := running, (<-chan syscall.WaitStatus)(nil)
		if running != 0 {
			done, running = p.watch(running), 0
		} else {
			var err error
			if pid, done, err = p.start(); err != nil {
				p.log.Logf(halog.Error, "cannot start monitor program %s: %v", p.argv[0], err)
				return exitFailed
			}
			p.log.Logf(halog.Info, "Child process [%s] started [ pid: %d ].", p.argv[0], pid)
			if first {
				p.log.Logf(halog.Notice, "started the monitored program %s, whose PID is %d", p.argv[0], pid)
			} else {
				p.log.Logf(halog.Notice, "restarted the monitored program, whose PID  is %d", pid)
			}
		}
		if first {
			p.register()
		}
		begun := time.Now()
		status, end := p.wait(pid, done, signals, tick.C)
		if end {
			return exitOK
		}
		daemon.LogDeath(p.log, p.argv[0], pid, status)
		if status.Exited() && status.ExitStatus() == p.magic {
			p.log.Logf(halog.Info, "Don't restart the monitored program %s [%d], since we got the magic exit code.", p.argv[0], pid)
			return exitOK
		}
		p.log.Logf(halog.Info, "process %s[%d] exited, and its exit code is %d", p.argv[0], pid, max(status.ExitStatus(), 0))
		if pause := respawnPause - time.Since(begun); pause > 0 {
			after := make(chan syscall.WaitStatus, 1)
			time.AfterFunc(pause, func() { after <- 0 })
			if _, end := p.wait(0, after, signals, tick.C); end {
				return exitOK
			}
		}
	}
}

// start starts the program. How it ends comes over the channel.
func (p *respawn) start() (pid int, done <-chan syscall.WaitStatus, err error) {
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	ch := make(chan syscall.WaitStatus, 1)
	go func() { // ends with the program
		_ = cmd.Wait()                                    // the state says it all
		ch <- cmd.ProcessState.Sys().(syscall.WaitStatus) // as it is on Linux
	}()
	return cmd.Process.Pid, ch, nil
}

// watch waits for the end of a process that is not a child. How it ended nobody can tell.
func (p *respawn) watch(pid int) <-chan syscall.WaitStatus {
	ch := make(chan syscall.WaitStatus, 1)
	go func() { // ends with the process
		for unix.Kill(pid, 0) == nil {
			time.Sleep(100 * time.Millisecond)
		}
		ch <- unknownEnd
	}()
	return ch
}

// wait waits for the program's end and sends heartbeats meanwhile. end says that a signal has come,
// and that the program has been ended.
func (p *respawn) wait(pid int, done <-chan syscall.WaitStatus, signals <-chan os.Signal, tick <-chan time.Time) (status syscall.WaitStatus, end bool) {
	for {
		select {
		case status = <-done:
			return status, false
		case <-tick:
			if p.beat == nil {
				continue
			}
			if err := p.beat.Beat(); err != nil {
				p.log.Logf(halog.Warn, "apphbd is gone: %v", err)
				p.beat = nil
			}
		case s := <-signals:
			if s != unix.SIGTERM {
				continue
			}
			if pid != 0 {
				p.log.Logf(halog.Info, "Killing pid [%d] with SIGTERM", pid)
				if err := unix.Kill(pid, unix.SIGTERM); err == nil {
					daemon.LogDeath(p.log, p.argv[0], pid, <-done)
				}
			}
			return 0, true
		}
	}
}
