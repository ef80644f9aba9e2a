package applet

import (
	"context"
	"fmt"
	"os"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/agent/ipaddr"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/netif"
)

// The scripts resource.d/IPaddr, IPaddr2 and IPv6addr as programs: what heartbeat does itself for
// a resource of that name, by hand.
var ipaddrPrograms = []program{
	ipaddrProgram("IPaddr", "[IPaddr::]ip[/mask[/nic[/bcast]]]: put an address up, take it down, look for it"),
	ipaddrProgram("IPaddr2", "the same, with a label and for IPv6 too"),
	ipaddrProgram("IPv6addr", "ip[/prefix[/nic]]: the same for an IPv6 address"),
}

func ipaddrProgram(name, summary string) program {
	return program{name: name, summary: summary, run: func(env Env, args []string) int { return runIPaddr(env, name, args) }}
}

func runIPaddr(env Env, name string, args []string) int {
	paths := clientPaths(env)
	_, uname, err := daemon.NodeName(paths)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
		return exitFailed
	}
	log := scriptLog(env, paths, uname)
	defer log.Close()
	host, err := netif.Open()
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
		return exitFailed
	}
	defer host.Close()
	c := agent.Call{Name: name, Path: env.Arg0, Log: log}
	op := ""
	if n := len(args); n > 0 {
		c.Args, op = args[:n-1], args[n-1]
	}
	switch {
	case len(c.Args) != 1 || op == "usage":
		c.Args, op = nil, "status" // the agent tells its usage
	case op == "start" || op == "stop" || op == "status" || op == "monitor":
	default:
		text := "ERROR: Unknown operation: " + op
		log.Script(name, text)
		fmt.Fprintln(env.Stdout, text)
		c.Args, op = nil, "status"
	}
	c.Op = agent.Op(op)
	if err := os.MkdirAll("/run/resource-agents", 0o755); err != nil { // for what IPaddr2 remembers
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
	}
	r, _ := ipaddr.New(ipaddr.Options{Host: host, Announcer: onceAnnouncer{}, Dialect: log.Dialect()}).Run(context.Background(), c) // the output has the error
	fmt.Fprint(env.Stdout, r.Output)
	return r.Code
}
