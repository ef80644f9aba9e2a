package applet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/systole-ha/systole/pkg/agent/ipvsadm"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/kernel"
)

var ipvsadmProgram = program{
	name:    "ipvsadm",
	summary: "show and change the IPVS table",
	run: func(env Env, args []string) int {
		if isInitScript(env.Arg0) {
			return ipvsadmService(env, args)
		}
		return withAdmin(env, "ipvsadm", args, func(a *admin) int { return a.run(args) })
	},
}

var ipvsadmSaveProgram = program{
	name:    "ipvsadm-save",
	summary: "write the IPVS table as rules (-n: numbers, no names)",
	run:     runIpvsadmSave,
}

var ipvsadmRestoreProgram = program{
	name:    "ipvsadm-restore",
	summary: "clear the IPVS table and load rules from standard input",
	run:     runIpvsadmRestore,
}

// Exit statuses of ipvsadm: a table's refusal, an unknown option; a mistake in the arguments;
// a service to list that is not there.
const (
	ipvsadmRefused = 255
	ipvsadmMisuse  = 2
	ipvsadmNothing = 1
)

// ipvsadmVersion is what scripts look for.
const ipvsadmVersion = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n"

// runIpvsadmSave takes -n anywhere, ignores operands, and shows its usage for any other option.
func runIpvsadmSave(env Env, args []string) int {
	command := []string{"-S"}
	for _, a := range args {
		switch {
		case a == "-n":
			command = []string{"-S", "-n"}
		case strings.HasPrefix(a, "-"):
			fmt.Fprint(env.Stderr, "ipvsadm-save: Script to save the IPVS table to stdout.\n   With the -n option, prints out the table in numeric format.\n")
			return 1
		}
	}
	return withAdmin(env, "ipvsadm", command, func(a *admin) int { return a.run(command) })
}

// runIpvsadmRestore takes all input before it clears the table, and no notice of its arguments.
func runIpvsadmRestore(env Env, _ []string) int {
	text, err := io.ReadAll(env.Stdin)
	if err != nil {
		fmt.Fprintf(env.Stderr, "ipvsadm-restore: %v\n", err)
		return 1
	}
	return withAdmin(env, "ipvsadm", nil, func(a *admin) int {
		a.run([]string{"-C"})
		var rules strings.Builder
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") {
				rules.WriteString(line)
			}
		}
		a.in = bufio.NewReader(strings.NewReader(rules.String()))
		return a.run([]string{"-R"})
	})
}

// withAdmin opens the table for f. Help and version need none.
func withAdmin(env Env, name string, args []string, f func(*admin) int) int {
	if filepath.Base(env.Arg0) == name {
		name = env.Arg0
	}
	ctx := context.Background()
	a := &admin{ctx: ctx, env: env, name: name, in: bufio.NewReader(env.Stdin), names: ipvsadm.SystemNames(ctx)}
	if len(args) > 0 {
		if c, err := ipvs.ParseCommand(args[:1], ipvs.Names{}); err == nil && (c.Kind == ipvs.CmdHelp || c.Kind == ipvs.CmdVersion) {
			return a.carryOut(c)
		}
	}
	table, err := openTable(env.Getenv)
	if err != nil {
		a.noTable(err)
		return ipvsadmMisuse
	}
	a.table = table
	status := f(a)
	if err := table.Close(); err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
		return ipvsadmRefused
	}
	return status
}

// admin runs command lines of ipvsadm.
type admin struct {
	ctx   context.Context
	env   Env
	name  string // as it was called
	in    *bufio.Reader
	names ipvs.Names
	table ipvs.Table
	ended bool // a command of -R ended the program, as most mistakes do
}

func (a *admin) noTable(err error) {
	var missing *kernel.Unavailable
	if !errors.As(err, &missing) {
		fmt.Fprintf(a.env.Stderr, "%s: %v\n", a.name, err)
		return
	}
	cause := missing.Cause
	if errors.Is(cause, fs.ErrNotExist) {
		cause = syscall.ENOPROTOOPT // the original's last attempt is a socket option
	}
	fmt.Fprintf(a.env.Stderr, "%sCan't initialize ipvs: %s\nAre you sure that IP Virtual Server is built in the kernel or as module?\n",
		missing.Modprobe, admText(0, cause))
}

// run does what one command line says; none at all lists the table.
func (a *admin) run(args []string) int {
	if len(args) == 0 {
		args = []string{"-L"}
	}
	c, err := ipvs.ParseCommand(args, a.names)
	if err != nil {
		a.ended = !err.Goes
		text := err.Text
		if text == "" {
			text = a.pointer()
		}
		fmt.Fprintln(a.env.Stderr, text)
		return err.Status
	}
	return a.carryOut(c)
}

func (a *admin) pointer() string {
	return fmt.Sprintf("Try `%s -h' or '%s --help' for more information.", a.name, a.name)
}

func (a *admin) carryOut(c ipvs.Command) int {
	var err error
	switch c.Kind {
	case ipvs.CmdHelp:
		a.ended = true
		fmt.Fprint(a.env.Stdout, ipvsadmVersion+ipvsadmHelp)
		return 0
	case ipvs.CmdVersion:
		a.ended = true
		fmt.Fprint(a.env.Stdout, ipvsadmVersion)
		return 0
	case ipvs.CmdRestore:
		return a.restore()
	case ipvs.CmdList, ipvs.CmdSave:
		if err = a.show(c); err != nil {
			a.ended = true
			fmt.Fprintln(a.env.Stderr, admText(c.Kind, err))
			return ipvsadmNothing
		}
		return 0
	case ipvs.CmdSetTimeouts:
		err = a.table.SetTimeouts(a.ctx, c.Timeouts)
	case ipvs.CmdStartDaemon, ipvs.CmdStopDaemon:
		err = a.sync(c)
	default:
		err = a.table.Do(a.ctx, c.Op)
	}
	if err != nil {
		fmt.Fprintln(a.env.Stderr, admText(c.Kind, err))
		return ipvsadmRefused
	}
	return 0
}

// restore runs the commands on standard input, each as it comes. Its status is the last one's.
func (a *admin) restore() int {
	in := a.in
	a.in = nil // -R among the commands is a mistake
	if in == nil {
		a.ended = true
		fmt.Fprintln(a.env.Stderr, a.pointer())
		return ipvsadmRefused
	}
	status := 0
	for {
		line, err := in.ReadString('\n')
		if words, _ := ipvs.SplitRule(line); len(words) > 0 {
			if status = a.run(words); a.ended {
				return status
			}
		}
		if err != nil {
			return status
		}
	}
}

func (a *admin) sync(c ipvs.Command) error {
	t, ok := a.table.(ipvs.SyncTable)
	switch {
	case !ok:
		return syscall.ENOSYS
	case c.Kind == ipvs.CmdStartDaemon:
		return t.StartSync(a.ctx, c.Daemon)
	}
	return t.StopSync(a.ctx, c.Daemon)
}

// show prints what -L and -S ask for.
func (a *admin) show(c ipvs.Command) error {
	text, err := a.text(c)
	if err == nil {
		_, err = a.env.Stdout.Write(text)
	}
	return err
}

func (a *admin) text(c ipvs.Command) ([]byte, error) {
	names := a.names
	if c.Numeric {
		names = ipvs.Names{}
	}
	if c.Kind == ipvs.CmdList {
		switch c.List {
		case ipvs.ListTimeouts:
			t, err := a.table.Timeouts(a.ctx)
			return ipvs.AppendTimeouts(nil, t), err
		case ipvs.ListDaemons:
			t, ok := a.table.(ipvs.SyncTable)
			if !ok {
				return nil, nil
			}
			daemons, err := t.SyncDaemons(a.ctx)
			return ipvs.AppendSyncDaemons(nil, daemons), err
		case ipvs.ListConnections:
			var conns []ipvs.Conn
			if t, ok := a.table.(ipvs.ConnTable); ok {
				var err error
				if conns, err = t.Connections(a.ctx); err != nil {
					return nil, err
				}
			}
			return ipvs.AppendConns(nil, conns, c.Format.PersistentConn, names), nil
		}
	}
	entries, err := a.table.Snapshot(a.ctx)
	if err != nil {
		return nil, err
	}
	if !c.NoSort {
		ipvs.SortEntries(entries)
	}
	switch {
	case c.Kind == ipvs.CmdSave:
		var b []byte
		for _, e := range entries {
			b = ipvs.AppendRule(b, e, names)
		}
		return b, nil
	case c.List == ipvs.ListService:
		for i, e := range entries {
			if e.VIP == c.Op.Service.VIP {
				return ipvs.AppendListing(nil, nil, entries[i:i+1], c.Format, names), nil
			}
		}
		return nil, &ipvs.Refusal{Op: c.Op, Reason: ipvs.ErrNoService, Cause: syscall.ESRCH}
	}
	info := ipvs.Info{Version: [3]uint8{1, 2, 1}, ConnSize: 4096} // of tables that have none, the kernel's usual
	if t, ok := a.table.(ipvs.Informer); ok {
		if info, err = t.Info(a.ctx); err != nil {
			return nil, err
		}
	}
	return ipvs.AppendListing(nil, &info, entries, c.Format, names), nil
}

// admText is what ipvsadm says of a refusal. The same errno means other things to other
// commands; 0 is no command.
func admText(kind ipvs.CommandKind, err error) string {
	dest := kind == ipvs.CmdAddDest || kind == ipvs.CmdEditDest || kind == ipvs.CmdDelDest
	switch {
	case errors.Is(err, ipvs.ErrExists):
		return map[ipvs.CommandKind]string{
			ipvs.CmdAddService: "Service already exists", ipvs.CmdAddDest: "Destination already exists",
			ipvs.CmdStartDaemon: "Daemon has already run",
		}[kind]
	case errors.Is(err, ipvs.ErrNoService) && dest:
		return "Service not defined"
	case errors.Is(err, ipvs.ErrNoService):
		return "No such service"
	case errors.Is(err, ipvs.ErrNoDest):
		return "No such destination"
	case errors.Is(err, ipvs.ErrNoScheduler):
		return "Scheduler or persistence engine not found"
	case errors.Is(err, ipvs.ErrNoDaemon):
		return "No daemon is running"
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	switch errno {
	case syscall.EPERM:
		return "Permission denied (you must be root)"
	case syscall.EINVAL:
		return "Invalid operation.  Possibly wrong module version, address not unicast, ..."
	case syscall.ENOMEM:
		return "Memory allocation problem"
	case syscall.EOPNOTSUPP:
		return "Operation not supported with IPv6"
	case syscall.EAFNOSUPPORT:
		return "Operation not supported with specified address family"
	case syscall.EMSGSIZE:
		return "Module is wrong version"
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
