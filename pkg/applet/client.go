package applet

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/halog"
)

// clientPaths are the daemon's files for a program that talks to it.
func clientPaths(env Env) daemon.Paths { return daemon.PathsUnder("/" + env.Getenv(rootEnv)) }

// clientLog is the log of a program that heartbeat starts, or that stands beside it: it goes where
// the environment says that heartbeat's goes, and to standard error. facility is used unless the
// environment names one.
func clientLog(env Env, paths daemon.Paths, entity, facility string) *halog.Log {
	first := func(names ...string) string {
		for _, n := range names {
			if v := env.Getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	_, uname, err := daemon.NodeName(paths)
	if err != nil {
		uname = "localhost"
	}
	c := halog.Config{
		Node: uname, Entity: entity, Stderr: env.Stderr,
		LogFile:   first("HA_logfile", "HA_LOGFILE"),
		DebugFile: first("HA_debugfile", "HA_DEBUGLOG"),
	}
	if name := first("HA_logfacility", "HA_LOGFACILITY"); name != "" {
		facility = name
	}
	c.Facility, _ = halog.ParseFacility(facility) // an unknown one is none
	c.DebugLevel, _ = strconv.Atoi(env.Getenv("HA_debug"))
	switch strings.ToLower(env.Getenv("HA_syslogmsgfmt")) {
	case "false", "off", "no", "n", "0":
		c.PlainFormat = true
	}
	switch strings.ToLower(env.Getenv("HA_use_logd")) {
	case "true", "on", "yes", "y", "1":
		c.Logd = &halog.Logd{Socket: halog.LogdSocket}
	}
	return halog.New(c)
}

// dialCasual signs on without a name. Who may not reach the socket takes the public one: the
// original's cl_status has a set-gid bit for that.
func dialCasual(paths daemon.Paths, limit time.Duration) (*api.Client, error) {
	deadline := time.Now().Add(limit)
	c, err := api.Dial(paths.Socket, "", deadline)
	if errors.Is(err, os.ErrPermission) {
		return api.Dial(paths.Public, "", deadline)
	}
	return c, err
}

// signOnReason is what the original's library says when a program cannot sign on.
func signOnReason(err error) string {
	var refused *api.RefusedError
	if errors.As(err, &refused) {
		return refused.Info
	}
	return "hb_api_signon: Can't initiate connection to heartbeat"
}

// timedOut tells whether an error is the end of a deadline.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// grammarOf reads a getopt(3) option string.
func grammarOf(letters string) getopt.Grammar {
	g := getopt.Grammar{Dialect: getopt.Short}
	for i := range len(letters) {
		switch {
		case letters[i] == ':':
		case i+1 < len(letters) && letters[i+1] == ':':
			g.Opts = append(g.Opts, getopt.Opt{Short: letters[i], Value: getopt.Required})
		default:
			g.Opts = append(g.Opts, getopt.Opt{Short: letters[i]})
		}
	}
	return g
}
