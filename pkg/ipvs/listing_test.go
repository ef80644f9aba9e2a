package ipvs

import (
	"net/netip"
	"testing"
)

// The numbers are what ipvsadm 1.31 prints for them (its library was given them in place of the
// kernel's).
func TestNumbers(t *testing.T) {
	for _, test := range []struct {
		v           uint64
		want, exact string
	}{
		{0, "        0", "        0"},
		{12345678, " 12345678", " 12345678"},
		{99999999, " 99999999", " 99999999"},
		{100000000, "  100000K", " 100000000"},
		{123456789, "  123456K", " 123456789"},
		{999999999, "  999999K", " 999999999"},
		{1000000000, "    1000M", " 1000000000"},
		{99999999999, "   99999M", " 99999999999"},
		{100000000000, "     100G", " 100000000000"},
		{99999999999999, "   99999G", " 99999999999999"},
		{100000000000000, "     100T", " 100000000000000"},
		{100000000000000000, "  100000T", " 100000000000000000"},
		{18446744073709551615, "18446744T", " 18446744073709551615"},
	} {
		if got := (Format{}).number(test.v); got != test.want {
			t.Errorf("%d: %q, want %q", test.v, got, test.want)
		}
		if got := (Format{Exact: true}).number(test.v); got != test.exact {
			t.Errorf("%d exactly: %q, want %q", test.v, got, test.exact)
		}
	}
}

func TestCounters(t *testing.T) {
	e := Entry{Service: Service{VIP: VIP{FWMark: 3, Family: IPv4}, Scheduler: "wlc"}}
	e.Stats = Stats{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 4, OutBytes: 123456789, CPS: 5, InPPS: 6, OutPPS: 7, InBPS: 8, OutBPS: 9}
	d := DestEntry{Dest: Dest{Addr: netip.MustParseAddrPort("10.0.0.2:0"), Forward: Bypass, Weight: 1}}
	d.ActiveConns, d.InactConns, d.PersistConns, d.UpperThreshold, d.LowerThreshold = 4294967295, 7, 4294967295, 4294967295, 1
	d.Stats = Stats{InBytes: 1234567890123}
	e.Dests = []DestEntry{d, {Dest: Dest{Addr: netip.MustParseAddrPort("10.0.0.3:0"), Forward: Local}}}
	for _, test := range []struct {
		f    Format
		want string
	}{
		{Format{}, `Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
FWM  3 wlc
  -> 10.0.0.2:0                   (null)  1      4294967295 7         
  -> 10.0.0.3:0                   Local   0      0          0         
`},
		{Format{Stats: true}, `Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
FWM  3                                   1        2        3        4  123456K
  -> 10.0.0.2:0                          0        0        0    1234G        0
  -> 10.0.0.3:0                          0        0        0        0        0
`},
		{Format{Rate: true}, `Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
FWM  3                                   5        6        7        8        9
  -> 10.0.0.2:0                          0        0        0        0        0
  -> 10.0.0.3:0                          0        0        0        0        0
`},
		{Format{Thresholds: true}, `Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn 
  -> RemoteAddress:Port
FWM  3 wlc
  -> 10.0.0.2:0                   4294967295 1          4294967295 7         
  -> 10.0.0.3:0                   0          0          0          0         
`},
		{Format{PersistentConn: true}, `Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn 
  -> RemoteAddress:Port
FWM  3 wlc
  -> 10.0.0.2:0                   1         4294967295  4294967295 7         
  -> 10.0.0.3:0                   0         0           0          0         
`},
	} {
		if got := string(AppendListing(nil, nil, []Entry{e}, test.f, Names{})); got != test.want {
			t.Errorf("%+v:\n%s\nwant\n%s", test.f, got, test.want)
		}
	}
	const rules = "-A -f 3 -s wlc\n-a -f 3 -r 10.0.0.2:0 (null) -w 1\n-a -f 3 -r 10.0.0.3:0 -g -w 0\n"
	if got := string(AppendRule(nil, e, Names{})); got != rules {
		t.Errorf("%s\nwant\n%s", got, rules)
	}
}

// Both the kernel's lines and ipvsadm's are from Linux 6.1 with ipvsadm 1.31; the address of the
// third, and the time of the last, are made up.
func TestConns(t *testing.T) {
	const proc = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A000001 EA58 0A000001 0050 0A000002 1F90 ESTABLISHED     899
TCP fd00:0000:0000:0000:0000:0000:0000:0001 0000 fd00:0000:0000:0000:0000:0000:0000:0001 0050 fd00:0000:0000:0000:0000:0000:0000:0002 1F90 ASSURED         199
TCP fd00:1234:5678:9abc:def0:1234:5678:9abc 0000 fd00:1234:5678:9abc:def0:1234:5678:9abc 0050 0A000002 1F90 ASSURED         199
UDP 0A000001 0000 0A000001 13C4 0A000002 13C4 NONE             59 sip abcdef12345@10.0.0.9
garbage
TCP 0A000001 EA58 0A000001
TCP 0A00000 EA58 0A000001 0050 0A000002 1F90 ESTABLISHED     899
IP  0A000001 0000 00000003 0000 0A000002 0000 NONE           6000
`
	conns := ParseConns([]byte(proc))
	const title = "IPVS connection entries\npro expire state       source             virtual            destination"
	const want = title + `
TCP 14:59  ESTABLISHED 10.0.0.1:59992     10.0.0.1:80        10.0.0.2:8080
TCP 03:19  ASSURED     [fd00::1]:0        [fd00::1]:80       [fd00::2]:8080
TCP 03:19  ASSURED     [fd00:1234:5678:9abc:def0:1234:5678:9abc]:0 [fd00:1234:5678:9abc:def0:1234:5678:9abc]:80 10.0.0.2:8080
UDP 00:59  NONE        10.0.0.1:0         10.0.0.1:5060      10.0.0.2:5060
IP  100:00 NONE        10.0.0.1:0         0.0.0.3:0          10.0.0.2:0
`
	if got := string(AppendConns(nil, conns, false, Names{})); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	const engine = title + `        pe name          pe_data
UDP 00:59  NONE        10.0.0.1:0         10.0.0.1:sip       10.0.0.2:sip     sip                abcdef12345@10.0.0.9
`
	names := Names{Service: func(port uint16, proto string) (string, bool) { return "sip", port == 5060 && proto == "udp" }}
	if got := string(AppendConns(nil, conns[3:4], true, names)); got != engine {
		t.Errorf("%s\nwant\n%s", got, engine)
	}
}

func TestSyncDaemons(t *testing.T) {
	daemons := []SyncDaemon{
		{Role: SyncMaster, Iface: "lo", MaxLen: 1472, Group: netip.MustParseAddr("224.0.0.81"), Port: 8848, TTL: 1},
		{Role: SyncBackup, Iface: "eth0", SyncID: 7, MaxLen: 65487, Group: netip.MustParseAddr("ff02::81"), Port: 8849, TTL: 5},
	}
	const want = `master sync daemon (mcast=lo, syncid=0, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)
backup sync daemon (mcast=eth0, syncid=7, maxlen=65487, group=ff02::81, port=8849, ttl=5)
`
	if got := string(AppendSyncDaemons(nil, daemons)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// ipvsadm's subtraction overflows: 200.1.1.1 is before 1.1.1.1, and mark 4000000000 before all.
func TestSortEntries(t *testing.T) {
	var entries []Entry
	for _, a := range []string{"1.1.1.1:80", "200.1.1.1:80", "10.0.0.1:80", "10.0.0.1:21"} {
		entries = append(entries, Entry{Service: Service{VIP: VIP{Protocol: TCP, Family: IPv4, Addr: netip.MustParseAddrPort(a)}}})
	}
	entries = append(entries,
		Entry{Service: Service{VIP: VIP{Protocol: TCP, Family: IPv6, Addr: netip.MustParseAddrPort("[fd00::1]:80")}}},
		Entry{Service: Service{VIP: VIP{Protocol: UDP, Family: IPv4, Addr: netip.MustParseAddrPort("1.1.1.1:53")}}},
		Entry{Service: Service{VIP: VIP{FWMark: 2, Family: IPv6}}},
		Entry{Service: Service{VIP: VIP{FWMark: 2, Family: IPv4}}},
		Entry{Service: Service{VIP: VIP{FWMark: 4000000000, Family: IPv4}}})
	SortEntries(entries)
	var got []string
	for _, e := range entries {
		got = append(got, e.ID())
	}
	want := []string{
		"fwm:4000000000", "tcp:200.1.1.1:80", "tcp:1.1.1.1:80", "tcp:10.0.0.1:21", "tcp:10.0.0.1:80",
		"udp:1.1.1.1:53", "tcp:[fd00::1]:80", "fwm:2", "fwm6:2",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
}
