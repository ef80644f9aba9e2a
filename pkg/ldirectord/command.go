package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Command is one call of the ldirectord program: its texts, log lines and exit statuses.
type Command struct {
	Paths   Paths
	Program string   // as it was called; for a log line
	Words   []string // what follows the options: [CONFIG] ACTION
	Debug   bool     // -d
	Load    LoadOptions

	Stdout, Stderr io.Writer

	// Launch brings an instance up and returns when it runs, or, in the foreground, when it
	// has ended.
	Launch func(ctx context.Context, l Launch) error
	// Execute carries out an action of another configuration (execute=) and returns its exit status.
	Execute func(ctx context.Context, name, action string) int
	// Local, if not nil, says that instances are to run in this process, and returns that which
	// does, or nil. supervised=yes then means nothing.
	Local func(in Instance) *Server
}

// Launch is an instance to be brought up.
type Launch struct {
	Instance   Instance
	File       File
	Log        *Log
	Foreground bool // -d or supervised=yes
}

// ExitUsage is the exit status of a call that cannot be understood, as Perl's pod2usage(-1) has it.
const ExitUsage = 255

// Exit statuses of the original.
const (
	exitOK      = 0
	exitFailed  = 1 // initialisation failed, stale pid file, nothing to reload
	exitConfig  = 2
	exitStopped = 3 // status only

	exitLaunch = -1 // none: go on and launch
)

// How long stop waits for the instance to have cleaned the table. The original does not wait.
const stopLimit = 10 * time.Second

// Run carries the call out and returns its exit status. The words must be good for ParseWords.
func (c *Command) Run(ctx context.Context) int {
	call, ok := ParseWords(c.Words)
	if !ok {
		return ExitUsage
	}
	action := call.Action
	if action == "configtest" {
		return c.configtest(ctx, call.Config)
	}
	in, err := c.Paths.Find(call.Config)
	if action == "drain" || action == "undrain" {
		return c.drain(ctx, call, in, err)
	}
	if s := c.local(in); s != nil && (action == "stop" || action == "status") {
		// Its own file is known already, and need not be read for this.
		if pid, stale := in.Running(); pid != 0 {
			s.o.Log.Print(c.invoked())
			return c.act(ctx, call, target{s.o.Instance, s.file(ctx), pid, stale, s.o.Log})
		}
	}
	if err != nil {
		return c.withoutConfig(ctx, in, action, err)
	}
	c.Load.Debug = c.Debug
	f := Load(ctx, in, c.Load)
	log := c.log(in, f)
	defer log.Close()
	for _, w := range f.Warnings {
		fmt.Fprintln(c.Stderr, w)
	}
	if f.Err != nil {
		fmt.Fprintln(c.Stderr, f.Err)
		// An instance that runs can be stopped and asked for, whatever its file has become; one that does
		// not is stopped.
		if pid, _ := in.Running(); action != "stop" && (pid == 0 || action != "status") {
			log.Printf("Exiting with exit_status %d: config_error: Configuration Error", exitConfig)
			return exitConfig
		}
	}
	log.Print(c.invoked())
	pid, stale := in.Running()
	status := c.act(ctx, call, target{in, f, pid, stale, log})
	if status == exitLaunch {
		return c.launch(ctx, in, f, log)
	}
	if status != exitOK {
		log.Printf("Exiting with exit_status %d: Exiting from ldirectord %s", status, action)
	}
	return status
}

func (c *Command) invoked() string {
	return "Invoking ldirectord invoked as: " + c.Program + " " + strings.Join(c.Words, " ") + " "
}

func (c *Command) log(in Instance, f File) *Log {
	var debug, plain io.Writer
	if c.Debug {
		debug = c.Stderr
	} else if c.supervised(f) {
		plain = c.Stdout
	}
	log := NewLog(in, debug, plain)
	log.Use(f.Config)
	return log
}

func (c *Command) supervised(f File) bool { return c.Local == nil && f.Config.Global.Supervised }

// withoutConfig is a call whose file is not there. What runs can still be stopped, and what does not run
// is stopped.
func (c *Command) withoutConfig(ctx context.Context, in Instance, action string, err error) int {
	fmt.Fprintln(c.Stderr, err)
	var debug io.Writer
	if c.Debug {
		debug = c.Stderr
	}
	log := NewLog(in, debug, nil)
	defer log.Close()
	log.Print(err.Error())
	if action == "stop" {
		return c.stop(ctx, in)
	}
	log.Printf("Exiting with exit_status %d: Initialisation Error", exitFailed)
	return exitFailed
}

// target is what a call is about.
type target struct {
	Instance
	file  File
	pid   int // of the process that it runs in, or 0
	stale bool
	log   *Log
}

// act does what a call asks for. It returns exitLaunch if an instance is to be brought up.
func (c *Command) act(ctx context.Context, call Call, t target) int {
	in, pid := t.Instance, t.pid
	switch action := call.Action; action {
	case "status":
		return c.status(ctx, call, t)
	case "stop":
		return c.stop(ctx, in)
	case "reload", "force-reload":
		if pid == 0 {
			t.log.Printf("ldirectord is stopped for %s", in.Config)
			return exitFailed
		}
		if err := c.reload(ctx, in); err != nil {
			return c.failed(err)
		}
		return exitOK
	case "restart", "try-restart":
		if pid == 0 && action == "try-restart" {
			return exitOK
		}
		if pid != 0 {
			if err := c.askToStop(ctx, in); err != nil {
				return c.failed(err)
			}
			if !in.WaitGone(ctx) {
				return c.failed(fmt.Errorf("restart: pid %d has not ended: %w", pid, context.Cause(ctx)))
			}
		}
	case "start":
		if pid != 0 {
			return exitOK
		}
	}
	return exitLaunch
}

func (c *Command) launch(ctx context.Context, in Instance, f File, log *Log) int {
	l := Launch{Instance: in, File: f, Log: log, Foreground: c.Debug || c.supervised(f)}
	how := "as daemon"
	if l.Foreground {
		how = fmt.Sprintf("with pid: %d", os.Getpid())
	}
	log.Printf("Starting Linux Director %s %s", Version, how)
	switch err := c.Launch(ctx, l); {
	case errors.Is(err, ErrRunning): // somebody else was quicker
		return exitOK
	case err != nil:
		log.Print(err.Error())
		log.Printf("Exiting with exit_status %d: Initialisation Error", exitFailed)
		return c.failed(err)
	}
	return exitOK
}

func (c *Command) failed(err error) int {
	fmt.Fprintln(c.Stderr, err)
	return exitFailed
}

// stop asks the instance to end and waits a while until it has.
func (c *Command) stop(ctx context.Context, in Instance) int {
	if err := c.askToStop(ctx, in); err != nil {
		return c.failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	in.WaitGone(ctx)
	return exitOK
}

func (c *Command) askToStop(ctx context.Context, in Instance) error {
	if s := c.local(in); s != nil {
		s.Stop(ctx, "TERM")
		return nil
	}
	return in.Stop()
}

func (c *Command) reload(ctx context.Context, in Instance) error {
	if s := c.local(in); s != nil {
		s.Reload(ctx)
		return nil
	}
	return in.Reload()
}

func (c *Command) local(in Instance) *Server {
	if c.Local == nil {
		return nil
	}
	return c.Local(in)
}
