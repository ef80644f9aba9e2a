package applet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/agent/ipaddr"
	"github.com/systole-ha/systole/pkg/agent/script"
	"github.com/systole-ha/systole/pkg/announce"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
	"github.com/systole-ha/systole/pkg/resource"
)

var resourceManagerProgram = program{
	name:    "ResourceManager",
	summary: "take, give up and list resource groups, as the init script and scripts of rc.d ask for it",
	run:     resourceManager,
}

var reqResourceProgram = program{
	name:    "req_resource",
	summary: "ask for a resource group of this node",
	usage:   "req_resource KEY   (a group's first resource, as ResourceManager allkeys lists them)",
	run: func(env Env, args []string) int {
		return withScripts(env, "req_resource", func(s *scripts) int {
			return s.call(cluster.Call{Verb: cluster.ReqResource, Arg: word(args, 0), Env: s.given("HA_NICEFAILBACK", "HA_DONTASK")})
		})
	},
}

var machDownProgram = program{
	name:    "mach_down",
	summary: "take over the resource groups of a dead node",
	usage:   "mach_down NODE",
	run: func(env Env, args []string) int {
		return withScripts(env, "mach_down", func(s *scripts) int {
			return s.say(s.manager.MachDown(context.Background(), word(args, 0), s.given("HA_NICEFAILBACK", "HA_info")))
		})
	},
}

var standbyProgram = program{
	name:    "hb_standby",
	summary: "give up resources: all, foreign, local, failback",
	run: func(env Env, args []string) int {
		return withWord(env, "hb_standby", args, func(s *scripts, what string) []byte {
			if what == "failback" {
				what = "foreign"
			}
			return s.manager.Standby(what)
		})
	},
}

var takeoverProgram = program{
	name:    "hb_takeover",
	summary: "ask the other node for resources: all, foreign, local, failback",
	run: func(env Env, args []string) int {
		return withWord(env, "hb_takeover", args, func(_ *scripts, what string) []byte { return resource.Takeover(what) })
	},
}

// programsDir is where the originals of these programs are, and how their lines name them.
const programsDir = "/usr/share/heartbeat"

// shown is the name by which a program of programsDir was called.
func shown(env Env, name string) string {
	if filepath.Base(env.Arg0) == name {
		return env.Arg0
	}
	return programsDir + "/" + name
}

func word(args []string, n int) string {
	if n < len(args) {
		return args[n]
	}
	return ""
}

// withWord is what hb_standby and hb_takeover have in common: one word, and a message for it.
func withWord(env Env, name string, args []string, message func(*scripts, string) []byte) int {
	usage := func() int {
		fmt.Fprintln(env.Stdout, "usage:")
		fmt.Fprintf(env.Stderr, "%s [all|foreign|local|failback]\n", shown(env, name))
		return exitFailed
	}
	what := "all"
	switch {
	case len(args) > 1:
		fmt.Fprintf(env.Stdout, "%s: too many arguments\n", shown(env, name))
		return usage()
	case len(args) == 1 && args[0] == "--help":
		return usage()
	case len(args) == 1:
		if what = args[0]; !slices.Contains([]string{"all", "foreign", "local", "failback"}, what) {
			fmt.Fprintf(env.Stdout, "%s: wrong resources(%s).\n", shown(env, name), what)
			return usage()
		}
	}
	return withScripts(env, name, func(s *scripts) int { return s.say([][]byte{message(s, what)}) })
}

func resourceManager(env Env, args []string) int {
	return withScripts(env, "ResourceManager", func(s *scripts) int {
		ctx, m := context.Background(), s.manager
		list := func(lines []string) int {
			for _, l := range lines {
				fmt.Fprintln(env.Stdout, l)
			}
			return exitOK
		}
		switch arg := word(args, 1); word(args, 0) {
		case "listkeys":
			return list(m.ListKeys(arg))
		case "allkeys":
			return list(m.ListKeys(".*"))
		case "ourkeys":
			return list(m.Lines(true))
		case "otherkeys":
			return list(m.Lines(false))
		case "status":
			if m.Owned(ctx, arg) {
				return exitOK
			}
			return exitNotRunning
		case "takegroup":
			return s.call(cluster.Call{Verb: cluster.TakeGroup, Arg: arg})
		case "givegroup":
			return s.call(cluster.Call{Verb: cluster.GiveGroup, Arg: arg})
		case "statgroup":
			s.log.SetStderr(nil) // all that it prints goes to the debug file
			m.StatGroup(ctx, arg)
			return exitOK
		case "verifyallidle":
			return m.VerifyAllIdle(ctx, func(line string) { fmt.Fprintln(env.Stderr, line) })
		}
		fmt.Fprintf(env.Stderr, "usage: %s listkeys machine | takegroup key | givegroup key|status resource\n\n", shown(env, "ResourceManager"))
		return exitFailed
	})
}

// scripts is what the programs that stand for heartbeat's scripts work with: a resource manager in
// a process that ends soon, set up by the environment as the scripts are.
type scripts struct {
	env     Env
	name    string
	fifo    string
	log     *halog.Log
	manager *resource.Manager
}

func withScripts(env Env, name string, run func(*scripts) int) int {
	paths := daemon.PathsUnder("/" + env.Getenv(rootEnv))
	self, uname, err := daemon.NodeName(paths)
	dir, derr := os.Getwd()
	if derr != nil {
		dir = "/"
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
		return exitFailed
	}
	if own := env.Getenv("HA_CURHOST"); own != "" {
		self = own
	}
	s := &scripts{env: env, name: name, fifo: env.Getenv("HA_FIFO"), log: scriptLog(env, paths, uname)}
	defer s.log.Close()
	if s.fifo == "" {
		s.fifo = paths.FIFO
	}
	cf := systoleCF(paths)
	o := resource.Options{
		Node:    self,
		Groups:  func() []haresources.Group { return s.groups(filepath.Join(paths.Etc, "haresources")) },
		Log:     s.log,
		Agents:  map[string]agent.Agent{},
		Builtin: cf.Builtin,
		Script:  script.New(script.Options{Output: s.log.OpenDebug, Dir: dir}),
		Paths:   resource.Paths{HaDir: paths.Etc, ResourceD: env.Getenv("HA_RESOURCEDIR")},
		Env:     s.given("HA_STOPRETRYMAX"),
		Later:   s.later,
		Reboot:  reboot,

		StopFailure: resource.ParseStopFailure(cf.StopFailure),
	}
	if host, err := netif.Open(); err != nil { // most of what these programs do needs no addresses
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
	} else {
		defer host.Close()
		addresses := ipaddr.New(ipaddr.Options{Host: host, Announcer: onceAnnouncer{}, Dialect: s.log.Dialect()})
		for _, n := range ipaddr.Names {
			o.Agents[n] = addresses
		}
	}
	s.manager = resource.New(o)
	return run(s)
}

// scriptLog is the log that the environment of a script names.
func scriptLog(env Env, paths daemon.Paths, uname string) *halog.Log {
	c := halog.Config{Node: uname, LogFile: env.Getenv("HA_LOGFILE"), DebugFile: env.Getenv("HA_DEBUGLOG"), Stderr: env.Stderr}
	c.Facility, _ = halog.ParseFacility(env.Getenv("HA_LOGFACILITY")) // an unknown one is none
	c.DebugLevel, _ = strconv.Atoi(env.Getenv("HA_debug"))            // likewise
	if env.Getenv("HA_LOGD") == "yes" {
		c.Logd = &halog.Logd{Socket: halog.LogdSocket}
	}
	if f, ok := env.Stdin.(*os.File); ok {
		c.Terminal = term.IsTerminal(int(f.Fd()))
	}
	c.Dialect, _ = halog.ParseDialect(systoleCF(paths).LogDialect)
	return halog.New(c)
}

// systoleCF reads systole.cf, if it is there. heartbeat itself tells of its mistakes.
func systoleCF(paths daemon.Paths) systolecf.Config {
	path := filepath.Join(paths.Etc, "systole.cf")
	text, _ := os.ReadFile(path)
	cf, _ := systolecf.Parse(path, text)
	return cf
}

// groups reads haresources. A file that is not there is an empty one; mistakes are heartbeat's to
// report.
func (s *scripts) groups(path string) []haresources.Group {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(s.env.Stderr, "%s: %v\n", s.name, err)
	}
	groups, _ := haresources.Parse(path, text, nil)
	return groups
}

// given are those of the variables that are set.
func (s *scripts) given(names ...string) []string {
	var env []string
	for _, n := range names {
		if v := s.env.Getenv(n); v != "" {
			env = append(env, n+"="+v)
		}
	}
	return env
}

func (s *scripts) call(c cluster.Call) int {
	done := s.manager.Do(context.Background(), c)
	return max(done.Code, s.say(done.Say))
}

// say writes messages to heartbeat's FIFO, each in one go. The original waits without end if no
// heartbeat reads; we say so and fail.
func (s *scripts) say(messages [][]byte) int {
	if len(messages) == 0 {
		return exitOK
	}
	f, err := os.OpenFile(s.fifo, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, os.ErrNotExist):
		fmt.Fprintf(s.env.Stderr, "%s: heartbeat is not running (nobody reads %s)\n", s.name, s.fifo)
		return exitFailed
	case err != nil:
		fmt.Fprintf(s.env.Stderr, "%s: %v\n", s.name, err)
		return exitFailed
	}
	for _, m := range messages {
		_ = f.SetWriteDeadline(time.Now().Add(fifoLimit)) // an error says that it is a regular file
		if _, werr := f.Write(m); err == nil {
			err = werr
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		fmt.Fprintf(s.env.Stderr, "%s: %v\n", s.name, err)
		return exitFailed
	}
	return exitOK
}

// fifoLimit is how long a full FIFO is waited for.
const fifoLimit = 10 * time.Second

// later has hb_standby run after a time, by a child that outlives us.
func (s *scripts) later(after time.Duration, what string) {
	self, err := os.Executable()
	if err == nil {
		text := fmt.Sprintf("sleep %d; exec \"$0\" hb_standby %s", int(after/time.Second), what)
		cmd := exec.Command("/bin/sh", "-c", text, self)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err = cmd.Start(); err == nil {
			err = cmd.Process.Release()
		}
	}
	if err != nil {
		fmt.Fprintf(s.env.Stderr, "%s: hb_standby: %v\n", s.name, err)
	}
}

// onceAnnouncer announces an address in one go: this process does not stay for repetitions.
type onceAnnouncer struct{}

// Announce is ipaddr.Announcer.
func (onceAnnouncer) Announce(link string, ip netip.Addr, done func(error)) {
	err := announce.Once(link, ip)
	if done != nil {
		done(err)
	}
}

// Cancel is ipaddr.Announcer.
func (onceAnnouncer) Cancel(string, netip.Addr) bool { return false }
