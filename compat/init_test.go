package compat

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// rhelFunctions stand for RHEL 6's /etc/rc.d/init.d/functions: the names that init scripts take from there, each with what
// it prints and returns.
const rhelFunctions = `
umask 022
PATH=/sbin:/usr/sbin:/bin:/usr/bin; export PATH
echo_success() { printf '[  OK  ]\r'; return 0; }
echo_failure() { printf '[FAILED]\r'; return 1; }
success() { echo_success; return 0; }
failure() { local code=$?; echo_failure; return $code; }
action() { printf '%s ' "$1"; shift; "$@" && success || failure; }
checkpid() { for pid; do [ -d /proc/$pid ] && return 0; done; return 1; }
pidofproc() { cat /var/run/${1##*/}.pid 2>/dev/null; }
daemon() { "$@" && success || failure; }
killproc() { kill $(pidofproc $1) && success || failure; }
status() { checkpid $(pidofproc $1) && echo "${1##*/} (pid $(pidofproc $1)) is running..." || { echo "${1##*/} is stopped"; return 3; }; }
`

// rhelLdirectord makes the calls of RHEL 6's init script of ldirectord, which gives no file, has a word for the result of
// each, and returns with that of its lock file. (That of heartbeat is of the same template as Debian's.)
const rhelLdirectord = `#!/bin/sh
[ ! -f /etc/rc.d/init.d/functions ] || . /etc/rc.d/init.d/functions
[ -x /usr/sbin/ldirectord ] || exit 0
call() { printf '%s ldirectord... ' "$1"; /usr/sbin/ldirectord $2 && echo success || { set -- $?; echo failure; return $1; }; }
case $1 in
start) call Starting start; touch /var/lock/subsys/ldirectord ;;
stop) call Stopping stop; rm -f /var/lock/subsys/ldirectord ;;
status) /usr/sbin/ldirectord status ;;
restart|try-restart|reload|force-reload) call $1 $1 ;;
*) exit 1 ;;
esac
exit $?
`

// rhelTemplate makes Debian's init script of heartbeat what the same template is on RHEL 6.
var rhelTemplate = strings.NewReplacer("/usr/libexec/heartbeat/", "/usr/lib64/heartbeat/", "/etc/default/", "/etc/sysconfig/")

// startstop is the administrator's script that init scripts tell of starts and stops.
const startstop = "#!/bin/sh\necho $* >>/tmp/startstop\n"

// initScripts are a machine with our programs, and init scripts that start, look at and stop them.
type initScripts struct {
	machine
	dir, defaults string // where the scripts are, and the files that they read
	success       string // printed at the end of a start
	ours          bool   // the scripts
}

// TestInitScripts (19 s) has our programs started, looked at and stopped by Debian's own init scripts as they are, by ours of
// both layouts, with and without RHEL 6's functions, and by RHEL 6's: heartbeat's made of the original's template, and a
// stand-in for ldirectord's.
func TestInitScripts(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/etc/init.d/heartbeat", "/etc/init.d/ldirectord")
	original, err := os.ReadFile("/etc/init.d/heartbeat")
	if err != nil {
		t.Fatal(err)
	}
	template := rhelTemplate.Replace(string(original))
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
	var all sync.WaitGroup
	for name, c := range map[string]struct {
		root  string
		rhel  bool
		extra map[string]string
	}{
		"debian":      {root: bare},
		"ours-debian": {root: debian},
		"ours-rhel":   {root: rhel, rhel: true},
		"ours-rhel6":  {root: rhel, rhel: true, extra: map[string]string{"functions": rhelFunctions}},
		"rhel6":       {root: rhel, rhel: true, extra: map[string]string{"functions": rhelFunctions, "heartbeat": template, "ldirectord": rhelLdirectord}},
	} {
		beside(t, &all, name, func(t *testing.T) {
			node, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Name: "eth0"}}, Roots: []string{c.root}})
			if err != nil {
				t.Fatal(err)
			}
			s := initScripts{machine: machine{t, node}, dir: "/etc/init.d/", defaults: "/etc/default/", success: "Done.", ours: strings.HasPrefix(name, "ours")}
			if c.rhel {
				s.dir, s.defaults = "/etc/rc.d/init.d/", "/etc/sysconfig/"
			}
			for file, text := range c.extra {
				s.write(s.dir+file, text, 0o755)
			}
			if !s.ours && c.rhel {
				s.success = "[  OK  ]"
			}
			s.configure(name)
			s.heartbeat(name)
			s.ldirectord()
		})
	}
	all.Wait()
}

func (s initScripts) configure(name string) {
	s.Helper()
	s.run("ip addr add 10.9.8.7/24 brd + dev eth0; mkdir -p /etc/ha.d /var/lock/subsys; rmdir /var/lock/subsys") // it need not be there
	s.write("/etc/ha.d/ha.cf", "logfile /var/log/ha-log\nkeepalive 100ms\ndeadtime 2\ninitdead 3\nbcast eth0\nauto_failback on\nnode "+name+" other\n", 0o644)
	s.write("/etc/ha.d/authkeys", "auth 1\n1 crc\n", 0o600)
	s.write("/etc/ha.d/haresources", name+" 10.9.8.100 own\n", 0o644)
	s.write("/etc/ha.d/resource.d/own", "#!/bin/sh\n[ $1 = status ] && { test -e /tmp/own && echo running || echo stopped; exit; }\n[ $1 != stop ] || { rm -f /tmp/own; exit; }\nenv >/tmp/own\n", 0o755)
	s.write("/etc/ha.d/resource.d/startstop", startstop, 0o755)
	export := "export " // who knows only the originals' scripts writes it
	if s.ours {
		export = ""
	}
	for _, service := range []string{"heartbeat", "ldirectord"} {
		s.write(s.defaults+service, export+"SYSTOLE_IPVS=model\n"+export+"SITE=here\n", 0o644)
	}
	for _, path := range []string{"/etc/ldirectord.cf", "/etc/ha.d/ldirectord.cf"} { // Debian's script wants the first
		s.write(path, "checkinterval=1\nvirtual=10.9.8.7:80\n\tservice=none\n", 0o644)
	}
}

// service calls a script as service(8) does, with hardly any environment, and wants its exit status.
func (s initScripts) service(name, action string, code int) string {
	s.Helper()
	given := ""
	if name == "ldirectord" && s.success == "[  OK  ]" { // RHEL 6's script reads no file
		given = "SYSTOLE_IPVS=model "
	}
	return s.run("cd / && env -i PATH=/sbin:/usr/sbin:/bin:/usr/bin TERM=dumb " + given + s.dir + name + " " + action + " </dev/null 2>&1; code=$?; test $code = " + strconv.Itoa(code) + " || { echo exit status $code >&2; false; }")
}

func (s initScripts) heartbeat(name string) {
	s.Helper()
	s.service("heartbeat", "status", 3)
	if out := s.service("heartbeat", "start", 0); !strings.Contains(out, "Starting High-Availability services: ") || !strings.Contains(out, s.success) {
		s.Errorf("start printed %q", out)
	}
	if out := s.service("heartbeat", "status", 0); !strings.HasPrefix(out, "heartbeat OK [pid ") || !strings.Contains(out, "is running on "+name) {
		s.Errorf("status printed %q", out)
	}
	for i, reload := range []string{"reload", "force-reload"} {
		if out := s.service("heartbeat", reload, 0); !strings.Contains(out, "Reloading High-Availability services: ") || !strings.Contains(out, s.success) {
			s.Errorf("%s printed %q", reload, out)
		}
		s.run(fmt.Sprintf("timeout 20 sh -c 'until test $(grep -c \"Configuration unchanged\" /var/log/ha-log) = %d; do sleep 0.05; done'", i+1))
	}
	s.run("test -e /var/lock/subsys/heartbeat && timeout 60 sh -c 'until test -s /tmp/own; do sleep 0.05; done'")
	if got := s.read("/tmp/own"); !strings.Contains(got, "SITE=here\n") {
		s.Errorf("the file in %s is without effect:\n%s", s.defaults, got)
	}
	if s.ours {
		pid := s.read("/run/heartbeat.pid")
		s.service("heartbeat", "condrestart", 0)
		if now := s.read("/run/heartbeat.pid"); now == pid || now == "" {
			s.Errorf("after a condrestart the pid is %q, before it %q", now, pid)
		}
	}
	s.service("heartbeat", "stop", 0)
	s.run("! test -e /var/lock/subsys/heartbeat")
	s.service("heartbeat", "status", 1)
	if s.ours {
		s.service("heartbeat", "condrestart", 0) // what does not run stays so
		s.service("heartbeat", "status", 1)
	}
	s.service("heartbeat", "stop", 0)
	if out := s.service("heartbeat", "standby", 1); !strings.Contains(out, "auto_failback: on\nHeartbeat is not currently running.") {
		s.Errorf("standby printed %q", out)
	}
	s.service("heartbeat", "nonsense", 1)
	// A configuration that is wrong is a failed start, and says why.
	s.write("/etc/ha.d/authkeys", "auth 2\n1 crc\n", 0o600)
	if out := s.service("heartbeat", "start", 6); !strings.Contains(out, "authkeys") {
		s.Errorf("a start with a bad file printed %q", out)
	}
	s.run("! test -e /var/lock/subsys/heartbeat")
	told := s.read("/tmp/startstop")
	if s.ours {
		told = strings.Replace(told, "pre-stop\npost-stop 0\npre-start\npost-start 0\n", "", 1) // of the condrestart
	}
	if want := "pre-start\npost-start 0\npre-stop\npost-stop 0\npre-stop\npost-stop 0\npre-start\npost-start 6\n"; told != want {
		s.Errorf("startstop was told\n%s, want\n%s", told, want)
	}
	s.run("mv /etc/ha.d/ha.cf /tmp")
	if out := s.service("heartbeat", "start", 0); !strings.HasPrefix(out, "Heartbeat not configured: /etc/ha.d/ha.cf not found.") {
		s.Errorf("a start without ha.cf printed %q", out)
	}
}

func (s initScripts) ldirectord() {
	s.Helper()
	s.service("ldirectord", "status", 3)
	s.service("ldirectord", "try-restart", 0)
	s.service("ldirectord", "status", 3)
	s.service("ldirectord", "start", 0)
	for _, action := range []string{"status", "reload", "force-reload", "try-restart", "restart", "status"} {
		s.service("ldirectord", action, 0)
		s.run("ls /var/run/ldirectord.*.pid")
	}
	s.service("ldirectord", "stop", 0)
	s.service("ldirectord", "status", 3)
	s.service("ldirectord", "nonsense", 1)
	if s.ours { // CONFIG_FILE is a path, a file in /etc/ha.d, or missing: then nothing is done, as by Debian's script
		own := func(file string) {
			s.write(s.defaults+"ldirectord", "SYSTOLE_IPVS=model\nCONFIG_FILE="+file+"\n", 0o644)
		}
		own("/etc/ha.d/nowhere.cf")
		for _, action := range []string{"start", "status", "reload", "restart", "stop"} {
			if out := s.service("ldirectord", action, 0); !strings.Contains(out, "no configuration file /etc/ha.d/nowhere.cf") {
				s.Errorf("%s without the file printed %q", action, out)
			}
		}
		s.run("! ls /var/run/ldirectord.*.pid && cp /etc/ha.d/ldirectord.cf /etc/ha.d/own.cf")
		for _, file := range []string{"own.cf", "/etc/ha.d/own.cf"} {
			own(file)
			s.service("ldirectord", "start", 0)
			s.run("ls /var/run/ldirectord.own.cf.pid")
			s.service("ldirectord", "stop", 0)
			s.service("ldirectord", "status", 3)
		}
	}
	s.run("! ls /var/run/ldirectord.*.pid")
}
