package adopt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/systole-ha/systole/pkg/layout"
)

// Options are what is to be adopted.
type Options struct {
	Self     string   // our program's file
	Programs []string // its names
	Node     string   // this node, and the others of ha.cf
	Peers    []string
	Homes    []string // the node of each group of haresources
	Initdead time.Duration
	Takeover time.Duration // how long the other node is given to end its takeover, between the stop here and the start
	Standby  bool          // move resources away first, if any are here
	DryRun   bool          // say what would be done
	Out      io.Writer
	root     string // before all paths; "" but for tests
	step     func() // of the Record; likewise
}

func (o Options) say(format string, args ...any) { fmt.Fprintf(o.Out, format+"\n", args...) }

// originals is the layout of the originals that are installed here.
func originals(root string) (layout.Layout, error) {
	for _, l := range []layout.Layout{layout.Debian, layout.RHEL} {
		if is(filepath.Join(root, l.HABin, "heartbeat")) {
			l.HABins = nil
			return l, nil
		}
	}
	old := layout.Debian
	old.HABin = "/usr/lib/heartbeat" // Debian until 7, and RHEL of 32 bits
	if is(filepath.Join(root, old.HABin, "heartbeat")) {
		return old, nil
	}
	return layout.Layout{}, errors.New("no heartbeat here (looked for /usr/libexec/heartbeat/heartbeat, /usr/lib64/heartbeat/heartbeat, /usr/lib/heartbeat/heartbeat)")
}

func (o Options) node(haBin string) node {
	return node{root: o.root, haBin: haBin, self: o.Node, peers: o.Peers, homes: o.Homes}
}

// Adopt replaces the originals' programs and, if their heartbeat runs, restarts it as ours. When ours does not come up,
// the originals are put back and started.
func Adopt(ctx context.Context, o Options) error {
	if _, err := readRecord(o.root); err == nil {
		return ErrAdopted
	}
	l, err := originals(o.root)
	if err != nil {
		return err
	}
	r, err := plan(o.root, l, o.Programs)
	if err != nil {
		return err
	}
	r.step = o.step
	o.say("Programs of the originals that are set aside, each as NAME%s:", aside)
	for _, p := range r.Programs {
		how := "renamed"
		if p.Diverted {
			how = "dpkg-divert"
		}
		o.say("  %s (%s)", p.Path, how)
	}
	o.say("Added: %s, and links to it in their places; %s. Nothing else is changed.", layout.Home, recordFile)
	n := o.node(l.HABin)
	running := n.running(ctx)
	if !running {
		o.say("heartbeat does not run here: nothing has to be restarted.")
	}
	if o.DryRun {
		o.sayNow(ctx, n, running)
		return nil
	}
	if running {
		if err := n.safe(ctx, o.Standby, o.say); err != nil {
			return err
		}
	}
	if err := r.prepare(o.Self); err != nil {
		return errors.Join(err, r.restore(o.say))
	}
	if running {
		o.say("Stopping the original...")
		err = n.stop(ctx)
	}
	if err == nil {
		err = r.place()
	}
	if err != nil {
		return errors.Join(err, r.restore(o.say), n.restart(running))
	}
	if !running {
		return nil
	}
	err = o.up(ctx, n, "systole")
	switch {
	case err == nil:
		return nil
	case n.serves(ctx):
		return fmt.Errorf("%w: it is left running, because nobody else is seen that could serve; "+
			"if the other node does serve, stop heartbeat here, and then: systole adopt --undo", err)
	}
	o.say("It does not come up: putting the originals back.")
	_ = n.stop(ctx) // whatever of it runs
	return errors.Join(err, r.restore(o.say), n.restart(true))
}

// sayNow says whether heartbeat could be restarted now.
func (o Options) sayNow(ctx context.Context, n node, running bool) {
	if !running {
		return
	}
	groups, err := n.holds(ctx)
	peer := n.activePeer(ctx)
	switch {
	case err != nil:
		o.say("Not now: %v.", err)
	case peer == "":
		o.say("Not now: no other node is active, so that a restart here would be an outage.")
	case len(groups) > 0:
		o.say("This node has %d of %d resource groups: with --standby they are moved to %s first; without it nothing is done.", len(groups), len(o.Homes), peer)
	default:
		o.say("heartbeat is restarted here; the resources are on %s and stay there.", peer)
	}
}

// Undo puts the originals back and, if heartbeat runs, restarts it as theirs. It also ends what an Adopt or Undo that was
// killed has left half done.
func Undo(ctx context.Context, o Options) error {
	r, err := readRecord(o.root)
	if errors.Is(err, ErrNotAdopted) && !o.DryRun {
		return errors.Join(err, tidy(o.root))
	}
	if err != nil {
		return err
	}
	r.step = o.step
	n := o.node(r.haBin())
	running := n.running(ctx)
	if o.DryRun {
		for _, p := range r.Programs {
			o.say("  %s comes back to %s", p.Aside, p.Path)
		}
	}
	if !running {
		o.say("heartbeat does not run here: it is not started.")
	}
	if o.DryRun {
		o.sayNow(ctx, n, running)
		return nil
	}
	if running {
		if err := n.safe(ctx, o.Standby, o.say); err != nil {
			return err
		}
		o.say("Stopping systole...")
		if err := n.stop(ctx); err != nil {
			return errors.Join(err, n.restart(true))
		}
	}
	if err := r.restore(o.say); err != nil {
		return errors.Join(fmt.Errorf("put the originals back: %w", err), n.restart(running))
	}
	o.say("The originals' programs are back in their places.")
	if !running {
		return nil
	}
	return o.up(ctx, n, "the original")
}

func (n node) restart(wanted bool) error {
	if !wanted {
		return nil
	}
	return n.service("start")
}

// up starts heartbeat and waits until it takes its part again. An original that hears a node start while it still runs its
// mach_down for that node's stop does not offer the resources back ("T_STARTING received during takeover"), and at worst
// stays in transition for ever; hence the pause, which the original's init script makes at restart, too.
func (o Options) up(ctx context.Context, n node, whose string) error {
	o.say("Waiting %v, to let the other node end its takeover...", o.Takeover)
	select {
	case <-time.After(o.Takeover):
	case <-ctx.Done():
	}
	o.say("Starting %s...", whose)
	if err := n.service("start"); err != nil {
		return err
	}
	begin := time.Now()
	peer, err := n.joined(ctx, o.Initdead+time.Minute)
	if err != nil {
		return fmt.Errorf("%s has started, but: %w", whose, err)
	}
	o.say("%s runs, and is one with %s again (%.1f s).", whose, peer, time.Since(begin).Seconds())
	return nil
}
