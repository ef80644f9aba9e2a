package systolecf

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/alloc"
)

func TestParse(t *testing.T) {
	c, problems := Parse("systole.cf", []byte("# mine\nlogdialect debian12\nstopfailure standby # no reboots\n"))
	if len(problems) != 0 || !reflect.DeepEqual(c, Config{
		LogDialect: "debian12", StopFailure: "standby", IPVS: "kernel", AddressLost: "repair", Peers: "any", ReplayWindow: time.Minute,
	}) {
		t.Errorf("%+v %v", c, problems)
	}
	c, problems = Parse("systole.cf", []byte("peers systole\nreplaywindow 5\nfailbacksync 60\n"))
	if len(problems) != 0 || c.Peers != "systole" || c.ReplayWindow != 5*time.Second || c.FailbackSync != time.Minute {
		t.Errorf("%+v %v", c, problems)
	}
	c, problems = Parse("systole.cf", []byte("metrics [fd00::1]:9694\n"))
	if len(problems) != 0 || c.Metrics.String() != "[fd00::1]:9694" {
		t.Errorf("%+v %v", c, problems)
	}
	c, problems = Parse("systole.cf", []byte("builtin ipvsadm ldirectord\nbuiltin IPaddr\n"))
	if len(problems) != 0 || !slices.Equal(c.Builtin, []string{"ipvsadm", "ldirectord", "IPaddr"}) {
		t.Errorf("%+v %v", c, problems)
	}
	for _, bad := range []string{"9694", "10.0.0.1", "10.0.0.1:0", "host:9694", "224.0.0.1:9694"} {
		if _, problems = Parse("systole.cf", []byte("metrics "+bad)); problems.Err() == nil || !strings.HasSuffix(problems.Err().Error(), "(want ADDRESS:PORT)") {
			t.Errorf("%s: %v", bad, problems)
		}
	}
	_, problems = Parse("systole.cf", []byte("ipvs magic\nfoo\nlogdialect\npeers heartbeat\nreplaywindow 0\nreplaywindow\nfailbacksync 2m\nbuiltin\nbuiltin ipvsadm Filesystem\n"))
	want := `systole.cf:1:6: ipvs: bad value "magic" (want kernel or userspace)
systole.cf:2:1: "foo" is not a directive (want addresslost, builtin, failbacksync, ipvs, logdialect, metrics, peers, replaywindow, stopfailure or service)
systole.cf:3:1: logdialect: 0 values (want centos6 or debian12)
systole.cf:4:7: peers: bad value "heartbeat" (want any or systole)
systole.cf:5:14: replaywindow: bad value "0" (want a number of seconds from 1 to 3600)
systole.cf:6:1: replaywindow: 0 values (want a number of seconds from 1 to 3600)
systole.cf:7:14: failbacksync: bad value "2m" (want a number of seconds from 0 to 3600)
systole.cf:8:1: builtin: 0 values (want IPaddr, IPaddr2, IPv6addr, LVSSyncDaemonSwap, ipvsadm, ldirectord)
systole.cf:9:17: builtin: bad value "Filesystem" (want IPaddr, IPaddr2, IPv6addr, LVSSyncDaemonSwap, ipvsadm, ldirectord)`
	if got := problems.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestServices(t *testing.T) {
	c, problems := Parse("systole.cf", []byte(`
service * rise 2  jitter 10% # all
service 10.0.0.1:443 verify name servername www.x.y cafile /etc/ca.pem certwarn 14
service tcp:10.0.0.1:443 verify chain rise 5
service [fc00::1]:80 agentport 9777
service 7 leaveedits yes
`))
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	all := Options{Rise: 2, Jitter: 10}
	https := Options{Rise: 5, Jitter: 10, Verify: VerifyChain, CAFile: "/etc/ca.pem", ServerName: "www.x.y", CertWarn: 14 * 24 * time.Hour}
	quic := https
	quic.Rise, quic.Verify = 2, VerifyName
	six, mark := all, all
	six.AgentPort, mark.LeaveEdits = 9777, true
	for id, want := range map[string]Options{
		"tcp:10.0.0.1:80": all, "tcp:10.0.0.1:443": https, "udp:10.0.0.1:443": quic, "tcp:[fc00::1]:80": six, "fwm:7": mark, "fwm6:7": mark,
	} {
		_, label, _ := strings.Cut(id, ":")
		if got := c.Options(id, label); got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
	_, problems = Parse("systole.cf", []byte("service\nservice * rise\nservice * rise 0 jitter 5 verify yes\nservice * rise 3 color red\nservice * cafile ca.pem certwarn -1 agentport x\n"))
	want := `systole.cf:1:1: service: 0 words (want service NAME OPTION VALUE..., NAME a virtual service or *)
systole.cf:2:1: service: 2 words (want service NAME OPTION VALUE..., NAME a virtual service or *)
systole.cf:3:16: service rise: bad value "0" (want a number from 1 to 1000)
systole.cf:3:25: service jitter: bad value "5" (want 0% to 50%)
systole.cf:3:34: service verify: bad value "yes" (want no, chain or name)
systole.cf:4:18: service: "color" is not an option (want agentport, cafile, certwarn, jitter, leaveedits, rise, servername, verify)
systole.cf:5:18: service cafile: bad value "ca.pem" (want an absolute path)
systole.cf:5:34: service certwarn: bad value "-1" (want a number of days from 0 to 3650)
systole.cf:5:47: service agentport: bad value "x" (want a port from 1 to 65535, or 0 for none)`
	if got := problems.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"logdialect debian12\nstopfailure standby\nipvs userspace\n", "ipvs magic\nfoo\nlogdialect\n", "service * rise 3 jitter 10%\nservice 10.0.0.1:443 verify name certwarn 14\nservice x", "# \x00\r\n \tipvs\tkernel #x", "ipvs",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		given := string(text)
		if got := alloc.Bytes(func() { Parse("systole.cf", text) }); len(text) <= 1<<16 && got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		c, problems := Parse("systole.cf", text)
		if string(text) != given {
			t.Error("the text was changed")
		}
		lines := strings.Count(given, "\n") + 1
		for _, p := range problems {
			if p.Pos.Line < 1 || p.Pos.Line > lines || p.Pos.Col < 1 {
				t.Errorf("%v is not a place in %q", p.Pos, given)
			}
		}
		if again, _ := Parse("systole.cf", text); !reflect.DeepEqual(again, c) {
			t.Errorf("%q: %+v, and again %+v", given, c, again)
		}
	})
}
