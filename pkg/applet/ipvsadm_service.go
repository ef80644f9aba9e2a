package applet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/systole-ha/systole/pkg/agent"
	ipvsadmagent "github.com/systole-ha/systole/pkg/agent/ipvsadm"
	"github.com/systole-ha/systole/pkg/ipvs/kernel"
)

var ipvsadmServiceProgram = program{
	name:    "ipvsadm-service",
	summary: "the init script ipvsadm: start, stop, status, save, ... with the settings of Red Hat or Debian",
	run:     ipvsadmService,
}

// isInitScript tells whether a program was called in the place of an init script.
func isInitScript(arg0 string) bool { return filepath.Base(filepath.Dir(arg0)) == "init.d" }

// ipvsadmService does what the resource ipvsadm does, and what else the init script can, for
// administrators.
func ipvsadmService(env Env, args []string) int {
	root := env.Getenv(rootEnv)
	usage := func() int {
		text, status := ipvsadmagent.Usage(root, env.Arg0)
		fmt.Fprint(env.Stdout, text)
		return status
	}
	if len(args) == 0 {
		return usage()
	}
	kind := env.Getenv(ipvsEnv)
	service := ipvsadmagent.New(ipvsadmOptions(root, kind, &tables{kind: kind}))
	result, err := service.Run(context.Background(), agent.Call{Op: agent.Op(args[0]), Name: "ipvsadm", Log: serviceLog{env}})
	if errors.Is(err, ipvsadmagent.ErrNoOperation) {
		return usage()
	}
	fmt.Fprint(env.Stdout, result.Output)
	return result.Code
}

// ipvsadmOptions are those of the ipvsadm agent for a kind of table.
func ipvsadmOptions(root, kind string, table *tables) ipvsadmagent.Options {
	o := ipvsadmagent.Options{OpenTable: table.open, Root: root}
	if kind == "" || kind == "kernel" {
		o.Unload = kernel.Unload
	} else {
		o.Loaded = func() bool { return true }
	}
	return o
}

// serviceLog is an agent.Log for a program: what the script prints goes to standard output,
// complaints to standard error.
type serviceLog struct{ env Env }

func (l serviceLog) Script(_, text string) {
	fmt.Fprintln(l.env.Stderr, "ipvsadm: "+strings.TrimPrefix(text, "ERROR: "))
}
func (l serviceLog) Print(text string) { fmt.Fprintln(l.env.Stdout, text) }
func (l serviceLog) NextPID() int      { return os.Getpid() }
