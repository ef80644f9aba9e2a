package model

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// drawTable makes a small table out of few addresses, so that two tables overlap often.
func drawTable(t *rapid.T, label string) []ipvs.Entry {
	var entries []ipvs.Entry
	seen := map[ipvs.VIP]bool{}
	for range rapid.IntRange(0, 4).Draw(t, label+" services") {
		s := ipvs.Service{
			Scheduler:  rapid.SampledFrom([]string{"rr", "wlc", "sh"}).Draw(t, "scheduler"),
			Persistent: rapid.SampledFrom([]uint32{0, 600}).Draw(t, "persistent"),
			OnePacket:  rapid.Bool().Draw(t, "one packet"),
			SchedFlags: rapid.Uint32Range(0, 7).Draw(t, "flags"),
		}
		n := rapid.IntRange(1, 3).Draw(t, "vip")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			s.VIP = ipvs.VIP{Protocol: ipvs.TCP, Family: ipvs.IPv4, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 80)}
		case 1:
			s.VIP = ipvs.VIP{Protocol: ipvs.UDP, Family: ipvs.IPv6, Addr: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)}), 53)}
		case 2:
			s.VIP = ipvs.VIP{Family: ipvs.IPv4, FWMark: uint32(n)}
		case 3:
			s.VIP = ipvs.VIP{Family: ipvs.IPv6, FWMark: uint32(n)}
		}
		s.Netmask = rapid.SampledFrom([]uint8{0, 24, s.Family.Bits()}).Draw(t, "netmask")
		if seen[s.VIP] {
			continue
		}
		seen[s.VIP] = true
		e := ipvs.Entry{Service: s}
		for _, host := range rapid.SliceOfNDistinct(rapid.ByteRange(1, 4), 0, 4, rapid.ID).Draw(t, "hosts") {
			a := netip.AddrFrom4([4]byte{192, 168, 0, host})
			if s.Family == ipvs.IPv6 {
				a = netip.AddrFrom16([16]byte{0: 0xfc, 15: host})
			}
			e.Dests = append(e.Dests, ipvs.DestEntry{Dest: ipvs.Dest{
				Addr:           netip.AddrPortFrom(a, rapid.SampledFrom([]uint16{80, 8080}).Draw(t, "port")),
				Forward:        rapid.SampledFrom([]ipvs.Forward{ipvs.Masq, ipvs.Tunnel, ipvs.Route}).Draw(t, "forward"),
				Weight:         rapid.Int32Range(0, 2).Draw(t, "weight"),
				UpperThreshold: rapid.Uint32Range(5, 6).Draw(t, "upper"),
				LowerThreshold: rapid.Uint32Range(0, 2).Draw(t, "lower"),
			}})
		}
		entries = append(entries, e)
	}
	return entries
}

// normal is a table without what Plan does not promise: order, and masks left to default.
func normal(entries []ipvs.Entry) []ipvs.Entry {
	out := make([]ipvs.Entry, 0, len(entries))
	for _, e := range entries {
		e.Netmask = e.Mask()
		e.Dests = append([]ipvs.DestEntry(nil), e.Dests...)
		slices.SortFunc(e.Dests, func(a, b ipvs.DestEntry) int { return a.Addr.Compare(b.Addr) })
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b ipvs.Entry) int {
		if a.VIP.ID() < b.VIP.ID() {
			return -1
		}
		return 1
	})
	return out
}

func snapshot(t rapid.TB, table *Table) []ipvs.Entry {
	t.Helper()
	entries, err := table.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func fill(t rapid.TB, table *Table, want []ipvs.Entry) {
	t.Helper()
	for _, op := range ipvs.Plan(snapshot(t, table), want) {
		if err := table.Do(context.Background(), op); err != nil {
			t.Fatal(err)
		}
	}
}

// carries counts the destinations of a service that take traffic.
func carries(e ipvs.Entry) int {
	n := 0
	for _, d := range e.Dests {
		if d.Weight > 0 {
			n++
		}
	}
	return n
}

// TestPlan holds that carrying out a plan gives the wanted table, that no step of it is
// refused, that a second plan is empty, and that a service with a working destination before
// and after has one all the time.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New()
		have, want := drawTable(t, "have"), drawTable(t, "want")
		fill(t, table, have)
		kept := map[ipvs.VIP]bool{}
		for _, h := range have {
			for _, w := range want {
				if h.VIP == w.VIP && carries(h) > 0 && carries(w) > 0 {
					kept[h.VIP] = true
				}
			}
		}
		for _, op := range ipvs.Plan(snapshot(t, table), want) {
			if err := table.Do(context.Background(), op); err != nil {
				t.Fatal(err)
			}
			for _, e := range snapshot(t, table) {
				if kept[e.VIP] && carries(e) == 0 {
					t.Fatalf("%v has no working destination after: %v", e.VIP, op)
				}
			}
		}
		got := snapshot(t, table)
		if !reflect.DeepEqual(normal(got), normal(want)) {
			t.Fatalf("got  %v\nwant %v", normal(got), normal(want))
		}
		if again := ipvs.Plan(got, want); len(again) > 0 {
			t.Fatalf("a second plan: %v", again)
		}
	})
}
