package compat

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/lab"
)

// ledger is a resource that takes its time to stop and writes down when it is up, and when it is down
// again: it must never be up twice.
const ledger = `#!/bin/sh
say() { echo "$(date +%s.%N) $(uname -n) $1" >> /var/log/ledger; }
case "$1" in
start) [ -e /etc/no-start ] && exit 1; [ -e /run/ledger ] || say up; touch /run/ledger ;;
stop) [ -e /run/ledger ] || exit 0; sleep 0.7; rm /run/ledger; say down ;;
status) [ -e /run/ledger ] && echo running || echo stopped ;;
esac
`

// TestStandby moves two groups, one at home on each node, by hb_standby and hb_takeover with each of their
// arguments, from both nodes at once, to a peer that does not answer, and to one that cannot start them; in
// pairs of two of ours, and of ours with an original on either side. Each group has one owner at the end of
// each move, and what is slow to stop is never started elsewhere before it is down. It takes 80 s.
func TestStandby(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, p := range pairs {
		for name, play := range map[string]func(*standbys){"moves": (*standbys).moves, "failure": (*standbys).failure} {
			all.Go(func() {
				t.Run(fmt.Sprintf("%s/%v-%v", name, p[0], p[1]), func(t *testing.T) {
					s := newStandbys(t, p)
					play(s)
					s.alternates()
				})
			})
		}
	}
	all.Wait()
}

type standbys struct{ *interop }

func newStandbys(t *testing.T, impl [2]lab.Impl) *standbys {
	conf := func(master bool) map[string]string {
		text := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
		// A peer is not dead before a request to it has timed out.
		text = strings.NewReplacer("deadtime 5\n", "deadtime 20\n", "keepalive 2\n", "keepalive 500ms\n", "initdead 10\n", "initdead 20\n",
			"warntime 3\n", "warntime 15\n", "respawn root", "#respawn root").Replace(text)
		return map[string]string{
			"/etc/ha.d/ha.cf":             text,
			"/etc/ha.d/systole.cf":        "logdialect debian12\n",
			"/etc/ha.d/haresources":       "ha-master IPaddr::172.16.60.111 ledger\nha-slave IPaddr::172.16.60.112\n",
			"/etc/ha.d/resource.d/ledger": ledger,
		}
	}
	s := &standbys{&interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: impl[0], Slave: impl[1], Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}}
	t.Cleanup(func() {
		for _, d := range []*lab.Director{s.Master, s.Slave} {
			if t.Failed() {
				t.Logf("ha-log of %s (%v):\n%s", d.Name(), d.Impl, d.Log())
			}
		}
	})
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.own(s.Master, s.Slave)
	if !s.seen(limit, func() bool {
		return strings.Contains(s.Master.Log(), "remote resource transition completed.") && strings.Contains(s.Slave.Log(), "remote resource transition completed.")
	}) {
		t.Fatal("the pair does not come to rest")
	}
	return s
}

// own wants ha-master's group at one node, and ha-slave's at another.
func (s *standbys) own(masters, slaves *lab.Director) {
	s.Helper()
	s.at(lab.VIP, masters)
	s.at(extra, slaves)
}

// ask runs hb_standby or hb_takeover.
func (s *standbys) ask(d *lab.Director, words ...string) {
	s.Helper()
	r, err := d.Exec(s.Context(), "/usr/share/heartbeat/"+words[0], words[1:]...)
	if err != nil || r.Code != 0 {
		s.Fatalf("%s: %v: %+v %v", d.Name(), words, r, err)
	}
}

// move runs one, and waits for both nodes to say that the move is over, and that the other is at rest:
// what is asked of a node that does not know that yet is refused.
func (s *standbys) move(d *lab.Director, masters, slaves *lab.Director, words ...string) {
	s.Helper()
	count := func(what string) (n [2]int) {
		for i, d := range []*lab.Director{s.Master, s.Slave} {
			n[i] = strings.Count(d.Log(), what)
		}
		return n
	}
	const giver, taker, rest = "Other node completed standby takeover of ", "Standby resource acquisition done [", "remote resource transition completed."
	sum := func(n [2]int) int { return n[0] + n[1] }
	given, taken, rested := count(giver), count(taker), count(rest)
	s.ask(d, words...)
	if !s.seen(limit, func() bool {
		now := count(rest)
		return sum(count(giver)) > sum(given) && sum(count(taker)) > sum(taken) && now[0] > rested[0] && now[1] > rested[1]
	}) {
		s.Fatalf("%s: %v: the move does not end", d.Name(), words)
	}
	s.own(masters, slaves)
}

func (s *standbys) moves() {
	m, sl := s.Master, s.Slave
	s.move(m, sl, sl, "hb_standby", "all")
	s.move(m, m, sl, "hb_takeover", "local")
	s.move(m, sl, sl, "hb_standby", "local")
	s.move(sl, m, sl, "hb_standby", "foreign")
	s.move(sl, m, m, "hb_standby")
	s.move(sl, sl, m, "hb_takeover", "foreign")
	s.move(m, m, m, "hb_takeover")
	s.move(m, m, sl, "hb_standby", "failback")
	s.move(m, m, m, "hb_takeover", "all")
	s.move(sl, sl, sl, "hb_takeover", "failback") // the original's rule: everything
	s.move(m, m, sl, "hb_takeover", "local")
	s.atOnce()
	s.refused()
	s.unanswered()
}

// atOnce has both nodes ask for the same at the same time: whoever gets it, each group ends at one node.
func (s *standbys) atOnce() {
	for _, words := range [][]string{{"hb_standby", "all"}, {"hb_takeover", "all"}} {
		var both sync.WaitGroup
		for _, d := range []*lab.Director{s.Master, s.Slave} {
			both.Go(func() { s.ask(d, words...) })
		}
		both.Wait()
		s.settled(lab.VIP.String()+" and "+extra.String(), 3*time.Second)
		s.answered()
	}
	// However it has ended, it can be put right by hand.
	s.ask(s.Slave, "hb_takeover", "all")
	if !s.seen(limit, func() bool { return s.has(s.Slave, lab.VIP) && s.has(s.Slave, extra) }) {
		s.Fatal("ha-slave does not get everything")
	}
	s.settled("all at ha-slave", 3*time.Second)
	s.answered()
	s.move(s.Master, s.Master, s.Slave, "hb_takeover", "local")
}

// answered waits until no offer of a node is open. Two that are made at the same moment are both ignored, and
// so is whatever is asked until they end, ten seconds later.
func (s *standbys) answered() {
	s.Helper()
	open := func(d *lab.Director) bool {
		log := d.Log()
		at := strings.LastIndex(log, d.Name()+" wants to go standby")
		return at >= 0 && !strings.Contains(log[at:], "Other node completed standby takeover of ") && !strings.Contains(log[at:], "Standby request cancelled.")
	}
	if !s.seen(limit, func() bool { return !open(s.Master) && !open(s.Slave) }) {
		s.Fatal("an offer stays open")
	}
}

// settled waits until each group has had one owner, the same, for a time.
func (s *standbys) settled(what string, quiet time.Duration) {
	s.Helper()
	var last [4]bool
	var since time.Time
	if !s.seen(2*limit, func() bool {
		now := [4]bool{s.has(s.Master, lab.VIP), s.has(s.Slave, lab.VIP), s.has(s.Master, extra), s.has(s.Slave, extra)}
		if now != last || since.IsZero() || now[0] == now[1] || now[2] == now[3] {
			last, since = now, time.Now()
			return false
		}
		return time.Since(since) > quiet
	}) {
		s.Fatalf("%s: no single owner: %v", what, last)
	}
}

// refused asks again while a move is under way: it is told that it is too early, and the move goes on.
func (s *standbys) refused() {
	s.ask(s.Master, "hb_standby", "all")
	if !s.seen(limit, func() bool { return strings.Count(s.Master.Log(), "ha-master wants to go standby [all]") > 0 }) {
		s.Fatal("the request is not heard")
	}
	s.ask(s.Master, "hb_standby", "all")
	s.ask(s.Slave, "hb_standby", "all")
	s.settled("a request within a move", 3*time.Second)
	s.ask(s.Master, "hb_takeover", "local")
	if !s.seen(limit, func() bool { return s.has(s.Master, lab.VIP) }) {
		s.Fatal("ha-master does not get its group")
	}
	s.settled("after a request within a move", 3*time.Second)
	if !s.has(s.Slave, extra) {
		s.move(s.Slave, s.Master, s.Slave, "hb_takeover", "local")
	}
}

// unanswered asks a node that stands still. (It is not dead yet.)
func (s *standbys) unanswered() {
	pid := heartbeatPID(s.T, s.Slave)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		s.Fatal(err)
	}
	before := len(s.Master.Log()) // an earlier one may have been cancelled, too
	s.ask(s.Master, "hb_standby", "all")
	const line = "No reply to standby request.  Standby request cancelled."
	cancelled := s.seen(limit, func() bool { return strings.Contains(s.Master.Log()[before:], line) })
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		s.Fatal(err)
	}
	if !cancelled {
		s.Errorf("ha-master does not say %q", line)
	}
	s.settled("a request without an answer", 3*time.Second)
	if !s.has(s.Master, lab.VIP) || !s.has(s.Slave, extra) {
		s.Error("a request without an answer has moved something")
	}
	if strings.Contains(s.Master.Log(), "is dead") || strings.Contains(s.Slave.Log(), "is dead") {
		s.Error("a node was called dead")
	}
}

// failure gives everything to a node that cannot start it: half a minute later that gives it back.
func (s *standbys) failure() {
	if err := s.Slave.WriteFile("/etc/no-start", nil, 0o644); err != nil {
		s.Fatal(err)
	}
	s.ask(s.Master, "hb_standby", "local")
	if !s.seen(limit, func() bool { return strings.Contains(s.Slave.Log(), "Giving up resources due to failure of ledger") }) {
		s.Fatal("ha-slave starts what cannot be started")
	}
	s.at(lab.VIP, nil)
	s.at(lab.VIP, s.Master)
	s.settled("a start that fails", 3*time.Second)
	if !s.has(s.Slave, extra) && s.Slave.Impl == lab.Ours {
		s.Error("ha-slave has given up its own group, too")
	}
}

// alternates wants the ledger to have been up at one node at a time.
func (s *standbys) alternates() {
	s.Helper()
	var lines []string
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		b, _ := d.ReadFile("/var/log/ledger") // not there where it never ran
		lines = append(lines, strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })...)
	}
	slices.Sort(lines) // by the time, which is the machine's
	holder := ""
	for _, l := range lines {
		f := strings.Fields(l)
		switch {
		case len(f) != 3:
			s.Errorf("ledger: %q", l)
		case f[2] == "up" && holder == "":
			holder = f[1]
		case f[2] == "down" && holder == f[1]:
			holder = ""
		default:
			s.Errorf("at %s %s says %s while it is up at %q", f[0], f[1], f[2], holder)
		}
	}
	if len(lines) < 3 {
		s.Errorf("the ledger has %d lines", len(lines))
	}
}
