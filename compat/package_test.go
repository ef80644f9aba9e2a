package compat

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// buildPackages builds the packages once for all tests of a run; the directory has dist/.
var buildPackages = sync.OnceValues(func() (dir string, err error) {
	cmd := exec.Command("../scripts/package", "0.1.0")
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &buildError{string(out), err}
	}
	return filepath.Abs("../dist")
})

func packages(t *testing.T) string {
	t.Helper()
	dist, err := buildPackages()
	if err != nil {
		t.Fatal(err)
	}
	return dist
}

// machine is a node on which packages are installed: nothing that is done on it reaches this machine.
type machine struct {
	*testing.T
	node interface {
		Exec(ctx context.Context, name string, arg ...string) (lab.Result, error)
		ReadFile(path string) ([]byte, error)
		WriteFile(path string, data []byte, mode os.FileMode) error
	}
}

// shelter keeps what package tools write outside of a node's own directories from this machine.
func (m machine) shelter() {
	m.Helper()
	m.run("mkdir -p /tmp/cache/up /tmp/cache/work && mount -t overlay cache -o lowerdir=/var/cache,upperdir=/tmp/cache/up,workdir=/tmp/cache/work /var/cache")
	m.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755)
}

// have copies a file of this machine's to where the node sees it, which has a /tmp of its own, and returns the place.
func (m machine) have(file string) string {
	m.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		m.Fatal(err)
	}
	path := "/tmp/" + filepath.Base(file)
	m.write(path, string(text), 0o644)
	return path
}

func (m machine) write(path, text string, mode os.FileMode) {
	m.Helper()
	if err := m.node.WriteFile(path, []byte(text), mode); err != nil {
		m.Fatal(err)
	}
}

func (m machine) read(path string) string {
	b, err := m.node.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// run runs a shell command that has to succeed and returns what it printed.
func (m machine) run(command string) string {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), lab.Patient(3*time.Minute))
	defer cancel()
	r, err := m.node.Exec(ctx, "/bin/sh", "-c", "export DEBIAN_FRONTEND=noninteractive; "+command)
	if err != nil || r.Code != 0 {
		m.Fatalf("%s: exit status %d, %v\n%s%s", command, r.Code, err, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// TestPackageClean installs, upgrades, removes and purges the .deb where the originals are not.
func TestPackageClean(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "dpkg", "lintian")
	dist := packages(t)
	deb := filepath.Join(dist, "systole_0.1.0_amd64.deb")
	if out, err := exec.Command("lintian", "--fail-on", "warning", deb, filepath.Join(dist, "systole-ipvsadm_0.1.0_amd64.deb")).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
	node, err := lab.Net(t).AddNode(lab.NodeSpec{Name: "clean"})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t, node}
	m.shelter()
	m.run("dpkg --purge --force-depends heartbeat ldirectord ipvsadm && rm -rf /etc/ha.d /var/lib/heartbeat && ! test -e /usr/libexec/heartbeat/heartbeat")
	m.run("dpkg -i " + m.have(deb))
	if size := m.run("du -sk --apparent-size $(dpkg -L systole | while read -r f; do [ -d \"$f\" ] || echo \"$f\"; done) | awk '{n += $1} END {print int(n / 1024)}'"); strings.TrimSpace(size) > "25" || len(strings.TrimSpace(size)) > 2 {
		t.Errorf("installed size %s MB", size)
	} else {
		t.Logf("installed: %s MB", strings.TrimSpace(size))
	}
	if v := m.run("/usr/libexec/heartbeat/heartbeat -V"); !strings.HasPrefix(v, "3.0.6") {
		t.Errorf("heartbeat -V: %s", v)
	}
	m.run("ls /etc/rc2.d/S*heartbeat && ! ls /etc/rc2.d/S*ldirectord 2>/dev/null")
	if out := m.run("for f in $(dpkg -L systole | grep '/man/man[158]/.*gz$'); do MANWIDTH=80 man --warnings -E UTF-8 -l $f 2>&1 >/dev/null; done"); out != "" {
		t.Errorf("man has something to say: %s", out)
	}
	m.run("man -M /usr/share/man hb_takeover | grep -q hb_standby")
	// ipvsadm is a package of its own, in the place of the other's.
	m.run("! test -e /usr/sbin/ipvsadm && dpkg -i " + m.have(filepath.Join(dist, "systole-ipvsadm_0.1.0_amd64.deb")) + " && SYSTOLE_IPVS=model ipvsadm -Ln | grep -q 'IP Virtual Server'")
	// What the administrator changed stays, over an upgrade and a removal.
	m.write("/etc/ha.d/haresources", "mine 192.0.2.1\n", 0o644)
	m.write("/etc/ha.d/resource.d/Delay", "#!/bin/sh\n# my own\n", 0o755)
	m.run("dpkg --remove systole-ipvsadm && dpkg -i " + m.have(deb))
	m.run("dpkg --remove systole && ! test -e /usr/sbin/systole && grep -q own /etc/ha.d/resource.d/Delay")
	m.run("dpkg --purge systole && ! test -e /etc/ha.d/harc && ! test -e /etc/init.d/heartbeat && test -z \"$(find /etc/rc?.d -name '*heartbeat')\"")
	if m.read("/etc/ha.d/haresources") != "mine 192.0.2.1\n" {
		t.Error("haresources went with the package")
	}
}

// TestPackageOverOriginals replaces the original's packages on both nodes of a running pair, with dpkg alone.
func TestPackageOverOriginals(t *testing.T) {
	t.Parallel()
	dist := packages(t)
	h := tutorial(t, lab.HostsOptions{
		Master: lab.Original, Slave: lab.Original, Env: []string{"SYSTOLE_NO_REBOOT=1"}, Userspace: true, Log: func(string, ...any) {},
		MasterConfig: map[string]string{"/etc/ha.d/ha.cf": fastTimers.Replace(lab.TutorialConfig(true)["/etc/ha.d/ha.cf"])},
		SlaveConfig:  map[string]string{"/etc/ha.d/ha.cf": fastTimers.Replace(lab.TutorialConfig(false)["/etc/ha.d/ha.cf"])},
		Config:       map[string]string{"/etc/ha.d/haresources": "ha-master 172.16.60.111\n"},
	})
	slave, master := machine{t, h.Slave}, machine{t, h.Master}
	slave.shelter()
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if r, err := d.Start(t.Context()); err != nil || r.Code != 0 {
			t.Fatalf("%+v %v", r, err)
		}
	}
	waitFor(t, limit, "ha-master has the address", h.Master.HoldsVIP)
	stable := func() bool {
		r, err := h.Master.Exec(t.Context(), "cl_status", "rscstatus")
		return err == nil && strings.TrimSpace(r.Stdout) == "local"
	}
	waitFor(t, limit, "ha-master is stable", stable)
	files := "/etc/ha.d/ha.cf /etc/ha.d/authkeys /etc/ha.d/haresources /etc/ha.d/ldirectord.cf /var/lib/heartbeat/hb_uuid /etc/ha.d/resource.d/Delay"
	slave.write("/etc/ha.d/resource.d/Delay", "#!/bin/sh\n# my own\n", 0o755)
	before := slave.run("sha256sum " + files)
	out := slave.run("dpkg --force-confold -i " + slave.have(filepath.Join(dist, "systole_0.1.0_amd64.deb")) + " </dev/null")
	if after := slave.run("sha256sum " + files); after != before {
		t.Errorf("files changed:\n%s\n%s", before, after)
	}
	if got := slave.run("readlink -f /proc/$(tr -d ' ' </run/heartbeat.pid)/exe"); strings.TrimSpace(got) != "/usr/sbin/systole" {
		t.Fatalf("the process is %s\n%s", got, out)
	}
	if !h.Master.HoldsVIP() || h.Slave.HoldsVIP() {
		t.Error("replacing the standby moved the address")
	}
	waitFor(t, limit, "the pair is whole again", stable)
	// Now the new one holds it; an upgrade under the holder leaves it alone.
	master.run("/etc/init.d/heartbeat stop")
	waitFor(t, limit, "ha-slave has the address", h.Slave.HoldsVIP)
	pid := slave.read("/run/heartbeat.pid")
	slave.run("dpkg -i " + slave.have(filepath.Join(dist, "systole_0.1.0_amd64.deb")))
	if got := slave.read("/run/heartbeat.pid"); got != pid || !h.Slave.HoldsVIP() {
		t.Errorf("an upgrade restarted heartbeat: %q, %q, address held: %v", pid, got, h.Slave.HoldsVIP())
	}
	slave.run("/usr/libexec/heartbeat/heartbeat -s")
	// And a removal gives it up, and leaves the originals' way open.
	slave.run("dpkg --remove systole")
	if h.Slave.HoldsVIP() {
		t.Error("a removal left the address")
	}
	if after := slave.run("sha256sum /etc/ha.d/ha.cf /etc/ha.d/authkeys"); !strings.HasPrefix(before, after) {
		t.Errorf("files changed:\n%s\n%s", before, after)
	}
}

// TestPackagePurge replaces the originals and purges what is left of their packages, whose scripts know nothing of ours:
// the administrator's files, and what starts at boot, are as before.
func TestPackagePurge(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "dpkg", "systemctl")
	deb := filepath.Join(packages(t), "systole_0.1.0_amd64.deb")
	node, err := lab.Net(t).AddNode(lab.NodeSpec{Name: "purge"})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t, node}
	m.shelter()
	m.run("mkdir /tmp/systemd && mount --bind /tmp/systemd /var/lib/systemd; update-rc.d heartbeat defaults; update-rc.d heartbeat enable; update-rc.d ldirectord disable; systemctl -q enable heartbeat; systemctl -q disable ldirectord")
	m.write("/etc/ha.d/ldirectord.cf", "# mine\n", 0o644) // a file of Debian's package
	m.write("/etc/ha.d/resource.d/Delay", "#!/bin/sh\n# mine\n", 0o755)
	boot := "cd /etc; systemctl is-enabled heartbeat ldirectord || :; ls rc?.d/*heartbeat rc?.d/*ldirectord"
	before := m.run(boot)
	m.run("dpkg --force-confold -i " + m.have(deb) + " </dev/null")
	if after := m.run(boot); after != before {
		t.Errorf("what starts at boot was\n%sand is\n%s", before, after)
	}
	// Their names for the units are others, of the same files.
	m.run("test -e /usr/lib/systemd/system/heartbeat.service && test -e /usr/lib/systemd/system/ldirectord.service && test -x /etc/init.d/ldirectord")
	// One entry for a log file, or logrotate stops at the second.
	if out := m.run("logrotate -d /etc/logrotate.d/heartbeat /etc/logrotate.d/ldirectord 2>&1"); strings.Contains(out, "error") {
		t.Error(out)
	}
	const list = "find /etc /usr/lib/systemd /usr/lib/tmpfiles.d /var/lib/heartbeat ! -type d -printf '%p %l %m %s\n' | grep -v logcheck | sort"
	files := m.run(list)
	m.run("dpkg --purge heartbeat ldirectord && getent passwd hacluster && dpkg -V systole")
	m.run("update-rc.d ldirectord defaults-disabled") // the purge takes its links; where there is systemd they count for nothing
	if after := m.run(list); after != files {
		t.Errorf("before the purge\n%sand after\n%s", files, after)
	}
	if after := m.run(boot); after != before {
		t.Errorf("what starts at boot was\n%sand is, after the purge,\n%s", before, after)
	}
	m.run("grep -q mine /etc/ha.d/ldirectord.cf && dpkg --purge systole && grep -q mine /etc/ha.d/ldirectord.cf && ! dpkg-divert --list | grep systole")
}

// TestPackageRPM installs, upgrades and removes the .rpm, with its scripts, in a file tree of its own.
func TestPackageRPM(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "rpm")
	file := filepath.Join(packages(t), "systole-0.1.0-1.x86_64.rpm")
	list, err := exec.Command("rpm", "-qpl", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/usr/lib64/heartbeat/heartbeat", "/usr/libexec/heartbeat/ipfail", "/etc/rc.d/init.d/heartbeat", "/etc/sysconfig/heartbeat", "/etc/ha.d/resource.d/OCF", "/usr/sbin/ldirectord"} {
		if !strings.Contains(string(list), want+"\n") {
			t.Errorf("no %s in the payload", want)
		}
	}
	node, err := lab.Net(t).AddNode(lab.NodeSpec{Name: "rhel"})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t, node}
	m.shelter()
	m.run("dpkg --purge --force-depends heartbeat ldirectord && rm -rf /etc/ha.d && deluser --quiet hacluster && (delgroup --quiet haclient || :)")
	const rpm = "rpm --dbpath /tmp/rpmdb --nodeps --force-debian "
	// Red Hat's way of things that start at boot, and a heartbeat package whose scripts do what such packages' do: an
	// erasure, also one in favour of ours, stops the service and takes it away.
	m.write("/usr/sbin/chkconfig", rhelChkconfig, 0o755)
	m.write("/tmp/old.spec", rhelSpec, 0o644)
	m.run("mkdir -p /etc/rc.d/rc3.d /etc/rc.d/init.d && rpmbuild -bb --define '_topdir /tmp/rpmbuild' --define '_rpmdir /tmp' /tmp/old.spec >/tmp/rpmbuild.log 2>&1 || { cat /tmp/rpmbuild.log >&2; false; }")
	m.run(rpm + "-i /tmp/noarch/heartbeat-3.0.4-1.noarch.rpm && test -L /etc/rc.d/rc3.d/S75heartbeat && /etc/rc.d/init.d/heartbeat start")
	m.run("chkconfig heartbeat off && touch /tmp/old.runs")
	// An ldirectord runs with a file of its own, which only the administrator's file names.
	m.write("/etc/sysconfig/ldirectord", "CONFIG_FILE=own.cf\nSYSTOLE_IPVS=model\n", 0o644)
	m.write("/etc/ha.d/own.cf", "virtual=10.9.8.7:80\n\tservice=none\n", 0o644)
	m.run("touch /tmp/ldirectord.runs && ! /usr/sbin/ldirectord status && /usr/sbin/ldirectord own.cf status")
	const kept = "warning: /etc/sysconfig/ldirectord created as /etc/sysconfig/ldirectord.rpmnew\n"
	if out := m.run(rpm + "-U " + m.have(file) + " 2>&1"); strings.Contains(strings.ReplaceAll(out, kept, ""), "warning") {
		t.Error(out)
	}
	m.run("! test -e /tmp/ldirectord.runs && /usr/sbin/ldirectord own.cf status && ls /var/run/ldirectord.own.cf.pid")
	// It ran and did not start at boot: so it is now. (There is no ha.cf: ours says so.)
	m.run("! " + rpm + "-q heartbeat && test -L /etc/rc.d/rc3.d/K25heartbeat && ! test -e /tmp/old.runs && ! test -e /var/lib/systole && grep -q systole /etc/rc.d/init.d/heartbeat")
	m.run(rpm + "-e systole && ! test -e /usr/sbin/systole && ! ls /etc/rc.d/rc3.d/*heartbeat 2>/dev/null && rm -rf /etc/ha.d /etc/rc.d")
	m.run(rpm + "-i " + m.have(file))
	m.run("getent passwd hacluster && getent group haclient && test -d /var/run/heartbeat && /usr/lib64/heartbeat/heartbeat -V")
	m.write("/etc/ha.d/resource.d/Delay", "#!/bin/sh\n# my own\n", 0o755)
	m.run(rpm + "-U --replacepkgs " + m.have(file) + " && grep -q own /etc/ha.d/resource.d/Delay")
	m.run(rpm + "-e systole && ! test -e /usr/sbin/systole && grep -q own /etc/ha.d/resource.d/Delay.rpmsave")
}

// rhelChkconfig stands for chkconfig: it keeps the links of run level 3.
const rhelChkconfig = `#!/bin/sh
cd /etc/rc.d/rc3.d || exit
case $1$2 in
--add*) ls ???$2 >/dev/null 2>&1 || ln -s ../init.d/$2 S75$2 ;;
--del*) rm -f ???$2 ;;
*on) rm -f ???$1; ln -s ../init.d/$1 S75$1 ;;
*off) rm -f ???$1; ln -s ../init.d/$1 K25$1 ;;
esac
`

// rhelSpec is of a package with heartbeat's name and places, and scripts as such packages have them.
const rhelSpec = `Name: heartbeat
Version: 3.0.4
Release: 1
Summary: stands for heartbeat
License: none
BuildArch: noarch
AutoReqProv: no
%description
It stands for heartbeat.
%install
mkdir -p %{buildroot}/usr/lib64/heartbeat %{buildroot}/etc/rc.d/init.d %{buildroot}/etc/ha.d/resource.d
for f in usr/lib64/heartbeat/heartbeat etc/rc.d/init.d/heartbeat; do
	printf '#!/bin/sh\ncase $1 in start) : >/tmp/old.runs;; -k|stop) rm -f /tmp/old.runs;; -s) test -e /tmp/old.runs;; esac\n' >%{buildroot}/$f
	chmod 755 %{buildroot}/$f
done
cat >%{buildroot}/etc/rc.d/init.d/ldirectord <<'end'
#!/bin/sh
/usr/sbin/ldirectord $1
end
mkdir -p %{buildroot}/usr/sbin
cat >%{buildroot}/usr/sbin/ldirectord <<'end'
#!/bin/sh
case $* in "own.cf status") test -e /tmp/ldirectord.runs;; "own.cf stop") rm /tmp/ldirectord.runs;; *) exit 3;; esac
end
chmod 755 %{buildroot}/etc/rc.d/init.d/ldirectord %{buildroot}/usr/sbin/ldirectord
%post
/sbin/chkconfig --add heartbeat
%preun
if [ $1 = 0 ]; then
	/etc/rc.d/init.d/heartbeat stop
	/sbin/chkconfig --del heartbeat
fi
%files
/usr/lib64/heartbeat/heartbeat
/etc/rc.d/init.d/heartbeat
/etc/rc.d/init.d/ldirectord
/usr/sbin/ldirectord
`

// bareMachine is a machine without the originals, with the address 10.9.8.7, that is configured as one of a
// pair: all but the resources.
func bareMachine(t *testing.T, name string) (machine, *lab.Node) {
	node, err := lab.Net(t).AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Name: "eth0"}}})
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t, node}
	m.shelter()
	m.run("dpkg --purge --force-depends heartbeat ldirectord ipvsadm && rm -rf /etc/ha.d /var/lib/heartbeat && ip addr add 10.9.8.7/24 brd + dev eth0")
	m.write("/etc/ha.d/ha.cf", "logfile /var/log/ha-log\nkeepalive 100ms\ndeadtime 2\ninitdead 3\nbcast eth0\nauto_failback on\nnode "+name+" other\n", 0o644)
	m.write("/etc/ha.d/authkeys", "auth 1\n1 crc\n", 0o600)
	return m, node
}

// TestPackageAgain replaces an original, goes back to it and replaces it again; then has the unpacking fail. The original is a
// stand-in, in a package of heartbeat's name and places.
func TestPackageAgain(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "dpkg-deb", "update-rc.d", "ip")
	deb := filepath.Join(packages(t), "systole_0.1.0_amd64.deb")
	m, _ := bareMachine(t, "again")
	m.write("/etc/ha.d/haresources", "again 10.9.8.100\n", 0o644)
	m.write("/tmp/old/DEBIAN/control", "Package: heartbeat\nVersion: 1:3.0.4-1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: stands for heartbeat\n", 0o644)
	m.write("/tmp/old/DEBIAN/conffiles", "/etc/init.d/heartbeat\n", 0o644)
	m.write("/tmp/old/usr/libexec/heartbeat/heartbeat", "#!/bin/sh\ncase $1 in -s) test -e /tmp/old.runs ;; -k) rm -f /tmp/old.runs ;; '') : >/tmp/old.runs ;; esac\n", 0o755)
	m.write("/tmp/old/etc/init.d/heartbeat", debianInit, 0o755)
	m.write("/tmp/other/DEBIAN/control", "Package: other\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: has a file of ours\n", 0o644)
	m.write("/tmp/other/usr/sbin/systole", "", 0o755)
	m.run("dpkg-deb -b /tmp/old /tmp/old.deb && dpkg-deb -b /tmp/other /tmp/other.deb")
	const original = "dpkg --force-confnew -i /tmp/old.deb && update-rc.d heartbeat defaults && /etc/init.d/heartbeat start && test -e /tmp/old.runs"
	install := "dpkg --force-confold -i " + m.have(deb) + " </dev/null"
	for range 2 {
		m.run(original)
		m.run(install + " && ! test -e /tmp/old.runs && ! test -e /var/lib/systole/replaced && ls /etc/rc2.d/S??heartbeat && /etc/init.d/heartbeat status")
		if got := m.run("readlink -f /proc/$(tr -d ' ' </run/heartbeat.pid)/exe"); strings.TrimSpace(got) != "/usr/sbin/systole" {
			t.Errorf("the process is %s", got)
		}
		m.run("dpkg --remove systole && ! ip addr show dev eth0 | grep 10.9.8.100")
	}
	// A choice of the administrator's outlives a removal.
	m.run(install + " && update-rc.d heartbeat disable && update-rc.d systole-realserver enable && dpkg --remove systole && " + install + " && ls /etc/rc2.d/K??heartbeat /etc/rc2.d/S??systole-realserver && dpkg --remove systole")
	// Another package has one of our files: the original is as it was.
	m.run(original + " && dpkg -i /tmp/other.deb && ! " + install)
	m.run("test -e /tmp/old.runs && ! test -e /var/lib/systole && ! dpkg-divert --list | grep systole")
	if got := m.run("dpkg-query -W -f '${Status}' heartbeat"); got != "install ok installed" {
		t.Errorf("heartbeat's package is %q", got)
	}
}

// TestPackageUnderSystemd replaces an original that systemd runs. Its package stops it, as Debian's does, before our package's
// first script is called; it is ours that runs afterwards, and only what ran.
func TestPackageUnderSystemd(t *testing.T) {
	lab.NeedSystemd(t)
	t.Parallel()
	lab.NeedPrograms(t, "dpkg-deb", "ip")
	m, node := bareMachine(t, "again")
	m.write("/etc/ha.d/haresources", "again 10.9.8.100\n", 0o644)
	s := lab.Boot(t, node)
	u := unit{machine{t, s}, s}
	u.write("/tmp/old/DEBIAN/control", "Package: heartbeat\nVersion: 1:3.0.4-1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: stands for heartbeat\n", 0o644)
	u.write("/tmp/old/DEBIAN/prerm", "#!/bin/sh\n[ $1 != remove ] || systemctl stop heartbeat ldirectord\n", 0o755)
	for _, name := range []string{"heartbeat", "ldirectord"} {
		u.write("/tmp/old/lib/systemd/system/"+name+".service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n", 0o644)
		u.write("/tmp/old/etc/init.d/"+name, debianInit, 0o755)
	}
	u.write("/tmp/old/usr/libexec/heartbeat/heartbeat", "#!/bin/sh\n[ $1 != -s ] || systemctl -q is-active heartbeat\n", 0o755)
	u.write("/tmp/old/usr/sbin/ldirectord", "#!/bin/sh\nsystemctl -q is-active ldirectord\n", 0o755)
	u.run("dpkg-deb -b /tmp/old /tmp/old.deb && dpkg -i /tmp/old.deb && systemctl daemon-reload && systemctl -q enable --now heartbeat && systemctl is-active heartbeat")
	out := u.run("dpkg --force-confold -i " + u.have(filepath.Join(packages(t), "systole_0.1.0_amd64.deb")) + " </dev/null 2>&1")
	if got := u.run("systemctl is-active heartbeat; systemctl is-enabled heartbeat; readlink /proc/$(systemctl show -P MainPID heartbeat)/exe; ! systemctl is-active ldirectord"); got != "active\nenabled\n/usr/sbin/systole\ninactive\n" {
		t.Errorf("%s\n%s", got, out)
	}
	u.run("systemctl stop heartbeat")
}

// debianInit makes the calls of an init script of heartbeat's.
const debianInit = `#!/bin/sh
### BEGIN INIT INFO
# Provides: heartbeat
# Required-Start: $remote_fs
# Required-Stop: $remote_fs
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
heartbeat=/usr/libexec/heartbeat/heartbeat
case $1 in start) $heartbeat ;; stop) $heartbeat -k ;; status) $heartbeat -s ;; esac
`
