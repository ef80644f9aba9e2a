package applet

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/halog"
)

var clStatusProgram = program{
	name:    "cl_status",
	summary: "what heartbeat knows: nodes, links, resources, clients, parameters",
	run:     clStatus,
}

const clStatusUsage = `Usage: cl_status <sub-command> [<options>] [<parameters>]

Sub-commands:
clientstatus <node-name> <client-id> [<timeout>]
	Show the status of heartbeat clients.
hblinkstatus <node-name> <link-name>
	Show the status of a heartbeat link
hbstatus
	Indicate if heartbeat is running on the local system.
	Options:
		-v	verbose: also add "listnodes -v" output
listnodes [<option>]
	List the nodes in the cluster.
	Options:
		-p	list only 'ping' type nodes
		-n	list only 'normal' type nodes
		-v	verbose: also list type and status,
			then add "listhblinks -v" output
listhblinks <node-name>
	List the network interfaces used as hearbeat links.
	Options:
		-v	verbose: list link status as well
nodestatus <node-name>
	List the node status.
nodeweight <node-name>
	List the node weight.
nodesite <node-name>
	List the node site.
nodetype <node-name>
	List the nodes of a given type.
rscstatus
	Show the status of cluster resources.
hbparameter -p <parameter-name>
	Retrieve the value of a cluster parameter.
	As for the valid parameter names, please refer to the man page.
`

// Exit codes of cl_status (tools/cl_status.c).
const (
	clOK      = 0
	clFail    = 1
	clArgs    = 11
	clTimeout = 12
	clUnknown = 13
)

// clLimit is how long all of it may take.
const clLimit = 5 * time.Second

// clQuery is one run of cl_status.
type clQuery struct {
	env    Env
	log    *halog.Logger
	client *api.Client
	opts   getopt.Result
	human  bool // -m
}

// clCommand is a sub-command.
type clCommand struct {
	opts     []getopt.Opt
	tolerant bool   // of options that it does not know
	code     string // the word in front of the letter when an option is wrong
	operands int
	missing  string // what is said when there are fewer
	run      func(*clQuery) int
}

var (
	clHuman   = getopt.Opt{Short: 'm'}
	clVerbose = getopt.Opt{Short: 'v'}
)

// clCommands are the sub-commands by name.
func clCommands() map[string]clCommand {
	const few, fewer = "Not enough parameters.", "No enough parameter."
	human := []getopt.Opt{clHuman}
	verbose := []getopt.Opt{clHuman, clVerbose}
	return map[string]clCommand{
		"hbstatus":     {opts: verbose, tolerant: true},
		"listnodes":    {opts: append(verbose, getopt.Opt{Short: 'p'}, getopt.Opt{Short: 'n'}), code: "code ", run: (*clQuery).listNodes},
		"nodestatus":   {opts: human, operands: 1, missing: few, run: (*clQuery).nodeStatus},
		"nodeweight":   {opts: human, operands: 1, missing: few, run: (*clQuery).nodeWeight},
		"nodesite":     {opts: human, operands: 1, missing: few, run: (*clQuery).nodeSite},
		"nodetype":     {opts: human, operands: 1, missing: fewer, run: (*clQuery).nodeType},
		"listhblinks":  {opts: verbose, code: "code ", operands: 1, missing: fewer, run: (*clQuery).listLinks},
		"hblinkstatus": {opts: human, operands: 2, missing: fewer, run: (*clQuery).linkStatus},
		"clientstatus": {opts: human, operands: 2, missing: fewer, run: (*clQuery).clientStatus},
		"rscstatus":    {opts: human, run: (*clQuery).resourceStatus},
		"hbparameter":  {opts: append(human, getopt.Opt{Short: 'p', Value: getopt.Required}), code: "code ", run: (*clQuery).parameter},
		"test":         {tolerant: true, run: (*clQuery).test},
	}
}

func clStatus(env Env, args []string) int {
	if len(args) == 0 || len(args) == 1 && args[0] == "-h" {
		fmt.Fprint(env.Stdout, clStatusUsage)
		return clOK
	}
	paths := clientPaths(env)
	log := clientLog(env, paths, "cl_status", "none")
	defer log.Close()
	q := &clQuery{env: env, log: log.Logger("cl_status", os.Getpid())}
	name := args[0]
	cmd, known := clCommands()[name]
	if !known {
		q.log.Logf(halog.Error, "%s: invalid sub-command.", name)
		return clArgs
	}
	client, err := dialCasual(paths, clLimit)
	if timedOut(err) {
		return clTimeout
	}
	if client != nil {
		defer client.Close()
		q.client = client
	} else if name != "hbstatus" {
		q.log.Log(halog.Error, "Cannot signon with heartbeat")
		q.log.Log(halog.Error, "REASON: "+signOnReason(err))
		return clFail
	}
	if code, ok := q.options(name, cmd, args[1:]); !ok {
		return code
	}
	if name == "hbstatus" {
		return q.status(err)
	}
	return cmd.run(q)
}

// options reads what follows the sub-command.
func (q *clQuery) options(name string, cmd clCommand, args []string) (code int, ok bool) {
	var err error
	q.opts, err = getopt.Grammar{Opts: cmd.opts, Dialect: getopt.Short}.Parse(args)
	q.human = q.opts.Has("m")
	var mistakes []error
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		mistakes = list.Unwrap()
	}
	for _, m := range mistakes {
		if name != "test" {
			fmt.Fprintf(q.env.Stderr, "%s: %v\n", name, m)
		}
		if !cmd.tolerant {
			q.log.Logf(halog.Error, "Error: getopt returnedcharacter %s?.", cmd.code)
			return clArgs, false
		}
	}
	if len(q.opts.Operands) < cmd.operands {
		fmt.Fprintln(q.env.Stderr, cmd.missing)
		return clArgs, false
	}
	return clOK, true
}

func (q *clQuery) operand(n int) string { return q.opts.Operands[n] }

func (q *clQuery) print(format string, args ...any) { fmt.Fprintf(q.env.Stdout, format+"\n", args...) }

// fail says what could not be had and why, as far as the original's library knows.
func (q *clQuery) fail(code int, err error, what, reason string) int {
	if timedOut(err) {
		return clTimeout
	}
	q.log.Log(halog.Error, what)
	q.log.Log(halog.Error, "REASON: "+reason)
	return code
}

// refusal is the daemon's reason, or the error.
func refusal(err error) string {
	var refused *api.RefusedError
	if errors.As(err, &refused) {
		return refused.Info
	}
	return err.Error()
}

// status tells whether a heartbeat runs. err is how the sign-on has ended.
func (q *clQuery) status(err error) int {
	verbose := q.opts.Has("v")
	if q.client == nil {
		code, text := clFail, "Heartbeat is stopped on this machine."
		var refused *api.RefusedError
		if errors.As(err, &refused) && refused.Daemon.Deadtime > 0 {
			code, text = clOK, "Heartbeat is apparently running on this machine, but refuses my connection"
		}
		q.print("%s", text)
		if verbose {
			q.print("(%s)", signOnReason(err))
		}
		return code
	}
	d := q.client.Daemon
	switch {
	case !verbose:
		q.print("Heartbeat is running on this machine.")
		return clOK
	case q.human:
		q.print("Heartbeat version %s", d.Version)
		by := `"haresources"`
		if d.Pacemaker != "" {
			by = "Pacemaker."
		}
		q.print("Resources controlled by %s", by)
	default:
		q.print("version:\t%s", d.Version)
		by := `"haresources"`
		if d.Pacemaker != "" {
			by = fmt.Sprintf("pacemaker\t(%s)", d.Pacemaker)
		}
		q.print("managed by:\t%s", by)
	}
	return q.nodes(true, true, true)
}

func (q *clQuery) listNodes() int {
	ping, normal := q.opts.Has("p"), q.opts.Has("n")
	if !ping && !normal {
		ping, normal = true, true
	}
	return q.nodes(ping, normal, q.opts.Has("v"))
}

// nodes lists the nodes of a kind.
func (q *clQuery) nodes(ping, normal, verbose bool) int {
	nodes, err := q.client.Nodes()
	if err != nil {
		return q.fail(clUnknown, err, "Cannot start node walk", refusal(err))
	}
	if q.human {
		q.print("The nodes are as follow:")
	}
	for _, n := range nodes {
		switch {
		case n.Type == "ping" && !ping, n.Type == "normal" && !normal:
		case verbose:
			q.print("\n%s\t%s\t(nodetype: %s)", n.Name, n.Status, n.Type)
			if code := q.links(n.Name, true); code != clOK {
				return code
			}
		default:
			q.print("%s", n.Name)
		}
	}
	return clOK
}

func (q *clQuery) listLinks() int { return q.links(q.operand(0), q.opts.Has("v")) }

func (q *clQuery) links(node string, verbose bool) int {
	links, err := q.client.Links(node)
	if err != nil {
		return q.fail(clUnknown, err, "Cannot start heartbeat link interface walk.", refusal(err))
	}
	if q.human {
		q.print("\tthis node has the following heartbeat links:")
	}
	for _, l := range links {
		if verbose {
			q.print("\t%s\t%s", l.Name, l.Status)
		} else {
			q.print("\t%s", l.Name)
		}
	}
	return clOK
}

// ofNode prints one thing of a node: format is for -m.
func (q *clQuery) ofNode(ask func(*api.Client, string) (string, error), format, unknown string) (value string, code int) {
	node := q.operand(0)
	value, err := ask(q.client, node)
	switch {
	case timedOut(err):
		return "", clTimeout
	case err != nil:
		fmt.Fprintln(q.env.Stderr, unknown)
		return "", clArgs
	case q.human:
		q.print(format, node, value)
	default:
		q.print("%s", value)
	}
	return value, clOK
}

// What is said of a node that the daemon does not know.
const (
	mayBeName = "Error. May be due to incorrect node name"
	maybeName = "Error. Maybe due to incorrect node name."
)

func (q *clQuery) nodeStatus() int {
	st, code := q.ofNode((*api.Client).NodeStatus, "The cluster node %s is %s", mayBeName)
	if code == clOK && st != "active" && st != "up" && st != "ping" {
		return clFail
	}
	return code
}

func (q *clQuery) nodeWeight() int {
	_, code := q.ofNode((*api.Client).NodeWeight, "The weight of the cluster node %s is %s", maybeName)
	return code
}

func (q *clQuery) nodeSite() int {
	_, code := q.ofNode((*api.Client).NodeSite, "The site of the cluster node %s is %s", mayBeName)
	return code
}

func (q *clQuery) nodeType() int {
	_, code := q.ofNode((*api.Client).NodeType, "The node %s's type: %s", mayBeName)
	return code
}

func (q *clQuery) linkStatus() int {
	node, link := q.operand(0), q.operand(1)
	st, err := q.client.LinkStatus(node, link)
	switch {
	case err != nil:
		return q.fail(clUnknown, err, "Cannot get heartbeat link status", "")
	case q.human:
		q.print("The node %s's heartbeat link %s is %s", node, link, st)
	default:
		q.print("%s", st)
	}
	if st != "up" {
		return clFail
	}
	return clOK
}

// clientAnswer is how long another node's answer is waited for.
const clientAnswer = 500 * time.Millisecond

func (q *clQuery) clientStatus() int {
	limit := clientAnswer
	if len(q.opts.Operands) > 2 {
		n, _ := strconv.Atoi(q.operand(2)) // what is no number is 0, as for the original
		limit = time.Duration(n) * time.Millisecond
	}
	if limit > clLimit {
		limit = clLimit
	}
	st, err := q.client.ClientStatus(q.operand(0), q.operand(1), limit)
	if err != nil {
		if limit == clLimit && errors.Is(err, api.ErrNoAnswer) {
			return clTimeout
		}
		return q.fail(clUnknown, err, fmt.Sprintf("Cannot get heartbeat client %s's status", q.operand(1)), "No timely response.")
	}
	q.print("%s", st)
	switch st {
	case "online":
		return clOK
	case "join":
		return 2
	case "leave":
		return 3
	}
	return clFail
}

func (q *clQuery) resourceStatus() int {
	if q.client.Daemon.Pacemaker != "" {
		q.log.Log(halog.Error, "Cannot get cluster resource status of a pacemaker cluster; try crm_mon")
		return clFail
	}
	held, err := q.client.Resources()
	switch {
	case err != nil:
		return q.fail(clUnknown, err, "Cannot get cluster resource status", refusal(err))
	case q.human:
		q.print("This node is holding %s resources.", held)
	default:
		q.print("%s", held)
	}
	return clOK
}

func (q *clQuery) parameter() int {
	name, ok := q.opts.Value("p")
	if !ok {
		q.log.Log(halog.Error, "parameter name required")
		return clArgs
	}
	value, ok, err := q.client.Param(name)
	switch {
	case err != nil || !ok:
		return q.fail(clFail, err, fmt.Sprintf("Cannot get parameter %s's value", name), "")
	case q.human:
		q.print("Heartbeat parameter %s's value: %s", name, value)
	default:
		q.print("%s", value)
	}
	return clOK
}

func (q *clQuery) test() int {
	d := q.client.Daemon
	held, err := q.client.Resources()
	if err != nil {
		return q.fail(clUnknown, err, "Cannot get cluster resource status", refusal(err))
	}
	q.print("Dead time: %d\n keeplive time: %d\n mynodeid: %s\n rsc: %s", d.Deadtime.Milliseconds(), d.Keepalive.Milliseconds(), d.Node, held)
	return clOK
}
