package compat

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

var keepLogs = flag.String("interop-keep", "", "folder for the ha-logs of TestInterop")

// pairs are who runs on ha-master and on ha-slave.
var pairs = [][2]lab.Impl{{lab.Ours, lab.Original}, {lab.Original, lab.Ours}, {lab.Ours, lab.Ours}}

// stories are the recorded scenarios, and one that the original does not master.
var stories = []struct {
	name     string
	play     func(*interop)
	oursOnly bool // only where ha-slave is ours
}{
	{"restart", playRestart, false},
	{"kill9", playKill, false},
	{"poweroff", playPowerOff, false},
	{"leftover", playLeftover, true},
}

// clusters are the places for clusters that run side by side, in all tests together. They mostly wait, so that there
// are more than processors; but too many at once, and the original's scripts take longer than its deadtime.
var clusters = make(chan struct{}, 6)

// tutorial is lab.Tutorial when there is a place for it. A test that holds one must not ask for another.
func tutorial(t *testing.T, o lab.HostsOptions) *lab.Hosts {
	t.Helper()
	clusters <- struct{}{}
	t.Cleanup(func() { <-clusters })
	return lab.Tutorial(t, o)
}

// beside runs a subtest while others run.
func beside(t *testing.T, all *sync.WaitGroup, name string, play func(*testing.T)) {
	all.Go(func() { t.Run(name, play) })
}

// TestInterop plays the recorded scenarios with the original as the peer, on either side, and
// with two nodes of ours. The virtual address must be where it was in the record, and each
// node's ha-log, the original's too, must have the lines of the record and no complaint of its own.
func TestInterop(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, s := range stories {
		for _, p := range pairs {
			if s.oursOnly && p[1] != lab.Ours {
				continue
			}
			beside(t, &all, fmt.Sprintf("%s/%v-%v", s.name, p[0], p[1]), func(t *testing.T) { s.play(newInterop(t, p)) })
		}
	}
	all.Wait()
}

// interop is one run of a scenario.
type interop struct {
	*testing.T
	*lab.Hosts
	records  []string // of all scenarios that were compared
	harmless []string // texts of complaints that the scenario brings about
	// media, if not nil, puts other media into a record of a node's.
	media func(log string) string
}

func newInterop(t *testing.T, impl [2]lab.Impl, change ...func(*lab.HostsOptions)) *interop {
	o := lab.HostsOptions{
		Master: impl[0], Slave: impl[1],
		Env:    []string{"SYSTOLE_NO_REBOOT=1"},
		Config: map[string]string{"/etc/ha.d/systole.cf": "logdialect debian12\n"}, // the record is from there
		Log:    func(string, ...any) {},
	}
	for _, f := range change {
		f(&o)
	}
	h := tutorial(t, o)
	s := &interop{T: t, Hosts: h}
	t.Cleanup(s.end)
	return s
}

// end looks at the logs for complaints, and keeps them where the flag says.
func (s *interop) end() {
	for i, d := range []*lab.Director{s.Master, s.Slave} {
		peer := []*lab.Director{s.Slave, s.Master}[i]
		for _, c := range complaints(d.Log(), peer.Impl, s.records...) {
			if slices.ContainsFunc(s.harmless, func(text string) bool { return strings.Contains(c, text) }) {
				continue
			}
			s.Errorf("%s (%v) complains, which it does not in the record: %s", d.Name(), d.Impl, c)
		}
		if s.Failed() {
			s.Logf("ha-log of %s (%v):\n%s", d.Name(), d.Impl, d.Log())
		}
		if *keepLogs != "" {
			name := strings.ReplaceAll(strings.TrimPrefix(s.Name(), "Test"), "/", "-") + "-" + d.Name() + ".log"
			if err := os.WriteFile(filepath.Join(*keepLogs, name), []byte(d.Log()), 0o644); err != nil {
				s.Error(err)
			}
		}
	}
}

// do starts or stops heartbeat and wants that to succeed.
func (s *interop) do(what string, act func(context.Context) (lab.Result, error)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if r, err := act(ctx); err != nil || r.Code != 0 {
		s.Fatalf("%s: %+v %v", what, r, err)
	}
}

// limit is how long something may take: the longest timer of the configuration is 10 s.
const limit = time.Minute

// seen waits until ok.
func (s *interop) seen(limit time.Duration, ok func() bool) bool {
	for begun := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begun) > limit {
			return false
		}
	}
	return true
}

// owner wants one node alone to have the virtual address.
func (s *interop) owner(d, other *lab.Director) {
	s.Helper()
	if !s.seen(limit, func() bool { return d.HoldsVIP() && !other.HoldsVIP() }) {
		s.Fatalf("the virtual address: on %s %v, on %s %v", d.Name(), d.HoldsVIP(), other.Name(), other.HoldsVIP())
	}
}

// noOwner wants the virtual address gone.
func (s *interop) noOwner() {
	s.Helper()
	if s.Master.HoldsVIP() || s.Slave.HoldsVIP() {
		s.Errorf("the virtual address is left: on ha-master %v, on ha-slave %v", s.Master.HoldsVIP(), s.Slave.HoldsVIP())
	}
}

// told wants the nodes' logs to have what they have in the record of the scenario.
func (s *interop) told(scenario string, nodes ...*lab.Director) {
	s.Helper()
	for _, d := range nodes {
		golden := goldenLog(s.T, scenario, d.Name())
		if s.media != nil {
			golden = s.media(golden)
		}
		s.records = append(s.records, golden)
		if !strings.Contains(s.Master.Log(), "giveup() called") {
			golden = withoutGiveup(golden)
		}
		m := ""
		if !s.seen(limit, func() bool { m = missing(golden, d.Log()); return m == "" }) {
			s.Fatalf("%s: ha-log of %s (%v):\n%s", scenario, d.Name(), d.Impl, m)
		}
	}
}

// begin is S1.
func (s *interop) begin() {
	s.Helper()
	s.first()
	s.told("S1", s.Master, s.Slave)
}

// restart starts ha-master again and waits until it has its resources back, and for a while for
// the end of ipfail's giveup: see withoutGiveup.
func (s *interop) restart() {
	s.Helper()
	s.do("start ha-master", s.Master.Start)
	s.owner(s.Master, s.Slave)
	s.seen(20*time.Second, func() bool {
		return strings.Contains(s.Master.Log(), "Other node completed standby takeover of foreign")
	})
}

func playRestart(s *interop) {
	s.begin()
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.told("S2", s.Master, s.Slave)
	s.restart()
	s.told("S3", s.Master, s.Slave)
	s.owner(s.Master, s.Slave)
	s.do("stop ha-slave", s.Slave.Stop)
	s.owner(s.Master, s.Slave)
	s.do("stop ha-master", s.Master.Stop)
	s.noOwner()
}

func playKill(s *interop) {
	s.begin()
	if n, err := s.Master.Crash(); n == 0 || err != nil {
		s.Fatal(n, err)
	}
	s.told("S4-kill9", s.Slave)
	if !s.Master.HoldsVIP() || !s.Slave.HoldsVIP() {
		s.Errorf("after a crash of the daemon alone both nodes have the address: ha-master %v, ha-slave %v", s.Master.HoldsVIP(), s.Slave.HoldsVIP())
	}
	s.restart()
	s.told("S4-kill9-restart", s.Master, s.Slave)
	s.owner(s.Master, s.Slave)
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.do("stop ha-slave", s.Slave.Stop)
	s.noOwner()
}

func playPowerOff(s *interop) {
	s.begin()
	forks, err := s.Slave.CountForks()
	if err != nil && os.Getenv(lab.RequireEnv) != "" {
		s.Fatal(err) // root in a user namespace may not
	}
	if err := s.Master.PowerOff(); err != nil {
		s.Fatal(err)
	}
	s.owner(s.Slave, s.Master)
	s.told("S4-poweroff", s.Slave)
	if forks != nil {
		n, err := forks.Stop()
		if err != nil {
			s.Error(err)
		}
		// The original's takeover is some 300 processes; a count that sees none of them is broken.
		if ours := s.Slave.Impl == lab.Ours; ours && n.Processes != 0 || !ours && n.Processes < 100 {
			s.Errorf("the takeover of %s (%v) started %d processes", s.Slave.Name(), s.Slave.Impl, n.Processes)
		}
	}
	s.do("stop ha-slave", s.Slave.Stop)
	s.noOwner()
}

// playLeftover has ha-slave crash while it has ha-master's resources. When it starts again these have
// gone back, and the address that the crash has left must go. (The original keeps it, and both
// nodes answer for the address.)
func playLeftover(s *interop) {
	s.begin()
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.told("S2", s.Master)
	s.records = append(s.records, goldenLog(s.T, "S4-kill9", "ha-slave"), leftover)
	if n, err := s.Slave.Crash(); n == 0 || err != nil {
		s.Fatal(n, err)
	}
	s.do("start ha-master", s.Master.Start)
	if !s.seen(limit, s.Master.HoldsVIP) {
		s.Fatal("ha-master, alone, does not take its resources")
	}
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	if text := leftover[strings.Index(leftover, "WARN"):]; !strings.Contains(s.Slave.Log(), text) {
		s.Errorf("ha-slave does not say: %s", text)
	}
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.do("stop ha-slave", s.Slave.Stop)
	s.noOwner()
}

// leftover is what ha-slave is to say then.
const leftover = "2026/01/01_00:00:00  ResourceManager(default)[1]:    WARN: IPaddr::172.16.60.111 is running here and should not be: an earlier heartbeat left it behind\n"
