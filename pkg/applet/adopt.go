package applet

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/adopt"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/getopt"
)

var adoptProgram = program{
	name:    "adopt",
	summary: "take the originals' place on a node of a running pair, and give it back (--undo)",
	run:     adoptNode,
}

const adoptUsage = `Usage: systole adopt --dry-run
       systole adopt --yes [--standby] [--wait TIME]
       systole adopt --undo [--standby] [--wait TIME] [--dry-run]

On a node that runs the original heartbeat and ldirectord: checks the files of /etc/ha.d (systole check), sets the
originals' programs aside, puts links to this program in their places, and restarts heartbeat, while the other node has
the resources. Files of /etc are not touched. With --undo everything is put back.

When this node has resources, nothing is done, unless --standby has them moved to the other node first. Nothing is done
either when no other node is active, when resources are on the move, or when a file has errors. Between the stop and
the start the other node is given time to end its takeover, as by "restart" of the init script: the resources are there
already, but an original that hears of the start too soon keeps them, or is never stable again. If systole does not
come up, the originals are put back and started; but not when the other node has died meanwhile, so that this one alone
serves: then systole is left running, and the exit status is 1. After a crash half way --undo puts everything back.

A pair is adopted one node after the other:
  1. on the node without resources    systole adopt --yes
  2. on the other one                 systole adopt --yes --standby

  --dry-run   say what would be done, and whether it could be done now
  --yes       do it
  --undo      put the originals back
  --standby   if resources are here, move them to the other node first
  --wait TIME how long the other node is given to end its takeover (40s, 500ms; default: deadtime and 10 seconds)

Exit status: 0 done, 1 refused or failed, 2 usage.
`

var adoptGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "dry-run", Short: 'n'},
	{Long: "yes", Short: 'y'},
	{Long: "undo"},
	{Long: "standby"},
	{Long: "wait", Value: getopt.Required},
	{Long: "help", Short: 'h'},
}}

func adoptNode(env Env, args []string) int {
	r, err := adoptGrammar.Parse(args)
	text, given := r.Value("wait")
	var wait time.Duration
	var waitErr error
	if given {
		wait, waitErr = time.ParseDuration(text)
	}
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole adopt: %v (systole adopt --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, adoptUsage)
		return exitSound
	case len(r.Operands) > 0 || !r.Has("dry-run") && !r.Has("yes") && !r.Has("undo") || r.Has("yes") && r.Has("undo"):
		fmt.Fprint(env.Stderr, adoptUsage)
		return exitMisuse
	case waitErr != nil || wait < 0:
		fmt.Fprintf(env.Stderr, "systole adopt: --wait %s: not a time (want 40s, 500ms)\n", text)
		return exitMisuse
	case os.Geteuid() != 0 && !r.Has("dry-run"):
		fmt.Fprintln(env.Stderr, "systole adopt: only root can do that")
		return exitErrors
	}
	if !r.Has("undo") {
		if check(env, nil) != exitSound {
			fmt.Fprintln(env.Stderr, "systole adopt: the files have errors: see above")
			return exitErrors
		}
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole adopt: %v\n", err)
		return exitErrors
	}
	files, _ := daemon.Load(daemon.DefaultPaths()) // problems are check's to tell
	o := adopt.Options{
		Self: self, Programs: env.names, Node: files.Node, Standby: r.Has("standby"), DryRun: r.Has("dry-run"), Out: env.Stdout,
		Initdead: files.HA.Initdead, Takeover: files.HA.Deadtime + 10*time.Second,
	}
	if given {
		o.Takeover = wait
	}
	for _, n := range files.HA.Nodes {
		if n.Name != files.Node && !slices.Contains(o.Peers, n.Name) {
			o.Peers = append(o.Peers, n.Name)
		}
	}
	for _, g := range files.Groups {
		o.Homes = append(o.Homes, g.Node)
	}
	// A terminal that closes, or a Ctrl-C, must not leave a node half done. (Ignoring them would go on to all that is started.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGPIPE, unix.SIGINT, unix.SIGTERM)
	do := adopt.Adopt
	if r.Has("undo") {
		do = adopt.Undo
	}
	if err := do(context.Background(), o); err != nil {
		fmt.Fprintf(env.Stderr, "systole adopt: %v\n", err)
		return exitErrors
	}
	return exitSound
}
