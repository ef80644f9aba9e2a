package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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

// Actions are the words that Command understands.
var Actions = []string{"start", "stop", "restart", "try-restart", "reload", "force-reload", "status"}

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

// ParseWords splits the words of a call into configuration and action, as the original does:
// one word is the action, of several the first two count. ok is false if there is no action.
func ParseWords(words []string) (config, action string, ok bool) {
	switch len(words) {
	case 0:
		return "", "", false
	case 1:
		action = words[0]
	default:
		config, action = words[0], words[1]
	}
	return config, action, slices.Contains(Actions, action)
}

// Run carries the call out and returns its exit status. The words must be good for ParseWords.
func (c *Command) Run(ctx context.Context) int {
	config, action, ok := ParseWords(c.Words)
	if !ok {
		return exitFailed
	}
	in, err := c.Paths.Find(config)
	if s := c.local(in); s != nil && (action == "stop" || action == "status") {
		// Its own file is known already, and need not be read for this.
		if pid, stale := in.Running(); pid != 0 {
			s.o.Log.Print(c.invoked())
			return c.act(ctx, action, s.o.Instance, pid, stale, s.o.Log)
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
		// An instance that runs can be stopped and asked for, whatever its file has become.
		if pid, _ := in.Running(); pid == 0 || action != "stop" && action != "status" {
			log.Printf("Exiting with exit_status %d: config_error: Configuration Error", exitConfig)
			return exitConfig
		}
	}
	log.Print(c.invoked())
	pid, stale := in.Running()
	status := c.act(ctx, action, in, pid, stale, log)
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

// withoutConfig is a call whose file is not there. What runs can still be stopped.
func (c *Command) withoutConfig(ctx context.Context, in Instance, action string, err error) int {
	fmt.Fprintln(c.Stderr, err)
	var debug io.Writer
	if c.Debug {
		debug = c.Stderr
	}
	log := NewLog(in, debug, nil)
	defer log.Close()
	log.Print(err.Error())
	if pid, _ := in.Running(); pid != 0 && action == "stop" {
		return c.stop(ctx, in)
	}
	log.Printf("Exiting with exit_status %d: Initialisation Error", exitFailed)
	return exitFailed
}

// act does what is to be done about an instance that runs as pid, or does not (0). It returns
// exitLaunch if one is to be brought up.
func (c *Command) act(ctx context.Context, action string, in Instance, pid int, stale bool, log *Log) int {
	switch action {
	case "status":
		return c.status(in, pid, stale, log)
	case "stop":
		return c.stop(ctx, in)
	case "reload", "force-reload":
		if pid == 0 {
			log.Printf("ldirectord is stopped for %s", in.Config)
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

func (c *Command) status(in Instance, pid int, stale bool, log *Log) int {
	if pid != 0 {
		text := fmt.Sprintf("ldirectord for %s is running with pid: %d", in.Config, pid)
		fmt.Fprintln(c.Stderr, text)
		log.Print(text)
		log.Print("Exiting from ldirectord status")
		return exitOK
	}
	status := exitStopped
	if stale {
		text := fmt.Sprintf("ldirectord stale pid file %s for %s", in.PIDFile, in.Config)
		fmt.Fprintln(c.Stderr, text)
		log.Print(text)
		status = exitFailed
	}
	fmt.Fprintf(c.Stdout, "ldirectord is stopped for %s\n", in.Config)
	return status
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
