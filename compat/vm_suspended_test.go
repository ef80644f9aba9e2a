package compat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// The addresses of the pair whose first node is in a virtual machine.
var (
	guestAddr = netip.MustParseAddr("172.16.60.206")
	peerAddr  = netip.MustParseAddr("172.16.60.207")
)

// TestVMSuspended suspends the virtual machine in which ha-master has the address, until ha-slave, of ours
// or an original, on this machine, has taken it, and lets it go on. None of the guest's clocks knows: its
// peer's messages tell it that it was away. It says so and lets go of everything, and the pair ends with one
// owner. It takes 40 s.
func TestVMSuspended(t *testing.T) {
	lab.NeedRoot(t)
	t.Parallel()
	var all sync.WaitGroup
	for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
		beside(t, &all, impl.String(), func(t *testing.T) {
			if lab.InGuest() {
				suspendedGuest(t)
			} else {
				suspend(t, impl)
			}
		})
	}
	all.Wait()
}

// suspendedConfig is the tutorial's, without what only stands around the pair.
func suspendedConfig(master bool) map[string]string {
	text := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
	for _, not := range []string{"ping_group", "respawn", "ucast"} {
		text = strings.ReplaceAll(text, "\n"+not, "\n#"+not)
	}
	return map[string]string{
		"/etc/ha.d/ha.cf":       text,
		"/etc/ha.d/systole.cf":  "logdialect debian12\n",
		"/etc/ha.d/haresources": "ha-master IPaddr::172.16.60.111\n",
	}
}

// What the guest prints: the address comes and goes, and lines of ha-log.
const (
	guestGot  = "the address is here"
	guestLost = "the address is gone"
	guestLog  = "ha-log: "
)

// suspendedGuest is ha-master's life, in the virtual machine.
func suspendedGuest(t *testing.T) {
	n, err := lab.New(context.WithoutCancel(t.Context()), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Attach("eth0", ""); err != nil {
		t.Fatal(err)
	}
	d, err := n.AddDirector("ha-master", guestAddr, lab.Ours, lab.HostsOptions{
		Systole: os.Getenv(lab.SystoleEnv), Env: []string{"SYSTOLE_NO_REBOOT=1"}, Config: suspendedConfig(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := n.WatchAddrs(d.Node)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.Start(t.Context()); err != nil || r.Code != 0 {
		t.Fatalf("start: %+v %v", r, err)
	}
	events, told := 0, 0
	tell := func() {
		for _, e := range watch.Events()[events:] {
			events++
			if e.Addr.Addr() == lab.VIP {
				fmt.Println(map[bool]string{true: guestGot, false: guestLost}[e.Added])
			}
		}
		for log := d.Log(); ; {
			line, _, whole := strings.Cut(log[told:], "\n")
			if !whole {
				break
			}
			told += len(line) + 1
			fmt.Println(guestLog + line)
		}
	}
	// It is over when the address is back, for good.
	var since time.Time
	waitFor(t, 2*time.Minute, "the address is back", func() bool {
		tell()
		log := d.Log()
		if strings.Count(log, "Local status now set to: 'active'") < 2 || !d.HoldsVIP() {
			since = time.Now()
			return false
		}
		return time.Since(since) > 3*time.Second
	})
	if r, err := d.Stop(t.Context()); err != nil || r.Code != 0 {
		t.Errorf("stop: %+v %v", r, err)
	}
	tell()
}

// guestStory is what the guest has printed so far, and when it came.
type guestStory struct {
	mu    sync.Mutex
	lines []string
	at    []time.Time
	both  time.Duration // how long both had the address, after the guest went on
}

func (g *guestStory) add(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines, g.at = append(g.lines, line), append(g.at, time.Now())
}

// find is when a line with that text came first, after a time.
func (g *guestStory) find(text string, after time.Time) (at time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, l := range g.lines {
		if strings.Contains(l, text) && g.at[i].After(after) {
			return g.at[i], true
		}
	}
	return time.Time{}, false
}

// suspend plays the part of the machine, and of ha-slave.
func suspend(t *testing.T, impl lab.Impl) {
	n := lab.Net(t)
	port, err := n.Tap("")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	monitor, err := lab.NewMonitor()
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	peer, err := n.AddDirector("ha-slave", peerAddr, impl, lab.HostsOptions{
		Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"}, Config: suspendedConfig(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ha-log of ha-slave (%v):\n%s", impl, peer.Log())
		}
	})
	var story guestStory
	var beside sync.WaitGroup
	var went error
	ctx, cancel := context.WithCancel(t.Context())
	beside.Go(func() { went = suspendStory(ctx, n, &story, monitor, peer) })
	defer func() {
		cancel()
		beside.Wait()
		if went != nil {
			t.Error(went)
		}
	}()
	lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) {
		s.Limit, s.NIC, s.Monitor, s.Line, s.CPUs = 4*time.Minute, port, monitor, story.add, 1
	})
	beside.Wait()
	t.Logf("both had the address for %v after the guest went on", story.both.Round(time.Millisecond))
}

func suspendStory(ctx context.Context, n *lab.Network, story *guestStory, monitor *lab.Monitor, peer *lab.Director) error {
	wait := func(what string, ok func() bool) error {
		for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
			if ctx.Err() != nil || time.Since(begin) > 2*time.Minute {
				return fmt.Errorf("has not come: %s", what)
			}
		}
		return nil
	}
	said := func(text string, after time.Time) func() bool {
		return func() bool { _, ok := story.find(text, after); return ok }
	}
	if err := wait("the guest's start", said("heartbeat: version", time.Time{})); err != nil {
		return err
	}
	if r, err := peer.Start(ctx); err != nil || r.Code != 0 {
		return fmt.Errorf("start of ha-slave: %+v %w", r, err)
	}
	if err := wait("the pair at rest", func() bool {
		return said(guestGot, time.Time{})() && said("remote resource transition completed.", time.Time{})() && strings.Contains(peer.Log(), "remote resource transition completed.")
	}); err != nil {
		return err
	}
	// Right after one of the guest's heartbeats: its next is due a keepalive of its own clock later. One that is due
	// in the instant in which it goes on comes before it can have read one of ha-slave's.
	wire, err := n.Capture("")
	if err != nil {
		return err
	}
	defer wire.Stop()
	beat := beatOf(guestAddr)
	if _, err := wire.Wait(ctx, func(f lab.Frame) bool { return beat(f) && bytes.Contains(f.Data, []byte("t=status")) }); err != nil {
		return err
	}
	if err := monitor.Stop(); err != nil {
		return err
	}
	err = wait("ha-slave takes over", func() bool {
		return peer.HoldsVIP() && strings.Contains(peer.Log(), "mach_down takeover complete for node ha-master.")
	})
	cont := time.Now()
	if err := monitor.Cont(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if err := wait("the guest lets go", said(guestLost, cont)); err != nil {
		return err
	}
	lost, _ := story.find(guestLost, cont)
	story.both = lost.Sub(cont)
	if story.both > 2*time.Second { // a packet of its peer's, at once, and a slow machine
		return fmt.Errorf("both had the address for %v", story.both)
	}
	if got, ok := story.find(guestGot, cont); ok && got.Before(lost) {
		return errors.New("the guest has taken the address anew before it let go of it")
	}
	if err := wait("the guest has it again", said(guestGot, lost)); err != nil {
		return err
	}
	// When the guest took it, ha-slave had let go: the guest's word came later than that.
	if peer.HoldsVIP() {
		return errors.New("both have the address at the end")
	}
	for _, text := range []string{"WARN: This machine stood still for ", "ERROR: No local heartbeat. Forcing restart.", "All HA resources relinquished.", "Heartbeat restart triggered."} {
		if _, ok := story.find(text, cont); !ok {
			return fmt.Errorf("the guest has not said: %s", text)
		}
	}
	for _, never := range []string{"restart triggered", "returning after partition", "Both machines own"} {
		if strings.Contains(peer.Log(), never) {
			return fmt.Errorf("ha-slave (%v) has been disturbed: %s", peer.Impl, never)
		}
	}
	return nil
}
