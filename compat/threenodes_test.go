package compat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestThreeNodes has three nodes in ha.cf, which haresources is not made for: when the one that has the
// address dies, each of the others takes it. So do the originals; any of them may be ours, or all, and the
// address is where three originals have it, with the same lines in ha-log. It takes 25 s.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, impl := range [][3]lab.Impl{
		{lab.Original, lab.Original, lab.Original},
		{lab.Ours, lab.Original, lab.Original},
		{lab.Original, lab.Original, lab.Ours},
		{lab.Ours, lab.Ours, lab.Ours},
	} {
		beside(t, &all, fmt.Sprintf("%v-%v-%v", impl[0], impl[1], impl[2]), func(t *testing.T) { newThree(t, impl, known).play() })
	}
	all.Wait()
}

// TestStranger has a third node that only knows the pair, not the pair it: both say so, and have nothing to do
// with it, when it comes and when it goes.
func TestStranger(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, impl := range [][3]lab.Impl{{lab.Ours, lab.Original, lab.Ours}, {lab.Original, lab.Ours, lab.Original}} {
		beside(t, &all, fmt.Sprintf("%v-%v-%v", impl[0], impl[1], impl[2]), func(t *testing.T) { newThree(t, impl, stranger).playStranger() })
	}
	all.Wait()
}

type three struct {
	*interop
	nodes [3]*lab.Director
}

const (
	known    = "node ha-third\n"
	stranger = ""
)

// newThree makes a pair with this line in its ha.cf, and a node that knows all three.
func newThree(t *testing.T, impl [3]lab.Impl, third string) *three {
	conf := func(master bool, node string) map[string]string {
		text := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
		text = strings.NewReplacer("ucast eth0", "#ucast eth0", "respawn root", "#respawn root", "ping_group", "#ping_group",
			"node ha-slave\n", "node ha-slave\n"+node, "keepalive 2\n", "keepalive 1\n").Replace(text)
		return map[string]string{
			"/etc/ha.d/ha.cf":       text,
			"/etc/ha.d/systole.cf":  "logdialect debian12\n",
			"/etc/ha.d/haresources": "ha-master IPaddr::172.16.60.111\n",
		}
	}
	o := lab.HostsOptions{
		Master: impl[0], Slave: impl[1], Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true, third), SlaveConfig: conf(false, third), Log: func(string, ...any) {},
	}
	s := &three{interop: &interop{T: t, Hosts: tutorial(t, o)}}
	o.Config = conf(false, known)
	last, err := s.AddDirector("ha-third", netip.MustParseAddr("172.16.60.208"), impl[2], o)
	if err != nil {
		t.Fatal(err)
	}
	s.nodes = [3]*lab.Director{s.Master, s.Slave, last}
	t.Cleanup(func() {
		for _, d := range s.nodes {
			if t.Failed() {
				t.Logf("ha-log of %s (%v):\n%s", d.Name(), d.Impl, d.Log())
			}
		}
	})
	return s
}

// at waits until the nodes that are named, and no others, have had the address for a while, or an original has lost a message.
func (s *three) at(when string, want ...*lab.Director) {
	s.Helper()
	has := func() (got []string) {
		for _, d := range s.nodes {
			if d.HoldsVIP() {
				got = append(got, d.Name())
			}
		}
		return got
	}
	var names []string
	for _, d := range want {
		names = append(names, d.Name())
	}
	var since time.Time
	if !s.seen(limit, func() bool {
		if s.lost() {
			return true
		}
		if fmt.Sprint(has()) != fmt.Sprint(names) {
			since = time.Time{}
			return false
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > time.Second
	}) {
		s.Fatalf("%s: the address is on %v, want %v", when, has(), names)
	}
}

// says waits until a node has logged each text, or an original has lost a message.
func (s *three) says(when string, d *lab.Director, texts ...string) {
	s.Helper()
	for _, text := range texts {
		if !s.seen(limit, func() bool { return strings.Contains(d.Log(), text) || s.lost() }) {
			s.Fatalf("%s: %s (%v) does not say %q", when, d.Name(), d.Impl, text)
		}
	}
}

// play tells the story until no original has lost a message of its own in it, see interop.first.
func (s *three) play() {
	for tries := 1; ; tries++ {
		s.story()
		if !s.lost() {
			return
		}
		if tries == 5 {
			s.Fatalf("an original has lost a message of its own, %d times", tries)
		}
		s.Logf("an original has lost a message of its own; anew")
		s.anew()
	}
}

func (s *three) lost() bool {
	return slices.ContainsFunc(s.nodes[:], func(d *lab.Director) bool { return d.Impl == lab.Original && lostMessage(d.Log()) })
}

// story ends early when an original has lost a message.
func (s *three) story() {
	s.start()
	s.at("start", s.Master)
	for i, d := range s.nodes {
		for j, other := range s.nodes {
			if i != j {
				s.says("start", d, "info: Status update for node "+other.Name()+": status active")
			}
		}
	}
	if s.lost() {
		return
	}
	if err := s.Master.PowerOff(); err != nil {
		s.Fatal(err)
	}
	s.at("without ha-master", s.nodes[1:]...)
	for _, d := range s.nodes[1:] {
		s.says("without ha-master", d, "WARN: node ha-master: is dead", "WARN: No STONITH device configured.", "info: Resources being acquired from ha-master.",
			"info: Link ha-master:eth0 dead.", "info: mach_down takeover complete for node ha-master.", "info: mach_down takeover complete.",
			"info: No local resources [/usr/share/heartbeat/ResourceManager listkeys "+d.Name()+"] to acquire.")
	}
	if s.lost() {
		return
	}
	if err := s.Master.PowerOn(); err != nil {
		s.Fatal(err)
	}
	s.do("start ha-master", s.Master.Start)
	for _, d := range s.nodes[1:] {
		s.says("with ha-master again", d, "info: Heartbeat restart on node ha-master", "wants to go standby [foreign]")
	}
	s.at("with ha-master again", s.Master)
}

func (s *three) playStranger() {
	pair, third := s.nodes[:2], s.nodes[2]
	s.first()
	s.scriptsOver()
	before := [2]int{len(pair[0].Log()), len(pair[1].Log())}
	s.do("start ha-third", third.Start)
	s.says("start", third, "info: Status update for node ha-master: status active", "info: Status update for node ha-slave: status active")
	for _, d := range pair {
		s.says("start", d, "ERROR: process_status_message: bad node [ha-third] in message", "ERROR: MSG[0] : [t=")
	}
	if err := third.PowerOff(); err != nil {
		s.Fatal(err)
	}
	s.at("without ha-third", s.Master)
	time.Sleep(8 * time.Second) // longer than deadtime, for what must not come
	for i, d := range pair {
		for line := range strings.Lines(d.Log()[before[i]:]) {
			if !strings.Contains(line, "ERROR: process_status_message: bad node [ha-third]") && !strings.Contains(line, "ERROR: MSG") {
				s.Errorf("%s (%v) says of a node that it does not know: %s", d.Name(), d.Impl, line)
			}
		}
	}
	s.at("at the end", s.Master)
	if s.lost() {
		s.Error("an original has lost a message of its own")
	}
}

func (s *three) start() {
	s.Helper()
	for _, d := range s.nodes {
		s.do("start "+d.Name(), d.Start)
	}
}

// anew switches all nodes off and on, with nothing remembered.
func (s *three) anew() {
	s.Helper()
	for _, d := range s.nodes {
		if err := d.PowerOff(); err != nil {
			s.Fatal(err)
		}
		for _, path := range []string{"/var/log/ha-log", "/var/log/ha-debug", "/var/lib/heartbeat/hb_generation", "/var/lib/heartbeat/hb_uuid"} {
			_ = d.Remove(path) // what is not there need not go
		}
		if err := d.PowerOn(); err != nil {
			s.Fatal(err)
		}
	}
}
