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
	ctx, cancel := context.WithTimeout(m.Context(), 3*time.Minute)
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
	if out := m.run(rpm + "-U " + m.have(file) + " 2>&1"); strings.Contains(out, "warning") {
		t.Error(out)
	}
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
`
