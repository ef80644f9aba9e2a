package compat

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// The resources of every kind. The third line's cannot be stopped, which ends in a reboot.
const everyKind = `ha-master 172.16.60.111 Filesystem::tmpfs::/srv::tmpfs SendArp::172.16.60.206/eth0 lsb OCF::Thing::one own::a::b:c chatty hanging stubborn failing
ha-master 172.16.60.112 own::second
ha-master deadly
`

// everyScript are the scripts of the administrator in everyKind, path → text. Each keeps its state in a file.
var everyScript = map[string]string{
	"/etc/ha.d/haresources":              everyKind,
	"/etc/ha.d/conf/OCF/Thing/one":       "OCF_RESKEY_colour=blue\n",
	"/usr/lib/ocf/resource.d/acme/Thing": state("thing-$OCF_RESKEY_colour-$OCF_RES_NAME", ""),
	"/etc/ha.d/rc.d/ifstat":              ifstat,
	"/usr/sbin/modprobe":                 "#!/bin/sh\n", // Filesystem asks for it
	"/etc/init.d/lsb":                    state("lsb", ""),
	"/etc/ha.d/resource.d/own":           state("own-$1-$2", dumpEnv("resource.d-$op")),
	"/etc/ha.d/resource.d/chatty":        state("chatty", `head -c 3000000 /dev/zero | tr '\0' x; head -c 2000000 /dev/zero | tr '\0' y >&2`),
	"/etc/ha.d/resource.d/hanging":       state("hanging", `[ "$op" != start ] || while [ ! -e /tmp/go ]; do sleep 0.1; done`),
	"/etc/ha.d/resource.d/stubborn":      state("stubborn", `[ "$op" != stop ] || { rm -f /tmp/stubborn; exit 5; }`),
	"/etc/ha.d/resource.d/failing":       state("failing", `[ "$op" != start ] || exit 3`),
	"/etc/ha.d/resource.d/deadly":        state("deadly", `[ "$op" != stop ] || exit 1`),
}

// ifstat is a script of rc.d that heartbeat has none of: it runs when a link changes. It notes what it is given: the
// variables' names, and the values of those that are the same in each run.
var ifstat = `#!/bin/sh
[ ! -e /tmp/ifstat ] && [ "$HA_ifname" = eth0 ] || exit 0
{
	echo "$0 $*, stdin=$(readlink /proc/self/fd/0) dir=$(pwd) umask=$(umask) class=$(ps -o cls= -p $$)"
	env | grep -E '^(HA|OCF)_' | sed -E 's/^(HA_(auth|hg|ld|seq|ts|ttl|srcuuid|iface|src|st|node|info))=.*/\1/' | sort
} >/tmp/ifstat
` + dumpEnv("rc.d")

// dumpEnv has a shell script write its environment, the first time that it gets there.
func dumpEnv(name string) string {
	file := "/tmp/env." + name
	return "[ -e " + file + " ] || { echo ARGS=$0 $*; env; } | sort >" + file + "\n"
}

// state is a resource whose status is a file in /tmp; extra runs first.
func state(name, extra string) string {
	return `#!/bin/sh
for op; do :; done
` + extra + `
file=/tmp/` + name + `
echo "$0 $*: HA_CURHOST=$HA_CURHOST LC_ALL=$LC_ALL umask=$(umask) stdin=$(readlink /proc/self/fd/0) dir=$(pwd) class=$(ps -o cls= -p $$)" >>/tmp/calls
case $op in
start) : >$file ;;
stop) rm -f $file ;;
status) if [ -e $file ]; then echo "$0 is running"; else echo "$0 is stopped"; fi ;;
esac
`
}

// rebootRecorder takes the place of what the original ends a machine with.
const rebootRecorder = "#!/bin/sh\necho \"$0 $*\" >>/tmp/rebooted\n"

// TestResources has the original and ours acquire and release resources of every kind, with failures, and compares
// what scripts logged, line by line, and how the administrator's scripts were called.
func TestResources(t *testing.T) {
	lab.NeedPrograms(t, "/usr/lib/ocf/resource.d/heartbeat/Filesystem")
	type outcome struct {
		log, calls, ifstat, rebooted string
		env                          map[string]string // by script and operation
	}
	results := map[lab.Impl]outcome{}
	t.Run("clusters", func(t *testing.T) {
		for _, impl := range []lab.Impl{lab.Original, lab.Ours} {
			t.Run(impl.String(), func(t *testing.T) {
				t.Parallel()
				s := newEveryKind(t, impl)
				s.play()
				if t.Failed() {
					return
				}
				results[impl] = outcome{scriptStory(t, s.Master.Log()), s.file("/tmp/calls"), s.file("/tmp/ifstat"), s.file("/tmp/rebooted"), s.environments()}
			})
		}
	})
	if t.Failed() {
		return
	}
	want, got := results[lab.Original], results[lab.Ours]
	if want.rebooted == "" {
		t.Error("the original did not reboot: this test does not test what it is for")
	}
	if diff := cmp.Diff(strings.Split(want.log, "\n"), strings.Split(got.log, "\n")); diff != "" {
		t.Errorf("what scripts logged (-original +ours):\n%s", diff)
	}
	if diff := cmp.Diff(want.calls, got.calls); diff != "" {
		t.Errorf("how scripts were called (-original +ours):\n%s", diff)
	}
	if diff := cmp.Diff(want.ifstat, got.ifstat); diff != "" || want.ifstat == "" {
		t.Errorf("what a script of rc.d was given (-original +ours):\n%s", diff)
	}
	for script, text := range want.env {
		if diff := cmp.Diff(text, got.env[script]); diff != "" || text == "" {
			t.Errorf("the environment of %s (-original +ours):\n%s", script, diff)
		}
	}
}

// environments are what scripts of the administrator were given, but for what envDifferent names.
func (s *everyKindRun) environments() map[string]string {
	s.Helper()
	all := map[string]string{}
	for _, script := range []string{"resource.d-status", "resource.d-start", "resource.d-stop", "rc.d"} {
		text := s.file("/tmp/env." + script)
		if !strings.Contains(text, "PATH=") {
			s.Errorf("%s was not called, or has no environment: %q", script, text)
		}
		for _, r := range envDifferent {
			text = r.re.ReplaceAllString(text, "")
		}
		text = ofMessage.ReplaceAllString(text, "$1")
		all[script] = pathVariable.ReplaceAllStringFunc(text, func(path string) string {
			dirs := strings.Split(strings.TrimPrefix(path, "PATH="), ":") // the original has them over and over
			slices.Sort(dirs)
			return "PATH=" + strings.Join(slices.Compact(dirs), ":")
		})
	}
	return all
}

// ofMessage are variables whose values depend on which of several messages came first; a script of rc.d has them.
var ofMessage = regexp.MustCompile(`(?m)^(HA_(iface|src|st|node|info))=.*`)

var pathVariable = regexp.MustCompile(`(?m)^PATH=.*`)

// envDifferent are variables that are not compared.
var envDifferent = []rule{
	{regexp.MustCompile(`(?m)^HA_(auth|hg|ld|seq|ts|ttl|srcuuid)=.*\n`), "of the message: they differ from one to the next"},
	{regexp.MustCompile(`(?m)^(SYSTOLE_\w+|OCF_AGENTS|HA_STOPRETRYMAX)=.*\n`), "what the test gives to the daemon"},
}

type everyKindRun struct {
	*testing.T
	*lab.Hosts
}

func newEveryKind(t *testing.T, impl lab.Impl) *everyKindRun {
	config := map[string]string{"/etc/ha.d/systole.cf": "logdialect debian12\n"}
	for path, text := range everyScript {
		config[path] = text
	}
	conf := func(master bool) map[string]string {
		return map[string]string{"/etc/ha.d/ha.cf": fastTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])}
	}
	o := lab.HostsOptions{
		Master: impl, Slave: lab.Ours, Root: installRoot(t), Config: config, MasterConfig: conf(true), SlaveConfig: conf(false),
		// Three attempts of a stop instead of eleven; and where the original's OCF looks, which finds nothing by default.
		Env: []string{"SYSTOLE_NO_REBOOT=1", "HA_STOPRETRYMAX=2", "OCF_AGENTS=/usr/lib/ocf/resource.d"},
		Log: func(string, ...any) {},
	}
	s := &everyKindRun{t, tutorial(t, o)}
	for path, text := range everyScript {
		if strings.HasPrefix(path, "/usr/") || strings.HasPrefix(path, "/etc/ha.d/rc.d/") || strings.HasPrefix(path, "/etc/init.d/") || strings.HasPrefix(path, "/etc/ha.d/resource.d/") {
			if err := s.Master.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	disarm(t, s.Master, rebootRecorder)
	return s
}

// disarm makes sure that no program by which the original reboots a machine is left on its node: another
// takes their place.
func disarm(t *testing.T, d *lab.Director, instead string) {
	t.Helper()
	for _, name := range []string{"reboot", "init", "halt", "poweroff", "shutdown", "telinit"} {
		path := "/usr/sbin/" + name
		if err := d.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Logf("%s: %v", path, err)
		}
		if err := d.WriteFile(path, []byte(instead), 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := d.Exec(t.Context(), "/bin/cat", "/sbin/"+name)
		if err != nil || r.Stdout != instead {
			t.Fatalf("/sbin/%s of %s is not ours: %v %q", name, d.Name(), err, r.Stdout)
		}
	}
}

func (s *everyKindRun) file(path string) string {
	text, err := s.Master.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

func (s *everyKindRun) logs(text string) {
	s.Helper()
	waitFor(s.T, limit, text, func() bool { return strings.Contains(s.Master.Log(), text) })
}

func (s *everyKindRun) play() {
	ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
	defer cancel()
	defer func() {
		if s.Failed() {
			s.Logf("ha-log:\n%s", s.Master.Log())
		}
	}()
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if r, err := d.Start(ctx); err != nil || r.Code != 0 {
			s.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	s.logs("Running /etc/ha.d/resource.d/hanging  start")
	// Nothing goes on in the group while it hangs; heartbeats do.
	time.Sleep(3 * time.Second) // twice the deadtime
	if strings.Contains(s.Master.Log(), "stubborn  start") || strings.Contains(s.Slave.Log(), "node ha-master: is dead") {
		s.Errorf("while a resource hangs:\n%s", s.Slave.Log())
	}
	if err := s.Master.WriteFile("/tmp/go", nil, 0o644); err != nil {
		s.Fatal(err)
	}
	s.logs("Running /etc/ha.d/resource.d/failing  start")
	s.logs("Machine reboot narrowly avoided!")
	s.logs("Running /etc/ha.d/resource.d/deadly  start")
	waitFor(s.T, limit, "the second group", func() bool { return s.file("/tmp/calls") != "" && s.has("own-second-start") })
	if debug := s.file("/var/log/ha-debug"); strings.Count(debug, "xxxxxxxxxx") < 290000 || strings.Count(debug, "yyyyyyyyyy") < 190000 {
		s.Errorf("ha-debug has %d bytes: not what a resource printed", len(debug))
	}
	stopped := make(chan struct{})
	go func() { // ends with ctx at the latest: the original's stop waits for a process that was killed
		defer close(stopped)
		_, _ = s.Master.Stop(ctx)
	}()
	s.logs("CRIT: Killing heartbeat ungracefully!")
	if s.Master.Impl == lab.Original {
		waitFor(s.T, limit, "the reboot", func() bool { return s.file("/tmp/rebooted") != "" })
	}
	<-stopped
}

func (s *everyKindRun) has(string) bool {
	return strings.Contains(s.file("/tmp/calls"), "/etc/ha.d/resource.d/own second start")
}

// untold are lines that are not compared.
var untold = []rule{
	{regexp.MustCompile(`^(heartbeat|ipfail|harc\(\S+|mach_down\(\S+): `), "the core's lines, and hooks that come at any time: other tests compare them"},
	{regexp.MustCompile(`^IPaddr\d?\(\S+\): INFO: $`), "what the original's IPaddr says when its announcements are out, at any time"},
	{regexp.MustCompile(`/SendArp\(\S+\): INFO:  Resource is stopped$`), "the original's SendArp says nothing when it is asked and stopped"},
}

// scriptStory are the lines of scripts, with letters for process ids.
func scriptStory(t *testing.T, log string) string {
	t.Helper()
	lines, err := parseHALog(strings.ReplaceAll(log, "\n\n", "\n")) // the original's agents say nothing at times
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	letters := map[string]string{} // numbers of ours that are no processes may be those of others' processes
	for _, l := range lines {
		if matches(untold, l.who+": "+l.text) {
			continue
		}
		id := l.who + l.pid
		if letters[id] == "" {
			letters[id] = fmt.Sprintf("P%d", len(letters)+1)
		}
		fmt.Fprintf(&b, "%s[%s]: %s\n", l.who, letters[id], l.text)
	}
	return b.String()
}
