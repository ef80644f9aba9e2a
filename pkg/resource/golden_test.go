package resource

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/agent/ipaddr"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// silent is an announcer that announces nothing.
type silent struct{}

func (silent) Announce(string, netip.Addr, func(error)) {}
func (silent) Cancel(string, netip.Addr) bool           { return false }

// director is a node of the tutorial as far as resources go.
type director struct {
	*bench
	host *netif.Fake
}

func newDirector(t *testing.T, node string, d halog.Dialect) *director {
	t.Helper()
	host := netif.NewFake("eth0")
	own := map[string]string{"ha-master": "172.16.60.206/24", "ha-slave": "172.16.60.207/24"}[node]
	err := host.AddAddr(netif.Addr{Link: "eth0", Prefix: netip.MustParsePrefix(own), Broadcast: netip.MustParseAddr("172.16.60.255")})
	if err != nil {
		t.Fatal(err)
	}
	addresses := ipaddr.New(ipaddr.Options{Host: host, Announcer: silent{}, Dialect: d, StateDir: t.TempDir()})
	b := newBench(t, "ha-master IPaddr::172.16.60.111 ipvsadm ldirectord\n", d, Options{
		Node:   node,
		Agents: map[string]agent.Agent{"IPaddr": addresses, "ipvsadm": &fake{}, "ldirectord": &fake{}},
	})
	return &director{bench: b, host: host}
}

// call does a call of the recording: verb, argument, environment.
func (d *director) call(t *testing.T, words []string) {
	t.Helper()
	done := d.Do(t.Context(), cluster.Call{Verb: cluster.Verb(words[0]), Arg: words[1], Env: words[2:]})
	if done.Code != 0 {
		t.Errorf("%v: %+v", words, done)
	}
	var say string
	for _, s := range done.Say {
		say += strings.ReplaceAll(string(s), "\n", " ")
	}
	want := ""
	switch {
	case words[0] == "req_resource":
		want = fmt.Sprintf(">>> t=ip-request-resp dest=%s ipaddr=%s weown=yes ok=OK <<< ", d.o.Node, words[1])
	case len(words) > 3 && words[3] == "HA_st=dead":
		want = ">>> t=resource rsc_hold=foreign info=mach_down <<< "
	case words[1] == "hb_takeover" && words[3] != "HA_src="+d.o.Node:
		want = ">>> t=ask_resources rsc_hold=all info=me <<< "
	}
	if say != want {
		t.Errorf("%v: said %q, want %q", words, say, want)
	}
}

// TestGolden has two nodes do what the original's did and compares what their scripts logged.
func TestGolden(t *testing.T) {
	f, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var d *director
	var title, node string
	var pidsWanted, pidsGot letters
	var want strings.Builder
	compare := func() {
		if d == nil {
			return
		}
		if diff := cmp.Diff(want.String(), d.fresh(t, d.logfile, "", pidsGot)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", title, diff)
		}
		want.Reset()
	}
	begin := func() {
		d, pidsWanted, pidsGot = newDirector(t, node, halog.D12), letters{}, letters{}
		if err := os.Symlink("/proc/self/exe", filepath.Join(d.dir, "ha.d/resource.d/ldirectord")); err != nil { // a name of the program
			t.Fatal(err)
		}
	}
	scenarios := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		switch line := s.Text(); {
		case strings.HasPrefix(line, "=== "):
			compare()
			title = line[4:]
			_, node, _ = strings.Cut(title, " ")
			begin()
			scenarios++
		case line == "--- power off and on":
			compare()
			begin()
		case strings.HasPrefix(line, "--- "):
			d.call(t, strings.Fields(line[4:]))
		default:
			want.WriteString(pidsWanted.replace(fileDate.ReplaceAllString(line, "$1: ")) + "\n")
		}
	}
	compare()
	if scenarios != 18 {
		t.Errorf("%d recordings, want 18", scenarios)
	}
}

// TestTutorial takes and gives up the tutorial's group and compares the whole ha-log lines with those
// of the tutorial's machines (CentOS 6), blanks and tabs included.
func TestTutorial(t *testing.T) {
	d := newDirector(t, "ha-master", halog.C6)
	d.call(t, strings.Fields("harc ip-request-resp HA_dest=ha-master HA_ipaddr=IPaddr::172.16.60.111 HA_ok=OK HA_weown=yes"))
	d.call(t, []string{"takegroup", "IPaddr::172.16.60.111"})
	d.call(t, []string{"givegroup", "IPaddr::172.16.60.111"})
	d.call(t, []string{"givegroup", "IPaddr::172.16.60.111"})
	text, err := os.ReadFile(d.logfile)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	p := letters{}
	for line := range strings.Lines(string(text)) {
		if len(line) < 40 || !tabDate.MatchString(line) {
			t.Errorf("not a line of that form: %q", line)
		}
		got.WriteString(p.replace(tabDate.ReplaceAllString(strings.ReplaceAll(line, d.dir, "/etc"), "$1:\tDATE ")))
	}
	const want = `harc(default)[A]:	DATE info: Running /etc/ha.d//rc.d/ip-request-resp ip-request-resp
ip-request-resp(default)[A]:	DATE received ip-request-resp IPaddr::172.16.60.111 OK yes
ResourceManager(default)[B]:	DATE info: Acquiring resource group: ha-master IPaddr::172.16.60.111 ipvsadm ldirectord
/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[C]:	DATE INFO:  Resource is stopped
ResourceManager(default)[B]:	DATE info: Running /etc/ha.d/resource.d/IPaddr 172.16.60.111 start
IPaddr(IPaddr_172.16.60.111)[D]:	DATE INFO: Adding inet address 172.16.60.111/24 with broadcast address 172.16.60.255 to device eth0
IPaddr(IPaddr_172.16.60.111)[D]:	DATE INFO: Bringing device eth0 up
IPaddr(IPaddr_172.16.60.111)[D]:	DATE INFO: /usr/libexec/heartbeat/send_arp -i 200 -r 5 -p /var/run/resource-agents/send_arp-172.16.60.111 eth0 172.16.60.111 auto not_used not_used
/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[E]:	DATE INFO:  Success
ResourceManager(default)[B]:	DATE info: Running /etc/init.d/ipvsadm  start
ResourceManager(default)[B]:	DATE info: Running /etc/init.d/ldirectord  start
ResourceManager(default)[F]:	DATE info: Acquiring resource group: ha-master IPaddr::172.16.60.111 ipvsadm ldirectord
/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[G]:	DATE INFO:  Running OK
ResourceManager(default)[F]:	DATE info: Running /etc/init.d/ipvsadm  start
ResourceManager(default)[F]:	DATE info: Running /etc/init.d/ldirectord  start
ResourceManager(default)[H]:	DATE info: Releasing resource group: ha-master IPaddr::172.16.60.111 ipvsadm ldirectord
ResourceManager(default)[H]:	DATE info: Running /etc/init.d/ldirectord  stop
ResourceManager(default)[H]:	DATE info: Running /etc/init.d/ipvsadm  stop
ResourceManager(default)[H]:	DATE info: Running /etc/ha.d/resource.d/IPaddr 172.16.60.111 stop
IPaddr(IPaddr_172.16.60.111)[I]:	DATE INFO: IP status = ok, IP_CIP=
/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[J]:	DATE INFO:  Success
ResourceManager(default)[K]:	DATE info: Releasing resource group: ha-master IPaddr::172.16.60.111 ipvsadm ldirectord
ResourceManager(default)[K]:	DATE info: Running /etc/init.d/ldirectord  stop
ResourceManager(default)[K]:	DATE info: Running /etc/init.d/ipvsadm  stop
ResourceManager(default)[K]:	DATE info: Running /etc/ha.d/resource.d/IPaddr 172.16.60.111 stop
IPaddr(IPaddr_172.16.60.111)[L]:	DATE INFO: IP status = no, IP_CIP=
/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[M]:	DATE INFO:  Success
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
