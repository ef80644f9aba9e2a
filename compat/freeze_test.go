package compat

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestFreeze stops the daemon that has the address (SIGSTOP) until its peer, of ours or an original, has
// called it dead and taken everything, and lets it go on: it says that it was away, lets go of all before
// it does anything else, and the pair ends with one owner. It takes 30 s.
func TestFreeze(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, p := range [][2]lab.Impl{{lab.Ours, lab.Ours}, {lab.Ours, lab.Original}} {
		for _, failback := range []string{"on", "off", "legacy"} {
			all.Go(func() {
				t.Run(fmt.Sprintf("%v-%v-%s", p[0], p[1], failback), func(t *testing.T) {
					playFreeze(newInteropFailback(t, p, failback), failback)
				})
			})
		}
	}
	all.Wait()
}

func playFreeze(s *interop, failback string) {
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	s.atRest()
	watch, err := s.WatchAddrs(s.Master.Node)
	if err != nil {
		s.Fatal(err)
	}
	pid := heartbeatPID(s.T, s.Master)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		s.Fatal(err)
	}
	taken := s.seen(limit, func() bool {
		return s.Slave.HoldsVIP() && strings.Contains(s.Slave.Log(), "mach_down takeover complete for node ha-master.")
	})
	before := len(s.Master.Log())
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		s.Fatal(err)
	}
	if !taken {
		s.Fatal("ha-slave has not taken over from a node that stands still")
	}
	const away = "ERROR: No local heartbeat. Forcing restart."
	since := func() string { return s.Master.Log()[before:] }
	if !s.seen(limit, func() bool { return strings.Contains(since(), "Heartbeat restart triggered.") }) {
		s.Fatalf("ha-master has not noticed that it was away")
	}
	if text := since(); !comeInOrder(text, away, "Releasing resource group", "ha-master Heartbeat shutdown complete.", "Heartbeat restart triggered.") {
		s.Errorf("ha-master, awake again, does not give way first:\n%s", text)
	}
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	if first, err := watch.Wait(ctx, func(e lab.AddrEvent) bool { return e.Addr.Addr() == lab.VIP }); err != nil || first.Added {
		s.Errorf("the first that happens to the address on ha-master: %+v, %v", first, err)
	}
	owner, other := s.Master, s.Slave
	if failback == "off" {
		owner, other = s.Slave, s.Master
	}
	if !s.seen(limit, func() bool {
		return strings.Count(s.Master.Log(), "Local status now set to: 'active'") == 2
	}) {
		s.Fatal("ha-master does not come back")
	}
	if last := s.settledOwner(); last != owner {
		s.Errorf("at last %s has the address, not %s", last.Name(), owner.Name())
	}
	s.owner(owner, other)
	for _, never := range []string{"restart triggered", "returning after partition", "Both machines own"} {
		if strings.Contains(s.Slave.Log(), never) {
			s.Errorf("ha-slave (%v) has been disturbed: %q", s.Slave.Impl, never)
		}
	}
}

// comeInOrder tells whether text has all the words, each after the one before.
func comeInOrder(text string, words ...string) bool {
	for _, w := range words {
		i := strings.Index(text, w)
		if i < 0 {
			return false
		}
		text = text[i+len(w):]
	}
	return true
}
