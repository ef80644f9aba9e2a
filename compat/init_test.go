package compat

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// rhelFunctions stand for RHEL 6's /etc/init.d/functions: the names that heartbeat's init script takes from there.
const rhelFunctions = `
echo_success() { printf '[  OK  ]\r'; return 0; }
echo_failure() { printf '[FAILED]\r'; return 1; }
success() { echo_success; }
failure() { echo_failure; }
status() { echo "functions: status $*"; return 0; }
`

// rhelHeartbeat calls what RHEL 6's init script of heartbeat calls, in its way: output caught by backquotes, results of
// functions shown in brackets.
const rhelHeartbeat = `#!/bin/sh
HA_DIR=/etc/ha.d; export HA_DIR
HA_RESOURCEDIR=/etc/ha.d/resource.d; export HA_RESOURCEDIR
HEARTBEAT=/usr/lib64/heartbeat/heartbeat
. $HA_DIR/shellfuncs
. /etc/rc.d/init.d/functions
[ -f /etc/sysconfig/heartbeat ] && . /etc/sysconfig/heartbeat
[ -x $HEARTBEAT ] || exit 0
case $1 in
start)
	printf 'Starting High-Availability services: '
	/usr/share/heartbeat/ResourceManager verifyallidle
	mkdir -p /var/run/heartbeat /var/run/resource-agents
	chown hacluster:haclient /var/run/heartbeat; chmod 750 /var/run/heartbeat
	ERROR=` + "`$HEARTBEAT 2>&1`" + `
	RC=$?
	if [ $RC -eq 0 ]; then echo_success; touch /var/lock/subsys/heartbeat; else echo_failure; echo "rc=$RC"; echo "$ERROR"; fi
	echo
	exit $RC ;;
stop)
	printf 'Stopping High-Availability services: '
	$HEARTBEAT -k >/dev/null 2>&1
	RC=$?
	if [ $RC -eq 0 ]; then echo_success; rm -f /var/lock/subsys/heartbeat; else echo_failure; fi
	echo
	exit $RC ;;
status) $HEARTBEAT -s ;;
reload) $HEARTBEAT -r; echo_success ;;
esac
`

// rhelLdirectord does the same for RHEL 6's ldirectord.
const rhelLdirectord = `#!/bin/sh
. /etc/rc.d/init.d/functions
case $1 in
start) printf 'Starting ldirectord... '; /usr/sbin/ldirectord start && success || failure; touch /var/lock/subsys/ldirectord ;;
stop) printf 'Stopping ldirectord... '; /usr/sbin/ldirectord stop && success || failure; rm -f /var/lock/subsys/ldirectord ;;
status) /usr/sbin/ldirectord status ;;
esac
`

// TestInitScripts has our programs started, looked at and stopped by Debian's own init scripts as they are, by ours of
// both layouts, and by scripts that call what RHEL 6's call.
func TestInitScripts(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/etc/init.d/heartbeat", "/etc/init.d/ldirectord")
	n := lab.Net(t)
	rhel := filepath.Join(t.TempDir(), "rhel")
	if out, err := exec.Command(program(t), "install", "--layout", "rhel", "--destdir", rhel).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	debian := installRoot(t)
	bare := installRoot(t) // the programs alone, so that Debian's own scripts show
	if err := exec.Command("rm", "-r", filepath.Join(bare, "etc")).Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		root, scripts string
		extra         map[string]string
		started       string
	}{
		"debian": {root: bare, scripts: "/etc/init.d", started: "Done."},
		"ours":   {root: debian, scripts: "/etc/init.d", started: "Done."},
		"rhel":   {root: rhel, scripts: "/etc/rc.d/init.d", started: "Done."},
		"rhel6": {root: rhel, scripts: "/etc/rc.d/init.d", started: "[  OK  ]", extra: map[string]string{
			"/etc/rc.d/init.d/functions": rhelFunctions, "/etc/rc.d/init.d/heartbeat": rhelHeartbeat, "/etc/rc.d/init.d/ldirectord": rhelLdirectord,
		}},
	} {
		node, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Name: "eth0"}}, Roots: []string{c.root}})
		if err != nil {
			t.Fatal(err)
		}
		m := machine{t, node}
		for path, text := range c.extra {
			m.write(path, text, 0o755)
		}
		m.run("ip addr add 10.9.8.7/24 brd + dev eth0; mkdir -p /etc/ha.d")
		m.write("/etc/ha.d/ha.cf", "logfile /var/log/ha-log\nkeepalive 100ms\ndeadtime 2\ninitdead 3\nbcast eth0\nauto_failback on\nnode "+name+" other\n", 0o644)
		m.write("/etc/ha.d/authkeys", "auth 1\n1 crc\n", 0o600)
		m.write("/etc/ha.d/haresources", name+" 10.9.8.100\n", 0o644)
		for _, path := range []string{"/etc/ldirectord.cf", "/etc/ha.d/ldirectord.cf"} { // Debian's script wants the first
			m.write(path, "checkinterval=1\nvirtual=10.9.8.7:80\n\tservice=none\n", 0o644)
		}
		if out := m.run("export SYSTOLE_IPVS=model; " + c.scripts + "/heartbeat start </dev/null"); !strings.Contains(out, c.started) {
			t.Errorf("%s: start printed %q", name, out)
		}
		if out := m.run(c.scripts + "/heartbeat status"); !strings.HasPrefix(out, "heartbeat OK [pid ") || !strings.Contains(out, "is running on "+name) {
			t.Errorf("%s: status printed %q", name, out)
		}
		m.run("test -e /var/lock/subsys/heartbeat && " + c.scripts + "/heartbeat reload")
		m.run("timeout 20 sh -c 'until grep -q \"Configuration unchanged\" /var/log/ha-log; do sleep 0.05; done'")
		m.run(c.scripts + "/heartbeat stop && ! test -e /var/lock/subsys/heartbeat && ! " + c.scripts + "/heartbeat status")
		m.run("export SYSTOLE_IPVS=model; " + c.scripts + "/ldirectord start && ls /var/run/ldirectord.*.pid && " + c.scripts + "/ldirectord status && " + c.scripts + "/ldirectord stop && ! ls /var/run/ldirectord.*.pid")
		// A configuration that is wrong is a failed start, and says why.
		m.write("/etc/ha.d/authkeys", "auth 2\n1 crc\n", 0o600)
		if out := m.run(c.scripts + "/heartbeat start </dev/null 2>&1; test $? = 6"); !strings.Contains(out, "authkeys") {
			t.Errorf("%s: a start with a bad file printed %q", name, out)
		}
	}
}
