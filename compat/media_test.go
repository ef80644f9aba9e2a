package compat

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// mediaStories are the media one at a time. PEER and PEER6 are the other node's addresses. Where the
// original was not recorded with a medium the record of another one stands in, with these
// start lines, which strace of the original has shown.
var mediaStories = []struct {
	name, lines, record string
	start               []string
}{
	{"bcast", "bcast eth0", "S13-bcast", nil},
	{"mcast", "mcast eth0 225.0.0.1 694 1 0", "S13-mcast", nil},
	{"ucast", "ucast eth0 PEER", "S13-ucast", nil},
	{"serial", "baud 19200\nserial /dev/ttyS0", "S13-serial", nil},
	{"mcast6", "mcast6 eth0 ff02::694 694 1 0", "S13-mcast", []string{
		"UDP multicast heartbeat started for [ff02::694]:694 on interface eth0 (hops=1 loop=0)",
	}},
	{"ucast6", "ucast6 eth0 PEER6", "S13-mcast", []string{
		"ucast6: bound send socket to device: eth0",
		"ucast6: bound receive socket to device: eth0",
		"ucast6: set SO_REUSEPORT",
		"ucast6: heartbeat started for [PEER6]:694 on interface eth0",
	}},
}

// TestMedia has a pair of which one node is the original start and lose ha-master, over each medium.
// The virtual address must be where it was in the record, and each node's ha-log have the lines of
// the record, the original's too.
func TestMedia(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, m := range mediaStories {
		for _, p := range pairs[:2] {
			beside(t, &all, fmt.Sprintf("%s/%v-%v", m.name, p[0], p[1]), func(t *testing.T) {
				s := newInterop(t, p, withMedia(m.lines))
				if m.name == "serial" {
					if _, err := s.Serial(s.Master.Node, s.Slave.Node, "/dev/ttyS0"); err != nil {
						t.Fatal(err)
					}
				}
				s.media = func(log string) string { return startedWith(asked.ReplaceAllString(log, ""), m.start) }
				s.harmless = []string{"WARN: eth0 has no carrier: "} // the plug is pulled a moment after the cables
				s.do("start ha-master", s.Master.Start)
				s.do("start ha-slave", s.Slave.Start)
				s.owner(s.Master, s.Slave)
				s.told(m.record, s.Master)
				if err := s.Master.PowerOff(); err != nil {
					t.Fatal(err)
				}
				s.owner(s.Slave, s.Master)
				s.told(m.record, s.Slave)
				s.do("stop ha-slave", s.Slave.Stop)
				s.noOwner()
			})
		}
	}
	all.Wait()
}

// withMedia puts other media into both nodes' ha.cf.
func withMedia(lines string) func(*lab.HostsOptions) {
	cf := func(master bool) map[string]string {
		peer := map[bool]string{true: "207", false: "206"}[master]
		peers := strings.NewReplacer("PEER6", "fd00:60::"+peer, "PEER", "172.16.60."+peer)
		text := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
		before, after, _ := strings.Cut(text, "bcast eth0\n")
		_, after, _ = strings.Cut(after, "\n") // ucast
		return map[string]string{"/etc/ha.d/ha.cf": before + peers.Replace(lines) + "\n" + after}
	}
	return func(o *lab.HostsOptions) {
		o.IPv6 = true
		o.MasterConfig, o.SlaveConfig = cf(true), cf(false)
	}
}

var mediumStarted = regexp.MustCompile(`(?m)^(.*info: glib: )UDP multicast heartbeat started for .*$`)

// asked are the lines of a record that come of a cl_status which asked for a link that is not there.
var asked = regexp.MustCompile(`(?m)^.* ERROR: (api_process_request: bad request \[ifstatus\]|MSG: Dumping message|MSG\[\d\] : ).*\n`)

// startedWith is a record of mcast with the start lines of another medium, if there are any. A node's own
// number is that of its peer's with 6 and 7 changed.
func startedWith(log string, lines []string) string {
	if lines == nil {
		return log
	}
	return mediumStarted.ReplaceAllStringFunc(log, func(line string) string {
		head := mediumStarted.FindStringSubmatch(line)[1]
		peer := "fd00:60::207"
		if strings.Contains(head, " ha-slave ") {
			peer = "fd00:60::206"
		}
		var all []string
		for _, l := range lines {
			all = append(all, head+strings.ReplaceAll(l, "PEER6", peer))
		}
		return strings.Join(all, "\n")
	})
}

// TestCables has a pair, one node of which is the original, on three cables: a switch, a cross-over
// cable, a serial line. One that is dead is a line in the logs and nothing else. Our node gets over
// the loss of an interface.
func TestCables(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, p := range pairs[:2] {
		beside(t, &all, fmt.Sprintf("%v-%v", p[0], p[1]), func(t *testing.T) { playCables(newCables(t, p)) })
	}
	all.Wait()
}

// cables is a pair on three cables.
type cables struct {
	*interop
	serial *lab.SerialCable
}

func newCables(t *testing.T, p [2]lab.Impl) *cables {
	s := newInterop(t, p, withMedia("bcast eth0\nmcast eth1 225.0.0.1 694 1 0\nserial /dev/ttyS0"), func(o *lab.HostsOptions) { o.SecondLink = true })
	line, err := s.Serial(s.Master.Node, s.Slave.Node, "/dev/ttyS0")
	if err != nil {
		t.Fatal(err)
	}
	return &cables{s, line}
}

func playCables(s *cables) {
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		s.records = append(s.records, goldenLog(s.T, "S13-bcast", d.Name()))
	}
	for _, link := range []string{"eth0", "eth1", "/dev/ttyS0"} {
		s.link(link, "up", 1)
	}

	s.unplugged("eth1", func() error { return s.Master.Unplug("eth1") }, func() error { return s.Master.Plug("eth1") }, 1)
	s.unplugged("/dev/ttyS0", func() error { s.serial.Cut(true); return nil }, func() error { s.serial.Cut(false); return nil }, 1)
	ours := s.Master
	if ours.Impl != lab.Ours {
		ours = s.Slave
	}
	card := ours.Spec.Links[1]
	s.unplugged("eth1", func() error { return ours.RemoveCard("eth1") }, func() error { return ours.InsertCard(card) }, 2)

	s.owner(s.Master, s.Slave)
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if regexp.MustCompile(`WARN: node ha-\w+: is dead`).MatchString(d.Log()) {
			s.Errorf("%s: a node was declared dead", d.Name())
		}
	}
	s.harmless = []string{
		// The original reads each medium in a process of its own: messages overtake each other.
		" lost packet(s) for [ha-",
		// What our node says of an interface that is not there.
		"mcast eth1: interface eth1: no such device; opening it anew.", "mcast_write: Unable to send", "write failure on mcast eth1",
		"Temporarily Suppressing write error", "messages discarded while suppressed", "Is a cable unplugged on mcast eth1",
	}
}

// link wants both nodes to log that the link to the other went up or died, for the nth time.
func (s *cables) link(name, what string, n int) {
	s.Helper()
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		peer := map[*lab.Director]string{s.Master: "ha-slave", s.Slave: "ha-master"}[d]
		line := fmt.Sprintf("info: Link %s:%s %s.", peer, name, what)
		if !s.seen(limit, func() bool { return strings.Count(d.Log(), line) == n }) {
			s.Fatalf("%s: not %d times %q but %d", d.Name(), n, line, strings.Count(d.Log(), line))
		}
	}
}

// unplugged breaks a cable and mends it, and wants that told for the nth time, and no more.
func (s *cables) unplugged(link string, pull, back func() error, n int) {
	s.Helper()
	if err := pull(); err != nil {
		s.Fatal(err)
	}
	s.link(link, "dead", n)
	if !s.Master.HoldsVIP() || s.Slave.HoldsVIP() {
		s.Errorf("%s is dead: the virtual address: on ha-master %v, on ha-slave %v", link, s.Master.HoldsVIP(), s.Slave.HoldsVIP())
	}
	if err := back(); err != nil {
		s.Fatal(err)
	}
	s.link(link, "up", n+1)
}
