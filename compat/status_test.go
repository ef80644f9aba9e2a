package compat

import (
	"encoding/json"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestStatus looks at a pair by `systole status` and by its metrics: at one of ours in service, when the other node, an
// original, dies, and stopped; and from the original's side, which tells less. (About 20 s.)
func TestStatus(t *testing.T) {
	t.Parallel()
	conf := func(master bool) map[string]string {
		text := fastTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])
		// Of two media with one name the original lets one die.
		return map[string]string{"/etc/ha.d/ha.cf": strings.Replace(text, "bcast eth0\n", "", 1)}
	}
	h := tutorial(t, lab.HostsOptions{
		Slave: lab.Original, Userspace: true, Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false),
		Config: map[string]string{
			"/etc/ha.d/systole.cf":  "logdialect debian12\nmetrics 172.16.60.206:9694\n",
			"/etc/ha.d/haresources": "ha-master 172.16.60.111 ldirectord::ldirectord.cf\nha-slave 172.16.60.112\n",
		},
		Log: func(string, ...any) {},
	})
	ours, err := os.ReadFile(program(t))
	if err == nil {
		err = h.Slave.WriteFile("/usr/bin/systole", ours, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	look := func(d *lab.Director, arg string) (lab.Result, bool) {
		res, err := d.Exec(t.Context(), "sh", "-c", "systole status "+arg)
		if err != nil {
			t.Fatal(err)
		}
		return res, res.Code == 0
	}
	if res, _ := look(h.Master, ""); res.Code != 3 || !strings.Contains(res.Stderr, "heartbeat is stopped") {
		t.Errorf("before the start: %+v", res)
	}
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if res, err := d.Start(t.Context()); err != nil || res.Code != 0 {
			t.Fatalf("%+v %v", res, err)
		}
	}
	var res lab.Result
	fine := func(d *lab.Director) func() bool {
		return func() (ok bool) { res, ok = look(d, ""); return ok }
	}
	defer func() {
		if t.Failed() {
			t.Logf("the last status: %+v\n%s", res, lastLines(h.Master.Log(), 30))
		}
	}()
	waitFor(t, limit, "all is well at ha-master", fine(h.Master))
	for _, want := range []string{
		`(?m)^ha-master: heartbeat 3\.0\.6 .*, active, since 20`, `(?m)^holds local since 20`, `(?m)^ha-slave +active +20\S+ \S+ +eth0 up`, `(?m)^group1 +ping .*group1 up`,
		`(?m)^ha-master +ha-master +172\.16\.60\.111 ldirectord::ldirectord\.cf$`, `(?m)^ha-slave +ha-slave +172\.16\.60\.112$`,
		`(?m)^ldirectord /etc/ha\.d/ldirectord\.cf: running`, `(?m)^  172\.16\.60\.204:80 +up +weight 1 `,
	} {
		if !regexp.MustCompile(want).MatchString(res.Stdout) {
			t.Errorf("no %s in\n%s", want, res.Stdout)
		}
	}
	waitFor(t, limit, "all is well at ha-slave", fine(h.Slave))
	if want := regexp.MustCompile(`(?s)^ha-slave: heartbeat [^\n]*, active\nholds local\n.*\nha-master +active +eth0 up\n`); !want.MatchString(res.Stdout) {
		t.Errorf("the original's:\n%s", res.Stdout)
	}
	scrape := func() string {
		r, err := h.Client.HTTPClient().Get("http://172.16.60.206:9694/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	has := func(text string, lines ...string) {
		t.Helper()
		for _, l := range lines {
			if !strings.Contains(text, "\n"+l+"\n") {
				t.Errorf("no %s in\n%s", l, text)
			}
		}
	}
	has(scrape(), "systole_heartbeat_up 1", `systole_node_status{node="ha-slave",status="active"} 1`, `systole_link_up{link="eth0",node="ha-slave"} 1`,
		`systole_resource_group_held{group="172.16.60.111"} 1`, `systole_resource_group_held{group="172.16.60.112"} 0`, "systole_takeovers_total 0",
		`systole_ldirectord_real_up{config="ldirectord.cf",real="172.16.60.205:80",virtual="tcp:172.16.60.111:80"} 1`)

	if err := h.Slave.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if err := h.Real[1].StopWeb(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, limit, "what is degraded is said", func() bool {
		res, _ = look(h.Master, "")
		return strings.Contains(res.Stdout, "\nDEGRADED: node ha-slave is dead\n") && strings.Contains(res.Stdout, "\n          tcp:172.16.60.111:80 has 1 of 2 real servers\n") &&
			strings.Contains(res.Stdout, ", from local to all in ")
	})
	if res.Code != 1 || !regexp.MustCompile(`(?m)^ha-master +ha-slave +172\.16\.60\.112$`).MatchString(res.Stdout) {
		t.Errorf("%d\n%s", res.Code, res.Stdout)
	}
	res, _ = look(h.Master, "--json")
	var o struct {
		Heartbeat struct {
			Held  string
			Moves []struct {
				At  time.Time
				Why string
			}
		}
		Degraded []string
	}
	if err := json.Unmarshal([]byte(res.Stdout), &o); err != nil {
		t.Fatal(err)
	}
	if m := o.Heartbeat.Moves; o.Heartbeat.Held != "all" || len(m) == 0 || m[len(m)-1].Why != "node ha-slave is dead" || len(o.Degraded) < 2 {
		t.Errorf("%+v\n%s", o, res.Stdout)
	}
	text := scrape()
	has(text, "systole_takeovers_total 1", `systole_node_deaths_total{node="ha-slave"} 1`, `systole_node_status{node="ha-slave",status="dead"} 1`,
		`systole_resource_group_held{group="172.16.60.112"} 1`, `systole_ldirectord_real_up{config="ldirectord.cf",real="172.16.60.205:80",virtual="tcp:172.16.60.111:80"} 0`)
	printed, err := h.Master.Exec(t.Context(), "systole", "metrics")
	if err != nil || printed.Code != 0 || !strings.Contains(printed.Stdout, "\nsystole_takeovers_total 1\n") {
		t.Errorf("systole metrics: %+v %v", printed, err)
	}
	if r, err := h.Master.Stop(t.Context()); err != nil || r.Code != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	if res, _ = look(h.Master, ""); res.Code != 3 {
		t.Errorf("after the stop: %+v", res)
	}
}
