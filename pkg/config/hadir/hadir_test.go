package hadir

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

var machine = Machine{
	Links:   map[string][]netip.Prefix{"eth0": {netip.MustParsePrefix("172.16.60.206/24")}, "lo": {netip.MustParsePrefix("127.0.0.1/8")}},
	Script:  func(name string) (string, bool) { return "/etc/init.d/" + name, name == "nginx" },
	Builtin: func(name string) bool { return name != "nosuch" && name != "nginx" },
}

func dir(t *testing.T, ha, resources, ldirectord string) Dir {
	t.Helper()
	d := Dir{Resources: "haresources"}
	d.HA, _ = hacf.Parse("ha.cf", []byte(ha), hacf.Host{})
	d.Groups, _ = haresources.Parse("haresources", []byte(resources), nil)
	cf, problems := ldirectordcf.Parse("ldirectord.cf", []byte(ldirectord), ldirectordcf.Options{})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	d.Ldirectord = append(d.Ldirectord, cf)
	return d
}

const (
	goodHA         = "bcast eth0\nucast eth0 172.16.60.206\nucast eth0 172.16.60.207\nping 172.16.60.1\nnode a b\n"
	goodResources  = "a IPaddr::172.16.60.111 ipvsadm ldirectord nginx\nb 172.16.60.112/24/eth0:1/172.16.60.255 IPaddr2::10.9.9.9/32/eth0\n"
	goodLdirectord = "virtual=172.16.60.111:80\n\treal=172.16.60.204:80 gate\n\tscheduler=wlc\n\tprotocol=tcp\n\nvirtual=7\n\tprotocol=fwm\n"
)

func TestFits(t *testing.T) {
	if p := Check(dir(t, goodHA, goodResources, goodLdirectord), machine); len(p) != 0 {
		t.Errorf("problems: %v", p)
	}
	if p := Check(dir(t, goodHA, goodResources, goodLdirectord), Machine{}); len(p) != 0 {
		t.Errorf("problems of a machine that is not asked: %v", p)
	}
}

func TestDoesNotFit(t *testing.T) {
	for _, tc := range []struct{ ha, resources, ldirectord, want string }{
		{ha: "node a\nbcast eth0\n", want: `ha.cf:1:6: warning: node: "a" is the only node: there is nobody to take over (want two nodes)`},
		{ha: "node a b a\nbcast eth0\n", want: `ha.cf:1:10: warning: node: "a" is a node already; the original counts it twice (want each node once)`},
		{ha: "node a b c\nbcast eth0\n", want: `ha.cf:1:10: warning: node: 3 nodes: haresources is made for two (want two nodes)`},
		{ha: "node a b\nbcast eth0\nping B\n", want: `ha.cf:3:6: warning: ping: "b" is a node of the cluster too (want a host that is no node)`},
		{ha: "node a b\nbcast eth7\n", want: `ha.cf:2:7: bcast: no interface "eth7" here (want one of eth0, lo)`},
		{ha: "node a b\nping 10.0.0.1\n", want: `ha.cf:2:6: nothing but ping media: the nodes cannot hear each other (want bcast, ucast, mcast or serial)`},
		{ha: "node a b\nucast eth0 172.16.60.206\n", want: `ha.cf:2:7: ucast: 172.16.60.206 is this node's own address, and nothing else reaches the other node (want the other node's address)`},
		{ha: "node a b\nserial /dev/ttyS0\n"},
		{resources: "a nosuch\n", want: `haresources:1:3: cannot locate resource script "nosuch" (want a program in resource.d or /etc/init.d)`},
		{resources: "a IPaddr\n", want: `haresources:1:3: IPaddr: no address given (want IPaddr::ADDRESS)`},
		{resources: "a IPaddr::ha.example.org\n", want: `haresources:1:3: IPaddr: "ha.example.org" is not an IPv4 address (want an IPv4 address)`},
		{resources: "a 172.16.60.300\n", want: `haresources:1:3: IPaddr: "172.16.60.300" is not an IPv4 address (want an IPv4 address)`},
		{resources: "a IPv6addr::fd00::1\n", want: `haresources:1:3: IPv6addr: "fd00" is not an IPv6 address (want an IPv6 address in full: "::" parts arguments)`},
		{resources: "a IPv6addr::fd00:1:2:3:4:5:6:7/64/eth0\n"},
		{resources: "a 172.16.60.111/33\n", want: `haresources:1:3: IPaddr: 33 is not the length of a mask (want 1 to 32)`},
		{resources: "a 172.16.60.111/255.255.255.0/eth0\n"},
		{resources: "a 172.16.60.111/24/eth5\n", want: `haresources:1:3: IPaddr: no interface "eth5" here (want one of eth0, lo)`},
		{resources: "a IPaddr2::10.9.9.9\n", want: `haresources:1:3: warning: IPaddr2: 10.9.9.9 is in no network of this node (want an address in a network of this node, or an interface after it)`},
		{resources: "a 172.16.60.111\nb IPaddr2::172.16.60.111\n", want: `haresources:2:3: warning: IPaddr2: 172.16.60.111 is in this file already (want each address once)`},
		{
			ldirectord: "\nvirtual=172.16.60.113:80\n\treal=172.16.60.204:80 gate\n",
			want:       `ldirectord.cf:2:1: warning: virtual: no haresources group brings 172.16.60.113 up (want an IPaddr resource for it in haresources)`,
		},
		{ldirectord: "virtual=172.16.60.206:80\n\treal=172.16.60.204:80 gate\n"},
	} {
		pick := func(given, good string) string {
			if given != "" {
				return given
			}
			return good
		}
		ldirectord := tc.ldirectord
		if tc.resources == "" {
			ldirectord = pick(ldirectord, goodLdirectord)
		}
		d := dir(t, pick(tc.ha, goodHA), pick(tc.resources, goodResources), ldirectord)
		if got := text(Check(d, machine)); got != tc.want {
			t.Errorf("%q %q %q:\n%s\nwant\n%s", tc.ha, tc.resources, tc.ldirectord, got, tc.want)
		}
	}
}

func TestRules(t *testing.T) {
	vip := ipvs.VIP{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("172.16.60.111:80"), Family: ipvs.IPv4}
	other, mark := vip, ipvs.VIP{FWMark: 7, Family: ipvs.IPv4}
	other.Addr = netip.MustParseAddrPort("172.16.60.111:81")
	dest := func(addr string) ipvs.DestEntry {
		return ipvs.DestEntry{Dest: ipvs.Dest{Addr: netip.MustParseAddrPort(addr)}}
	}
	d := dir(t, goodHA, goodResources, goodLdirectord)
	d.Rules = &Rules{
		Table: []ipvs.Entry{
			{Service: ipvs.Service{VIP: vip, Scheduler: "rr", Persistent: 600}, Dests: []ipvs.DestEntry{dest("172.16.60.204:80"), dest("172.16.60.9:80")}},
			{Service: ipvs.Service{VIP: other, Scheduler: "rr"}},
			{Service: ipvs.Service{VIP: mark, Scheduler: "wrr"}},
		},
		At: func(v ipvs.VIP, dest netip.AddrPort) diag.Pos {
			pos := diag.Pos{File: "rules", Line: int(v.Addr.Port()), Col: 1}
			if dest.IsValid() {
				pos.Line++
			}
			return pos
		},
	}
	want := `rules:80:1: warning: service 172.16.60.111:80 has scheduler rr, ldirectord.cf:1:1 says wlc (want scheduler wlc)
rules:80:1: warning: service 172.16.60.111:80 is persistent for 600 s, ldirectord.cf:1:1 says 0 (want persistent 0)
rules:81:1: warning: real server 172.16.60.9:80 of 172.16.60.111:80 is not in ldirectord.cf:1:1 (want a real= line for it, or no rule)
rules:81:1: warning: service 172.16.60.111:81 is in no ldirectord.cf: nobody checks its real servers (want a virtual section for it, or no rule)`
	if got := text(Check(d, machine)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func text(problems diag.List) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}
