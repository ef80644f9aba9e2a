package compat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestClients runs the programs that talk to the daemon, the originals' and ours, on our daemon and on
// the original's: cl_status, api_test, dopd with drbd-peer-outdater, ipfail. Whoever speaks with
// whom, what they print, return and log has to be the same.
func TestClients(t *testing.T) {
	t.Parallel()
	var runs [5]*clientsRun
	for i := range runs[:4] {
		runs[i] = newClientsRun(t, lab.Impl(i/2), lab.Impl(i%2), clientsDir+"/ipfail")
	}
	runs[4] = newClientsRun(t, lab.Ours, lab.Ours, "/usr/libexec/heartbeat/ipfail")
	var all sync.WaitGroup
	for _, r := range runs {
		all.Go(func() {
			clusters <- struct{}{}
			defer func() { <-clusters }()
			r.play()
		})
	}
	all.Wait()
	want := runs[3] // the originals among themselves
	for i, r := range runs {
		for part, text := range want.said {
			if i == 4 && !strings.HasPrefix(part, "ipfail") {
				continue
			}
			if part == "api_test" && r.clients == lab.Ours {
				continue // there is only the original's
			}
			if part == "dopd" && r.clients == lab.Ours {
				text = dopdAnswers
			}
			if d := cmp.Diff(text, r.said[part]); d != "" {
				t.Errorf("%s of %v on %v (in process: %v) (-want +got)\n%s", part, r.clients, r.daemon, i == 4, d)
				if strings.HasPrefix(part, "ipfail") {
					t.Logf("ha-master:\n%s\nha-slave:\n%s", r.Master.Log(), r.Slave.Log())
				}
			}
		}
	}
}

// clientsRun is a pair with clients of one sort.
type clientsRun struct {
	*testing.T
	*lab.Hosts
	daemon, clients lab.Impl
	inProcess       bool              // ipfail
	said            map[string]string // by part
}

// Where the clients under test are on each node. With heartbeat's own place ipfail is in our daemon's process.
const clientsDir = "/usr/lib/clients"

func newClientsRun(t *testing.T, daemon, clients lab.Impl, ipfail string) *clientsRun {
	originals := map[string]string{
		"cl_status": "/usr/bin/cl_status", "ipfail": "/usr/libexec/heartbeat/ipfail", "api_test": "/usr/libexec/heartbeat/api_test",
		"hb_addnode": "/usr/share/heartbeat/hb_addnode", "hb_delnode": "/usr/share/heartbeat/hb_delnode", "hb_standby": "/usr/share/heartbeat/hb_standby", "hb_takeover": "/usr/share/heartbeat/hb_takeover",
		"dopd": "/usr/libexec/heartbeat/dopd", "drbd-peer-outdater": "/usr/libexec/heartbeat/drbd-peer-outdater",
	}
	for _, path := range originals {
		lab.NeedPrograms(t, path)
	}
	conf := func(master bool) map[string]string {
		text := patientTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])
		before, _, _ := strings.Cut(text, "respawn ")
		before = strings.Replace(before, "bcast eth0\n", "deadping 2\n", 1) // before any link is dead
		return map[string]string{"/etc/ha.d/ha.cf": before + "bcast eth1\n" +
			"respawn hacluster " + ipfail + "\nrespawn hacluster " + clientsDir + "/dopd\napiauth dopd uid=hacluster gid=haclient\n"}
	}
	r := &clientsRun{T: t, daemon: daemon, clients: clients, inProcess: !strings.HasPrefix(ipfail, clientsDir), said: map[string]string{}}
	r.Hosts = lab.Tutorial(t, lab.HostsOptions{
		Master: daemon, Slave: daemon, SecondLink: true, Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false),
		Config: map[string]string{
			"/etc/ha.d/systole.cf": "logdialect debian12\n", "/etc/ha.d/haresources": "ha-master IPaddr::172.16.60.111\n",
		},
		Log: func(string, ...any) {},
	})
	ours, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.directors() {
		for name, path := range originals {
			text := ours
			if clients == lab.Original || name == "api_test" {
				if text, err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.WriteFile(filepath.Join(clientsDir, name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		// What DRBD's tool returns depends on the resource: r17 is one that is primary.
		if err := d.WriteFile("/usr/sbin/drbdadm", []byte("#!/bin/sh\necho \"$@\" >>/tmp/drbdadm.log\nexit ${2#r}\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *clientsRun) directors() []*lab.Director { return []*lab.Director{r.Master, r.Slave} }

func (r *clientsRun) other(d *lab.Director) string {
	if d == r.Master {
		return r.Slave.Name()
	}
	return r.Master.Name()
}

// seen waits for something and says so if it does not come.
func (r *clientsRun) seen(what string, ok func() bool) bool {
	for begun := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			r.Errorf("%v on %v: not seen: %s\nha-master:\n%s\nha-slave:\n%s", r.clients, r.daemon, what, lastLines(r.Master.Log(), 60), lastLines(r.Slave.Log(), 60))
			return false
		}
	}
	return true
}

// run runs a command line of a director and returns what it printed and returned.
func (r *clientsRun) run(d *lab.Director, command string) (text string, code int) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	res, err := d.Exec(ctx, "sh", "-c", "PATH="+clientsDir+":$PATH; cd "+clientsDir+"; "+command)
	if err != nil {
		r.Errorf("%v on %v: %s: %v", r.clients, r.daemon, command, err)
	}
	return cliRow{command, res.Stdout, res.Stderr, res.Code}.String(), res.Code
}

// stable waits until both nodes are settled, and hold what they are to hold.
func (r *clientsRun) stable(master, slave string) bool {
	return r.seen("stable: "+master+", "+slave, func() bool { return r.hold(master, slave) })
}

func (r *clientsRun) hold(master, slave string) bool {
	m, _ := r.run(r.Master, "cl_status nodestatus ha-slave; cl_status rscstatus")
	s, _ := r.run(r.Slave, "cl_status nodestatus ha-master; cl_status rscstatus")
	return strings.Contains(m, "\nactive\n"+master+"\n") && strings.Contains(s, "\nactive\n"+slave+"\n")
}

func (r *clientsRun) play() {
	for _, d := range r.directors() {
		if res, err := d.Start(r.Context()); err != nil || res.Code != 0 {
			r.Errorf("start %s: %+v %v", d.Name(), res, err)
			return
		}
	}
	if !r.stable("local", "local") {
		return
	}
	for _, d := range r.directors() {
		for _, c := range []string{"ipfail", "dopd"} {
			online := func() bool {
				text, _ := r.run(d, "cl_status clientstatus "+d.Name()+" "+c)
				return strings.Contains(text, "\nonline\n")
			}
			if !r.seen(c+" is signed on at "+d.Name(), online) {
				return
			}
		}
	}
	for _, d := range r.directors() {
		linked := func() bool {
			text, _ := r.run(d, "cl_status listhblinks -v "+r.other(d))
			return strings.Count(text, "\tup\n") == 2
		}
		if !r.seen("both links are up at "+d.Name(), linked) {
			return
		}
	}
	if !r.inProcess {
		r.clStatus()
		r.outdate()
		if r.clients == lab.Original {
			r.apiTest()
		}
		r.giveUp()
	}
	r.pingNodesLost()
	if !r.inProcess {
		r.scripts()
	}
}

// clStatusLines are command lines of cl_status: every sub-command, with and without options, mistakes.
func clStatusLines() []string {
	var lines []string
	for _, sub := range []string{
		"hbstatus", "listnodes", "nodestatus ha-slave", "nodeweight ha-slave", "nodesite ha-slave", "nodetype group1", "listhblinks ha-slave",
		"hblinkstatus ha-slave eth1", "clientstatus ha-master dopd", "rscstatus", "hbparameter -p deadtime", "test",
	} {
		for _, o := range []string{"", " -m", " -v", " -p", " -mv", " -x", " --verbose"} {
			lines = append(lines, "cl_status "+sub+o)
		}
	}
	for _, rest := range []string{
		"", "-h", "-h -h", "--help", "''", "help", "nodestatus", "nodeweight", "nodesite", "nodetype", "listhblinks", "hblinkstatus", "hblinkstatus ha-slave",
		"clientstatus", "clientstatus ha-slave", "hbparameter", "hbparameter -p", "hbparameter deadtime", "nodestatus nope", "nodeweight nope",
		"nodesite nope", "nodetype nope", "listhblinks nope", "hblinkstatus nope eth0", "hblinkstatus group1 group1", "clientstatus nope ipfail",
		"clientstatus group1 ipfail", "clientstatus ha-slave ipfail 4000", "clientstatus ha-slave nope 4000", "nodestatus HA-SLAVE", "nodestatus -m ha-slave extra",
		"hbparameter -p crm", "hbparameter -p hbversion", "hbparameter -mp keepalive", "hbparameter -p auto_failback", "hbparameter -p nice_failback",
		"hbparameter -p apiauth", "hbparameter -p use_logd", "hbparameter -p debug", "hbparameter -p coredumps", "hbparameter -p ''",
		"listnodes -pn", "listnodes -n -v", "listnodes -p -m -v", "listnodes -n", "hbstatus --", "nodestatus -- -m",
	} {
		lines = append(lines, "cl_status "+rest)
	}
	return lines
}

func (r *clientsRun) clStatus() {
	for _, line := range clStatusLines() {
		text, _ := r.run(r.Master, line)
		r.said["cl_status"] += cliNormal(text) + "\n"
	}
}

// dopdAnswers are what our dopd answers. The original's dies of the end of its first call, and answers no more.
const dopdAnswers = `-p ha-slave -r r0: 4
-p HA-SLAVE -r r5: 3
-p ha-slave -r r17: 6
-p ha-slave -r r9: 20
-p nope -r r0: 5
-p ha-master -r r0: 5
-p group1 -r r0: 5
: 1
-p ha-slave: 1
-h: 0
-t 5 -p ha-slave -r r0: 4
outdate r0
outdate r5
outdate r17
outdate r9
outdate r0
`

// outdate asks dopd for resources whose drbdadm returns what the name says.
func (r *clientsRun) outdate() {
	for line := range strings.Lines(dopdAnswers) {
		args, _, asked := strings.Cut(line, ":")
		if !asked || r.clients == lab.Original && r.said["dopd"] != "" {
			break
		}
		_, code := r.run(r.Master, "drbd-peer-outdater "+args)
		r.said["dopd"] += fmt.Sprintf("%s: %d\n", args, code)
	}
	calls, err := r.Slave.ReadFile("/tmp/drbdadm.log")
	if err != nil {
		r.Error(err)
	}
	r.said["dopd"] += string(calls)
}

// giveUp pulls ha-master's cable to the ping nodes, and puts it back.
func (r *clientsRun) giveUp() {
	before := map[*lab.Director]int{r.Master: len(r.Master.Log()), r.Slave: len(r.Slave.Log())}
	if err := r.Master.Unplug("eth0"); err != nil {
		r.Error(err)
		return
	}
	if !r.stable("none", "all") {
		return
	}
	r.settle()
	for d, lines := range map[*lab.Director][]string{r.Master: ipfailMaster, r.Slave: ipfailSlave} {
		for _, line := range lines {
			if !ipfailLine(line).MatchString(d.Log()[before[d]:]) {
				r.Errorf("%v on %v: ipfail of %s does not say %q:\n%s", r.clients, r.daemon, d.Name(), line, d.Log()[before[d]:])
			}
		}
	}
	for tries := 1; !r.comesBack(); tries++ {
		if tries == 5 {
			r.Errorf("%v on %v: ipfail has not given back what it took, %d times", r.clients, r.daemon, tries)
			return
		}
		if err := r.Master.Unplug("eth0"); err != nil {
			r.Error(err)
			return
		}
		dead := func() bool {
			_, code := r.run(r.Master, "cl_status hblinkstatus ha-slave eth0 | grep dead")
			return code == 0
		}
		if !r.seen("the link is dead again", dead) {
			return
		}
		r.settle()
	}
	// Having asked for a standby during one, ipfail compares the counts again ten seconds after that.
	r.calm(12 * time.Second)
}

// settle lets the originals come to rest: the fail-back of an original's ipfail is lost if the counts are equal while
// resources are in transition. Ours has to live with it.
func (r *clientsRun) settle() {
	if r.clients == lab.Original {
		r.calm(3 * time.Second)
	}
}

// comesBack puts ha-master's cable back, and waits until it has its resources. An original's ipfail is told of the link
// and of the ping nodes; the second count, if it comes before the give-up that the first has begun, ends that, and
// nothing begins another: then the cable is to be pulled once more.
func (r *clientsRun) comesBack() (ok bool) {
	if err := r.Master.Plug("eth0"); err != nil {
		r.Error(err)
		return true
	}
	begun := time.Now()
	r.seen("stable: local, local", func() bool {
		ok = r.hold("local", "local")
		return ok || r.clients == lab.Original && time.Since(begun) > 25*time.Second
	})
	return ok || r.clients == lab.Ours
}

// scripts changes the list of nodes and moves resources, as cron jobs do.
func (r *clientsRun) scripts() {
	say := func(command string) {
		text, _ := r.run(r.Master, "./"+command)
		r.said["scripts"] += cliNormal(text) + "\n"
	}
	say("hb_addnode")
	say("hb_delnode")
	say("hb_standby nonsense")
	say("hb_takeover nonsense")
	say("hb_standby")
	if !r.stable("none", "all") {
		return
	}
	say("hb_takeover local")
	if !r.stable("local", "local") {
		return
	}
	say("hb_addnode third")
	r.seen("both know a third node", func() bool {
		m, _ := r.run(r.Master, "cl_status listnodes")
		s, _ := r.run(r.Slave, "cl_status listnodes")
		return strings.Contains(m, "\nthird\n") && strings.Contains(s, "\nthird\n")
	})
	// To be deleted it has to be dead, and the death of a third node is none of haresources' business.
	say("hb_delnode third")
	r.seen("no node is deleted that is not dead", func() bool { return strings.Contains(r.Master.Log(), "deletion failed: node third is not dead") })
}

// What ipfail says, whoever it is, of a ping group that is out of reach of one node. What it says of the link, and at its
// start, comes in between as it falls.
var (
	ipfailMaster = []string{
		"Status update: Node group1 now has status dead", "NS: We are dead. :<", "Link Status update: Link group1/group1 now has status dead",
		"We are dead. :<", "Giving up because we were told that we have less ping nodes.", "Delayed giveup in 0 seconds.", "giveup() called (timeout worked)",
	}
	ipfailSlave = []string{"Telling other node that we have more visible ping nodes."}
)

func ipfailLine(text string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)ipfail: \[\d+\]: info: ` + regexp.QuoteMeta(text) + "$")
}

// apiTest is the original's own test of the API, which needs group haclient. It gives up when an answer of the other node comes
// late, which the original's own does at times: then it is asked again. What it says is compared as a set of lines.
func (r *clientsRun) apiTest() {
	for range 10 {
		text, _ := r.run(r.Master, "timeout 3 setpriv --regid=haclient --clear-groups ./api_test")
		r.said["api_test"] = apiTestNormal(text)
		if strings.Contains(text, "Sleeping...") {
			return
		}
	}
	r.Errorf("api_test of %v on %v does not come to its end:\n%s", r.clients, r.daemon, r.said["api_test"])
}

var apiTestRun = rewrites{
	{regexp.MustCompile(`\[\d+\]: `), "[PID]: "},
	{regexp.MustCompile(`PID=\d+`), "PID=PID"},
	// It waits a tenth of a second for each; whether the original has answered by then differs from run to run.
	{regexp.MustCompile(`(/api_test status): \[\w+\]`), "$1: [?]"},
}

// apiTestNormal are the distinct lines, sorted, without dates and process ids.
func apiTestNormal(text string) string {
	var lines []string
	for line := range strings.Lines(cliNormal(text)) {
		lines = append(lines, apiTestRun.apply(strings.TrimSuffix(line, "\n")))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

// lost cuts a node off from the ping group, or gives it back: what the node sends there goes nowhere, its links to the other
// node stay.
func (r *clientsRun) lost(d *lab.Director, lost bool) {
	for _, addr := range []string{"172.16.60.204", "172.16.60.205"} {
		command := "ip neigh replace " + addr + " lladdr 02:00:00:00:0f:ff dev eth0 nud permanent"
		if !lost {
			command = "ip neigh del " + addr + " dev eth0"
		}
		if _, code := r.run(d, command); code != 0 {
			r.Errorf("%s: %d", command, code)
		}
	}
}

// ipfailStory is what ipfail of a node has logged since a place in its ha-log: the texts, in order. Of one run are only dates,
// process ids, and the number of a timer.
func (r *clientsRun) ipfailStory(d *lab.Director, since int) string {
	var lines []string
	for _, m := range ipfailText.FindAllStringSubmatch(d.Log()[since:], -1) {
		lines = append(lines, ipfailTimer.ReplaceAllString(m[1], "giveup (N)"))
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), ipfailStale, "")
}

// ipfailStale is what ipfail says when a daemon tells the old status of a ping node that has returned once more, as the
// original's does in some runs.
const ipfailStale = "info: Status update: Node group1 now has status dead\ninfo: NS: We are still alive!\n"

var (
	ipfailText  = regexp.MustCompile(`(?m)^\S+ \d+ [\d:]+ \S+ ipfail: \[\d+\]: (.*)$`)
	ipfailTimer = regexp.MustCompile(`giveup \(\d+\)`)
)

// pingNodesLost takes the ping group away from one node, then from the other, too, and gives it back one after the other. What
// each ipfail logs meanwhile, line by line, is the same whoever it is. Each step is over when nothing more is said.
func (r *clientsRun) pingNodesLost() {
	steps := []struct {
		name          string
		node          *lab.Director
		lost          bool
		master, slave string // the last line of each ipfail
		holds         [2]string
	}{
		{"lost by ha-master", r.Master, true, "giveup() called (timeout worked)", "Telling other node that we have more visible ping nodes.", [2]string{"none", "all"}},
		{"lost by both", r.Slave, true, "giveup() called (timeout worked)", "No giveup timer to abort.", [2]string{}},
		{"back at ha-master", r.Master, false, "Asking other side for ping node count.", "giveup() called (timeout worked)", [2]string{"all", "none"}},
		{"back at both", r.Slave, false, "giveup() called (timeout worked)", "No giveup timer to abort.", [2]string{}},
		{"lost by ha-slave", r.Slave, true, "Telling other node that we have more visible ping nodes.", "giveup() called (timeout worked)", [2]string{}},
		{"back at ha-slave", r.Slave, false, "giveup() called (timeout worked)", "No giveup timer to abort.", [2]string{}},
	}
	for _, s := range steps {
		master, slave := len(r.Master.Log()), len(r.Slave.Log())
		r.lost(s.node, s.lost)
		said := func() bool {
			return strings.HasSuffix(r.ipfailStory(r.Master, master), s.master) && strings.HasSuffix(r.ipfailStory(r.Slave, slave), s.slave)
		}
		if !r.seen("ipfail, ping group "+s.name, said) {
			return
		}
		if s.holds[0] != "" && !r.stable(s.holds[0], s.holds[1]) {
			return
		}
		r.calm(3 * time.Second)
		r.said["ipfail, ping group "+s.name] = "ha-master:\n" + r.ipfailStory(r.Master, master) + "\nha-slave:\n" + r.ipfailStory(r.Slave, slave)
	}
	// The resources go home, as they do by ipfail's own word.
	r.run(r.Master, "/usr/share/heartbeat/hb_takeover local")
	r.stable("local", "local")
}

// calm waits until neither node's ipfail has said anything for so long, nor has anything moved.
func (r *clientsRun) calm(quiet time.Duration) {
	r.seen("nothing more is logged", unchanged(quiet, func() int { return r.heard(r.Master) + r.heard(r.Slave) }))
}

func (r *clientsRun) heard(d *lab.Director) int {
	text := d.Log()
	return strings.Count(text, " ipfail: [") + strings.Count(text, "tandby") + strings.Count(text, "transition")
}
