package compat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	var runs [4]*clientsRun
	for i := range runs {
		runs[i] = newClientsRun(t, lab.Impl(i/2), lab.Impl(i%2))
	}
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
	for _, r := range runs[:3] {
		for part, text := range want.said {
			if part == "dopd" && r.clients == lab.Ours {
				text = dopdAnswers
			}
			if d := cmp.Diff(text, r.said[part]); d != "" {
				t.Errorf("%s of %v on %v (-want +got)\n%s", part, r.clients, r.daemon, d)
			}
		}
	}
}

// clientsRun is a pair with clients of one sort.
type clientsRun struct {
	*testing.T
	*lab.Hosts
	daemon, clients lab.Impl
	said            map[string]string // by part
}

// Where the clients under test are on each node. heartbeat's own places would have ours run in process.
const clientsDir = "/usr/lib/clients"

func newClientsRun(t *testing.T, daemon, clients lab.Impl) *clientsRun {
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
			"respawn hacluster " + clientsDir + "/ipfail\nrespawn hacluster " + clientsDir + "/dopd\napiauth dopd uid=hacluster gid=haclient\n"}
	}
	r := &clientsRun{T: t, daemon: daemon, clients: clients, said: map[string]string{}}
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
	return r.seen("stable: "+master+", "+slave, func() bool {
		m, _ := r.run(r.Master, "cl_status nodestatus ha-slave; cl_status rscstatus")
		s, _ := r.run(r.Slave, "cl_status nodestatus ha-master; cl_status rscstatus")
		return strings.Contains(m, "\nactive\n"+master+"\n") && strings.Contains(s, "\nactive\n"+slave+"\n")
	})
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
	r.clStatus()
	r.outdate()
	if r.clients == lab.Original {
		r.apiTest()
	}
	r.giveUp()
	r.scripts()
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
	for d, lines := range map[*lab.Director][]string{r.Master: ipfailMaster, r.Slave: ipfailSlave} {
		for _, line := range lines {
			if !ipfailLine(line).MatchString(d.Log()[before[d]:]) {
				r.Errorf("%v on %v: ipfail of %s does not say %q:\n%s", r.clients, r.daemon, d.Name(), line, d.Log()[before[d]:])
			}
		}
	}
	if err := r.Master.Plug("eth0"); err != nil {
		r.Error(err)
		return
	}
	r.stable("local", "local")
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

// apiTest is the original's own test of the API, which needs group haclient. On the original it may trip over an answer of
// the other node that comes late; on ours it gets through.
func (r *clientsRun) apiTest() {
	text, _ := r.run(r.Master, "timeout 3 setpriv --regid=haclient --clear-groups ./api_test")
	for _, want := range []string{
		"Current resource status: local", "Cluster node: group1: status: ping", "node group1: intf: group1 ifstatus: up", "Cluster node: ha-slave: status: active",
		"node ha-slave: intf: eth1 ifstatus: up", "node ha-slave: intf: eth0 ifstatus: up", "Cluster node: ha-master: status: active", "Sleeping...",
	} {
		if r.daemon == lab.Ours && !strings.Contains(text, want) {
			r.Errorf("api_test on ours does not say %q:\n%s", want, text)
		}
	}
}
