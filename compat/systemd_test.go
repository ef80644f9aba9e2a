package compat

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// unit is a machine with systemd.
type unit struct {
	machine
	systemd *lab.Systemd
}

// is waits until a unit is in a state, such as "active".
func (u unit) is(name, state string) {
	u.Helper()
	waitFor(u.T, limit, name+" is "+state, func() bool {
		r, err := u.systemd.Exec(u.Context(), "systemctl", "is-active", name)
		return err == nil && strings.TrimSpace(r.Stdout) == state
	})
}

func (u unit) pid(name string) int {
	u.Helper()
	pid, err := u.systemd.MainPID(u.Context(), name)
	if err != nil {
		u.Fatal(err)
	}
	return pid
}

// again waits until another process is the unit's.
func (u unit) again(name string, than int) {
	u.Helper()
	waitFor(u.T, limit, name+" is restarted", func() bool {
		pid := u.pid(name)
		return pid != 0 && pid != than
	})
	u.is(name, "active")
}

func (u unit) log(text string) {
	u.Helper()
	waitFor(u.T, limit, "ha-log has "+text, func() bool { return strings.Contains(u.read("/var/log/ha-log"), text) })
}

// adminsScript does what administrators' resource scripts do: it writes all over the place, mounts, sets sysctls.
const adminsScript = `#!/bin/sh
case $1 in
start)
	for f in /etc/own.state /usr/local/own.state /root/own.state /home/own.state /var/log/own.state /var/tmp/own.state /run/own.state; do
		echo started >$f || echo "cannot write $f" >>/tmp/own.errors
	done
	mkdir -p /run/own.mount && mount -t tmpfs own /run/own.mount && echo here >/run/own.mount/file || echo "cannot mount" >>/tmp/own.errors
	echo 1 >/proc/sys/net/ipv4/ip_forward || echo "cannot set sysctls" >>/tmp/own.errors
	chrt -f 10 true || echo "no realtime" >>/tmp/own.errors
	su -s /bin/sh -c true nobody || echo "no su" >>/tmp/own.errors
	(setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >/run/own.pid)
	;;
stop)
	umount /run/own.mount
	kill $(cat /run/own.pid)
	rm -f /etc/own.state /run/own.pid
	;;
status) [ -e /etc/own.state ] && echo running || echo stopped ;;
esac
`

// TestSystemd has systemd itself run our units, from our package: heartbeat with resources, a watchdog, a crash; then
// ldirectord alone.
func TestSystemd(t *testing.T) {
	lab.NeedSystemd(t)
	t.Parallel()
	_, node := bareMachine(t, "ha-master")
	s := lab.Boot(t, node)
	u := unit{machine{t, s}, s}
	u.write("/etc/ha.d/haresources", "ha-master 10.9.8.100 ldirectord own\n", 0o644)
	u.write("/etc/ha.d/ldirectord.cf", "checkinterval=1\nvirtual=10.9.8.100:80\n\treal=10.9.8.7:80 masq\n\tservice=none\n\tchecktype=on\n\tprotocol=tcp\n", 0o644)
	u.write("/etc/ha.d/resource.d/own", adminsScript, 0o755)
	u.write("/etc/default/heartbeat", "SYSTOLE_IPVS=userspace\n", 0o644)
	u.write("/etc/systemd/system/heartbeat.service.d/fast.conf", "[Service]\nWatchdogSec=2\nRestartSec=100ms\n", 0o644)
	held := func() bool { return strings.Contains(u.run("ip addr show dev eth0"), "10.9.8.100/24") }
	began := time.Now()

	// The package starts what is configured, and that is up when the start returns.
	out := u.run("dpkg --force-confold -i " + u.have(filepath.Join(packages(t), "systole_0.1.0_amd64.deb")) + " 2>&1 && systemctl is-active heartbeat && systemctl is-enabled heartbeat")
	if !strings.HasSuffix(out, "active\nenabled\n") {
		t.Fatal(out)
	}
	u.run("/usr/libexec/heartbeat/heartbeat -s && /etc/init.d/heartbeat status && ! systemctl is-active ldirectord")
	waitFor(t, limit, "the address", held)
	waitFor(t, limit, "the last resource", func() bool { return u.read("/run/own.pid") != "" })
	u.run("test ! -e /tmp/own.errors || { cat /tmp/own.errors >&2; false; }; grep -q own.mount /proc/1/mounts && SYSTOLE_IPVS=userspace systole ipvsadm -Ln | grep -q '10.9.8.7:80 *Masq'")
	if got := u.run("systemd-analyze --man=no verify heartbeat.service ldirectord.service systole-realserver.service 2>&1 | grep -E '(heartbeat|ldirectord|realserver)[.]service' || :"); got != "" {
		t.Errorf("systemd-analyze verify: %s", got)
	}

	u.run("touch /etc/ha.d/haresources && systemctl reload heartbeat")
	u.log("Configuration unchanged")
	first := u.pid("heartbeat")

	// A daemon that hangs is ended and started again; what it left is taken up.
	u.run("kill -STOP " + strconv.Itoa(first))
	u.again("heartbeat", first)
	waitFor(t, limit, "the address", held)
	u.run("journalctl -u heartbeat | grep 'Watchdog timeout'")
	// So is one that is killed.
	second := u.pid("heartbeat")
	u.run("kill -KILL " + strconv.Itoa(second))
	u.again("heartbeat", second)
	waitFor(t, limit, "the address, again", held)
	waitFor(t, limit, "the group is whole", func() bool {
		r, err := s.Exec(t.Context(), "cl_status", "rscstatus")
		return err == nil && strings.TrimSpace(r.Stdout) == "all"
	})

	// A stop gives the resources up, whichever way it is asked for, and is no failure.
	u.run("systemctl stop heartbeat && ! ip addr show dev eth0 | grep 10.9.8.100 && ! test -e /etc/own.state && ! systemctl is-failed heartbeat")
	u.run("systemctl start heartbeat && systemctl is-active heartbeat")
	waitFor(t, limit, "the address, after a start", held)
	u.run("/usr/libexec/heartbeat/heartbeat -k")
	u.is("heartbeat", "inactive")
	if held() {
		t.Error("heartbeat -k left the address")
	}
	// A configuration that is wrong is a failed start.
	u.write("/etc/ha.d/authkeys", "auth 2\n1 crc\n", 0o600)
	u.run("! systemctl start heartbeat && systemctl reset-failed heartbeat")
	t.Logf("heartbeat.service: %.1f s", time.Since(began).Seconds())

	u.ldirectord()
	u.realserver()
	for _, name := range []string{"heartbeat", "ldirectord", "systole-realserver"} {
		out := u.run("systemd-analyze security --no-pager " + name + ".service")
		t.Log(regexp.MustCompile(`Overall.*`).FindString(out))
	}
	u.run("dpkg --purge systole && ! systemctl cat heartbeat.service 2>/dev/null")
}

func (u unit) ldirectord() {
	u.Helper()
	u.write("/etc/default/ldirectord", "SYSTOLE_IPVS=userspace\n", 0o644)
	u.write("/usr/local/bin/checker", "#!/bin/sh\nfor f in /etc/checked /root/checked /var/log/checked /proc/sys/net/ipv4/ip_forward; do echo 1 >$f || exit 1; done\n", 0o755)
	conf := "checkinterval=1\nlogfile=\"/var/log/ldirectord.log\"\nvirtual=10.9.8.7:80\n\treal=10.9.8.7:81 masq\n\tservice=none\n\tchecktype=external\n\tcheckcommand=/usr/local/bin/checker\n\tprotocol=tcp\n"
	u.write("/etc/ha.d/ldirectord.cf", conf, 0o644)
	u.run("systemctl start ldirectord && systemctl is-active ldirectord && ldirectord status && SYSTOLE_IPVS=userspace systole ipvsadm -Ln | grep -q 10.9.8.7:80")
	real := func(what string) {
		u.Helper()
		waitFor(u.T, limit, "real server "+what, func() bool { return strings.Contains(u.run("SYSTOLE_IPVS=userspace systole ipvsadm -Ln"), what) })
	}
	real("10.9.8.7:81")
	u.write("/etc/ha.d/ldirectord.cf", conf+"\treal=10.9.8.7:82 masq\n", 0o644)
	u.run("systemctl reload ldirectord")
	real("10.9.8.7:82")
	u.run("ldirectord drain 10.9.8.7:82 && ldirectord undrain 10.9.8.7:82 && grep -q 'Added real server' /var/log/ldirectord.log")
	pid := u.pid("ldirectord")
	u.write("/etc/systemd/system/ldirectord.service.d/fast.conf", "[Service]\nRestartSec=100ms\n", 0o644)
	u.run("systemctl daemon-reload && kill -KILL " + strconv.Itoa(pid))
	u.again("ldirectord", pid)
	real("10.9.8.7:82")
	u.run("systemctl stop ldirectord && ! systemctl is-failed ldirectord && ! ls /run/ldirectord*.pid")
	u.write("/etc/ha.d/ldirectord.cf", conf+"\tnonsense=1\n", 0o644)
	u.run("! systemctl start ldirectord && systemctl reset-failed ldirectord")
	// A file that the administrator names is that file or none.
	u.write("/etc/ha.d/ldirectord.cf", conf, 0o644)
	u.write("/etc/default/ldirectord", "SYSTOLE_IPVS=userspace\nCONFIG_FILE=own.cf\n", 0o644)
	u.run("systemctl start ldirectord && ! systemctl is-active ldirectord && ! systemctl is-failed ldirectord && ! ls /run/ldirectord*.pid && journalctl -u ldirectord | grep 'no configuration file own.cf, doing nothing'")
	u.write("/etc/ha.d/own.cf", conf, 0o644)
	u.run("systemctl start ldirectord && systemctl is-active ldirectord && ldirectord own.cf status && systemctl stop ldirectord && rm /etc/ha.d/own.cf /etc/default/ldirectord")
}

// realserver has the unit of a real server set up lo under its restrictions, and put everything back.
func (u unit) realserver() {
	u.Helper()
	const all = "ip -o addr show dev lo; grep . /proc/sys/net/ipv4/conf/*/arp_*"
	before := u.run(all)
	u.run("systemctl start systole-realserver && ! systemctl is-active systole-realserver") // nothing is configured
	u.write("/etc/ha.d/realserver.cf", "VIP=10.9.8.101\nfd00::101\n", 0o644)
	has := func(addrs ...string) {
		u.Helper()
		have := u.run("systemctl is-active systole-realserver && systole realserver status && ip -o addr show dev lo && cat /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/lo/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce /proc/sys/net/ipv4/conf/lo/arp_announce")
		for _, want := range append(addrs, "1\n1\n2\n2\n") {
			if !strings.Contains(have, want) {
				u.Errorf("%s is missing:\n%s", want, have)
			}
		}
	}
	u.run("systemctl start systole-realserver")
	has("10.9.8.101/32", "fd00::101/128")
	u.write("/etc/ha.d/realserver.cf", "VIP=10.9.8.102\nfd00::101\n", 0o644)
	u.run("systemctl reload systole-realserver")
	has("10.9.8.102/32", "fd00::101/128")
	if have := u.run("ip -o addr show dev lo"); strings.Contains(have, "10.9.8.101") {
		u.Errorf("the reload has left the old address:\n%s", have)
	}
	u.run("systemctl stop systole-realserver && ! systemctl is-failed systole-realserver && ! test -e /run/systole-realserver")
	if after := u.run(all); after != before {
		u.Errorf("after the stop\n%s\nbefore the start\n%s", after, before)
	}
}

// TestVMSystemd has ldirectord's unit, with its restrictions, fill the kernel's own table. (heartbeat's has none that
// would matter to it.)
func TestVMSystemd(t *testing.T) {
	lab.NeedSystemd(t)
	if !lab.InVM(t, lab.WithSystole(t)) {
		return
	}
	node, err := lab.Net(t).AddNode(lab.NodeSpec{Name: "ha-master", Links: []lab.Link{{Name: "eth0"}}, Roots: []string{installRoot(t)}})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t, node}
	m.run("rm -rf /etc/systemd/system/*.wants/* /etc/default/ldirectord; ip addr add 10.9.8.7/24 brd + dev eth0")
	began := time.Now()
	s := lab.Boot(t, node)
	t.Logf("systemd is up after %.1f s", time.Since(began).Seconds())
	u := unit{machine{t, s}, s}
	u.write("/etc/ha.d/ldirectord.cf", "checkinterval=1\nvirtual=10.9.8.100:80\n\treal=10.9.8.7:80 gate\n\tservice=none\n\tchecktype=on\n\tprotocol=tcp\n", 0o644)
	u.run("systemctl start ldirectord && ldirectord status")
	waitFor(t, limit, "the real server", func() bool { return strings.Contains(u.run("ipvsadm -Ln"), "10.9.8.7:80                  Route") })
	u.run("systemctl stop ldirectord && ! ipvsadm -Ln | grep 10.9.8.100")
}
