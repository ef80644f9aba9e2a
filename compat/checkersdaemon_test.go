package compat

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/director"
)

// daemonCase is a check that the daemon makes, and what its status is to say of it.
type daemonCase struct {
	name      string
	id        string // of the service
	up        bool
	reason    string // is part of the reason
	certified bool   // the certificate's end is warned of
}

// daemon has ldirectord itself make all checks of real services, with what systole.cf asks for beyond
// the original: verdicts, reasons, transcripts and warnings are what status says.
func (f *farmland) daemon(t *testing.T) {
	var conf, systole strings.Builder
	conf.WriteString("checktimeout=10\ncheckinterval=5\nquiescent=no\n")
	var cases []daemonCase
	add := func(c checkCase, addr netip.Addr, options string) *daemonCase {
		n := len(cases)
		id := fmt.Sprintf("tcp:10.21.0.1:%d", 10000+n)
		if addr.Is6() {
			id = fmt.Sprintf("tcp:[fd21::1]:%d", 10000+n)
		}
		section := c.conf(n, addr, c.port) + "\n"
		if strings.Contains(section, "protocol=udp") {
			id = "udp" + id[3:]
		}
		conf.WriteString(section)
		if options != "" {
			fmt.Fprintf(&systole, "service %s %s\n", id[4:], options)
		}
		cases = append(cases, daemonCase{fmt.Sprintf("%s %s %s %s", c.service, c.what, addr, options), id, c.up, c.reason, false})
		return &cases[n]
	}
	seen := map[string]bool{}
	for _, c := range checkCases {
		for _, addr := range []netip.Addr{goodServer, goodServer6} {
			add(c, addr, "")
			if !c.up || !c.overTLS() || seen[c.service+addr.String()] {
				continue
			}
			seen[c.service+addr.String()] = true
			add(c, addr, "verify name cafile /etc/ha.d/ca.pem servername "+serviceName+" certwarn 14").certified = true
			add(c, addr, "verify chain cafile /etc/ha.d/ca.pem certwarn 3")
			other := add(c, addr, "verify name cafile /etc/ha.d/ca.pem servername other.systole.test")
			other.up, other.reason = false, "not other.systole.test"
			unknown := add(c, addr, "verify chain")
			unknown.up, unknown.reason = false, "unknown authority"
		}
	}
	program, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string][]byte{
		"/usr/sbin/ldirectord": program, "/etc/ha.d/ca.pem": f.ca,
		"/etc/ha.d/ldirectord.cf": []byte(conf.String()), "/etc/ha.d/systole.cf": []byte(systole.String()),
	} {
		if err := f.director.WriteFile(path, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := &scaleDirector{t: t, node: f.director, env: []string{"SYSTOLE_IPVS=model"}}
	d.ldirectord("start")
	defer d.ldirectord("stop")
	waitFor(t, time.Minute, "every server has its verdict", func() bool { return d.report().State == director.Running })
	status := map[string]director.RealStatus{}
	for _, v := range d.report().Virtuals {
		status[v.ID] = v.Reals[0]
	}
	text := d.ldirectord("status", "--verbose").Stdout
	log, err := f.director.ReadFile("/var/log/ldirectord.log")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		r := status[c.id]
		if up := r.Health == director.Up; up != c.up || up != (r.InTable && r.Weight > 0) {
			t.Errorf("%s: %+v", c.name, r)
			continue
		}
		const warning = "certificate of " + serviceName + " ends in 9 days"
		if c.certified != strings.Contains(r.Warning, warning) || c.certified && !strings.Contains(string(log), "("+c.id+"): "+warning) {
			t.Errorf("%s: warning %q", c.name, r.Warning)
		}
		if c.up {
			continue
		}
		if !strings.Contains(r.Reason, c.reason) || len(r.Recent) == 0 || len(r.Recent[0].Trace) == 0 {
			t.Errorf("%s: %+v", c.name, r)
			continue
		}
		last := r.Recent[len(r.Recent)-1]
		if !strings.Contains(text, r.Addr+" "+last.Reason+"\n        "+last.Trace[0]+"\n") {
			t.Errorf("%s: status --verbose does not show %+v", c.name, last)
		}
	}
	for _, secret := range []string{servicePassword, "wrong cr", serviceSecret} {
		if strings.Contains(text+string(log), secret) {
			t.Errorf("%q is in status or log", secret)
		}
	}
	t.Logf("the daemon made %d checks", len(cases))
}
