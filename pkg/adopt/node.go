package adopt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// node is this machine's heartbeat, asked and told by its own programs, whoever's they are.
type node struct {
	root  string // "" but for tests
	haBin string
	self  string
	peers []string // the other nodes of ha.cf
	homes []string // the node of each group of haresources
}

var errMoving = errors.New("resources are on the move")

// askAgain is when a standby that has not begun is asked for again.
const askAgain = 15 * time.Second

// ask runs a program and gives its standard output, without the line's end, and its exit status.
func ask(ctx context.Context, name string, arg ...string) (string, int) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, arg...)
	cmd.SysProcAttr = command(name).SysProcAttr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return strings.TrimSpace(string(out)), exit.ExitCode()
	case err != nil:
		return "", -1
	}
	return strings.TrimSpace(string(out)), 0
}

func (n node) running(ctx context.Context) bool {
	_, code := ask(ctx, filepath.Join(n.root, n.haBin, "heartbeat"), "-s")
	return code == 0
}

// holds says which groups this node answers for; an error when that is not clear.
func (n node) holds(ctx context.Context) (groups []string, err error) {
	what, code := ask(ctx, "cl_status", "rscstatus")
	if code != 0 {
		return nil, fmt.Errorf("cl_status rscstatus: exit status %d: heartbeat does not answer", code)
	}
	for _, home := range n.homes {
		own := strings.EqualFold(home, n.self)
		if what == "all" || what == "local" && own || what == "foreign" && !own {
			groups = append(groups, home)
		}
	}
	if !slices.Contains([]string{"all", "local", "foreign", "none"}, what) {
		return nil, fmt.Errorf("%w (%s)", errMoving, what)
	}
	return groups, nil
}

// activePeer is another node that is there to hold the resources; "" if there is none.
func (n node) activePeer(ctx context.Context) string {
	for _, p := range n.peers {
		if s, code := ask(ctx, "cl_status", "nodestatus", p); code == 0 && s == "active" {
			return p
		}
	}
	return ""
}

// serves tells whether heartbeat answers here, and stopping it would be an outage: it has resources, or there is nobody
// else to take them.
func (n node) serves(ctx context.Context) bool {
	groups, err := n.holds(ctx)
	return (err == nil || errors.Is(err, errMoving)) && (len(groups) > 0 || n.activePeer(ctx) == "")
}

// settle waits until heartbeat answers and its resources do not move, and returns what this node holds.
func (n node) settle(ctx context.Context, limit time.Duration) (groups []string, err error) {
	for end := time.Now().Add(limit); ; {
		if groups, err = n.holds(ctx); err == nil || time.Now().After(end) || ctx.Err() != nil {
			return groups, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// joined waits until heartbeat answers, its resources do not move and another node is active, which it returns.
func (n node) joined(ctx context.Context, limit time.Duration) (peer string, err error) {
	for end := time.Now().Add(limit); ; {
		_, err = n.holds(ctx)
		if peer = n.activePeer(ctx); err == nil && peer != "" {
			return peer, nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			if err == nil {
				err = fmt.Errorf("it sees no other node active (of %s)", strings.Join(n.peers, ", "))
			}
			return "", errors.Join(err, ctx.Err())
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// stop stops heartbeat as this machine does it, and itself if it was started in another way.
func (n node) stop(ctx context.Context) error {
	if err := n.service("stop"); err != nil || !n.running(ctx) {
		return err
	}
	return run(filepath.Join(n.root, n.haBin, "heartbeat"), "-k")
}

// safe wants the other node to have the resources: now, or, if standby is set, after they were moved there.
func (n node) safe(ctx context.Context, standby bool, say func(string, ...any)) error {
	groups, err := n.settle(ctx, time.Minute)
	if err != nil {
		return fmt.Errorf("not now: %w", err)
	}
	peer := n.activePeer(ctx)
	if peer == "" {
		return fmt.Errorf("no other node is active (of %s): a restart here would interrupt the resources", strings.Join(n.peers, ", "))
	}
	if len(groups) == 0 {
		say("The resources are on %s; this node has none.", peer)
		return nil
	}
	if !standby {
		return fmt.Errorf("this node has %d of %d resource groups: move them first (hb_standby), or say --standby", len(groups), len(n.homes))
	}
	say("Moving %d resource groups to %s...", len(groups), peer)
	if err := run(n.root+"/usr/share/heartbeat/hb_standby", "all"); err != nil {
		return err
	}
	asked := time.Now()
	for end := asked.Add(5 * time.Minute); ; {
		groups, err := n.holds(ctx)
		switch {
		case err == nil && len(groups) == 0:
			say("They are there.")
			return nil
		case time.Now().After(end) || ctx.Err() != nil:
			return fmt.Errorf("the resources have not moved: %w", errors.Join(err, ctx.Err()))
		case err == nil && time.Since(asked) > askAgain:
			// The original loses what two programs write into its FIFO at the same time.
			say("Nothing has moved in %v: asking again.", askAgain)
			asked = time.Now()
			if err := run(n.root+"/usr/share/heartbeat/hb_standby", "all"); err != nil {
				return err
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// service starts or stops heartbeat as this machine does it.
func (n node) service(what string) error {
	if is(n.root+"/run/systemd/system") && command("systemctl", "cat", "heartbeat.service").Run() == nil {
		return run("systemctl", what, "heartbeat.service")
	}
	for _, script := range []string{"/etc/init.d/heartbeat", "/etc/rc.d/init.d/heartbeat"} {
		if script = n.root + script; is(script) {
			return quiet(script, what)
		}
	}
	return errors.New("no init script and no unit of heartbeat's here")
}

// quiet runs an init script: its daemon keeps what it was given as output, so that is no pipe.
func quiet(name string, arg ...string) error {
	f, err := os.CreateTemp("", "systole-adopt-")
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }() // it has been read
	cmd := command(name, arg...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(f.Name()) // err says enough
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(text)))
	}
	return nil
}
