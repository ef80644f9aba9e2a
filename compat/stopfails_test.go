package compat

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// brittle is a resource that fails as the file /etc/brittle says, and writes down when it is up and when
// it is down again.
const brittle = `#!/bin/sh
say() { echo "$(date +%s.%N) $(uname -n) $1" >> /var/log/ledger; }
how=$(cat /etc/brittle 2>/dev/null)
case "$1" in
start) [ "$how" = nostart ] && exit 1; [ -e /run/brittle ] || say up; touch /run/brittle ;;
stop)
	[ -e /run/brittle ] || exit 0
	case $how in
	hang) sleep 7 ;;
	twice) echo >> /tmp/tries; [ $(wc -l < /tmp/tries) -gt 2 ] || exit 1 ;;
	unclean) rm /run/brittle; say down; exit 1 ;;
	never) exit 1 ;;
	esac
	rm -f /run/brittle; say down ;;
status) [ -e /run/brittle ] && echo running || echo stopped ;;
esac
`

// rebootHangs takes the place of what the original ends a machine with: nothing goes on after it.
const rebootHangs = "#!/bin/sh\necho \"$0 $*\" >>/tmp/rebooted\nwhile :; do sleep 1; done\n"

// TestStopFails has a resource whose stop hangs for longer than the deadtime, fails twice, fails every time
// though nothing is left, or fails for good, which ends in a reboot: in a standby, in a shutdown, and when the
// resources go home. Nothing is up twice, the other node ends with the resources, and what the scripts log
// is, line by line, what the original logs. It takes a minute and a half.
func TestStopFails(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[[2]lab.Impl]map[string]string{}
	t.Run("pairs", func(t *testing.T) {
		var all sync.WaitGroup
		for _, p := range pairs {
			beside(t, &all, fmt.Sprintf("%v-%v", p[0], p[1]), func(t *testing.T) {
				s := newBrittle(t, p)
				s.play()
				mu.Lock()
				defer mu.Unlock()
				told[p] = s.told
			})
		}
		all.Wait()
	})
	for _, story := range []string{"hang", "twice", "unclean", "standby", "shutdown"} {
		want := told[pairs[1]]["ha-master "+story]
		if !t.Failed() && !strings.Contains(want, "Running /etc/ha.d/resource.d/brittle  stop") {
			t.Errorf("%s: the original says %q", story, want)
		}
		for _, p := range [][2]lab.Impl{pairs[0], pairs[2]} {
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(told[p]["ha-master "+story], "\n")); diff != "" && !t.Failed() {
				t.Errorf("%s on %v with %v (-original +ours):\n%s", story, p[0], p[1], diff)
			}
		}
	}
	if diff := cmp.Diff(strings.Split(told[pairs[0]]["ha-slave failback"], "\n"), strings.Split(told[pairs[1]]["ha-slave failback"], "\n")); diff != "" && !t.Failed() {
		t.Errorf("failback (-original +ours):\n%s", diff)
	}
}

type brittleRun struct {
	*standbys
	told map[string]string // node and story → what ResourceManager logged
}

func newBrittle(t *testing.T, impl [2]lab.Impl) *brittleRun {
	conf := func(master bool) map[string]string {
		text := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
		text = strings.NewReplacer("keepalive 2\n", "keepalive 1\n", "respawn root", "#respawn root").Replace(text)
		return map[string]string{
			"/etc/ha.d/ha.cf":              text,
			"/etc/ha.d/systole.cf":         "logdialect debian12\n",
			"/etc/ha.d/haresources":        "ha-master IPaddr::172.16.60.111 brittle\n",
			"/etc/ha.d/resource.d/brittle": brittle,
		}
	}
	s := &brittleRun{&standbys{&interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: impl[0], Slave: impl[1], Env: []string{"SYSTOLE_NO_REBOOT=kill", "HA_STOPRETRYMAX=2"}, // three attempts instead of eleven
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}}, map[string]string{}}
	t.Cleanup(func() {
		for _, d := range []*lab.Director{s.Master, s.Slave} {
			if t.Failed() {
				t.Logf("ha-log of %s (%v):\n%s", d.Name(), d.Impl, d.Log())
			}
		}
	})
	disarm(t, s.Master, rebootHangs)
	disarm(t, s.Slave, rebootHangs)
	return s
}

// TestStopFailureStandby has a resource whose stop fails for good on a node with "stopfailure standby": the node gives
// the other one everything else. It takes a minute.
func TestStopFailureStandby(t *testing.T) {
	t.Parallel()
	conf := func(master bool) map[string]string {
		return map[string]string{
			"/etc/ha.d/ha.cf":              strings.ReplaceAll(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"], "respawn root", "#respawn root"),
			"/etc/ha.d/systole.cf":         "stopfailure standby\n",
			"/etc/ha.d/haresources":        "ha-master IPaddr::172.16.60.111\nha-slave IPaddr::" + extra.String() + " brittle\n",
			"/etc/ha.d/resource.d/brittle": brittle,
		}
	}
	s := &standbys{&interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: lab.Ours, Slave: lab.Ours, Env: []string{"SYSTOLE_NO_REBOOT=1", "HA_STOPRETRYMAX=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}}
	s.up()
	s.own(s.Master, s.Slave)
	s.move(s.Master, s.Master, s.Master, "hb_takeover", "all")
	if err := s.Master.WriteFile("/etc/brittle", []byte("never"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.ask(s.Master, "hb_standby", "foreign")
	s.own(s.Slave, s.Slave)
	if !s.seen(limit, func() bool {
		return strings.Contains(s.Master.Log(), "CRIT: Resource STOP failure. brittle is still running here (stopfailure standby).")
	}) {
		t.Errorf("ha-log of ha-master:\n%s", s.Master.Log())
	}
}

// fails says how brittle fails on a node from now on; "" is not at all.
func (s *brittleRun) fails(d *lab.Director, how string) {
	s.Helper()
	if err := d.WriteFile("/etc/brittle", []byte(how), 0o644); err != nil {
		s.Fatal(err)
	}
}

func (s *brittleRun) play() {
	s.up()
	for _, story := range []string{"hang", "twice", "unclean"} {
		s.fails(s.Master, story)
		before := len(s.Master.Log())
		s.ask(s.Master, "hb_standby")
		s.owner(s.Slave, s.Master)
		s.hold("none", "all")
		s.remember(s.Master, story, before)
		s.fails(s.Master, "")
		s.ask(s.Master, "hb_takeover", "local")
		s.owner(s.Master, s.Slave)
		s.hold("local", "local")
	}
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if strings.Contains(d.Log(), "is dead") {
			s.Errorf("%s (%v) has called a node dead whose script hangs", d.Name(), d.Impl)
		}
	}
	s.reboots(s.Master, s.Slave, "standby", func(ctx context.Context) (lab.Result, error) {
		return s.Master.Exec(ctx, "/usr/share/heartbeat/hb_standby")
	})
	s.comesBack(s.Master)
	s.owner(s.Master, s.Slave)
	s.hold("local", "local")
	s.reboots(s.Master, s.Slave, "shutdown", s.Master.Stop)
	s.reboots(s.Slave, s.Master, "failback", func(context.Context) (lab.Result, error) {
		s.comesBack(s.Master)
		return lab.Result{}, nil
	})
	s.comesBack(s.Slave)
	s.hold("local", "local")
	s.owner(s.Master, s.Slave)
	s.alternates()
}

// reboots has a node fail to stop its resource for good: it ends as a machine that reboots does, and the
// other takes over.
func (s *brittleRun) reboots(d, other *lab.Director, story string, act func(context.Context) (lab.Result, error)) {
	s.Helper()
	s.fails(d, "never")
	before, otherBefore := len(d.Log()), len(other.Log())
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { _, _ = act(ctx) }) // what stops the daemon may wait for it for ever
	const last = "CRIT: Killing heartbeat ungracefully!"
	if !s.seen(limit, func() bool {
		r, _ := d.ReadFile("/tmp/rebooted")
		return strings.Contains(d.Log()[before:], last) && (d.Impl == lab.Ours || len(r) > 0)
	}) {
		s.Fatalf("%s: %s (%v) does not reboot", story, d.Name(), d.Impl)
	}
	if d.Impl == lab.Ours && !s.seen(limit, func() bool { n, err := d.Processes(); return err == nil && !slices.ContainsFunc(n, isHeartbeat) }) {
		s.Errorf("%s: heartbeat of %s goes on", story, d.Name())
	}
	if err := d.PowerOff(); err != nil {
		s.Fatal(err)
	}
	log, err := d.ReadFile("/var/log/ledger")
	if err != nil {
		s.Fatal(err)
	}
	log = fmt.Appendf(log, "%.9f %s down\n", float64(time.Now().UnixNano())/1e9, d.Name())
	if err := d.WriteFile("/var/log/ledger", log, 0o644); err != nil {
		s.Fatal(err)
	}
	s.remember(d, story, before)
	if !s.seen(limit, func() bool {
		return other.HoldsVIP() && strings.Contains(other.Log()[otherBefore:], "Running /etc/ha.d/resource.d/brittle  start")
	}) {
		s.Fatalf("%s: %s (%v) does not take over from %s, which has rebooted", story, other.Name(), other.Impl, d.Name())
	}
}

func isHeartbeat(p lab.Process) bool { return strings.HasPrefix(p.Args, "heartbeat: ") }

// comesBack boots a node, whose resource can be stopped again.
func (s *brittleRun) comesBack(d *lab.Director) {
	s.Helper()
	s.fails(d, "")
	_ = d.Remove("/tmp/rebooted") // ours leaves none
	if err := d.PowerOn(); err != nil {
		s.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if r, err := d.Start(ctx); err != nil || r.Code != 0 {
		s.Errorf("start of %s: %+v %v", d.Name(), r, err)
	}
}

var managerLine = regexp.MustCompile(`(?m)^.*ResourceManager\(default\)\[\d+\]:\s+(.*)$`)

// remember keeps what ResourceManager of a node has logged from there on, up to a reboot.
func (s *brittleRun) remember(d *lab.Director, story string, from int) {
	var text strings.Builder
	for _, m := range managerLine.FindAllStringSubmatch(d.Log()[from:], -1) {
		text.WriteString(m[1] + "\n")
	}
	s.told[d.Name()+" "+story] = text.String()
}
