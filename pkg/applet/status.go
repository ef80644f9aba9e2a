package applet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

var statusProgram = program{
	name:    "status",
	summary: "one screen: nodes and links, who holds what and since when, the last takeover, ldirectord's servers",
	run:     status,
}

const statusUsage = `Usage: systole status [--json]

Shows this node's view of the cluster: nodes and links, which node holds each line of haresources, when resources moved
last and why, and each ldirectord that runs here with its services and real servers. With --json the same as an object.
Of an original heartbeat less is shown: it does not tell more.

Exit status: 0 all is well; 1 something is degraded (what it is is said last); 2 usage; 3 heartbeat does not run, nor,
where it is not configured, an ldirectord; 4 it runs and does not answer.
`

var statusGrammar = getopt.Grammar{Opts: []getopt.Opt{{Long: "json", Short: 'j'}, {Long: "help", Short: 'h'}}}

const (
	exitStopped  = 3
	exitNoAnswer = 4
)

// overview is the object of status --json.
type overview struct {
	Heartbeat  *daemon.Report      `json:"heartbeat"` // nil: it does not run
	Ldirectord []ldirectord.Report `json:"ldirectord"`
	Degraded   []string            `json:"degraded"` // what is not as it should be
}

func status(env Env, args []string) int {
	r, err := statusGrammar.Parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole status: %v (systole status --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, statusUsage)
		return exitSound
	case len(r.Operands) > 0:
		fmt.Fprint(env.Stderr, statusUsage)
		return exitMisuse
	}
	paths := clientPaths(env)
	o, err := look(paths, ldirectord.PathsUnder("/"+env.Getenv(rootEnv)), true)
	code := exitSound
	if o.Heartbeat == nil {
		_, configured := os.Stat(filepath.Join(paths.Etc, "ha.cf"))
		switch pid, _ := daemon.Running(paths.PIDFile); {
		case pid > 0:
			fmt.Fprintf(env.Stderr, "systole status: heartbeat runs (pid %d) and does not answer yet: %v\n", pid, err)
			code = exitNoAnswer
		case configured == nil || len(o.Ldirectord) == 0:
			fmt.Fprintln(env.Stderr, "systole status: heartbeat is stopped")
			code = exitStopped
		}
	}
	if code == exitSound && len(o.Degraded) > 0 {
		code = exitErrors
	}
	if r.Has("json") {
		e := json.NewEncoder(env.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(o)
	} else {
		err = o.write(env.Stdout, time.Now())
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole status: %v\n", err)
		return exitErrors
	}
	return code
}

// askLimit is how long heartbeat may take to answer.
const askLimit = 5 * time.Second

// look asks everything that runs here. fresh has ldirectord read the table for it. The error is why heartbeat could not
// be asked.
func look(paths daemon.Paths, places ldirectord.Paths, fresh bool) (overview, error) {
	o := overview{Ldirectord: []ldirectord.Report{}, Degraded: []string{}}
	var err error
	o.Heartbeat, err = askHeartbeat(paths)
	sockets, _ := filepath.Glob(filepath.Join(places.Run, "ldirectord.*.sock")) // a pattern that is right
	slices.Sort(sockets)
	for _, s := range sockets {
		in := ldirectord.Instance{Socket: s}
		if r, err := in.Report(fresh); err == nil { // else it was killed, and left it
			o.Ldirectord = append(o.Ldirectord, r)
		}
	}
	o.judge()
	return o, err
}

// askHeartbeat gets the report of ours, or makes one of what an original tells.
func askHeartbeat(paths daemon.Paths) (*daemon.Report, error) {
	c, err := dialCasual(paths, askLimit)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	text, ok, err := c.Param(daemon.StatusParam)
	if err != nil {
		return nil, err
	}
	if ok {
		var r daemon.Report
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("status of heartbeat: %w", err)
		}
		return &r, nil
	}
	r := &daemon.Report{
		Node: c.Daemon.Node, Version: c.Daemon.Version, Keepalive: c.Daemon.Keepalive.Seconds(), Deadtime: c.Daemon.Deadtime.Seconds(),
		Nodes: []daemon.NodeReport{}, Groups: []daemon.GroupState{},
	}
	if r.Held, err = c.Resources(); err != nil {
		return nil, err
	}
	r.Stable = r.Held != "transition"
	nodes, err := c.Nodes()
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Backward(nodes) {
		nr := daemon.NodeReport{Name: n.Name, Ping: n.Type == "ping", Status: n.Status}
		links, err := c.Links(n.Name)
		if err != nil {
			return nil, err
		}
		for _, l := range slices.Backward(links) {
			nr.Links = append(nr.Links, daemon.LinkReport{Name: l.Name, Status: l.Status})
		}
		if n.Name == r.Node {
			r.State = n.Status
		}
		r.Nodes = append(r.Nodes, nr)
	}
	return r, nil
}

// judge notes what is not as it should be.
func (o *overview) judge() {
	bad := func(format string, args ...any) { o.Degraded = append(o.Degraded, fmt.Sprintf(format, args...)) }
	if r := o.Heartbeat; r != nil {
		if !r.Stable {
			bad("resources are on the move")
		}
		for _, n := range r.Nodes {
			if n.Status != "active" && n.Status != "ping" {
				bad("node %s is %s", n.Name, n.Status)
			}
			for _, l := range n.Links {
				if l.Status != "up" && n.Status != "dead" && n.Name != r.Node {
					bad("link %s to %s is %s", l.Name, n.Name, l.Status)
				}
			}
		}
		for _, g := range r.Groups {
			switch len(g.Holders) {
			case 0:
				bad("nobody holds %s", g.Key)
			case 1:
			default:
				bad("%s both hold %s", strings.Join(g.Holders, " and "), g.Key)
			}
		}
	}
	for _, l := range o.Ldirectord {
		if len(l.Rejected) > 0 {
			bad("%s has changed and was not taken", l.Config)
		}
		for _, v := range l.Virtuals {
			o.judgeVirtual(v, bad)
		}
	}
}

func (o *overview) judgeVirtual(v director.VirtualStatus, bad func(string, ...any)) {
	if v.Error != "" {
		bad("%s: table: %s", v.ID, v.Error)
	}
	down := 0
	for _, r := range v.Reals {
		if r.Health != director.Up {
			down++
		}
	}
	switch {
	case down == 0:
	case v.Fallback:
		bad("%s is served by its fallback", v.ID)
	case down == len(v.Reals):
		bad("%s has no real server that is up", v.ID)
	default:
		bad("%s has %d of %d real servers", v.ID, len(v.Reals)-down, len(v.Reals))
	}
}
