package ipvstest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// portZero: a service on all ports, which ipvsadm makes for persistent services only, and real
// servers without a port.
func portZero(s *script) {
	if s.table.Caps().Name == "userspace" {
		return // nothing can listen on all ports
	}
	all := ipvs.Service{VIP: port("127.77.0.1:0"), Scheduler: "rr", Persistent: 60}
	s.do(ipvs.AddService, all)
	s.do(ipvs.AddDest, all, real("10.77.0.1:0", ipvs.Masq, 1))
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddDest, web, real("10.77.0.1:0", ipvs.Masq, 1))
	s.holds(entry(all, real("10.77.0.1:0", ipvs.Masq, 1)), entry(web, real("10.77.0.1:0", ipvs.Masq, 1)))
}

// caps: a table can do all that it says, and refuses what it says that it cannot.
func caps(s *script) {
	c := s.table.Caps()
	if c.Name == "" || len(c.Forwards) == 0 {
		s.Errorf("caps %+v", c)
	}
	known := c.Schedulers
	if known == nil {
		known = []string{"rr", "wrr", "lc", "wlc"}
	}
	s.do(ipvs.AddService, web)
	for _, scheduler := range known {
		edited := web
		edited.Scheduler = scheduler
		s.do(ipvs.EditService, edited)
	}
	edited := web
	edited.Scheduler = "nosuch"
	s.refuse(ipvs.EditService, edited, ipvs.Dest{}, ipvs.ErrNoScheduler)
	refused := func(what string, service ipvs.Service) {
		if err := s.table.Do(s.ctx, ipvs.Op{Kind: ipvs.AddService, Service: service}); err == nil {
			s.Errorf("%s, which the table says that it cannot do, is done", what)
			s.do(ipvs.DelService, service)
		}
	}
	if !c.FWMark {
		refused("a firewall mark", ipvs.Service{VIP: mark(1, ipvs.IPv4), Scheduler: "rr"})
	}
	if !c.SCTP {
		refused("SCTP", ipvs.Service{VIP: vip(ipvs.SCTP, "127.77.0.1:8801"), Scheduler: "rr"})
	}
	for _, forward := range []ipvs.Forward{ipvs.Masq, ipvs.Local, ipvs.Tunnel, ipvs.Route, ipvs.Bypass} {
		d := real("10.77.0.1:8801", forward, 1)
		if slices.Contains(c.Forwards, forward) {
			s.do(ipvs.AddDest, web, d)
			s.do(ipvs.DelDest, web, d)
		} else {
			s.refuse(ipvs.AddDest, web, d)
		}
	}
}

// ruleText: what ipvsadm -S writes of a table makes the same table again.
func ruleText(s *script) {
	persistent, hashed := web, mail
	persistent.Persistent, persistent.Netmask = 600, 24
	hashed.Scheduler, hashed.SchedFlags = "sh", ipvs.SchedFlag2
	want := []ipvs.Entry{entry(persistent, rs1, rs2), entry(hashed, real("10.77.0.3:8802", ipvs.Route, 0)), entry(dns)}
	if s.table.Caps().FWMark {
		want = append(want, entry(ipvs.Service{VIP: mark(7, ipvs.IPv6), Scheduler: "wrr"}, real("[fd77::2]:0", ipvs.Route, 3)))
	}
	if slices.Contains(s.table.Caps().Forwards, ipvs.Tunnel) {
		gue := real("10.77.0.4:8804", ipvs.Tunnel, 1)
		gue.TunType, gue.TunPort, gue.TunFlags = ipvs.GUE, 6080, ipvs.TunRemCsum
		want = append(want, entry(ipvs.Service{VIP: port("[fd77::1]:8803"), Scheduler: "lc"}), entry(ipvs.Service{VIP: port("127.77.0.1:8804"), Scheduler: "nq"}, gue))
	}
	for _, e := range want {
		s.do(ipvs.AddService, e.Service)
		for _, d := range e.Dests {
			s.do(ipvs.AddDest, e.Service, d.Dest)
		}
	}
	text := func() string {
		entries, err := s.table.Snapshot(s.ctx)
		if err != nil {
			s.Fatalf("snapshot: %v", err)
		}
		ipvs.SortEntries(entries)
		var b []byte
		for _, e := range entries {
			b = ipvs.AppendRule(b, e, ipvs.Names{})
		}
		return string(b)
	}
	saved := text()
	s.do(ipvs.Flush, ipvs.Service{})
	rules, problems := ipvs.ParseRules("saved", []byte(saved), ipvs.Names{})
	if len(problems) > 0 {
		s.Fatalf("%v\n%s", problems, saved)
	}
	for _, r := range rules {
		if err := s.table.Do(s.ctx, r.Command.Op); err != nil {
			s.Fatalf("%v: %v", r.Pos, err)
		}
	}
	s.holds(want...)
	if again := text(); lines(again) != lines(saved) {
		s.Errorf("saved\n%sand then\n%s", saved, again)
	}
}

// lines are the lines of a text in alphabetical order: real servers are listed newest first.
func lines(text string) string {
	l := strings.Split(text, "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}

// many services and real servers: more than one message of the kernel's.
func many(s *script) {
	var want []ipvs.Entry
	for i := range 60 {
		service := ipvs.Service{VIP: port(fmt.Sprintf("127.77.1.%d:8801", i+1)), Scheduler: "wrr"}
		e := entry(service)
		s.do(ipvs.AddService, service)
		n := 10
		if i == 0 {
			n = 400
		}
		for j := range n {
			d := real(fmt.Sprintf("10.77.%d.%d:80", j/200, j%200+1), ipvs.Masq, int32(j))
			s.do(ipvs.AddDest, service, d)
			e.Dests = append(e.Dests, ipvs.DestEntry{Dest: d})
		}
		want = append(want, e)
	}
	s.holds(want...)
}

// syncDaemons of tables that have them.
func syncDaemons(s *script) {
	t, ok := s.table.(ipvs.SyncTable)
	if !ok {
		return
	}
	running := func(want ...ipvs.SyncDaemon) {
		s.Helper()
		got, err := t.SyncDaemons(s.ctx)
		if err != nil {
			s.Fatalf("sync daemons: %v", err)
		}
		for i := range got { // what the kernel fills in
			got[i].MaxLen, got[i].Group, got[i].Port, got[i].TTL = 0, netip.Addr{}, 0, 0
		}
		if !slices.Equal(got, want) {
			s.Errorf("sync daemons %+v, want %+v", got, want)
		}
	}
	master := ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "lo", SyncID: 7}
	backup := ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "lo", SyncID: 8}
	running()
	if err := t.StopSync(s.ctx, master); !errors.Is(err, ipvs.ErrNoDaemon) {
		s.Errorf("stop of none: %v", err)
	}
	if err := t.StartSync(s.ctx, ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "nosuch0"}); !errors.Is(err, syscall.ENODEV) {
		s.Errorf("start on no interface: %v", err)
	}
	for _, d := range []ipvs.SyncDaemon{backup, master} {
		if err := t.StartSync(s.ctx, d); err != nil {
			s.Fatalf("start %+v: %v", d, err)
		}
		if err := t.StartSync(s.ctx, d); !errors.Is(err, ipvs.ErrExists) {
			s.Errorf("start %+v again: %v", d, err)
		}
	}
	running(master, backup)
	for _, d := range []ipvs.SyncDaemon{master, backup} {
		if err := t.StopSync(s.ctx, d); err != nil {
			s.Errorf("stop %+v: %v", d, err)
		}
	}
	running()
}

func info(s *script) {
	t, ok := s.table.(ipvs.Informer)
	if !ok {
		return
	}
	if i, err := t.Info(s.ctx); err != nil || i.Version != [3]uint8{1, 2, 1} || i.ConnSize == 0 {
		s.Errorf("info: %+v, %v", i, err)
	}
}

// closed tables answer with errors, and are closed once.
func closed(s *script) {
	t := s.open(s.T)
	if _, err := t.Snapshot(s.ctx); err != nil {
		s.Fatal(err)
	}
	if err := t.Close(); err != nil {
		s.Errorf("close: %v", err)
	}
	if err := t.Do(s.ctx, ipvs.Op{Kind: ipvs.AddService, Service: web}); err == nil {
		s.Error("a closed table takes a service")
	}
	if _, err := t.Snapshot(s.ctx); err == nil {
		s.Error("a closed table lists services")
	}
	s.holds()
}
