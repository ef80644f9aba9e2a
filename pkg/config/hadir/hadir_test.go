package hadir

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

var machine = Machine{
	Links:   map[string][]netip.Prefix{"eth0": {netip.MustParsePrefix("172.16.60.206/24")}, "lo": {netip.MustParsePrefix("127.0.0.1/8")}},
	Script:  func(name string) (string, bool) { return "/etc/init.d/" + name, name == "nginx" },
	Builtin: func(name string) bool { return name == "IPaddr" || name == "ipvsadm" || name == "ldirectord" },
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
	goodHA         = "bcast eth0\nucast eth0 172.16.60.207\nnode a b\n"
	goodResources  = "a IPaddr::172.16.60.111 ipvsadm ldirectord nginx\n"
	goodLdirectord = "virtual=172.16.60.111:80\n\treal=172.16.60.204:80 gate\n\tscheduler=wlc\n\tprotocol=tcp\n"
)

func TestTutorialFits(t *testing.T) {
	if p := Check(dir(t, goodHA, goodResources, goodLdirectord), machine); len(p) != 0 {
		t.Errorf("problems: %v", p)
	}
}

func TestWhatDoesNotFit(t *testing.T) {
	d := dir(t, "ucast eth7 172.16.60.206\nucast eth0 172.16.60.206\nnode a b\n",
		"a IPaddr::10.9.9.9 nosuch\na IPaddr::172.16.60.112/24/eth5 x\nb IPaddr::ha.example.org\n", goodLdirectord)
	d.RulesFile, d.RulesLoaded = "ipvsadm.rules", true
	vip := ipvs.VIP{Protocol: ipvs.TCP, Addr: netip.MustParseAddrPort("172.16.60.111:80"), Family: ipvs.IPv4}
	other := vip
	other.Addr = netip.MustParseAddrPort("172.16.60.111:81")
	d.Rules = []ipvs.Entry{
		{Service: ipvs.Service{VIP: vip, Scheduler: "rr", Persistent: 600}, Dests: []ipvs.DestEntry{{Dest: ipvs.Dest{Addr: netip.MustParseAddrPort("172.16.60.9:80")}}}},
		{Service: ipvs.Service{VIP: other, Scheduler: "rr"}},
	}
	var got []string
	for _, p := range Check(d, machine) {
		got = append(got, p.String())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		`ha.cf:1:7: ucast: no interface "eth7" here (want one of eth0, lo)`,
		`ha.cf:2:7: warning: ucast: 172.16.60.206 is this node's own address (want the other node's address)`,
		`haresources:1:20: cannot locate resource script "nosuch"`,
		`haresources:1:3: warning: IPaddr: 10.9.9.9 is in no network of this node`,
		`haresources:2:3: IPaddr: no interface "eth5" here`,
		`haresources:3:3: IPaddr: "ha.example.org" is not an address`,
		`ldirectord.cf:1:`,
		`no haresources group brings 172.16.60.111 up`,
		`has scheduler rr, ldirectord.cf says wlc`,
		`is persistent for 600 s, ldirectord.cf says 0`,
		`real server 172.16.60.9:80`,
		`service 172.16.60.111:81 is in no ldirectord.cf`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
}
