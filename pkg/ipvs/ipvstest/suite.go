// Package ipvstest holds every [ipvs.Table] to the same script of operations, refusals and
// results, so that the model may stand in for the kernel. What a table's Caps say that it cannot
// do is left out.
package ipvstest

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Run drives the tables that open makes, one for each subtest; each has to be empty. Services are
// on 127.77.0.1 and fd77::1, so that a table that listens can, real servers in 10.77.0.0/16 and fd77::/64.
func Run(t *testing.T, open func(t *testing.T) ipvs.Table) {
	for _, test := range []struct {
		name string
		run  func(s *script)
	}{
		{"Empty", empty},
		{"Services", services},
		{"ServiceRefusals", serviceRefusals},
		{"ServiceEdits", serviceEdits},
		{"Persistence", persistence},
		{"SchedulerFlags", schedulerFlags},
		{"Engine", engine},
		{"OnePacket", onePacket},
		{"FirewallMarks", firewallMarks},
		{"IPv6", ipv6},
		{"SCTP", sctp},
		{"Destinations", destinations},
		{"DestinationRefusals", destinationRefusals},
		{"DestinationEdits", destinationEdits},
		{"Thresholds", thresholds},
		{"Tunnels", tunnels},
		{"MixedFamilies", mixedFamilies},
		{"Flush", flush},
		{"Zero", zero},
		{"Timeouts", timeouts},
		{"PortZero", portZero},
		{"Caps", caps},
		{"RuleText", ruleText},
		{"Many", many},
		{"SyncDaemons", syncDaemons},
		{"Info", info},
		{"Plan", plan},
		{"Context", contexts},
		{"Closed", closed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &script{T: t, ctx: context.Background(), table: open(t), open: open}
			t.Cleanup(func() {
				if err := s.table.Do(s.ctx, ipvs.Op{Kind: ipvs.Flush}); err != nil {
					t.Errorf("the last flush: %v", err)
				}
				if err := s.table.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(s)
		})
	}
}

// script is a table under test.
type script struct {
	*testing.T
	ctx   context.Context
	table ipvs.Table
	open  func(t *testing.T) ipvs.Table
}

// do expects an operation to work.
func (s *script) do(kind ipvs.OpKind, service ipvs.Service, dest ...ipvs.Dest) {
	s.Helper()
	if err := s.table.Do(s.ctx, operation(kind, service, dest)); err != nil {
		s.Fatalf("%v", err)
	}
}

// refuse expects an operation to fail with all of the errors, and to change nothing.
func (s *script) refuse(kind ipvs.OpKind, service ipvs.Service, dest ipvs.Dest, want ...error) {
	s.Helper()
	before := s.snapshot()
	op := operation(kind, service, []ipvs.Dest{dest})
	err := s.table.Do(s.ctx, op)
	for _, w := range want {
		if !errors.Is(err, w) {
			s.Errorf("%v: got %v, want %v", op, err, w)
		}
	}
	var refusal *ipvs.Refusal
	if !errors.As(err, &refusal) || refusal.Op != op {
		s.Errorf("%v: the error %v is no Refusal of it", op, err)
	}
	if after := s.snapshot(); !reflect.DeepEqual(before, after) {
		s.Errorf("%v: refused, and yet %+v became %+v", op, before, after)
	}
}

func operation(kind ipvs.OpKind, service ipvs.Service, dest []ipvs.Dest) ipvs.Op {
	op := ipvs.Op{Kind: kind, Service: service}
	if len(dest) > 0 {
		op.Dest = dest[0]
	}
	return op
}

// snapshot is the table without counters, sorted.
func (s *script) snapshot() []ipvs.Entry {
	s.Helper()
	entries, err := s.table.Snapshot(s.ctx)
	if err != nil {
		s.Fatalf("snapshot: %v", err)
	}
	if entries == nil {
		s.Errorf("snapshot: nil, want an empty slice")
	}
	return normal(entries)
}

func normal(entries []ipvs.Entry) []ipvs.Entry {
	out := make([]ipvs.Entry, 0, len(entries))
	for _, e := range entries {
		e.Stats = ipvs.Stats{}
		if !e.OddMask.IsValid() {
			e.Netmask = e.Mask()
		}
		dests := make([]ipvs.DestEntry, 0, len(e.Dests))
		for _, d := range e.Dests {
			dests = append(dests, ipvs.DestEntry{Dest: d.Dest})
		}
		slices.SortFunc(dests, func(a, b ipvs.DestEntry) int { return a.Addr.Compare(b.Addr) })
		e.Dests = dests
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b ipvs.Entry) int { return cmp.Compare(a.ID(), b.ID()) })
	return out
}

// holds expects the table to be just that.
func (s *script) holds(want ...ipvs.Entry) {
	s.Helper()
	if got := s.snapshot(); !reflect.DeepEqual(got, normal(want)) {
		s.Errorf("the table is\n%+v\nwant\n%+v", got, normal(want))
	}
}

func entry(s ipvs.Service, dests ...ipvs.Dest) ipvs.Entry {
	e := ipvs.Entry{Service: s}
	for _, d := range dests {
		e.Dests = append(e.Dests, ipvs.DestEntry{Dest: d})
	}
	return e
}

func port(addr string) ipvs.VIP { return vip(ipvs.TCP, addr) }

func vip(p ipvs.Protocol, addr string) ipvs.VIP {
	v := ipvs.VIP{Protocol: p, Addr: netip.MustParseAddrPort(addr), Family: ipvs.IPv4}
	if v.Addr.Addr().Is6() {
		v.Family = ipvs.IPv6
	}
	return v
}

func mark(n uint32, f ipvs.Family) ipvs.VIP { return ipvs.VIP{FWMark: n, Family: f} }

func real(addr string, f ipvs.Forward, weight int32) ipvs.Dest {
	return ipvs.Dest{Addr: netip.MustParseAddrPort(addr), Forward: f, Weight: weight}
}

var (
	web  = ipvs.Service{VIP: port("127.77.0.1:8801"), Scheduler: "wlc"}
	mail = ipvs.Service{VIP: port("127.77.0.1:8802"), Scheduler: "rr"}
	dns  = ipvs.Service{VIP: vip(ipvs.UDP, "127.77.0.1:8801"), Scheduler: "rr"}
	rs1  = real("10.77.0.1:80", ipvs.Masq, 1)
	rs2  = real("10.77.0.2:80", ipvs.Masq, 2)
)
