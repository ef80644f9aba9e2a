package hadir

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// machine is a director of the tutorial: nginx is a script of its own, ldirectord and IPaddr are stock.
var machine = Machine{
	Links: map[string]Link{
		"eth0": {Addrs: []netip.Prefix{netip.MustParsePrefix("172.16.60.206/24"), netip.MustParsePrefix("172.16.60.120/32")}},
		"eth1": {Down: true},
		"lo":   {Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
	},
	Script: func(name string) Script {
		return map[string]Script{
			"nginx": {Path: "/etc/init.d/nginx"}, "bare": {Path: "/etc/init.d/bare", Bare: true},
			"ldirectord": {Path: "/etc/init.d/ldirectord", Stock: true}, "IPv6addr": {Path: "/etc/ha.d/resource.d/IPv6addr"},
		}[name]
	},
	Builtin: func(name string) bool {
		return slices.Contains([]string{"IPaddr", "IPaddr2", "IPv6addr", "ipvsadm", "ldirectord", "LVSSyncDaemonSwap"}, name)
	},
	PortUser: func(port int) string { return map[int]string{695: "rpc.statd (pid 7)"}[port] },
	Exists:   func(path string) bool { return path == "/var/log" },
	Runnable: func(path string) bool { return path == "/bin/true" },
	Sysctl:   func(string) string { return "0" },
}

func dir(t *testing.T, ha, resources, ldirectord string) Dir {
	t.Helper()
	d := Dir{Resources: "haresources"}
	var flaws diag.List
	if d.HA, flaws = hacf.Parse("ha.cf", []byte(ha), hacf.Host{Node: "a"}); flaws.Err() != nil {
		d.Flawed = append(d.Flawed, "ha.cf")
	}
	d.Groups, _ = haresources.Parse("haresources", []byte(resources), nil)
	cf, problems := ldirectordcf.Parse("ldirectord.cf", []byte(ldirectord), ldirectordcf.Options{})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	d.Ldirectord = append(d.Ldirectord, cf)
	return d
}

const (
	goodHA         = "auto_failback on\nlogfile /var/log/ha-log\nbcast eth0\nucast eth0 172.16.60.206\nucast eth0 172.16.60.207\nping 172.16.60.1\nnode a b\nrespawn hacluster /usr/lib/heartbeat/ipfail\n"
	goodResources  = "a IPaddr::172.16.60.111 ipvsadm ldirectord nginx\nb 172.16.60.112/24/eth0:1/172.16.60.255 IPaddr2::10.9.9.9/32/eth0\n"
	goodLdirectord = "virtual=172.16.60.111:80\n\treal=172.16.60.204:80 gate\n\tscheduler=wlc\n\tprotocol=tcp\n\nvirtual=7\n\treal=172.16.60.204 gate\n\tchecktype=connect\n\tcheckport=80\n"
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
	const (
		section = "virtual=172.16.60.111:80\n\treal=172.16.60.204:80 gate\n"
		groups  = "a 172.16.60.111 ldirectord\n"
	)
	for _, tc := range []struct{ ha, resources, ldirectord, want string }{
		// Nodes.
		{ha: "node a\nbcast eth0\n", want: `ha.cf:1:6: warning: node: "a" is the only node: there is nobody to take over (want two nodes)`},
		{ha: "node a b a\nbcast eth0\n", want: `ha.cf:1:10: warning: node: "a" is a node already; the original counts it twice (want each node once)`},
		{ha: "node a b\nbcast eth0\nping B\n", want: `ha.cf:3:6: warning: ping: "b" is a node of the cluster too (want a host that is no node)`},
		// Media.
		{ha: "node a b\nucast eth7 172.16.60.207\n", want: `ha.cf:2:7: ucast: no interface "eth7" here (want one of eth0, eth1, lo)`},
		{ha: "node a b\nbcast eth0 eth1\n", want: `ha.cf:2:12: warning: bcast: interface "eth1" is down (want ip link set eth1 up)`},
		{ha: "node a b\nbcast eth0 eth0\n", want: `ha.cf:2:12: warning: bcast: the same is above: every message goes out twice (want each medium once)`},
		{ha: "node a b\nucast eth0 172.16.60.207\nucast eth0 172.16.60.207\n", want: `ha.cf:3:7: warning: ucast: the same is above: every message goes out twice (want each medium once)`},
		{ha: "node a b\nping 10.0.0.1\n", want: `ha.cf:2:6: nothing but ping media: the nodes cannot hear each other (want bcast, ucast, mcast or serial)`},
		{ha: "node a b\nbcast lo\n", want: `ha.cf:2:7: bcast: nobody else hears what goes out on lo, and nothing else reaches the other node (want an interface of the network)`},
		{ha: "node a b\nbcast lo eth0\n"},
		// An error elsewhere in ha.cf does not hide it, a medium that was refused does.
		{ha: "node a b\nbcast lo\ndebug 300\n", want: `ha.cf:2:7: bcast: nobody else hears what goes out on lo, and nothing else reaches the other node (want an interface of the network)`},
		{ha: "node a b\nbcast lo\nucast eth0\n"},
		{ha: "node a b\nbcast lo\nbcats eth0\n"},
		{ha: "node a b\nucast eth0 172.16.60.206\n", want: `ha.cf:2:7: ucast: 172.16.60.206 is this node's own address, and nothing else reaches the other node (want the other node's address)`},
		{ha: "node a b\nucast eth0 10.1.1.1\n", want: `ha.cf:2:7: warning: ucast: 10.1.1.1 is in no network of "eth0" (want an address in a network of eth0)`},
		{ha: "node a b\nucast eth0 172.16.60.111\n", want: `ha.cf:2:7: warning: ucast: 172.16.60.111 is in haresources: it moves between the nodes (want the other node's own address)`},
		{ha: "node a b\nucast eth0 other.example.org\nucast6 eth0 fe80::2\n"},
		{ha: "node a b\nserial /dev/ttyS0\n"},
		{ha: "node a b\nudpport 695\nbcast eth0\nucast eth0 172.16.60.207\n", want: `ha.cf:3:7: warning: bcast: UDP port 695 is in use by rpc.statd (pid 7) (want another udpport on both nodes, or rpc.statd (pid 7) on another port)`},
		// Ping nodes.
		{ha: "node a b\nbcast eth0\nping 172.16.60.206\n", want: `ha.cf:3:6: warning: ping: 172.16.60.206 is this node's own address: it always answers (want a router or switch)`},
		{ha: "node a b\nbcast eth0\nping_group g 172.16.60.1 172.16.60.111\n", want: `ha.cf:3:12: warning: ping_group: 172.16.60.111 is in haresources: its owner always reaches it (want a router or switch)`},
		// Clients, paths.
		{ha: "node a b\nbcast eth0\nauto_failback off\nrespawn hacluster /usr/lib/heartbeat/ipfail\n", want: `ha.cf:4:9: warning: respawn: ipfail has nothing to compare without ping nodes (want a ping or ping_group line)`},
		{ha: "node a b\nbcast eth0\nping 172.16.60.1\nrespawn hacluster /usr/lib/heartbeat/ipfail\n", want: `ha.cf:4:9: warning: respawn: ipfail ends at once with auto_failback legacy (want auto_failback on or off)`},
		{ha: goodHA + "respawn hacluster /usr/lib/heartbeat/ipfail\n", want: `ha.cf:9:9: warning: respawn: "/usr/lib/heartbeat/ipfail" is above already (want each client once)`},
		{ha: "node a b\nbcast eth0\nping 172.16.60.1\nauto_failback on\nrespawn root /usr/lib/heartbeat/ipfail\n", want: `ha.cf:5:9: warning: apiauth: "root", which runs ipfail, is not among its users: the original's ipfail cannot sign on (want apiauth ipfail uid=root)`},
		{ha: "node a b\nbcast eth0\nping 172.16.60.1\nauto_failback on\nrespawn root /usr/lib/heartbeat/ipfail\napiauth ipfail uid=hacluster\n", want: `ha.cf:6:9: warning: apiauth: "root", which runs ipfail, is not among its users: the original's ipfail cannot sign on (want apiauth ipfail uid=root)`},
		{ha: "node a b\nbcast eth0\nping 172.16.60.1\nauto_failback on\nrespawn root /usr/lib/heartbeat/ipfail\napiauth ipfail uid=root gid=root\n"},
		{ha: "node a b\nbcast eth0\nlogfile /nosuch/dir/ha-log\ndebugfile /var/log/ha-debug\n", want: `ha.cf:3:1: warning: logfile: no directory "/nosuch/dir" (want a file in a directory that is there)`},
		{ha: "node a b\nbcast eth0\nwatchdog /dev/watchdog\n", want: `ha.cf:3:1: warning: watchdog: no device "/dev/watchdog" (want a device; the module softdog makes /dev/watchdog)`},
		// Resources.
		{resources: "a nosuch\n", want: `haresources:1:3: cannot locate resource script "nosuch" (want a program in resource.d or /etc/init.d)`},
		{resources: "a bare\n", want: `haresources:1:3: cannot locate resource script "bare": /etc/init.d/bare is not executable (want a program in resource.d or /etc/init.d)`},
		{resources: "a IPv6addr::fd00:1:2:3:4:5:6:7/64/eth0\n", want: `haresources:1:3: warning: IPv6addr: /etc/ha.d/resource.d/IPv6addr is not the stock script: it will be run (want the stock script, or none, for heartbeat's own agent)`},
		{resources: "a IPaddr\n", want: `haresources:1:3: IPaddr: no address given (want IPaddr::ADDRESS)`},
		{resources: "a IPaddr::ha.example.org\n", want: `haresources:1:3: IPaddr: "ha.example.org" is not an IPv4 address (want an IPv4 address)`},
		{resources: "a 172.16.60.300\n", want: `haresources:1:3: IPaddr: "172.16.60.300" is not an IPv4 address (want an IPv4 address)`},
		{resources: "a IPaddr::172.16.60.111::eth0\n", want: `haresources:1:3: IPaddr: 2 arguments (want IPaddr::ADDRESS/MASK/INTERFACE)`},
		{resources: "a IPaddr2::fd00::1\n", want: `haresources:1:3: IPaddr2: "fd00" is not an address (want the IPv6 address in full: "::" parts arguments)`},
		{resources: "a IPaddr2::fd00:1:2:3:4:5:6:7/64/eth0\n", want: `haresources:1:3: warning: IPaddr2: the original's IPaddr2 takes no IPv6 address (want IPv6addr::fd00:1:2:3:4:5:6:7/64/eth0)`},
		{resources: "a 172.16.60.111/33\n", want: `haresources:1:3: IPaddr: 33 is not the length of a mask (want 1 to 32)`},
		{resources: "a 172.16.60.111/eth0\n", want: `haresources:1:3: IPaddr: eth0 is not the length of a mask (want 1 to 32)`},
		{resources: "a 172.16.60.111/255.255.255.0/eth0\n"},
		{resources: "a 172.16.60.111/24/eth0/172.16.60.x\n", want: `haresources:1:3: IPaddr: "172.16.60.x" is not a broadcast address (want ADDRESS/MASK/INTERFACE/BROADCAST)`},
		{resources: "a 172.16.60.111/24/eth5\n", want: `haresources:1:3: IPaddr: no interface "eth5" here (want one of eth0, eth1, lo)`},
		{resources: "a IPaddr2::10.9.9.9\n", want: `haresources:1:3: warning: IPaddr2: 10.9.9.9 is in no network of this node (want an address in a network of this node, or an interface after it)`},
		{resources: "a 172.16.60.120\n", want: `haresources:1:3: warning: IPaddr: 172.16.60.120 is up on eth0, and no heartbeat runs here (want an address that only heartbeat brings up)`},
		{resources: "a 172.16.60.111\nb IPaddr2::172.16.60.111\n", want: `haresources:2:3: warning: IPaddr2: 172.16.60.111 is in this file already (want each address once)`},
		{resources: "a 172.16.60.111 nginx nginx\n", want: `haresources:1:23: warning: "nginx" is in this line already (want each resource once)`},
		{resources: "a 172.16.60.111 nginx\nb 172.16.60.112 nginx\n", want: `haresources:2:17: warning: "nginx" is in line 1 too: to stop either stops both (want each resource once)`},
		{resources: "a 172.16.60.111 ipvsadm\nb 172.16.60.112 ipvsadm\n", want: `haresources:2:17: warning: ipvsadm: it is in line 1 too: to stop either clears the table of both (want ipvsadm in one group)`},
		{resources: "a 172.16.60.111 ldirectord::x.cf ipvsadm\n", want: `haresources:1:34: warning: ipvsadm: its start clears what ldirectord::x.cf has put into the table (want ipvsadm left of ldirectord::x.cf)`},
		{resources: "a 172.16.60.111 ldirectord LVSSyncDaemonSwap::master\n", want: `haresources:1:3: warning: IPaddr: it comes before the table: open connections that arrive between the two are reset, whatever LVSSyncDaemonSwap knows of them (want ldirectord LVSSyncDaemonSwap::master 172.16.60.111)`},
		{resources: "a ldirectord LVSSyncDaemonSwap::master 172.16.60.111 172.16.60.112\n"},
		{resources: "a ipvsadm 172.16.60.111 LVSSyncDaemonSwap::master\n"},
		{resources: "a ldirectord LVSSyncDaemonSwap::maser 172.16.60.111\n", want: `haresources:1:14: warning: LVSSyncDaemonSwap: "LVSSyncDaemonSwap::maser" names no role: its start fails (want LVSSyncDaemonSwap::master)`},
		{resources: "a 172.16.60.111 LVSSyncDaemonSwap::master\nb 172.16.60.112 ldirectord\n"},
		// ldirectord.cf.
		{ldirectord: "\nvirtual=172.16.60.113:80\n\treal=172.16.60.204:80 gate\n", want: `ldirectord.cf:2:1: warning: virtual: no haresources group brings 172.16.60.113 up (want an IPaddr resource for it in haresources)`},
		{ldirectord: "virtual=172.16.60.206:80\n\treal=172.16.60.204:80 gate\n"},
		{resources: "a 172.16.60.111\nb 172.16.60.112 ldirectord\n", ldirectord: section, want: `ldirectord.cf:1:1: warning: virtual: haresources:1:3 brings 172.16.60.111 up, haresources:2:1 runs ldirectord: they may end on different nodes (want both in one line)`},
		{resources: groups, ldirectord: "virtual=172.16.60.111:80\n\tfallback=127.0.0.1:80 gate\n", want: `ldirectord.cf:1:1: warning: virtual: no real server: only the fallback answers (want a real= line)`},
		{resources: groups, ldirectord: "virtual=172.16.60.111:80\n\tservice=http\n", want: `ldirectord.cf:1:1: warning: virtual: no real server: nobody answers (want a real= line)`},
		{resources: groups, ldirectord: section + "\treal=172.16.60.204:80 masq 2\n\tscheduler=rr\n", want: "ldirectord.cf:3:2: warning: real: 172.16.60.204:80 is in this section already: the last line counts (want each real server once)\n" +
			`ldirectord.cf:3:2: warning: real: masq needs a kernel that forwards, and this one does not (want sysctl net.ipv4.ip_forward=1)`},
		{resources: groups, ldirectord: section + "\treal=172.16.60.205:8080 gate\n", want: `ldirectord.cf:3:2: warning: real: gate and ipip change no ports: requests arrive at port 80 (want port 80, or masq)`},
		{resources: groups, ldirectord: section + "\treal=172.16.60.111:80 gate\n", want: `ldirectord.cf:3:2: warning: real: 172.16.60.111 is the virtual service's address (want the real server's own address)`},
		{resources: groups, ldirectord: section + "\tscheduler=wlcc\n", want: `ldirectord.cf:3:2: warning: scheduler: "wlcc" is no scheduler of the kernel's: the service will not be added (want one of rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos)`},
		{resources: groups, ldirectord: "virtual=172.16.60.111:0\n\treal=172.16.60.204 gate\n\tservice=http\n", want: `ldirectord.cf:1:1: virtual: IPVS takes port 0 for persistent services only (want a port, or persistent)`},
		{resources: groups, ldirectord: "virtual=172.16.60.111:8080\n\treal=172.16.60.204:8080 gate\n", want: `ldirectord.cf:1:1: warning: service: negotiate with service none asks nothing: every real server counts as up (want a service, or checktype=connect)`},
		{resources: groups, ldirectord: section + "\tpersistent=600\n\tquiescent=yes\n", want: `ldirectord.cf:4:2: warning: quiescent: with persistent, clients stay with a real server that is down (want quiescent=no, or sysctl net.ipv4.vs.expire_quiescent_template=1)`},
		{resources: groups, ldirectord: "quiescent=yes\n" + section + "\tpersistent=600\n", want: `ldirectord.cf:1:1: warning: quiescent: with persistent, clients stay with a real server that is down (want quiescent=no, or sysctl net.ipv4.vs.expire_quiescent_template=1)`},
		{resources: groups, ldirectord: section + "\tservice=none\n", want: `ldirectord.cf:3:2: warning: service: negotiate with service none asks nothing: every real server counts as up (want a service, or checktype=connect)`},
		{resources: groups, ldirectord: section + "\tchecktype=external\n\tcheckcommand=/nosuch/check\n", want: `ldirectord.cf:4:2: warning: checkcommand: "/nosuch/check" cannot be executed (want a program)`},
		{resources: groups, ldirectord: section + "\tfallbackcommand=\"/nosuch/it now\"\n", want: `ldirectord.cf:3:2: warning: fallbackcommand: "/nosuch/it" cannot be executed (want a program)`},
		{resources: groups, ldirectord: "fallbackcommand=/nosuch/it\n" + section + section[:8] + "7\n\treal=172.16.60.204 gate\n\tchecktype=off\n", want: `ldirectord.cf:1:1: warning: fallbackcommand: "/nosuch/it" cannot be executed (want a program)`},
		{resources: groups, ldirectord: "\ncallback=\"/nosuch/sync\"\n" + section, want: `ldirectord.cf:2:1: warning: callback: "/nosuch/sync" cannot be executed (want a program)`},
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
	dest := func(addr string, weight int32) ipvs.DestEntry {
		return ipvs.DestEntry{Dest: ipvs.Dest{Addr: netip.MustParseAddrPort(addr), Weight: weight}}
	}
	d := dir(t, goodHA, goodResources, goodLdirectord)
	d.Rules = &Rules{
		Table: []ipvs.Entry{
			{Service: ipvs.Service{VIP: vip, Scheduler: "rr", Persistent: 600}, Dests: []ipvs.DestEntry{dest("172.16.60.204:80", 2), dest("172.16.60.9:80", 1)}},
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
	want := `rules:80:1: warning: -A: service 172.16.60.111:80 has scheduler rr, ldirectord.cf:3:2 says wlc (want -s wlc)
rules:80:1: warning: -A: service 172.16.60.111:80 is persistent for 600 s, not so in ldirectord.cf:1:1 (want no -p)
rules:81:1: warning: -a: real server 172.16.60.204:80 of 172.16.60.111:80 is reached by masq, ldirectord.cf:2:2 says gate (want gate)
rules:81:1: warning: -a: real server 172.16.60.204:80 of 172.16.60.111:80 has weight 2, ldirectord.cf:2:2 says 1 (want -w 1)
rules:81:1: warning: -a: real server 172.16.60.9:80 of 172.16.60.111:80 is not in ldirectord.cf:1:1 (want a real= line for it, or no rule)
rules:81:1: warning: -A: service 172.16.60.111:81 is in no ldirectord.cf: nobody checks its real servers (want a virtual section for it, or no rule)`
	if got := text(Check(d, machine)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Two files of ldirectord may not have one service.
func TestServiceInTwoFiles(t *testing.T) {
	d := dir(t, goodHA, goodResources, goodLdirectord)
	second, _ := ldirectordcf.Parse("second.cf", []byte("\nvirtual=172.16.60.111:80\n\treal=172.16.60.204:80 gate\n"), ldirectordcf.Options{})
	d.Ldirectord = append(d.Ldirectord, second)
	want := `second.cf:2:1: warning: virtual: 172.16.60.111:80 is in ldirectord.cf:1:1 too: each undoes what the other does (want each service in one file)`
	if got := text(Check(d, machine)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNoIPVS(t *testing.T) {
	m := machine
	m.NoIPVS = true
	want := `haresources:1:25: warning: ipvsadm: this kernel has no IPVS (want the module ip_vs, or ipvs userspace in systole.cf)`
	if got := text(Check(dir(t, goodHA, goodResources, goodLdirectord), m)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// With a heartbeat that runs an address may well be up.
func TestRunning(t *testing.T) {
	m := machine
	m.Running = true
	if p := Check(dir(t, goodHA, "a 172.16.60.120\n", "virtual=7\n\treal=172.16.60.204 gate\n\tchecktype=off\n"), m); len(p) != 0 {
		t.Errorf("problems: %v", p)
	}
}

func text(problems diag.List) string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}
