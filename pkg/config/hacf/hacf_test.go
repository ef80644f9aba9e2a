package hacf

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const valid = "keepalive 1\ndeadtime 10\ninitdead 10\nauto_failback on\nlogfile /dev/null\nbcast eth0\nnode hba hbb\n"

var host = Host{
	Node:        "hba",
	UserExists:  func(n string) bool { return n == "root" || n == "hacluster" },
	GroupExists: func(n string) bool { return n == "root" || n == "haclient" },
	Executable:  func(p string) bool { return p == "/bin/true" },
	CheckLink: func(n string) error {
		if n != "eth0" && n != "lo" {
			return errors.New("No such device")
		}
		return nil
	},
	CheckTTY: func(p string) error {
		if p != "/dev/null" {
			return errors.New("no such file")
		}
		return nil
	},
	ServiceOfPort: func(p int) string { return map[int]string{53: "domain", 694: "ha-cluster"}[p] },
}

// The table of spec/heartbeat-config.md, 13: each line was tried on the original.
func TestOriginalVerdicts(t *testing.T) {
	for _, tc := range []struct{ line, wire string }{ // wire "ok": accepted; "S": refused without a text
		{"keepalive abc", "S"},
		{"keepalive 0", "S"},
		{"keepalive 500 ms", "S"},
		{"keepalive 2s", "S"},
		{"keepalive 2000000us", "ok"},
		{"keepalive 1.5", "ok"},
		{"keepalive 5", "Dead time [10000] is too small compared to keeplive [5000]"},
		{"deadtime -1", "S"},
		{"deadtime abc", "S"},
		{"initdead abc", "S"},
		{"deadping abc", "S"},
		{"deadtime 2", "Dead time [2000] is too small compared to keeplive [1000]"},
		{"warntime 0", "S"},
		{"initdead 5", "Initial dead time [5000] is smaller than deadtime [10000]"},
		{"initdead 9\ndeadtime 5", "ok"},
		{"deadping 2", "Ping dead time [2000] is too small compared to keeplive [1000]"},
		{"udpport 0", "S"},
		{"udpport abc", "S"},
		{"udpport 53", "ok"},
		{"baud 1234", "S"},
		{"logfacility zz", "Log facility(zz) not valid"},
		{"logfacility none", "ok"},
		{"auto_failback maybe", "S"},
		{"nice_failback x", "ERROR: nice_failback flag is obsolete.. Use auto_failback {on, off, legacy} instead."},
		{"rtprio 0", "Illegal realtime priority [0]"},
		{"rtprio 100", "Illegal realtime priority [100]"},
		{"hbgenmethod FILE", "Illegal hb generation method [FILE]"},
		{"realtime perhaps", "S"},
		{"msgfmt x", "S"},
		{"coredumps q", "S"},
		{"log_badpack q", "S"},
		{"use_logd q", "S"},
		{"memreserve 0", "S"},
		{"debug -1", "S"},
		{"hopfudge 300", "S"},
		{"autojoin any", "R1 style resource management conflicts with  autojoin set"},
		{"autojoin OTHER", "R1 style resource management conflicts with  autojoin set"},
		{"autojoin q", "Invalid autojoin directive [q]"},
		{"uuidfrom Nodename", "Invalid uuidfrom directive [Nodename]"},
		{"compression foo", "Compression module(foo) not found"},
		{"compression_threshold 0", "set_compression_threshold: compress_threshhold(0) invalid"},
		{"traditional_compression q", "set_traditional_compression:Invalid directive value q"},
		{"max_rexmit_delay 0", "Invalid max_rexmit_delay time(0)"},
		{"coreroot /nonexistent", "ok"},
		{"coreroot relative", "Invalid core directory [relative]: Invalid argument"},
		{"record_config_changes q", "ha_config_check_boolean:Invalid directive value q"},
		{"env foo", "ok"},
		{"env FOO=bar", "ok"},
		{"env =x", "set_env: invalid nvpair(=x)"},
		{"Keepalive 1", "Illegal directive [Keepalive] in ha.cf"},
		{"NODE hbd", "Illegal directive [NODE] in ha.cf"},
		{"rds eth0", "Illegal directive [rds] in ha.cf"},
		{"tipc x", "Illegal directive [tipc] in ha.cf"},
		{"node a,b c", "ok"},
		{"node hbd # comment", "ok"},
		{`node "hbd"`, "ok"},
		{"bcast", "ok"},
		{"ping", "ok"},
		{"serial", "ok"},
		{"bcast nosuch0", "ERROR: glib: Get broadcast for interface nosuch0 failed: No such device"},
		{"bcast eth0 eth0", "ok"},
		{"bcast eth0,lo", "ok"},
		{"udp eth0", "ok"},
		{"mcast", "S"}, // the original crashes
		{"ucast", "S"}, // the original crashes
		{"ucast nosuch0 10.98.0.2", "ok"},
		{"ucast eth0", "glib: ucast: [eth0] missing target IP address/hostname"},
		{"mcast eth0 225.0.0.1 694 1 0", "ok"},
		{"mcast eth0 10.0.0.1 694 1 0", "glib: mcast [eth0] bad addr [10.0.0.1]"},
		{"mcast eth0 225.0.0.1 694 5 0", "glib:  mcast [eth0] bad ttl [5]"},
		{"mcast eth0 225.0.0.1 694", "glib: mcast [eth0] missing ttl"},
		{"mcast6 eth0 ff02::4 694 1 0", "ok"},
		{"ucast6 eth0 fe80::1", "ok"},
		{"ping_group", "S"},
		{"ping_group g1", "S"},
		{"ping_group g1 10.0.0.1", "ok"},
		{"serial /dev/null", "ok"},
		{"serial ttyS0", "glib: Serial port not full pathname [ttyS0] in config file"},
		{"apiauth", "ERROR: Invalid apiauth directive []"},
		{"apiauth foo", "ERROR: Invalid apiauth directive [foo]"},
		{"apiauth foo uid=root gid=haclient,0", "ok"},
		{"apiauth foo uid=nosuch", "ERROR: Invalid user id name [nosuch]"},
		{"apiauth a uid=root\napiauth a gid=root", "ERROR: Duplicate apiauth directive for API client a: [a gid=root]"},
		{"respawn", "S"},
		{"respawn hacluster", "S"},
		{"respawn 103 /bin/true", "Invalid uid [103] specified for client child"},
		{"respawn hacluster /bin/nosuch", "Client child command [/bin/nosuch] is not executable"},
		{"respawn hacluster bin/true x", "Client child command [bin/true x] is not full pathname"},
		{"respawn hacluster /bin/true -x y", "ok"},
		{"stonith", "No Stonith type given"},
		{"stonith_host * null hba", "ok"},
		{"stonith_host other", "ok"},
		{"pacemaker no", "ok"},
		{"crm no\npacemaker no", "pacemaker/crm directive used multiple times!"},
		{"crm yes", "systole manages haresources only: for Pacemaker use Pacemaker on Corosync"},
		{"node", "ok"},
	} {
		text := valid + tc.line + "\n"
		_, problems := Parse("ha.cf", []byte(text), host)
		errs, _ := problems.Count()
		if tc.wire == "ok" {
			if errs != 0 {
				t.Errorf("%q: refused: %v", tc.line, problems.Err())
			}
			continue
		}
		if errs == 0 {
			t.Errorf("%q: accepted, want refused", tc.line)
			continue
		}
		var wires []string
		for _, p := range problems {
			if p.Sev > 0 && p.Wire != "" {
				wires = append(wires, p.Wire)
			}
			if p.Sev > 0 && p.Pos.Line == 0 && p.Pos.File == "" {
				t.Errorf("%q: %v has no place", tc.line, p)
			}
		}
		got := strings.Join(wires, "\n")
		if tc.wire == "S" && got != "" || tc.wire != "S" && !strings.HasPrefix(got, tc.wire) {
			t.Errorf("%q: the original would log %q, want %q", tc.line, got, tc.wire)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, problems := Parse("ha.cf", []byte("bcast eth0\nnode hba hbb\nauto_failback on\nlogfile /x\ndebugfile /y\n"), host)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct {
		what      string
		got, want time.Duration
	}{
		{"keepalive", c.Keepalive, time.Second},
		{"deadtime", c.Deadtime, 30 * time.Second},
		{"warntime", c.Warntime, 15 * time.Second},
		{"initdead", c.Initdead, 30 * time.Second},
		{"deadping", c.Deadping, 30 * time.Second},
		{"max_rexmit_delay", c.MaxRexmitDelay, 250 * time.Millisecond},
	} {
		if d.got != d.want {
			t.Errorf("%s %v, want %v", d.what, d.got, d.want)
		}
	}
	if c.UDPPort != 694 || c.Hopfudge != 1 || c.Msgfmt != "classic" || c.Failback != On || !c.LogBadPack {
		t.Errorf("defaults: %+v", c)
	}
	for name, want := range map[string]string{"keepalive": "1000ms", "warntime": "15000ms", "udpport": "694", "auto_failback": "on", "cluster": "linux-ha"} {
		if got, _ := c.Param(name); got != want {
			t.Errorf("parameter %s is %q, want %q", name, got, want)
		}
	}
}

// All problems of a file are shown, each at its place.
func TestAllProblemsWithPlaces(t *testing.T) {
	_, problems := Parse("ha.cf", []byte("keepalive 2x\n\n  deadtime 1h # no\nfoo bar\nbcast eth9\nnode hba\nlogfile /x\nauto_failback on\n"), host)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		`ha.cf:1:11: keepalive: bad duration "2x" (want seconds, or a number with ms)`,
		`ha.cf:3:12: deadtime: bad duration "1h" (want seconds, or a number with ms)`,
		`ha.cf:4:1: "foo" is not a directive (want a directive of ha.cf)`,
		`ha.cf:5:7: bcast: interface "eth9": No such device (want an interface that can broadcast)`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s\nhave:\n%s", want, text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte("apiauth a uid=x,y gid=z\nrespawn root /x y\nnode a,b c\nkeepalive 1.5.6ms\nmcast eth0 225.0.0.1 694 1 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		c, _ := Parse("ha.cf", text, host)
		if len(c.Nodes) > maxNodes || len(c.Media) > maxMedia {
			t.Errorf("%d nodes, %d media", len(c.Nodes), len(c.Media))
		}
	})
}
