package compat

import (
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// apacheConf is the least that Debian's apache2 runs with.
const apacheConf = `ServerRoot /tmp
ServerName agents
Listen 127.0.0.1:8080
PidFile /tmp/apache2.pid
ErrorLog /tmp/apache2.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule status_module /usr/lib/apache2/modules/mod_status.so
<Location /server-status>
SetHandler server-status
</Location>
`

// TestAgents has our ResourceManager take and give up groups of OCF agents as Debian's resource-agents package has them,
// through our scripts of resource.d, and looks at what they did.
func TestAgents(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/usr/lib/ocf/resource.d/heartbeat/apache", "apache2", "iptables", "mail")
	node, err := lab.Net(t).AddNode(lab.NodeSpec{Name: "agents", Links: []lab.Link{{Name: "eth0"}}, Roots: []string{installRoot(t)}})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t, node}
	m.run("mkdir -p /run/resource-agents; ip addr add 10.9.8.7/24 brd + dev eth0; ip addr add 10.9.8.9/24 dev eth0; ip route add default via 10.9.8.1")
	m.write("/tmp/apache2.conf", apacheConf, 0o644)
	m.write("/usr/sbin/modprobe", "#!/bin/sh\n", 0o755)
	m.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >>/tmp/mails\n", 0o755)
	m.write("/etc/ha.d/conf/OCF/Dummy/one", "OCF_RESKEY_state=/tmp/dummy.state\n", 0o644)
	m.write("/etc/ha.d/ha.cf", "node agents other\n", 0o644)
	for _, a := range []struct{ resource, up, down string }{
		{"Filesystem::tmpfs::/srv::tmpfs::size=1m", "grep -q ' /srv tmpfs .*size=1024k' /proc/mounts", "! grep -q ' /srv ' /proc/mounts"},
		{"apache::/tmp/apache2.conf", "test -d /proc/$(cat /tmp/apache2.pid)", "! test -e /tmp/apache2.pid"},
		{"MailTo::root@example.org::moved", "grep -q 'Subject: moved Takeover in progress' /tmp/mails", "grep -q 'moved Migrating resource away' /tmp/mails"},
		{"IPsrcaddr::10.9.8.9", "ip route show default | grep -q 'src 10.9.8.9'", "! ip route show default | grep -q 'src 10.9.8.9'"},
		// Debian's agent does not find its own rule again: its iptables lists tcp as 6.
		{"portblock::tcp::8080::block", "iptables -nL INPUT | grep -q 'DROP.*8080'", "true"},
		{"IPaddr2::10.9.8.100/24/eth0", "ip -4 addr show eth0 | grep -q 10.9.8.100/24", "! ip -4 addr show eth0 | grep -q 10.9.8.100"},
		{"SendArp::10.9.8.7/eth0", "ls /run/resource-agents/SendArp*", "! ls /run/resource-agents/SendArp* 2>/dev/null"},
		{"OCF::Dummy::one", "test -e /tmp/dummy.state", "! test -e /tmp/dummy.state"},
	} {
		m.write("/etc/ha.d/haresources", "agents "+a.resource+"\n", 0o644)
		const manager = "/usr/share/heartbeat/ResourceManager "
		const given = "export HA_LOGFILE=/tmp/ha-log HA_DEBUGLOG=/tmp/ha-debug HA_CURHOST=agents; "
		script, _, _ := strings.Cut(a.resource, "::")
		m.run("rm -f /tmp/ha-log; " + a.down + " || test " + script + " = MailTo")
		r, err := node.Exec(t.Context(), "/bin/sh", "-c", given+manager+"takegroup '"+a.resource+"' </dev/null && "+a.up+" && "+manager+"status '"+a.resource+"' </dev/null")
		if err != nil || r.Code != 0 {
			t.Errorf("%s does not start: %d %v\n%s%s\n%s", a.resource, r.Code, err, r.Stdout, r.Stderr, m.read("/tmp/ha-log"))
			continue
		}
		r, err = node.Exec(t.Context(), "/bin/sh", "-c", given+manager+"givegroup '"+a.resource+"' </dev/null && "+a.down+" && ! "+manager+"status '"+a.resource+"' </dev/null")
		if err != nil || r.Code != 0 || strings.Contains(m.read("/tmp/ha-log"), "ERROR") {
			t.Errorf("%s does not stop: %d %v\n%s%s\n%s", a.resource, r.Code, err, r.Stdout, r.Stderr, m.read("/tmp/ha-log"))
		}
	}
	// Its status takes half a minute, so it is not asked for that.
	m.run("cd /; /etc/ha.d/resource.d/Delay 0 0 start </dev/null && /etc/ha.d/resource.d/Delay 0 0 stop </dev/null")
}
