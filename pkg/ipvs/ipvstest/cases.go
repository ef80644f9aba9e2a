package ipvstest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"syscall"

	"github.com/systole-ha/systole/pkg/ipvs"
)

func empty(s *script) {
	s.holds()
	s.do(ipvs.Flush, ipvs.Service{})
	s.do(ipvs.Zero, ipvs.Service{})
	s.holds()
}

func services(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddService, mail)
	s.do(ipvs.AddService, dns)
	s.holds(entry(web), entry(mail), entry(dns))
	s.do(ipvs.DelService, mail)
	s.holds(entry(web), entry(dns))
	s.do(ipvs.AddService, mail)
	s.do(ipvs.DelService, ipvs.Service{VIP: web.VIP})
	s.do(ipvs.DelService, dns)
	s.holds(entry(mail))
}

func serviceRefusals(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddDest, web, rs1)
	s.refuse(ipvs.AddService, web, ipvs.Dest{}, ipvs.ErrExists, syscall.EEXIST)
	other := web
	other.Scheduler = "rr"
	s.refuse(ipvs.AddService, other, ipvs.Dest{}, ipvs.ErrExists, syscall.EEXIST)
	s.refuse(ipvs.EditService, mail, ipvs.Dest{}, ipvs.ErrNoService, syscall.ESRCH)
	s.refuse(ipvs.DelService, mail, ipvs.Dest{}, ipvs.ErrNoService, syscall.ESRCH)
	s.refuse(ipvs.Zero, mail, ipvs.Dest{}, ipvs.ErrNoService, syscall.ESRCH)
	unknown := mail
	unknown.Scheduler = "nosuch"
	s.refuse(ipvs.AddService, unknown, ipvs.Dest{}, ipvs.ErrNoScheduler, syscall.ENOENT)
	unknown.VIP = web.VIP
	s.refuse(ipvs.EditService, unknown, ipvs.Dest{}, ipvs.ErrNoScheduler, syscall.ENOENT)
	// A service that is there is found before its scheduler is looked at.
	s.refuse(ipvs.AddService, unknown, ipvs.Dest{}, ipvs.ErrExists, syscall.EEXIST)
}

func serviceEdits(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddDest, web, rs1)
	for _, scheduler := range []string{"rr", "wrr", "lc", "sh", "sed", "wlc", "nq", "dh"} {
		if c := s.table.Caps(); c.Schedulers != nil && !slices.Contains(c.Schedulers, scheduler) {
			continue
		}
		edited := web
		edited.Scheduler = scheduler
		s.do(ipvs.EditService, edited)
		s.holds(entry(edited, rs1))
	}
	// The same again is no error.
	s.do(ipvs.EditService, web)
	s.do(ipvs.EditService, web)
	s.holds(entry(web, rs1))
}

func persistence(s *script) {
	service := web
	service.Persistent = 600
	s.do(ipvs.AddService, service)
	s.holds(entry(service))
	service.Netmask = 24
	s.do(ipvs.EditService, service)
	s.holds(entry(service))
	service.Netmask, service.OddMask = 0, netip.MustParseAddr("255.0.255.0")
	s.do(ipvs.EditService, service)
	s.holds(entry(service))
	service.OddMask = netip.MustParseAddr("0.0.0.0")
	s.do(ipvs.EditService, service)
	s.holds(entry(service))
	service.OddMask, service.Netmask, service.Persistent = netip.Addr{}, 32, 1
	s.do(ipvs.EditService, service)
	s.holds(entry(service))
	service.Persistent = 0
	s.do(ipvs.EditService, service)
	s.holds(entry(service))

	six := ipvs.Service{VIP: port("[fd77::1]:8801"), Scheduler: "rr", Persistent: 300, Netmask: 64}
	s.do(ipvs.AddService, six)
	s.holds(entry(service), entry(six))
	six.Netmask = 129
	s.refuse(ipvs.EditService, six, ipvs.Dest{}, syscall.EINVAL)
}

func schedulerFlags(s *script) {
	service := web
	service.Scheduler, service.SchedFlags = "sh", ipvs.SchedFlag1|ipvs.SchedFlag2
	s.do(ipvs.AddService, service)
	s.holds(entry(service))
	for flags := range uint32(8) {
		service.SchedFlags = flags
		s.do(ipvs.EditService, service)
		s.holds(entry(service))
	}
}

func engine(s *script) {
	service := dns
	service.PE, service.Persistent = "sip", 60
	s.do(ipvs.AddService, service)
	s.do(ipvs.AddService, web)
	s.holds(entry(service), entry(web))
	service.Scheduler = "wlc"
	s.do(ipvs.EditService, service)
	s.holds(entry(service), entry(web))
	service.PE = ""
	s.do(ipvs.EditService, service)
	s.holds(entry(service), entry(web))
	service.PE = "sip"
	s.do(ipvs.EditService, service)
	s.holds(entry(service), entry(web))
	service.PE = "nosuch"
	s.refuse(ipvs.EditService, service, ipvs.Dest{}, ipvs.ErrNoScheduler, syscall.ENOENT)
}

func onePacket(s *script) {
	if !s.table.Caps().OnePacket {
		return
	}
	service := dns
	service.OnePacket = true
	s.do(ipvs.AddService, service)
	s.holds(entry(service))
	s.do(ipvs.EditService, dns)
	s.holds(entry(dns))
	s.do(ipvs.EditService, service)
	s.holds(entry(service))
}

func firewallMarks(s *script) {
	if !s.table.Caps().FWMark {
		return
	}
	four := ipvs.Service{VIP: mark(1, ipvs.IPv4), Scheduler: "wlc", Persistent: 360}
	six := ipvs.Service{VIP: mark(1, ipvs.IPv6), Scheduler: "rr"}
	most := ipvs.Service{VIP: mark(1<<32-1, ipvs.IPv4), Scheduler: "rr"}
	s.do(ipvs.AddService, four)
	s.refuse(ipvs.AddService, four, ipvs.Dest{}, ipvs.ErrExists)
	s.refuse(ipvs.DelService, six, ipvs.Dest{}, ipvs.ErrNoService)
	s.do(ipvs.AddService, six)
	s.do(ipvs.AddService, most)
	all := real("10.77.0.1:0", ipvs.Route, 1)
	s.do(ipvs.AddDest, four, all)
	s.do(ipvs.AddDest, four, rs1)
	s.do(ipvs.AddDest, six, real("[fd77::2]:0", ipvs.Route, 1))
	s.holds(entry(four, all, rs1), entry(six, real("[fd77::2]:0", ipvs.Route, 1)), entry(most))
	s.do(ipvs.DelService, four)
	s.holds(entry(six, real("[fd77::2]:0", ipvs.Route, 1)), entry(most))
}

func ipv6(s *script) {
	service := ipvs.Service{VIP: port("[fd77::1]:8801"), Scheduler: "wrr"}
	d1, d2 := real("[fd77::2]:80", ipvs.Masq, 1), real("[fd77::2]:81", ipvs.Masq, 5)
	s.do(ipvs.AddService, service)
	s.do(ipvs.AddDest, service, d1)
	s.do(ipvs.AddDest, service, d2)
	s.holds(entry(service, d1, d2))
	d2.Weight = 0
	s.do(ipvs.EditDest, service, d2)
	s.do(ipvs.DelDest, service, d1)
	s.holds(entry(service, d2))
	s.refuse(ipvs.AddDest, service, real("[ff02::1]:80", ipvs.Masq, 1), syscall.EINVAL)
	s.refuse(ipvs.AddDest, service, real("[fe80::1]:80", ipvs.Masq, 1), syscall.EINVAL)
	s.refuse(ipvs.AddDest, service, real("[::]:80", ipvs.Masq, 1), syscall.EINVAL)
}

func sctp(s *script) {
	if !s.table.Caps().SCTP {
		return
	}
	service := ipvs.Service{VIP: vip(ipvs.SCTP, "127.77.0.1:8801"), Scheduler: "rr"}
	s.do(ipvs.AddService, service)
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddDest, service, rs1)
	s.holds(entry(service, rs1), entry(web))
}

func destinations(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddService, mail)
	var dests []ipvs.Dest
	for i, forward := range s.table.Caps().Forwards {
		d := real("10.77.0.1:80", forward, int32(i))
		d.Addr = netip.AddrPortFrom(d.Addr.Addr(), uint16(80+i))
		dests = append(dests, d)
		s.do(ipvs.AddDest, web, d)
	}
	s.do(ipvs.AddDest, mail, dests[0])
	s.holds(entry(web, dests...), entry(mail, dests[0]))
	s.do(ipvs.DelDest, web, dests[0])
	s.holds(entry(web, dests[1:]...), entry(mail, dests[0]))
	// Only the address counts when one is deleted.
	s.do(ipvs.DelDest, web, ipvs.Dest{Addr: dests[1].Addr})
	s.holds(entry(web, dests[2:]...), entry(mail, dests[0]))
	heavy := real("10.77.0.9:80", ipvs.Masq, 1<<31-1)
	s.do(ipvs.AddDest, mail, heavy)
	s.holds(entry(web, dests[2:]...), entry(mail, dests[0], heavy))
}

func destinationRefusals(s *script) {
	s.refuse(ipvs.AddDest, web, rs1, ipvs.ErrNoService, syscall.ESRCH)
	s.refuse(ipvs.EditDest, web, rs1, ipvs.ErrNoService, syscall.ESRCH)
	s.refuse(ipvs.DelDest, web, rs1, ipvs.ErrNoService, syscall.ESRCH)
	s.do(ipvs.AddService, web)
	s.refuse(ipvs.EditDest, web, rs1, ipvs.ErrNoDest, syscall.ENOENT)
	s.refuse(ipvs.DelDest, web, rs1, ipvs.ErrNoDest, syscall.ENOENT)
	s.do(ipvs.AddDest, web, rs1)
	s.refuse(ipvs.AddDest, web, rs1, ipvs.ErrExists, syscall.EEXIST)
	other := rs1
	other.Weight, other.Forward = 7, ipvs.Route
	s.refuse(ipvs.AddDest, web, other, ipvs.ErrExists, syscall.EEXIST)
	negative := rs2
	negative.Weight = -1
	s.refuse(ipvs.AddDest, web, negative, syscall.ERANGE)
	negative.Addr = rs1.Addr
	s.refuse(ipvs.EditDest, web, negative, syscall.ERANGE)
	s.refuse(ipvs.AddDest, web, real("224.0.0.1:80", ipvs.Masq, 1), syscall.EINVAL)
	s.refuse(ipvs.AddDest, web, real("255.255.255.255:80", ipvs.Masq, 1), syscall.EINVAL)
}

func destinationEdits(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddDest, web, rs1)
	s.do(ipvs.AddDest, web, rs2)
	d := rs1
	for _, weight := range []int32{0, 0, 5, 70000, 1} {
		d.Weight = weight
		s.do(ipvs.EditDest, web, d)
		s.holds(entry(web, d, rs2))
	}
	for _, forward := range s.table.Caps().Forwards {
		d.Forward = forward
		s.do(ipvs.EditDest, web, d)
		s.holds(entry(web, d, rs2))
	}
	// Gone and back within the time that the kernel keeps a deleted one for its connections.
	s.do(ipvs.DelDest, web, rs2)
	back := rs2
	back.Weight = 9
	s.do(ipvs.AddDest, web, back)
	s.holds(entry(web, d, back))
}

func thresholds(s *script) {
	s.do(ipvs.AddService, web)
	d := rs1
	d.UpperThreshold, d.LowerThreshold = 100, 50
	s.do(ipvs.AddDest, web, d)
	s.holds(entry(web, d))
	d.LowerThreshold = 0
	s.do(ipvs.EditDest, web, d)
	s.holds(entry(web, d))
	d.LowerThreshold = 100
	s.do(ipvs.EditDest, web, d)
	s.holds(entry(web, d))
	over := d
	over.LowerThreshold = 101
	s.refuse(ipvs.EditDest, web, over, syscall.ERANGE)
	over.UpperThreshold, over.LowerThreshold = 0, 1
	s.refuse(ipvs.EditDest, web, over, syscall.ERANGE)
	// A change without thresholds takes them away, as ipvsadm -e does.
	s.do(ipvs.EditDest, web, rs1)
	s.holds(entry(web, rs1))
}

func tunnels(s *script) {
	if !slices.Contains(s.table.Caps().Forwards, ipvs.Tunnel) {
		return
	}
	s.do(ipvs.AddService, web)
	ipip := real("10.77.0.1:8801", ipvs.Tunnel, 1)
	gue, gre := real("10.77.0.2:8801", ipvs.Tunnel, 1), real("10.77.0.3:8801", ipvs.Tunnel, 1)
	gue.TunType, gue.TunPort, gue.TunFlags = ipvs.GUE, 6080, ipvs.TunRemCsum
	gre.TunType, gre.TunFlags = ipvs.GRE, ipvs.TunCsum
	for _, d := range []ipvs.Dest{ipip, gue, gre} {
		s.do(ipvs.AddDest, web, d)
	}
	s.holds(entry(web, ipip, gue, gre))
	gue.TunPort, gue.TunFlags = 6081, ipvs.TunNoCsum
	s.do(ipvs.EditDest, web, gue)
	ipip.TunType = ipvs.GRE
	s.do(ipvs.EditDest, web, ipip)
	s.holds(entry(web, ipip, gue, gre))
	gre.TunType = ipvs.GUE
	s.refuse(ipvs.EditDest, web, gre, syscall.EINVAL)
	gre.Addr = netip.MustParseAddrPort("10.77.0.4:8801")
	s.refuse(ipvs.AddDest, web, gre, syscall.EINVAL)
}

func mixedFamilies(s *script) {
	if !slices.Contains(s.table.Caps().Forwards, ipvs.Tunnel) {
		return
	}
	s.do(ipvs.AddService, web)
	six := real("[fd77::2]:8801", ipvs.Tunnel, 1)
	s.do(ipvs.AddDest, web, six)
	s.do(ipvs.AddDest, web, rs1)
	s.holds(entry(web, six, rs1))
	six.Addr = netip.MustParseAddrPort("[fd77::3]:8801")
	for _, forward := range []ipvs.Forward{ipvs.Masq, ipvs.Route} {
		six.Forward = forward
		s.refuse(ipvs.AddDest, web, six, syscall.EINVAL)
	}
}

func flush(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddService, dns)
	s.do(ipvs.AddDest, web, rs1)
	s.do(ipvs.AddDest, dns, rs2)
	s.do(ipvs.Flush, ipvs.Service{})
	s.holds()
	s.refuse(ipvs.AddDest, web, rs1, ipvs.ErrNoService)
	s.do(ipvs.AddService, web)
	s.holds(entry(web))
}

func zero(s *script) {
	s.do(ipvs.AddService, web)
	s.do(ipvs.AddDest, web, rs1)
	s.do(ipvs.Zero, web)
	s.do(ipvs.Zero, ipvs.Service{})
	s.holds(entry(web, rs1))
	entries, err := s.table.Snapshot(s.ctx)
	if err != nil || len(entries) != 1 || entries[0].Stats != (ipvs.Stats{}) || entries[0].Dests[0].Stats != (ipvs.Stats{}) {
		s.Errorf("counters of a service without traffic: %+v, %v", entries, err)
	}
}

func timeouts(s *script) {
	old, err := s.table.Timeouts(s.ctx)
	if err != nil || old.TCP == 0 || old.TCPFin == 0 || old.UDP == 0 {
		s.Fatalf("timeouts: %+v, %v", old, err)
	}
	set := func(to, want ipvs.Timeouts) {
		s.Helper()
		if err := s.table.SetTimeouts(s.ctx, to); err != nil {
			s.Errorf("set %+v: %v", to, err)
		}
		if got, err := s.table.Timeouts(s.ctx); err != nil || got != want {
			s.Errorf("after %+v: %+v, %v, want %+v", to, got, err, want)
		}
	}
	defer set(old, old)
	set(ipvs.Timeouts{TCP: 10, TCPFin: 20, UDP: 30}, ipvs.Timeouts{TCP: 10, TCPFin: 20, UDP: 30})
	set(ipvs.Timeouts{}, ipvs.Timeouts{TCP: 10, TCPFin: 20, UDP: 30})
	set(ipvs.Timeouts{TCPFin: 21}, ipvs.Timeouts{TCP: 10, TCPFin: 21, UDP: 30})
	set(ipvs.Timeouts{UDP: 2678400}, ipvs.Timeouts{TCP: 10, TCPFin: 21, UDP: 2678400})
}

// plan turns one table into another and into a third.
func plan(s *script) {
	change := func(want ...ipvs.Entry) {
		s.Helper()
		have, err := s.table.Snapshot(s.ctx)
		if err != nil {
			s.Fatalf("snapshot: %v", err)
		}
		for _, op := range ipvs.Plan(have, want) {
			if err := s.table.Do(s.ctx, op); err != nil {
				s.Fatalf("%v", err)
			}
		}
		s.holds(want...)
		if have, err = s.table.Snapshot(s.ctx); err != nil || len(ipvs.Plan(have, want)) > 0 {
			s.Errorf("a plan is left: %v, %v", ipvs.Plan(have, want), err)
		}
	}
	change(entry(web, rs1, rs2), entry(dns, rs1))
	persistent, quiet := web, rs2
	persistent.Persistent, quiet.Weight = 600, 0
	change(entry(persistent, rs1, quiet), entry(mail, rs2))
	change(entry(persistent, quiet), entry(mail, rs2))
	change()
}

func contexts(s *script) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.table.Do(ctx, ipvs.Op{Kind: ipvs.AddService, Service: web}); !errors.Is(err, context.Canceled) {
		s.Errorf("Do after cancel: %v", err)
	}
	if _, err := s.table.Snapshot(ctx); !errors.Is(err, context.Canceled) {
		s.Errorf("Snapshot after cancel: %v", err)
	}
	s.holds()
}
