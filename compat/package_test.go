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
	m.run("dpkg -i " + deb)
	if size := m.run("du -sk --apparent-size $(dpkg -L systole | while read -r f; do [ -d \"$f\" ] || echo \"$f\"; done) | awk '{n += $1} END {print int(n / 1024)}'"); strings.TrimSpace(size) > "25" || len(strings.TrimSpace(size)) > 2 {
		t.Errorf("installed size %s MB", size)
	} else {
		t.Logf("installed: %s MB", strings.TrimSpace(size))
	}
	if v := m.run("/usr/libexec/heartbeat/heartbeat -V"); !strings.HasPrefix(v, "3.0.6") {
		t.Errorf("heartbeat -V: %s", v)
	}
	m.run("ls /etc/rc2.d/S*heartbeat && ! ls /etc/rc2.d/S*ldirectord 2>/dev/null")
	m.run("man -l /usr/share/man/man8/heartbeat.8.gz >/dev/null && man -M /usr/share/man hb_takeover | grep -q hb_standby")
	m.run("bash -c '. /usr/share/bash-completion/completions/systole; COMP_WORDS=(hb_standby f) COMP_CWORD=1; _systole; test \"${COMPREPLY[*]}\" = \"foreign failback\"'")
	// ipvsadm is a package of its own, in the place of the other's.
	m.run("! test -e /usr/sbin/ipvsadm && dpkg -i " + filepath.Join(dist, "systole-ipvsadm_0.1.0_amd64.deb") + " && SYSTOLE_IPVS=model ipvsadm -Ln | grep -q 'IP Virtual Server'")
	// What the administrator changed stays, over an upgrade and a removal.
	m.write("/etc/ha.d/haresources", "mine 192.0.2.1\n", 0o644)
	m.write("/etc/ha.d/resource.d/Delay", "#!/bin/sh\n# my own\n", 0o755)
	m.run("dpkg --remove systole-ipvsadm && dpkg -i " + deb)
	m.run("dpkg --remove systole && ! test -e /usr/sbin/systole && grep -q own /etc/ha.d/resource.d/Delay")
	m.run("dpkg --purge systole && ! test -e /etc/ha.d/harc && ! test -e /etc/init.d/heartbeat && test -z \"$(find /etc/rc?.d -name '*heartbeat')\"")
	if m.read("/etc/ha.d/haresources") != "mine 192.0.2.1\n" {
		t.Error("haresources went with the package")
	}
}

// TestPackageOverOriginals replaces the original's packages on both nodes of a running pair, with dpkg alone.
func TestPackageOverOriginals(t *testing.T) {
	dist := packages(t)
	h := lab.Tutorial(t, lab.HostsOptions{
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
	out := slave.run("dpkg --force-confold -i " + filepath.Join(dist, "systole_0.1.0_amd64.deb") + " </dev/null")
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
	slave.run("dpkg -i " + filepath.Join(dist, "systole_0.1.0_amd64.deb"))
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

// TestPackageRPM installs, upgrades and removes the .rpm, with its scripts, in a file tree of its own.
func TestPackageRPM(t *testing.T) {
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
	m.run(rpm + "-i " + file)
	m.run("getent passwd hacluster && getent group haclient && test -d /var/run/heartbeat && /usr/lib64/heartbeat/heartbeat -V")
	m.write("/etc/ha.d/resource.d/Delay", "#!/bin/sh\n# my own\n", 0o755)
	m.run(rpm + "-U --replacepkgs " + file + " && grep -q own /etc/ha.d/resource.d/Delay")
	m.run(rpm + "-e systole && ! test -e /usr/sbin/systole && grep -q own /etc/ha.d/resource.d/Delay.rpmsave")
}
