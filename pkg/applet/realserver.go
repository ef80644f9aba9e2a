package applet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/netif"
	"github.com/systole-ha/systole/pkg/realserver"
)

var realserverProgram = program{
	name:    "realserver",
	summary: "make this machine a real server for direct routing: virtual addresses on lo, without ARP for them",
	run:     realServer,
}

const (
	realserverFile  = "/etc/ha.d/realserver.cf"
	realserverState = "/run/systole-realserver"
)

const realserverUsage = `Usage: systole realserver start|stop|restart|status [--file FILE] [VIP...]

On a real server of an LVS director in direct routing (gate) mode:

  start    puts each VIP on lo (/32, or /128 for IPv6); before that, has this machine neither answer ARP for them nor
           ask with them (arp_ignore=1, arp_announce=2 on all and lo)
  stop     takes them off, and puts the settings back as they were before the start
  status   says whether all is as it should be

Without VIPs those of ` + realserverFile + ` are meant (or of FILE): one a line, # begins a comment; lines of
tutorials' scripts, VIP=172.16.60.111, are understood, too. All may be said again: what is so already stays. A stop
without VIPs also takes off what a start has put on lo and the file has no more, and does so when the file is bad.

Exit status: 0 done, or running; 1 failed; 2 usage; 3 not running, or not as it should be (status); 4 not root, or the
status cannot be had; 6 no VIPs.
`

var realserverGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "file", Short: 'f', Value: getopt.Required},
	{Long: "help", Short: 'h'},
}}

// Exit statuses of init scripts (Linux Standard Base, 22.2).
const (
	initNotRunning   = 3
	initUnknown      = 4 // of status
	initNotAllowed   = 4 // of the others
	initUnconfigured = 6
)

func realServer(env Env, args []string) int {
	r, err := realserverGrammar.Parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole realserver: %v (systole realserver --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, realserverUsage)
		return exitSound
	case len(r.Operands) == 0:
		fmt.Fprint(env.Stderr, realserverUsage)
		return exitMisuse
	}
	what := r.Operands[0]
	if what != "start" && what != "stop" && what != "restart" && what != "status" {
		fmt.Fprintf(env.Stderr, "systole realserver: no operation %q (want start, stop, restart or status)\n", what)
		return exitMisuse
	}
	file, given := r.Value("file")
	if !given {
		file = realserverFile
	}
	vips, status := virtuals(env, file, r.Operands[1:])
	all := what == "stop" && len(r.Operands) == 1
	if all {
		status = exitSound // what was started is known without the file, and goes also when the file is bad
	} else if status == initUnconfigured {
		fmt.Fprintf(env.Stderr, "systole realserver: no virtual addresses: none given, and none in %s\n", file)
	}
	if status != exitSound {
		return status
	}
	if what != "status" && os.Geteuid() != 0 {
		fmt.Fprintf(env.Stderr, "systole realserver: %s needs root\n", what)
		return initNotAllowed
	}
	host, err := netif.Open()
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole realserver: %v\n", err)
		return initUnknown
	}
	defer host.Close()
	s := &realserver.Server{Host: host, Sys: "/proc/sys", State: realserverState, Say: func(format string, args ...any) { fmt.Fprintf(env.Stdout, format+"\n", args...) }}
	switch {
	case what == "status":
		return realserverStatus(env, s, vips)
	case all:
		err = s.StopAll(vips)
	case what == "stop":
		err = s.Stop(vips)
	case what == "start":
		err = s.Start(vips)
	case what == "restart":
		if err = s.StopAll(nil); err == nil { // also those that the file has no more
			err = s.Start(vips)
		}
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole realserver: %v\n", err)
		return exitErrors
	}
	return exitSound
}

// virtuals are the addresses of the command line, or else of the file; those of a bad file that can be read are given, too.
func virtuals(env Env, file string, words []string) ([]netip.Addr, int) {
	var vips []netip.Addr
	for _, w := range words {
		vip, err := realserver.ParseAddr(w)
		if err != nil {
			fmt.Fprintf(env.Stderr, "systole realserver: %v\n", err)
			return nil, exitMisuse
		}
		vips = append(vips, vip)
	}
	if len(words) > 0 {
		return vips, exitSound
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(env.Stderr, "systole realserver: %v\n", err)
		return nil, exitErrors
	}
	vips, problems := realserver.Parse(file, string(text))
	if err := problems.Err(); err != nil {
		fmt.Fprintf(env.Stderr, "%v\n", err)
		return vips, exitErrors
	}
	if len(vips) == 0 {
		return nil, initUnconfigured
	}
	return vips, exitSound
}

func realserverStatus(env Env, s *realserver.Server, vips []netip.Addr) int {
	missing, none, err := s.Missing(vips)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole realserver: %v\n", err)
		return initUnknown
	case none:
		fmt.Fprintln(env.Stdout, "realserver is stopped")
		return initNotRunning
	}
	for _, m := range missing {
		fmt.Fprintln(env.Stdout, m)
	}
	if len(missing) > 0 {
		fmt.Fprintln(env.Stdout, "realserver is not as it should be")
		return initNotRunning
	}
	fmt.Fprintf(env.Stdout, "realserver is running: %d virtual addresses on lo, no ARP for them\n", len(vips))
	return exitSound
}
