package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

const ldirectordUsage = `Usage:
    ldirectord [-d|--debug] [--] [configfile] start | stop | restart |
    try-restart | reload | force-reload | status

    ldirectord [configfile] status --verbose | status --json
    ldirectord [configfile] configtest
    ldirectord [configfile] drain REAL [--virtual V] [--wait [--timeout T]]
    ldirectord [configfile] undrain REAL [--virtual V]

    ldirectord [-h|-?|--help|-v|--version]

Options:
    configfile: which configuration to use: a file in /etc/ha.d or
    /etc/ha.d/conf, or a path. The default is ldirectord.cf.

    -d|--debug Stay in the foreground and say on standard error what is done.

    -h|--help Print this and what belongs to it, and exit.

    -v|--version Print the version and exit.

    start: run a daemon for the configuration. It returns when the virtual
    services are in the IPVS table; real servers follow as their checks succeed.

    stop: end the daemon, in order. Its virtual services leave the table unless
    cleanstop=no.

    restart: stop and start. try-restart: the same, but only if it runs.

    reload, force-reload: read the configuration again. What did not change
    goes on undisturbed. A configuration with errors changes nothing.

    status: say whether the daemon runs. With --verbose also how each real
    server is, and what its last failed checks were like; with --json the same
    for programs.

    configtest: read the configuration, and those that it executes, and tell
    everything that is wrong. Nothing is changed.

    drain: give a real server no new connections. It stays in the table with
    weight 0, over reloads and restarts, until undrain. REAL is an address or a
    name, with :port if only one of its ports is meant. All services that have
    it are meant, or --virtual ADDRESS:PORT (or a firewall mark). --wait returns
    when no active connection is left, or after --timeout (seconds, or 90s, 5m).
`

const ldirectordHelp = `
Exit status: 0 done, or running; 1 not started, nothing to reload, or a stale
pid file; 2 mistake in the configuration; 3 not running (status); 4 not drained
when --timeout was over (drain); 255 usage.

Signals to the daemon: TERM, INT, QUIT and other deadly ones stop it in order,
HUP reloads.

Files: /etc/ha.d/ldirectord.cf, /var/log/ldirectord.log,
/var/run/ldirectord.NAME.pid and .sock, /var/lib/ldirectord/NAME.drained; NAME
is "ldirectord", or the last part of configfile if that is given.
`

const ldirectordVersion = `Linux Director ` + ldirectord.Version + `
as systole implements it, <https://github.com/systole-ha/systole>

Apache License 2.0. There is no warranty, to the extent permitted by law.
`

// The original sees -d and the rest only before the other words, and no shortened names.
var ldirectordOptions = getopt.Grammar{
	Opts: []getopt.Opt{
		{Short: 'd', Long: "debug"}, {Short: 'h', Long: "help"}, {Short: '?'}, {Short: 'v', Long: "version"},
	},
	Dialect: getopt.Perl,
}

var ldirectordProgram = program{
	name:    "ldirectord",
	summary: "check real servers and keep the IPVS table as ldirectord.cf says",
	run:     runLdirectord,
}

func runLdirectord(env Env, args []string) int {
	options, err := ldirectordOptions.Parse(args)
	switch _, ok := ldirectord.ParseWords(options.Operands); {
	case err != nil:
		fmt.Fprintln(env.Stderr, err)
		io.WriteString(env.Stdout, ldirectordUsage)
		return ldirectord.ExitUsage
	case options.Has("help"), options.Has("?"):
		io.WriteString(env.Stdout, ldirectordUsage+ldirectordHelp)
		return 0
	case options.Has("version"):
		io.WriteString(env.Stdout, ldirectordVersion)
		return 0
	case !ok:
		io.WriteString(env.Stdout, ldirectordUsage)
		return ldirectord.ExitUsage
	}
	env.Arg0 = ownPath(env.Arg0)
	p := ldirectordProcess{
		env: env, args: args, words: options.Operands, paths: ldirectord.PathsUnder("/" + env.Getenv(rootEnv)),
		load: ldirectord.LoadOptions{Getenv: env.Getenv, Debug: options.Has("debug")},
		open: (&tables{kind: env.Getenv(ipvsEnv)}).open,
	}
	if env.Getenv(ldirectordReadyEnv) != "" {
		return p.daemon()
	}
	c := ldirectord.Command{
		Paths: p.paths, Program: env.Arg0, Words: p.words, Debug: p.load.Debug, Load: p.load,
		Stdout: env.Stdout, Stderr: env.Stderr, Launch: p.launch, Execute: p.execute,
	}
	return c.Run(context.Background())
}

// ownPath is where this program is if arg0 is a bare name that means it, else arg0. The original, a
// script, always sees its path, and so do those who look for it in process lists.
func ownPath(arg0 string) string {
	if strings.Contains(arg0, "/") {
		return arg0
	}
	found, err := exec.LookPath(arg0)
	if err != nil {
		return arg0
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return arg0
	}
	if there, err := os.Stat(found); err != nil || !os.SameFile(own, there) {
		return arg0
	}
	return found
}

// rootEnv names a directory that stands for "/" in front of the program's own paths; for tests.
const rootEnv = "SYSTOLE_ROOT"

// ldirectordReadyEnv tells a new process that it is the daemon, and which descriptor to report on.
const ldirectordReadyEnv = "SYSTOLE_READY_FD"

// What the daemon reports to the process that started it.
const (
	saidReady   = "ready"
	saidRunning = "running"
)

// How long start waits for the daemon to have its services in the table.
const ldirectordReadyLimit = 5 * time.Second

// ldirectordProcess is this process as a launcher or daemon.
type ldirectordProcess struct {
	env   Env
	args  []string // all, options included
	words []string
	paths ldirectord.Paths
	load  ldirectord.LoadOptions
	open  func() (ipvs.Table, error)
}

// launch runs an instance in the foreground, or as a daemon.
func (p *ldirectordProcess) launch(_ context.Context, l ldirectord.Launch) error {
	if l.Foreground {
		return p.serve(ldirectord.Options{
			Instance: l.Instance, File: l.File, Load: p.load, Log: l.Log, OpenTable: p.open, Foreground: true,
			Execute: p.execute,
		})
	}
	return p.detach()
}

// detach starts this program again as a daemon, with the same arguments, so that the process
// list shows what the original's shows, and waits until it is ready.
func (p *ldirectordProcess) detach() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	defer null.Close()
	report, childs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	defer report.Close()
	argv := append([]string{p.env.Arg0}, p.args...)
	if filepath.Base(p.env.Arg0) != "ldirectord" {
		argv = append([]string{p.env.Arg0, "ldirectord"}, p.args...)
	}
	child, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Env:   append(os.Environ(), ldirectordReadyEnv+"=3"),
		Files: []*os.File{null, null, null, childs},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	childs.Close()
	if err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	defer child.Release()
	_ = report.SetReadDeadline(time.Now().Add(ldirectordReadyLimit))
	text, err := io.ReadAll(report)
	switch said := string(text); {
	case said == saidReady:
		return nil
	case said == saidRunning:
		return ldirectord.ErrRunning
	case said != "":
		return errors.New(said)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil // it goes on trying, and logs why
	}
	return errors.New("daemon ended before it was ready")
}

// execute calls this program for another configuration.
func (p *ldirectordProcess) execute(ctx context.Context, name, action string) int {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", name, action)
	cmd.Args[0] = p.env.Arg0
	if filepath.Base(p.env.Arg0) != "ldirectord" {
		cmd.Args = append([]string{p.env.Arg0, "ldirectord"}, cmd.Args[1:]...)
	}
	if action == "status" {
		cmd.Stdout, cmd.Stderr = p.env.Stdout, p.env.Stderr
	}
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		return 127
	}
	return 0
}

// daemon is the process that detach started.
func (p *ldirectordProcess) daemon() int {
	_ = os.Unsetenv(ldirectordReadyEnv) // not for the commands that checks run
	syscall.CloseOnExec(3)
	report := os.NewFile(3, "report")
	say := func(text string) {
		_, _ = io.WriteString(report, text) // the launcher may have gone
		_ = report.Close()
	}
	err := p.instance(func() { say(saidReady) })
	switch {
	case errors.Is(err, ldirectord.ErrRunning):
		say(saidRunning)
	case err != nil:
		say(err.Error())
		return 1
	}
	return 0
}

func (p *ldirectordProcess) instance(ready func()) error {
	call, _ := ldirectord.ParseWords(p.words)
	in, err := p.paths.Find(call.Config)
	if err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	f := ldirectord.Load(context.Background(), in, p.load)
	if f.Err != nil {
		return f.Err
	}
	log := ldirectord.NewLog(in, nil, nil)
	defer log.Close()
	return p.serve(ldirectord.Options{Instance: in, File: f, Load: p.load, Log: log, OpenTable: p.open, Ready: ready, Execute: p.execute})
}

// stopSignals end the service in order, as in the original.
var stopSignals = []os.Signal{
	unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGABRT, unix.SIGFPE, unix.SIGSEGV, unix.SIGBUS,
	unix.SIGSYS, unix.SIGXCPU, unix.SIGXFSZ,
}

// serve runs the service until a signal ends it.
func (p *ldirectordProcess) serve(o ldirectord.Options) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, append([]os.Signal{unix.SIGHUP, unix.SIGPIPE}, stopSignals...)...)
	defer signal.Stop(signals)
	s := ldirectord.New(o)
	ctx := context.Background()
	handled := make(chan struct{})
	go func() { // ends with the service
		defer close(handled)
		for {
			select {
			case <-s.Done():
				return
			case sig := <-signals:
				switch sig {
				case unix.SIGPIPE:
				case unix.SIGHUP:
					s.Reload(ctx)
				default:
					s.Stop(ctx, strings.TrimPrefix(unix.SignalName(sig.(syscall.Signal)), "SIG"))
				}
			}
		}
	}()
	err := s.Run(ctx)
	<-handled
	return err
}
