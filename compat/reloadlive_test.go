package compat

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestReloadLive changes every file of a running pair, of two of ours and of ours with an original: keys
// rotate without a lost heartbeat, lines of haresources come, go and move, broken files change nothing,
// and another ha.cf is in force with the address in place; a member that has moved goes with its new line. It takes 60 s.
func TestReloadLive(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, p := range [][2]lab.Impl{{lab.Ours, lab.Ours}, {lab.Ours, lab.Original}} {
		all.Go(func() {
			t.Run(fmt.Sprintf("%v-%v", p[0], p[1]), func(t *testing.T) { newReloadLive(t, p, "on").play() })
			t.Run(fmt.Sprintf("%v-%v-legacy", p[0], p[1]), func(t *testing.T) { newReloadLive(t, p, "legacy").playLegacy() })
		})
	}
	all.Wait()
}

// reloadLive is one pair.
type reloadLive struct {
	*interop
	watch *lab.AddrWatch
	own   map[*lab.Director]string // each one's ha.cf
}

func newReloadLive(t *testing.T, impl [2]lab.Impl, failback string) *reloadLive {
	s := &reloadLive{own: map[*lab.Director]string{}}
	conf := func(master bool) map[string]string {
		text := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
		text = strings.NewReplacer("keepalive 2\n", "keepalive 200ms\n", "respawn root", "#respawn root", "auto_failback on", "auto_failback "+failback).Replace(text)
		return map[string]string{
			"/etc/ha.d/ha.cf":      text,
			"/etc/ha.d/systole.cf": "logdialect debian12\n",
			// The same text in both: the original signs by the key that is chosen, and verifies by that one's text.
			"/etc/ha.d/authkeys": "auth 3\n3 md5 Hello!\n",
		}
	}
	s.interop = &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: impl[0], Slave: impl[1], Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	s.own[s.Master], s.own[s.Slave] = conf(true)["/etc/ha.d/ha.cf"], conf(false)["/etc/ha.d/ha.cf"]
	t.Cleanup(func() {
		for _, d := range s.both() {
			if t.Failed() {
				t.Logf("ha-log of %s (%v):\n%s", d.Name(), d.Impl, d.Log())
			}
		}
	})
	return s
}

func (s *reloadLive) both() []*lab.Director { return []*lab.Director{s.Master, s.Slave} }

func (s *reloadLive) ours() bool { return s.Slave.Impl == lab.Ours }

// write changes a file of a node and asks heartbeat to read it.
func (s *reloadLive) write(d *lab.Director, name, text string) {
	s.Helper()
	if err := d.WriteFile("/etc/ha.d/"+name, []byte(text), lab.ConfigMode("/etc/ha.d/"+name)); err != nil {
		s.Fatal(err)
	}
	if r, err := d.Exec(s.Context(), "/usr/libexec/heartbeat/heartbeat", "-r"); err != nil || d.Impl == lab.Ours && r.Code != 0 {
		s.Fatalf("%s: heartbeat -r: %+v %v", d.Name(), r, err)
	}
}

// told waits until a node has said something once more than before.
func (s *reloadLive) wait(d *lab.Director, line string, act func()) {
	s.Helper()
	before := strings.Count(d.Log(), line)
	act()
	if !s.seen(limit, func() bool { return strings.Count(d.Log(), line) > before }) {
		s.Fatalf("%s does not say %q", d.Name(), line)
	}
}

func (s *reloadLive) play() {
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	if !s.seen(limit, func() bool {
		return strings.Contains(s.Master.Log(), "remote resource transition completed.") && strings.Contains(s.Slave.Log(), "remote resource transition completed.")
	}) {
		s.Fatal("the pair does not come to rest")
	}
	var err error
	if s.watch, err = s.WatchAddrs(s.Master.Node); err != nil {
		s.Fatal(err)
	}
	probe, err := s.Client.ProbeHTTP(netip.AddrPortFrom(lab.VIP, 80), 5*time.Millisecond, s.ClientAddrs...)
	if err != nil {
		s.Fatal(err)
	}
	defer probe.Stop()
	began := time.Now()
	s.keys()
	s.lines()
	s.broken()
	gap := probe.Longest(began.Add(time.Second), time.Now())
	s.Logf("the client's longest gap while keys and lines changed: %v", gap.Duration().Round(time.Millisecond))
	if gap.Duration() > time.Second { // a slow machine makes gaps; an address that goes makes longer ones
		s.Errorf("a client was not served for %v", gap.Duration())
	}
	s.unhurt()
	s.moved()
	s.conf()
	s.untouched()
	s.emptied()
}

// playLegacy has a line come, go, move and come home where nodes ask each other for each of theirs.
func (s *reloadLive) playLegacy() {
	masters, slaves := tutorialLine+"ha-master IPaddr::172.16.60.112\n", tutorialLine+"ha-slave IPaddr::172.16.60.112\n"
	s.do("start ha-slave", s.Slave.Start)
	s.do("start ha-master", s.Master.Start)
	s.owner(s.Master, s.Slave)
	var err error
	if s.watch, err = s.WatchAddrs(s.Master.Node); err != nil {
		s.Fatal(err)
	}
	s.put(masters, s.Slave, s.Master)
	s.at(extra, s.Master) // the other node was asked, and has not got it
	s.put(tutorialLine, s.Master, s.Slave)
	s.at(extra, nil)
	s.put(masters, s.Master, s.Slave)
	s.at(extra, s.Master)
	s.put(slaves, s.Slave, s.Master)
	s.at(extra, s.Slave)
	s.put(masters, s.Slave, s.Master)
	if !s.ours() { // an original gives up what has left haresources when it stops
		s.do("stop ha-slave", s.Slave.Stop)
		s.at(extra, s.Master)
		s.do("start ha-slave", s.Slave.Start)
	}
	s.at(extra, s.Master)
	s.untouched()
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.at(extra, s.Slave)
	s.do("start ha-master", s.Master.Start)
	s.owner(s.Master, s.Slave)
	s.at(extra, s.Master)
}

// moved has a member of one node's line move into the other's.
func (s *reloadLive) moved() {
	if !s.ours() {
		return
	}
	s.put("ha-master IPaddr::172.16.60.111 IPaddr::172.16.60.113 ipvsadm ldirectord\nha-slave IPaddr::172.16.60.112\n", s.Slave, s.Master)
	s.at(member, s.Master)
	s.put(tutorialLine+"ha-slave IPaddr::172.16.60.112 IPaddr::172.16.60.113\n", s.Slave, s.Master)
	s.at(member, s.Slave)
}

// emptied stops the node that it has moved to: nothing stays up there.
func (s *reloadLive) emptied() {
	if !s.ours() {
		return
	}
	s.do("stop ha-slave", s.Slave.Stop)
	s.at(extra, s.Master)
	s.at(member, s.Master)
}

// put has nodes read another haresources.
func (s *reloadLive) put(text string, nodes ...*lab.Director) {
	s.Helper()
	for _, d := range nodes {
		if d.Impl == lab.Ours {
			s.wait(d, "Rereading haresources: ", func() { s.write(d, "haresources", text) })
		} else if err := d.WriteFile("/etc/ha.d/haresources", []byte(text), 0o644); err != nil { // read when it is needed
			s.Fatal(err)
		}
	}
}

var hurt = regexp.MustCompile(`(?m)^.*(Late heartbeat|: is dead|lost packet|not authenticated|bad packet|MSG: Dumping).*$`)

// unhurt wants no heartbeat to have been lost or refused.
func (s *reloadLive) unhurt() {
	s.Helper()
	for _, d := range s.both() {
		if lines := hurt.FindAllString(d.Log(), -1); lines != nil {
			s.Errorf("%s (%v) has lost or refused heartbeats:\n%s", d.Name(), d.Impl, strings.Join(lines, "\n"))
		}
	}
}

// untouched wants the virtual address to have been up all the time as the same entry of the kernel.
func (s *reloadLive) untouched() {
	s.Helper()
	for _, e := range s.watch.Events() {
		if e.Addr.Addr() == lab.VIP && !e.Added {
			s.Errorf("the address went down at %v", e.Time)
		}
	}
}

// keys rotates authkeys, one node after the other: another method of the same text, as pairs with an
// original can, and, with two of ours, another text.
func (s *reloadLive) keys() {
	steps := []string{"auth 3\n3 md5 Hello!\n4 sha1 Hello!\n", "auth 4\n3 md5 Hello!\n4 sha1 Hello!\n"}
	if s.ours() {
		steps = append(steps, "auth 4\n4 sha1 Hello!\n5 sha1 another\n", "auth 5\n4 sha1 Hello!\n5 sha1 another\n", "auth 5\n5 sha1 another\n")
	}
	for _, text := range steps {
		for _, d := range s.both() {
			s.wait(d, "Rereading authentication file.", func() { s.write(d, "authkeys", text) })
			begun := time.Now()
			s.seen(limit, func() bool { return time.Since(begun) > 500*time.Millisecond }) // some heartbeats of both
		}
	}
	s.unhurt()
}

// Addresses besides the tutorial's: one of a line of its own, and a member of a line.
var (
	extra  = netip.MustParseAddr("172.16.60.112")
	member = netip.MustParseAddr("172.16.60.113")
)

func (s *interop) has(d *lab.Director, addr netip.Addr) bool {
	addrs, err := d.Addrs("eth0")
	if err != nil {
		s.Fatal(err)
	}
	for _, a := range addrs {
		if a.Addr() == addr {
			return true
		}
	}
	return false
}

// at wants an address at one node, or at none (nil).
func (s *interop) at(addr netip.Addr, d *lab.Director) {
	s.Helper()
	if !s.seen(limit, func() bool {
		return s.has(s.Master, addr) == (d == s.Master) && s.has(s.Slave, addr) == (d == s.Slave)
	}) {
		s.Fatalf("%v: at ha-master %v, at ha-slave %v", addr, s.has(s.Master, addr), s.has(s.Slave, addr))
	}
}

const tutorialLine = "ha-master IPaddr::172.16.60.111 ipvsadm ldirectord\n"

// lines has a line of haresources come, go, come again and move to and fro.
func (s *reloadLive) lines() {
	masters, slaves := tutorialLine+"ha-master IPaddr::172.16.60.112\n", tutorialLine+"ha-slave IPaddr::172.16.60.112\n"
	s.put(masters, s.Slave, s.Master)
	s.at(extra, s.Master)
	s.put(tutorialLine, s.Master, s.Slave)
	s.at(extra, nil)
	if s.ours() {
		s.put(slaves, s.Slave)
		s.at(extra, s.Slave) // new to it: nobody had it
		s.put(slaves, s.Master)
		s.put(masters, s.Master)
		if s.has(s.Master, extra) {
			s.Error("ha-master takes what ha-slave has not given up")
		}
		s.put(masters, s.Slave)
		s.at(extra, s.Master)
		s.put(slaves, s.Master) // and back: ha-slave cannot tell whether ha-master is behind it, or before it
		s.at(extra, nil)
		s.put(slaves, s.Slave)
		s.at(extra, s.Slave)
		s.put(masters, s.Slave, s.Master)
		s.at(extra, s.Master)
		more := slaves + "ha-slave IPaddr::172.16.60.114\n"
		s.put(more, s.Master)
		s.at(extra, s.Slave) // a file that it has never had
		s.put(more, s.Slave)
		s.put(slaves, s.Slave, s.Master)
	} else {
		s.put(masters, s.Slave, s.Master)
		s.at(extra, s.Master)
		s.put(slaves, s.Slave, s.Master) // the original takes what it is told of
		s.at(extra, s.Slave)
	}
	s.owner(s.Master, s.Slave)
	// In a line, too: one more member, and then not.
	const longer = "ha-master IPaddr::172.16.60.111 IPaddr::172.16.60.113 ipvsadm ldirectord\nha-slave IPaddr::172.16.60.112\n"
	s.put(longer, s.Master, s.Slave)
	s.at(member, s.Master)
	s.put(slaves, s.Master, s.Slave)
	s.at(member, nil)
	s.untouched()
}

// broken writes files with mistakes: each is told with its place, and nothing changes.
func (s *reloadLive) broken() {
	good := map[string]string{}
	for _, name := range []string{"ha.cf", "authkeys", "haresources", "systole.cf", "ldirectord.cf"} {
		text, err := s.Master.ReadFile("/etc/ha.d/" + name)
		if err != nil {
			s.Fatal(err)
		}
		good[name] = string(text)
	}
	for name, bad := range map[string]struct{ text, says string }{
		"ha.cf":       {s.own[s.Master] + "deadtime 0x\n", "deadtime: "},
		"authkeys":    {"auth 9\n3 md5 Hello!\n", "authkeys:1:"},
		"haresources": {"ha-mister IPaddr::172.16.60.111\n", `haresources:1:1: "ha-mister" is not a node of ha.cf`},
		"systole.cf":  {"stopfailure dance\n", "systole.cf:1:"},
	} {
		s.wait(s.Master, "Configuration not reread: the running one stays in force", func() { s.write0(name, bad.text) })
		if !strings.Contains(s.Master.Log(), bad.says) {
			s.Errorf("a broken %s: ha-log has no %q", name, bad.says)
		}
		if err := s.Master.WriteFile("/etc/ha.d/"+name, []byte(good[name]), lab.ConfigMode("/etc/ha.d/"+name)); err != nil {
			s.Fatal(err)
		}
	}
	// What is checked now could not be checked after a restart in place: there is none.
	runs := strings.Count(s.Master.Log(), "heartbeat: version")
	const refused = "Configuration not reread: the running one stays in force"
	if err := s.Master.WriteFile("/etc/ha.d/ldirectord.cf", []byte("nonsense\n"), 0o644); err != nil {
		s.Fatal(err)
	}
	s.wait(s.Master, refused, func() { s.write0("ha.cf", good["ha.cf"]+"# changed\n") })
	if err := s.Master.Remove("/etc/ha.d/ldirectord.cf"); err != nil {
		s.Fatal(err)
	}
	s.wait(s.Master, refused, func() { s.write0("ha.cf", good["ha.cf"]+"# changed again\n") })
	for _, says := range []string{"Unknown command nonsense", "can not open file /etc/ha.d/ldirectord.cf"} {
		if !regexp.MustCompile("restart in place: ldirectord: .*" + says).MatchString(s.Master.Log()) {
			s.Errorf("a broken ldirectord.cf: ha-log has no %q", says)
		}
	}
	for _, name := range []string{"ha.cf", "ldirectord.cf"} {
		if err := s.Master.WriteFile("/etc/ha.d/"+name, []byte(good[name]), lab.ConfigMode("/etc/ha.d/"+name)); err != nil {
			s.Fatal(err)
		}
	}
	if n := strings.Count(s.Master.Log(), "heartbeat: version"); n != runs {
		s.Errorf("ha-master has restarted %d times", n-runs)
	}
	s.owner(s.Master, s.Slave)
	s.at(extra, s.Slave)
}

// write0 writes a file and sends SIGHUP: -r refuses a file with mistakes before that.
func (s *reloadLive) write0(name, text string) {
	s.Helper()
	if err := s.Master.WriteFile("/etc/ha.d/"+name, []byte(text), lab.ConfigMode("/etc/ha.d/"+name)); err != nil {
		s.Fatal(err)
	}
	if r, err := s.Master.Exec(s.Context(), "sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"); err != nil || r.Code != 0 {
		s.Fatal(r, err)
	}
}

// conf changes ha.cf: times, a medium, and then a node more, which is not there.
func (s *reloadLive) conf() {
	text := strings.NewReplacer("keepalive 200ms\n", "keepalive 250ms\n", "deadtime 5\n", "deadtime 6\n",
		"bcast eth0\n", "bcast eth0\nmcast eth0 239.0.0.42 694 1 0\n").Replace(s.own[s.Master])
	s.wait(s.Master, "Local status now set to: 'active'", func() { s.write(s.Master, "ha.cf", text) })
	s.owner(s.Master, s.Slave)
	s.wait(s.Master, "Local status now set to: 'active'", func() { s.write(s.Master, "systole.cf", "logdialect debian12\nmetrics 127.0.0.1:9999\n") })
	s.owner(s.Master, s.Slave)
	if c, err := s.Master.Dial(s.Context(), "tcp", "127.0.0.1:9999"); err != nil {
		s.Errorf("systole.cf's metrics is not in force: %v", err)
	} else {
		c.Close()
	}
	s.parameter("deadtime", "6")
	s.parameter("keepalive", "250ms")
	if !strings.Contains(s.Master.Log(), "239.0.0.42") {
		s.Error("ha-log has nothing of the new medium")
	}
	s.wait(s.Master, "node ha-third: is dead", func() { s.write(s.Master, "ha.cf", text+"node ha-third\n") })
	s.owner(s.Master, s.Slave)
	s.at(extra, s.Slave)
	if strings.Contains(s.Slave.Log(), "node ha-master: is dead") {
		s.Error("ha-slave has called ha-master dead")
	}
}

func (s *reloadLive) parameter(name, want string) {
	s.Helper()
	var got string
	if !s.seen(limit, func() bool {
		r, err := s.Master.Exec(s.Context(), "cl_status", "hbparameter", "-p", name)
		got = strings.TrimSpace(r.Stdout)
		return err == nil && got == want
	}) {
		s.Errorf("cl_status has %s as %q, want %q", name, got, want)
	}
}
