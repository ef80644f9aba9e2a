package applet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/daemon"
)

var propagateProgram = program{
	name:    "ha_propagate",
	summary: "copy ha.cf and authkeys to the other nodes by scp",
	run:     propagate,
}

const propagateUsage = `Usage: ha_propagate

Copies /etc/ha.d/ha.cf and authkeys by scp, as root, to the other nodes that ha.cf names, and has heartbeat started there
at the boot. A ha.cf with ucast lines names the other node, and is another one on each.

Exit status: 0 done; 1 not configured, or not done on each node.
`

// atBoot is what a node is asked to do, with what it has.
const atBoot = "if command -v chkconfig; then chkconfig heartbeat on; elif command -v update-rc.d; then update-rc.d heartbeat enable; " +
	"else systemctl enable heartbeat; fi"

func propagate(env Env, args []string) int {
	if len(args) > 0 {
		fmt.Fprint(env.Stdout, propagateUsage)
		if args[0] == "--help" || args[0] == "-h" {
			return exitOK
		}
		return exitFailed
	}
	paths := clientPaths(env)
	conf, keys := filepath.Join(paths.Etc, "ha.cf"), filepath.Join(paths.Etc, "authkeys")
	text, err := os.ReadFile(conf)
	if err == nil {
		_, err = os.Stat(keys)
	}
	if err != nil {
		fmt.Fprintln(env.Stderr, "HA Linux not configured on this node.  Can not propagate.")
		return exitFailed
	}
	_, self, err := daemon.NodeName(paths)
	if err != nil {
		fmt.Fprintf(env.Stderr, "ha_propagate: %v\n", err)
		return exitFailed
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	status := exitOK
	run := func(name string, arg ...string) bool {
		c := exec.CommandContext(ctx, name, arg...)
		c.Stdin, c.Stdout, c.Stderr = env.Stdin, env.Stdout, env.Stderr // it may ask for a password
		err := c.Run()
		if err != nil {
			fmt.Fprintf(env.Stderr, "ha_propagate: %s: %v\n", strings.Join(append([]string{name}, arg...), " "), err)
			status = exitFailed
		}
		return err == nil
	}
	done := map[string]bool{}
	cfg, _ := hacf.Parse(conf, text, hacf.Host{}) // what is wrong with it is wrong there, too
	for _, n := range cfg.Nodes {
		node := n.Name
		if strings.EqualFold(node, self) || done[node] {
			continue
		}
		done[node] = true
		fmt.Fprintf(env.Stdout, "Propagating HA configuration files to node %s.\n", node)
		if !run("scp", conf, keys, "root@"+node+":/etc/ha.d/") {
			continue
		}
		fmt.Fprintf(env.Stdout, "Setting HA startup configuration on node %s.\n", node)
		run("ssh", "root@"+node, atBoot)
	}
	return status
}
