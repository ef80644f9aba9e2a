package compat

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestRealserver starts and stops the real server's side of direct routing by the init scripts of both layouts: another
// host on the network gets no ARP answer for the virtual address and still reaches it as a director does, by the real
// server's hardware address; then all is as before.
func TestRealserver(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "ping", "ip")
	n := lab.Net(t)
	rhel := filepath.Join(t.TempDir(), "rhel")
	if out, err := exec.Command(program(t), "install", "--layout", "rhel", "--destdir", rhel).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, c := range map[string]struct{ root, script, director, addr, vip string }{
		"debian": {installRoot(t), "/etc/init.d/systole-realserver", "d-debian", "10.9.8.1", "10.9.8.101"},
		"rhel":   {rhel, "/etc/rc.d/init.d/systole-realserver", "d-rhel", "10.9.8.3", "10.9.8.103"},
	} {
		addr := netip.MustParseAddr(c.addr)
		rs, err := n.AddNode(lab.NodeSpec{Name: name, Roots: []string{c.root}, Links: []lab.Link{{Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(addr, 24)}}}})
		if err != nil {
			t.Fatal(err)
		}
		director, err := n.AddNode(lab.NodeSpec{Name: c.director, Links: []lab.Link{{Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(addr.Next(), 24)}}}})
		if err != nil {
			t.Fatal(err)
		}
		m, d := machine{t, rs}, machine{t, director}
		const all = "ip -o addr show dev lo; grep . /proc/sys/net/ipv4/conf/*/arp_*"
		m.run("sysctl -qw net.ipv4.conf.lo.arp_ignore=3")
		before := m.run(all)
		m.run(c.script + " start; test $? = 6 && " + c.script + " stop")
		m.write("/etc/ha.d/realserver.cf", "# the site\nVIP="+c.vip+"\nfd00::101\n", 0o644)
		m.run(c.script + " status; test $? = 3")
		answered := "ip neigh flush dev eth0; ping -c 1 -W 2 " + c.vip + " >/dev/null"
		m.run("ip addr add " + c.vip + "/32 dev lo; sysctl -qw net.ipv4.conf.lo.arp_ignore=0")
		d.run(answered) // as it is without us
		m.run("ip addr del " + c.vip + "/32 dev lo; sysctl -qw net.ipv4.conf.lo.arp_ignore=3")
		for range 2 {
			m.run(c.script + " start && " + c.script + " status")
		}
		if have := m.run("ip -o addr show dev lo"); !strings.Contains(have, c.vip+"/32") || !strings.Contains(have, "fd00::101/128") {
			t.Errorf("%s: lo has\n%s", name, have)
		}
		d.run("! (" + answered + ") && ip neigh show dev eth0 | grep '" + c.vip + " ' | grep -q -e FAILED -e INCOMPLETE")
		hw := strings.TrimSpace(m.run("cat /sys/class/net/eth0/address"))
		d.run("ip neigh replace " + c.vip + " lladdr " + hw + " dev eth0 && ping -c 1 -W 5 " + c.vip)
		m.run("sysctl -qw net.ipv4.conf.all.arp_announce=0; " + c.script + " status; test $? = 3")
		m.run(c.script + " restart && " + c.script + " status")
		for range 2 {
			m.run(c.script + " stop")
		}
		if after := m.run(all); after != before {
			t.Errorf("%s: after the stop\n%s\nbefore the start\n%s", name, after, before)
		}
		m.run("! test -e /run/systole-realserver")
		// A stop takes off all that was started, whatever the file has become meanwhile.
		for _, text := range []string{c.vip + "\n", c.vip + "\n10.9.8.2OO\n", ""} {
			m.write("/etc/ha.d/realserver.cf", c.vip+" 10.9.8.200\n", 0o644)
			m.run(c.script + " start && systole realserver status")
			m.write("/etc/ha.d/realserver.cf", text, 0o644)
			m.run(c.script + " stop && ! test -e /run/systole-realserver")
			if after := m.run(all); after != before {
				t.Errorf("%s: with the file %q a stop leaves\n%s\nbefore the start\n%s", name, text, after, before)
			}
		}
	}
}
