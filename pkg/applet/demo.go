package applet

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/demo"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/lab"
)

var demoProgram = program{
	name:    "demo",
	summary: "the LVS + heartbeat tutorial's cluster on this machine, told as a story",
	run:     runDemo,
}

const demoUsage = `Usage: systole demo

Builds five hosts in namespaces on this machine: two directors, two real servers and a client that
fetches a page all the time, while servers and directors die and return. It says what happens as
it happens, in the words of the directors' logs, ends with a table, and leaves nothing behind, also
when it is interrupted. It takes less than a minute, and needs no root where user namespaces are
allowed. On a kernel without ip_vs systole's own forwarder stands in.

Exit status: 0 all steps came out as they should, 1 one did not, 2 usage.
`

func runDemo(env Env, args []string) int {
	r, err := getopt.Grammar{Opts: []getopt.Opt{{Long: "help", Short: 'h'}}}.Parse(args)
	switch {
	case r.Has("help"):
		fmt.Fprint(env.Stdout, demoUsage)
		return 0
	case err != nil || len(r.Operands) > 0:
		fmt.Fprint(env.Stderr, demoUsage)
		return 2
	}
	status, done, err := lab.Rootless()
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole demo: %v\n", err)
		return 1
	}
	if done {
		return status
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole demo: %v\n", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := demo.Run(ctx, demo.Options{Out: env.Stdout, Systole: self}); err != nil {
		fmt.Fprintf(env.Stderr, "systole demo: %v\n", err)
		return 1
	}
	return 0
}
