package compat

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

var checklistOriginal = flag.Bool("checklist-original", false, "hold the originals, not ours, against the tutorial's checklist")

// TestChecklist goes through everything that the tutorial shows (spec/resource-manager.md, 9) on its
// five hosts, with the kernel's IPVS and nginx. Run with -checklist-original it proves the list itself.
func TestChecklist(t *testing.T) {
	if !lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 20*time.Minute, 2048 }) {
		return
	}
	c := newChecklist(t)
	for _, phase := range []struct {
		name string
		act  func()
	}{
		{"hosts", c.environment},
		{"configuration", c.configuration},
		{"first start", c.firstStart},
		{"standby", c.standby},
		{"failover", c.failover},
		{"failback", c.failback},
		{"real servers", c.realServers},
	} {
		began := time.Now()
		phase.act()
		t.Logf("%s: %v", phase.name, time.Since(began).Round(100*time.Millisecond))
	}
	c.report()
}

// verdict is how an item ended: nil is pass.
type verdict error

// notOurs is the verdict of an item that some other program answers for.
type notOurs string

func (n notOurs) Error() string { return string(n) }

// item is a row of the checklist. Kind as in the spec: S text of ours, X others', S/X state of ours
// that another program shows, C configuration to be accepted.
type item struct{ id, kind, what string }

var checklistItems = []item{
	{"S1", "X", "five hosts, names, addresses, forwarding"},
	{"S2", "X", "the rpm files"},
	{"S3", "S", "/etc/ha.d and the sample files after installation"},
	{"S4", "S", "ll /etc/ha.d"},
	{"S5", "C", "ha.cf"},
	{"S6", "C", "ha.cf without text behind # on a directive's line"},
	{"S7", "S", "no start with a respawn path that does not exist"},
	{"S8", "C", "authkeys, mode 600 and no other"},
	{"S9", "C", "haresources; VIP, ipvsadm, ldirectord are started in this order"},
	{"S10", "C", "ldirectord.cf; no start with an unindented line under virtual"},
	{"S11", "S", "/etc/init.d/ldirectord status before the start"},
	{"S12", "X", "the kernel's ip_vs modules"},
	{"S13", "X", "ipvsadm is built and installed"},
	{"S14", "X", "ipvsadm -L -n of an empty table"},
	{"S15", "C", "a shell script as /etc/sysconfig/ipvsadm"},
	{"S16", "X", "texts of the realserver script"},
	{"S17", "X", "VIP on lo:0 of the real servers, arp_ignore, arp_announce"},
	{"S18", "X", "nginx listens on port 80"},
	{"S19", "X", "pages of the real servers"},
	{"S20", "X", "page of the directors"},
	{"S21", "S", "only the owner of the VIP starts ipvsadm and ldirectord"},
	{"S22", "S", "master: /etc/init.d/heartbeat start on a terminal"},
	{"S23", "S/X", "master: ps -ef|grep heartbeat"},
	{"S24", "S/X", "master: lsof -i:694"},
	{"S25", "S/X", "master: ps -ef|grep ldirectord"},
	{"S26", "S", "master: /etc/init.d/ldirectord status"},
	{"S27", "S/X", "master: ip addr"},
	{"S28", "S/X", "master: ipvsadm -Ln"},
	{"S29", "S", "master: ha-log of the acquisition"},
	{"S30", "S", "slave: /etc/init.d/heartbeat start on a terminal"},
	{"S31", "S/X", "slave: ps -ef|grep heartbeat"},
	{"S32", "S/X", "slave: lsof -i:694"},
	{"S33", "S", "slave: ldirectord is stopped"},
	{"S34", "S/X", "slave: ip addr"},
	{"S35", "S/X", "slave: ipvsadm -Ln"},
	{"S36", "S", "slave: ha-log of the join"},
	{"S37", "S/X", "pages through the VIP"},
	{"S38", "X", "master: ipvsadm -l --stats"},
	{"S39", "X", "master: ipvsadm -l --rate"},
	{"S40", "C", "two ping_group lines of one name"},
	{"S41", "S", "master: /etc/init.d/heartbeat stop"},
	{"S42", "S/X", "master: no heartbeat process after it"},
	{"S43", "S/X", "master: VIP, table and ldirectord are gone"},
	{"S44", "S", "master: ha-log of the release"},
	{"S45", "S/X", "slave: ip addr with the VIP"},
	{"S46", "S/X", "slave: ipvsadm -Ln"},
	{"S47", "S/X", "slave: ps -ef|grep ldirectord"},
	{"S48", "S", "slave: ha-log of the takeover"},
	{"S49", "S", "the restarted master takes the VIP back"},
	{"S50", "S", "master: /etc/init.d/heartbeat start again"},
	{"S51", "S/X", "master: ps -ef|grep heartbeat"},
	{"S52", "S/X", "master: lsof -i:694"},
	{"S53", "S/X", "master: ps -ef|grep ldirectord"},
	{"S54", "S/X", "master: ip addr and ipvsadm -Ln"},
	{"S55", "S", "master: ha-log of the failback"},
	{"S56", "S/X", "slave: VIP, ldirectord and table are gone"},
	{"S57", "S", "slave: ha-log of the release"},
	{"S58", "S", "the slave's release ends before the master's acquisition begins"},
	{"S59", "S/X", "a client does not notice failover and failback"},
	{"S60", "X", "ipvsadm -Ln before a real server fails"},
	{"S61", "X", "nginx of rs-204 is stopped"},
	{"S62", "S/X", "rs-204 is out, the page is rs-205's"},
	{"S63", "S/X", "rs-204 back, rs-205 out, the page is rs-204's"},
	{"S64", "S/X", "both out: the fallback"},
	{"S65", "S", "removed, not quiesced, and added again"},
}

// checklist holds the hosts and the verdicts while the tutorial is acted out.
type checklist struct {
	t        *testing.T
	ctx      context.Context
	h        *lab.Hosts
	impl     lab.Impl
	verdicts map[string]verdict
	judged   map[string]bool
}

func newChecklist(t *testing.T) *checklist {
	c := &checklist{t: t, ctx: t.Context(), impl: lab.Ours, verdicts: map[string]verdict{}, judged: map[string]bool{}}
	if *checklistOriginal {
		c.impl = lab.Original
	}
	c.h = tutorial(t, lab.HostsOptions{Master: c.impl, Slave: c.impl, Nginx: true, SecondLink: true, Config: centOS, Env: []string{"SYSTOLE_NO_REBOOT=1"}})
	for _, d := range []*lab.Director{c.h.Master, c.h.Slave} {
		// On the tutorial's machines the ldirectord resource is the init script.
		if err := d.Remove("/etc/ha.d/resource.d/ldirectord"); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// centOS is what differs between the tutorial's distribution and this one: the init scripts of two
// resources, and what the tutorial calls the configuration of ipvsadm. The scripts are of our own: they stand for those of
// the distribution, which we would know.
var centOS = map[string]string{
	"/etc/resolv.conf":        "",
	"/etc/services":           "http 80/tcp\nha-cluster 694/udp\n",
	"/etc/init.d/ldirectord":  "#!/bin/sh\nexec /usr/sbin/ldirectord \"$1\"\n",
	"/etc/init.d/ipvsadm":     ipvsadmInit,
	"/etc/sysconfig/ipvsadm":  sysconfigIPVSAdm,
	"/etc/default/ipvsadm":    "AUTO=\"true\"\n",
	"/etc/ha.d/README.config": "Copy the samples here, and edit them.\n",
	"/etc/ha.d/systole.cf":    "builtin ipvsadm ldirectord\n",
}

const ipvsadmInit = `#!/bin/sh
IPVSADM_RULES=/etc/sysconfig/ipvsadm
[ -f $IPVSADM_RULES ] || IPVSADM_RULES=/etc/ipvsadm.rules
case $1 in
start) ipvsadm -C; ipvsadm-restore <$IPVSADM_RULES 2>/dev/null ;;
stop) ipvsadm -C ;;
status) ipvsadm -L -n ;;
esac
exit 0
`

const sysconfigIPVSAdm = `#!/bin/bash
# virtual server by direct routing
VIP=172.16.60.111
RIPS="172.16.60.204 172.16.60.205"
case "$1" in
start)
	ipvsadm -C
	ipvsadm -A -t $VIP:80 -s wlc -p 600
	for r in $RIPS; do ipvsadm -a -t $VIP:80 -r $r:80 -g; done
	;;
stop) ipvsadm -C ;;
status) ipvsadm -Ln ;;
esac
`

// judge notes the verdict of an item. The first failure of an item stays.
func (c *checklist) judge(id string, v verdict) {
	if !c.judged[id] || c.verdicts[id] == nil {
		c.verdicts[id] = v
	}
	c.judged[id] = true
}

// report prints the list in its order. An item of X is another's: its failure is one of the hosts.
func (c *checklist) report() {
	var pass, fail, others int
	for _, it := range checklistItems {
		var not notOurs
		v := c.verdicts[it.id]
		if !c.judged[it.id] {
			v = errors.New("never judged")
		}
		word, why := "pass", ""
		switch {
		case errors.As(v, &not):
			others++
			word, why = "not ours", " ("+not.Error()+")"
		case v != nil:
			fail++
			word, why = "fail", ": "+v.Error()
		default:
			pass++
		}
		c.t.Logf("%-8s %-3s %-3s %s%s", word, it.id, it.kind, it.what, why)
		if word == "fail" {
			c.t.Fail()
		}
	}
	c.t.Logf("%d pass, %d fail, %d not ours", pass, fail, others)
	if !c.t.Failed() {
		return
	}
	for _, d := range []*lab.Director{c.h.Master, c.h.Slave} {
		c.t.Logf("ha-log of %s:\n%s", d.Name(), d.Log())
	}
}

// all is the first failure.
func all(vs ...verdict) verdict {
	for _, v := range vs {
		if v != nil {
			return v
		}
	}
	return nil
}

// run is what a command of the director prints, standard error behind standard output.
func (c *checklist) run(d *lab.Director, name string, arg ...string) (string, int) {
	r, err := d.Exec(c.ctx, name, arg...)
	if err != nil {
		return err.Error(), -1
	}
	return r.Stdout + r.Stderr, r.Code
}

// prints fails unless the command prints exactly that, blanks and digits aside where loose says so.
func (c *checklist) prints(d *lab.Director, want string, name string, arg ...string) verdict {
	if got, _ := c.run(d, name, arg...); got != want {
		return fmt.Errorf("%s: %q, want %q", strings.Join(append([]string{name}, arg...), " "), got, want)
	}
	return nil
}

// eventually waits until f passes, and is its last failure if it does not. The original's Perl and
// shell scripts take their time in an emulated machine.
func (c *checklist) eventually(limit time.Duration, f func() verdict) verdict {
	if c.impl == lab.Original {
		limit *= 4
	}
	for end := time.Now().Add(lab.Patient(limit)); ; time.Sleep(50 * time.Millisecond) {
		v := f()
		if v == nil || time.Now().After(end) {
			return v
		}
	}
}
