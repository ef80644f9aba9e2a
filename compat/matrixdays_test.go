package compat

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/lab"
)

// first is the first start of both nodes. An original ha-master loses, once in fifty starts, its own message
// that it needs nothing but its resources (the record S1-alone-fifo-race), and then never takes them:
// the pair begins anew.
func (s *interop) first() {
	s.Helper()
	for {
		s.do("start ha-master", s.Master.Start)
		s.do("start ha-slave", s.Slave.Start)
		lost := func() bool { return s.Master.Impl == lab.Original && lostMessage(s.Master.Log()) }
		if s.seen(limit, func() bool { return s.Master.HoldsVIP() && !s.Slave.HoldsVIP() || lost() }) && !lost() {
			return
		}
		if !lost() {
			s.Fatalf("the virtual address: on ha-master %v, on ha-slave %v", s.Master.HoldsVIP(), s.Slave.HoldsVIP())
		}
		s.Logf("the original on ha-master has lost a message of its own; anew")
		for _, d := range []*lab.Director{s.Master, s.Slave} {
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
}

// lostMessage tells whether an original says that it could not read what its own programs wrote.
func lostMessage(log string) bool {
	return slices.ContainsFunc([]string{"msg2string: Message with zero fields", "NV failure (msgfromsteam)"}, func(text string) bool { return strings.Contains(log, text) })
}

// neverBoth watches the nodes' addresses from here on, with ha-master holding the virtual one. The function
// it returns wants that the nodes never had it both, by the kernels' own notices.
func (s *interop) neverBoth() func() {
	s.Helper()
	watch, err := s.WatchAddrs(s.Master.Node, s.Slave.Node)
	if err != nil {
		s.Fatal(err)
	}
	return func() {
		s.Helper()
		if err := watch.Stop(); err != nil {
			s.Fatal(err)
		}
		has := map[*lab.Node]bool{s.Master.Node: true}
		moves := 0
		for _, e := range watch.Events() {
			switch {
			case e.Addr.Addr() != lab.VIP:
			case !e.Added:
				delete(has, e.Node)
			default:
				has[e.Node] = true
				moves++
				if len(has) > 1 {
					s.Errorf("both nodes had the virtual address when %s got it", e.Node.Name())
				}
			}
		}
		if moves == 0 {
			s.Error("the virtual address has not moved: nothing was watched")
		}
	}
}

// playPingGroup takes the ping group from ha-master alone, and gives it back: ipfail moves the resources away,
// and back because of auto_failback.
func playPingGroup(s *interop) {
	s.up()
	never := s.neverBoth()
	for _, r := range s.Real {
		if err := s.Cut(s.Master.Node, r.Node); err != nil {
			s.Fatal(err)
		}
	}
	s.owner(s.Slave, s.Master)
	s.hold("none", "all")
	if log := s.Master.Log(); !strings.Contains(log, "Giving up because we were told that we have less ping nodes.") {
		s.Errorf("ipfail of ha-master (%v) does not say why it gives up", s.Master.Impl)
	}
	if err := s.Heal(); err != nil {
		s.Fatal(err)
	}
	s.owner(s.Master, s.Slave)
	s.hold("local", "local")
	if log := s.Slave.Log(); !strings.Contains(log, "Giving up foreign resources (auto_failback).") {
		s.Errorf("ipfail of ha-slave (%v) does not say why it gives up", s.Slave.Impl)
	}
	never()
}

// brokenFiles are those of the records S9-*.
var brokenFiles = []struct {
	record, path, text string
	mode               fs.FileMode
}{
	{"S9-perms", "/etc/ha.d/authkeys", "auth 3\n3 md5 Hello!\n", 0o644},
	{"S9-nokey", "/etc/ha.d/authkeys", "auth 3\n1 crc\n", 0o600},
	{"S9-badmethod", "/etc/ha.d/authkeys", "auth 1\n1 sha512 x\n", 0o600},
	{"S9-baddirective", "/etc/ha.d/ha.cf", "", 0o644},
}

// playBrokenFiles has heartbeat refuse to start over each, on both nodes, with the recorded lines in their
// order, and start when they are mended.
func playBrokenFiles(s *interop) {
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		for _, b := range brokenFiles {
			s.refuses(d, b.record, b.path, b.text, b.mode)
		}
	}
	s.up()
}

func (s *interop) refuses(d *lab.Director, record, path, text string, mode fs.FileMode) {
	s.Helper()
	good, err := d.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	if record == "S9-baddirective" {
		text = string(good) + "nosuchdirective 1\n"
	}
	if err := d.WriteFile(path, []byte(text), mode); err != nil {
		s.Fatal(err)
	}
	before := len(d.Log())
	if r, err := d.Start(s.Context()); err != nil || r.Code != 6 {
		s.Errorf("%s: start of %s (%v): %+v %v, want exit status 6", record, d.Name(), d.Impl, r, err)
	}
	golden, err := parseHALog(goldenLog(s.T, record, "ha-master"))
	if err != nil {
		s.Fatal(err)
	}
	log := d.Log()[before:]
	rest := log
	for _, l := range golden {
		_, after, ok := strings.Cut(rest, "]: "+l.text+"\n")
		if !ok {
			s.Errorf("%s: %s (%v) does not say, or not in this order: %s\n%s", record, d.Name(), d.Impl, l.text, log)
			break
		}
		rest = after
	}
	if err := d.WriteFile(path, good, lab.ConfigMode(path)); err != nil {
		s.Fatal(err)
	}
}

// playReload has each node read its files again while ha-master has the resources, as in the record
// S14-reload: unchanged, and with another keepalive. The address stays, and no node is called dead.
func playReload(s *interop) {
	s.up()
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		reload := func() {
			s.Helper()
			s.do(d.Name()+": heartbeat -r", func(ctx context.Context) (lab.Result, error) {
				r, err := d.Exec(ctx, "/usr/libexec/heartbeat/heartbeat", "-r")
				if d.Impl == lab.Original {
					r.Code = 0 // its exit status says nothing
				}
				return r, err
			})
		}
		reload()
		if !s.seen(limit, func() bool { return strings.Contains(d.Log(), "Configuration unchanged.") }) {
			s.Errorf("%s (%v) does not say that nothing has changed", d.Name(), d.Impl)
		}
		text, err := d.ReadFile("/etc/ha.d/ha.cf")
		if err != nil {
			s.Fatal(err)
		}
		text = []byte(strings.Replace(string(text), "keepalive 2\n", "keepalive 1\n", 1))
		if err := d.WriteFile("/etc/ha.d/ha.cf", text, 0o644); err != nil {
			s.Fatal(err)
		}
		reload()
		if !s.seen(limit, func() bool {
			r, err := d.Exec(s.Context(), "cl_status", "hbparameter", "-p", "keepalive")
			return err == nil && strings.HasPrefix(strings.TrimSpace(r.Stdout), "1")
		}) {
			s.Fatalf("%s (%v) has not taken the new keepalive", d.Name(), d.Impl)
		}
		s.hold("local", "local")
		if !s.Master.HoldsVIP() || s.Slave.HoldsVIP() {
			s.Errorf("after the reload of %s the virtual address: on ha-master %v, on ha-slave %v", d.Name(), s.Master.HoldsVIP(), s.Slave.HoldsVIP())
		}
		for _, n := range []*lab.Director{s.Master, s.Slave} {
			if strings.Contains(n.Log(), "node ha-master: is dead") || strings.Contains(n.Log(), "node ha-slave: is dead") {
				s.Errorf("%s (%v) declared a node dead", n.Name(), n.Impl)
			}
		}
	}
}
