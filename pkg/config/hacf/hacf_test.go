package hacf

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/diag"
)

const valid = "keepalive 1\ndeadtime 10\ninitdead 10\nauto_failback on\nlogfile /dev/null\nbcast eth0\nnode hba hbb\n"

// host is a machine with one interface and two users.
var host = Host{
	Node:        "hba",
	UserExists:  func(n string) bool { return n == "root" || n == "hacluster" },
	GroupExists: func(n string) bool { return n == "root" || n == "haclient" },
	Executable:  func(p string) bool { return p == "/bin/true" },
	CheckLink: func(_, n string) error {
		if n != "eth0" {
			return errors.New("No such device")
		}
		return nil
	},
	ServiceOfPort: func(port int) string { return map[int]string{53: "domain", 694: "ha-cluster"}[port] },
	Resolve: func(name string, _ bool) error {
		if name != "gw" {
			return errors.New("unknown")
		}
		return nil
	},
}

// parse reads valid with more lines and wants no errors.
func parse(t *testing.T, more string) *Config {
	t.Helper()
	c, problems := Parse("ha.cf", []byte(valid+more), host)
	if err := problems.Err(); err != nil {
		t.Fatalf("%q: %v", more, err)
	}
	return c
}

// What each directive puts into the Config. What the original accepts, refuses and logs is in
// compat/config_test.go.
func TestDirectives(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, tc := range []struct {
		text string
		get  func(c *Config) any
		want any
	}{
		{"keepalive 500ms", func(c *Config) any { return c.Keepalive }, 500 * ms},
		{"keepalive 1.5", func(c *Config) any { return c.Keepalive }, 1500 * ms},
		{"keepalive .5", func(c *Config) any { return c.Keepalive }, 500 * ms},
		{"keepalive 1.5.9", func(c *Config) any { return c.Keepalive }, 1500 * ms},
		{"keepalive 1200000us", func(c *Config) any { return c.Keepalive }, 1200 * ms},
		{"keepalive 1500us", func(c *Config) any { return c.Keepalive }, 2 * ms},
		{"keepalive 3 2", func(c *Config) any { return c.Keepalive }, 2 * s},
		{"deadtime 20\ninitdead 30", func(c *Config) any { return []time.Duration{c.Deadtime, c.Warntime, c.Deadping} }, []time.Duration{20 * s, 10 * s, 20 * s}},
		{"deadtime 1e9", nil, nil},
		{"initdead 60", func(c *Config) any { return c.Initdead }, 60 * s},
		{"initdead 99999999999", func(c *Config) any { return c.Initdead }, forever},
		{"warntime 3", func(c *Config) any { return c.Warntime }, 3 * s},
		{"deadping 4", func(c *Config) any { return c.Deadping }, 4 * s},
		{"auto_failback off", func(c *Config) any { return c.Failback }, Off},
		{"auto_failback LEGACY", func(c *Config) any { return c.Failback }, Legacy},
		{"auto_failback y", func(c *Config) any { return c.Failback }, On},
		{"nice_failback on", func(c *Config) any { return c.Failback }, Off},
		{"hopfudge 7x", func(c *Config) any { return c.Hopfudge }, 7},
		{"max_rexmit_delay 50", func(c *Config) any { return c.MaxRexmitDelay }, 50 * ms},
		{"udpport 1694", func(c *Config) any { return c.UDPPort }, 1694},
		{"udpport 70000", func(c *Config) any { return c.UDPPort }, 4464},
		{"baud 9600", func(c *Config) any { return c.Baud }, 9600},
		{"msgfmt netstring", func(c *Config) any { return c.Msgfmt }, "netstring"},
		{"log_badpack no", func(c *Config) any { return c.LogBadPack }, false},
		{"logfile /a\ndebugfile /b", func(c *Config) any { return c.LogFile + c.DebugFile }, "/a/b"},
		{"logfacility local0", func(c *Config) any { return c.LogFacility }, "local0"},
		{"syslogmsgfmt off", func(c *Config) any { return c.SyslogMsgFmt }, false},
		{"use_logd yes", func(c *Config) any { return c.UseLogd }, true},
		{"conn_logd_time 5", func(c *Config) any { return c.ConnLogdTime }, 5 * s},
		{"debug 2", func(c *Config) any { return c.Debug }, 2},
		{"watchdog /dev/watchdog", func(c *Config) any { return c.Watchdog }, "/dev/watchdog"},
		{"realtime off", func(c *Config) any { return c.Realtime }, false},
		{"rtprio 42", func(c *Config) any { return c.RTPrio }, 42},
		{"memreserve 1", func(c *Config) any { return c.MemReserve }, 1},
		{"coredumps no", func(c *Config) any { return c.CoreDumps }, false},
		{"coreroot /c", func(c *Config) any { return c.CoreRoot }, "/c"},
		{"hbgenmethod time", func(c *Config) any { return c.GenMethod }, "time"},
		{"uuidfrom nodename", func(c *Config) any { return c.UUIDFrom }, "nodename"},
		{"autojoin NONE", func(c *Config) any { return c.Autojoin }, "none"},
		{"cluster a b", func(c *Config) any { return c.Cluster }, "b"},
		{"cluster c\nquorum_server q", func(c *Config) any { return c.Cluster }, "q"},
		{"crm off", func(c *Config) any { return c.Pacemaker }, "off"},
		{"compression bz2\ncompression_threshold 4\ntraditional_compression on", func(c *Config) any {
			return []any{c.Compression, c.CompressionThreshold, c.TraditionalCompression}
		}, []any{"bz2", 4, true}},
		{"use_apphbd on", func(c *Config) any { return c.UseApphbd }, true},
		{"env A=1 B=x=y,C", func(c *Config) any { return c.Env }, []string{"A=1", "B=x=y", "C="}},
		{"node HBC,hbd hbc", func(c *Config) any { return names(c) }, "hba hbb hbc hbd hbc"},
		{"udp eth0", func(c *Config) any { return media(c)[1:] }, []string{"bcast eth0 [] 694"}},
		{"bcast eth0,eth0 eth0", func(c *Config) any { return media(c)[1:] }, []string{"bcast eth0 [] 694", "bcast eth0 [] 694", "bcast eth0 [] 694"}},
		{"ucast eth1 10.0.0.2 junk", func(c *Config) any { return media(c)[1:] }, []string{"ucast eth1 [10.0.0.2 junk] 694"}},
		{"ucast eth1 gw", func(c *Config) any { return media(c)[1:] }, []string{"ucast eth1 [gw] 694"}},
		{"mcast eth0 225.0.0.1 694 1 0", func(c *Config) any { return media(c)[1:] }, []string{"mcast eth0 [225.0.0.1 694 1 0] 0"}},
		{"serial /dev/ttyS0", func(c *Config) any { return media(c)[1:] }, []string{"serial /dev/ttyS0 [] 0"}},
		{"ping 10.0.0.1 GW", nil, nil},
		{"ping 10.0.0.1 gw", func(c *Config) any { return media(c)[1:] }, []string{"ping 10.0.0.1 [] 0", "ping gw [] 0"}},
		{"ping_group G1 10.0.0.1 gw", func(c *Config) any { return media(c)[1:] }, []string{"ping_group g1 [10.0.0.1 gw] 0"}},
		{"respawn hacluster  /bin/true  -a  b ", func(c *Config) any {
			return fmt.Sprintf("%s|%s|%v", c.Clients[0].User, c.Clients[0].Command, c.Clients[0].Failfast)
		}, "hacluster|/bin/true  -a  b|false"},
		{"failfast root /bin/true", func(c *Config) any { return c.Clients[0].Failfast }, true},
		{"apiauth ipfail gid=haclient,0 uid=root,", func(c *Config) any { return fmt.Sprint(c.APIAuth[0].Client, c.APIAuth[0].UIDs, c.APIAuth[0].GIDs) }, "ipfail[root] [haclient 0]"},
		{"stonith_host HBA null a  b", func(c *Config) any { return c.Stonith.Type + "|" + c.Stonith.Params }, "null|a  b"},
		{"stonith_host other null a", func(c *Config) any { return c.Stonith == nil }, true},
		{"stonith ssh /f", func(c *Config) any { return c.Stonith.Type + c.Stonith.Config }, "ssh/f"},
	} {
		c, problems := Parse("ha.cf", []byte(valid+tc.text+"\n"), host)
		switch err := problems.Err(); {
		case tc.get == nil && err == nil:
			t.Errorf("%q: accepted", tc.text)
		case tc.get != nil && err != nil:
			t.Errorf("%q: %v", tc.text, err)
		case tc.get != nil && !reflect.DeepEqual(tc.get(c), tc.want):
			t.Errorf("%q: %v, want %v", tc.text, tc.get(c), tc.want)
		}
	}
}

func names(c *Config) string {
	var list []string
	for _, n := range c.Nodes {
		list = append(list, n.Name)
	}
	return strings.Join(list, " ")
}

func media(c *Config) []string {
	var list []string
	for _, m := range c.Media {
		list = append(list, fmt.Sprintf("%s %s %v %d", m.Kind, m.Name, m.Args, m.Port))
	}
	return list
}

// The port of a medium is the one that was set above the first of its kind; seen with the original,
// too.
func TestPorts(t *testing.T) {
	c, problems := Parse("ha.cf", []byte("udpport 1700\nbcast eth0\nudpport 1800\nbcast eth0\nucast eth0 10.0.0.2\nnode hba\nauto_failback on\nlogfile /x\n"), host)
	want := []string{"bcast eth0 [] 1700", "bcast eth0 [] 1700", "ucast eth0 [10.0.0.2] 1800"}
	if got := media(c); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if len(problems) != 1 || problems[0].String() != "ha.cf:3:9: warning: udpport: comes too late for bcast above, which keeps port 1700 (want udpport above all media)" {
		t.Errorf("problems %v", problems)
	}
}

func TestDefaults(t *testing.T) {
	c, problems := Parse("ha.cf", []byte("bcast eth0\nnode hba hbb\nauto_failback on\nlogfile /x\ndebugfile /y\n"), host)
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	want := &Config{
		File: "ha.cf", Nodes: c.Nodes, Media: c.Media, Params: c.Params, places: c.places,
		Keepalive: time.Second, Deadtime: 30 * time.Second, Warntime: 15 * time.Second, Initdead: 30 * time.Second, Deadping: 30 * time.Second,
		Failback: On, Hopfudge: 1, MaxRexmitDelay: 250 * time.Millisecond, UDPPort: 694, Baud: 19200, Msgfmt: "classic", LogBadPack: true,
		LogFile: "/x", DebugFile: "/y", SyslogMsgFmt: true, ConnLogdTime: time.Minute,
		Realtime: true, RTPrio: 1, MemReserve: 6500, CoreDumps: true, GenMethod: "file", UUIDFrom: "file", Autojoin: "none",
		Cluster: "linux-ha", Pacemaker: "false", Compression: "zlib", CompressionThreshold: 2,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v\nwant\n%+v", c, want)
	}
}

// The parameters are what a child of the original had in its environment (spec/heartbeat-config.md,
// 7, of the same file), without what other parts of it add.
func TestParams(t *testing.T) {
	c, problems := Parse("ha.cf", []byte("keepalive 500ms\ndeadtime 5\nwarntime 2\ninitdead 10\ndebugfile /var/log/ha-debug\nlogfile /var/log/ha-log\nbcast eth0\nnode hba hbb\nauto_failback on\n"), host)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range c.Params {
		got[p.Name] = p.Value
	}
	want := map[string]string{
		"auto_failback": "on", "autojoin": "none", "baud": "19200", "cluster": "linux-ha", "compression": "zlib", "compression_threshold": "2",
		"conn_logd_time": "60", "coredumps": "true", "deadping": "5000ms", "deadtime": "5", "debugfile": "/var/log/ha-debug",
		"enable_config_writes": "on", "hbgenmethod": "file", "hopfudge": "1", "initdead": "10", "keepalive": "500ms", "log_badpack": "true",
		"logfile": "/var/log/ha-log", "max_rexmit_delay": "250", "memreserve": "6500", "msgfmt": "classic", "pacemaker": "false",
		"realtime": "true", "record_config_changes": "on", "record_pengine_inputs": "on", "syslogmsgfmt": "true",
		"traditional_compression": "no", "udpport": "694", "uuidfrom": "file", "warntime": "2",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
	c = parse(t, "crm no\nlogfacility local0\nudpport 0694\n")
	for name, want := range map[string]string{"pacemaker": "no", "logfacility": "local0", "debugfile": "/dev/null", "udpport": "0694", "keepalive": "1"} {
		if v, ok := c.Param(name); !ok || v != want {
			t.Errorf("parameter %s is %q, want %q", name, v, want)
		}
	}
	if _, ok := c.Param("watchdog"); ok {
		t.Error("watchdog is a parameter without having been given")
	}
}

func TestInitdead(t *testing.T) {
	for deadtime, want := range map[string]string{"11": "11000ms", "10": "20000ms", "6": "12000ms", "5999ms": "12000ms", "3": "12000ms"} {
		c, _ := Parse("ha.cf", []byte("keepalive 1\ndeadtime "+deadtime+"\n"), Host{})
		if got, _ := c.Param("initdead"); got != want || millis(c.Initdead) != want {
			t.Errorf("deadtime %s: initdead %s (%v), want %s", deadtime, got, c.Initdead, want)
		}
	}
}

// All problems of a file are shown, each at its place, and none that only follows from another.
func TestAllProblems(t *testing.T) {
	_, problems := Parse("ha.cf", []byte("keepalive 2x\n\n  deadtime 1h,5m # no\nfoo bar\ninitdead 1\nBcast eth0\nbcast eth9\nnode hbx\nlogfile /x\nauto_failback no way\nipfail\n"), host)
	want := `ha.cf:1:11: keepalive: bad duration "2x" (want seconds, or a number with ms)
ha.cf:3:12: deadtime: bad duration "1h" (want seconds, or a number with ms)
ha.cf:3:15: deadtime: bad duration "5m" (want seconds, or a number with ms)
ha.cf:4:1: "foo" is not a directive (want a directive of ha.cf)
ha.cf:6:1: "Bcast" is not a directive (want bcast and a blank)
ha.cf:7:7: bcast: interface "eth9": No such device (want an interface with an IPv4 address)
ha.cf:10:18: auto_failback: bad value "way" (want on, off or legacy)
ha.cf:11:1: "ipfail" is not a directive (want respawn hacluster /usr/lib/heartbeat/ipfail)
ha.cf:8:6: node: this machine is "hba", which is no node (want this machine's name among the nodes)`
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestLimits(t *testing.T) {
	lines := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for text, ok := range map[string]bool{
		lines("node n%d\n", 98):                true,
		lines("node n%d\n", 99):                false,
		lines("ping 10.0.0.%d\n", 63):          true,
		lines("ping 10.0.0.%d\n", 64):          false,
		"cluster " + strings.Repeat("x", 5111): true,
		"cluster " + strings.Repeat("x", 5112): false,
		"#" + strings.Repeat("x ", 5000):       true,
	} {
		_, problems := Parse("ha.cf", []byte(valid+text), host)
		if got := problems.Err() == nil; got != ok {
			t.Errorf("%.20q...: accepted %v, want %v: %.200v", text, got, ok, problems)
		}
	}
	_, problems := Parse("ha.cf", []byte(lines("ping 10.0.0.%d\n", 65)), Host{})
	if w := problems[0].Wire; w != "Too many media specified (> 64)\ninfo: Offending command: ping 10.0.0.64\nIllegal ping [ping membership] in config file [10.0.0.64]" {
		t.Errorf("the original would log %q", w)
	}
}

// hostile are texts of 64 KiB that make as much work as a parser can be made to do.
func hostile() map[string]string {
	const size = 64 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	unique := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()[:size]
	}
	return map[string]string{
		"unknown":   fill("x\n"),
		"bad":       fill("keepalive x\n"),
		"words":     fill("node " + strings.Repeat("a,", 2500) + "\n"),
		"clients":   fill("respawn root /bin/true\n"),
		"apiauth":   unique("apiauth %d uid=0\n"),
		"uids":      fill("apiauth a uid=" + strings.Repeat("0,", 2500) + "\n"),
		"env":       fill("env " + strings.Repeat("a=b,", 1200) + "\n"),
		"hosts":     fill("ping_group g " + strings.Repeat("x ", 2500) + "\n"),
		"one line":  fill("x"),
		"late port": "bcast eth0\nucast eth0 10.0.0.1\n" + fill("udpport 1\n"),
	}
}

// Warnings alone, however many, refuse no file.
func TestManyWarnings(t *testing.T) {
	_, problems := Parse("ha.cf", []byte(valid+strings.Repeat("debug x\n", diag.MaxProblems+5)), host)
	if n := len(problems); n != diag.MaxProblems+1 || problems.Err() != nil || problems[n-1].Msg != "5 more problems" {
		t.Errorf("%d problems, %v, %v", n, problems.Err(), problems[n-1])
	}
}

func TestHostile(t *testing.T) {
	for name, text := range hostile() {
		began := time.Now()
		n := alloc.Bytes(func() { Parse("ha.cf", []byte(text), host) })
		if took := time.Since(began); n > alloc.Text || took > 2*time.Second {
			t.Errorf("%s: %d KiB allocated, %v", name, n>>10, took)
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
		if got := alloc.Bytes(func() { Parse("ha.cf", text, host) }); got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		c, problems := Parse("ha.cf", text, host)
		if len(c.Nodes) > maxNodes || len(c.Media) > maxMedia || len(problems) > diag.MaxProblems+1 {
			t.Errorf("%d nodes, %d media, %d problems", len(c.Nodes), len(c.Media), len(problems))
		}
		for _, p := range problems {
			if p.Pos.File == "" {
				t.Errorf("%v has no place", p)
			}
		}
		if problems.Err() == nil && (c.Keepalive <= 0 || c.Deadtime <= 2*c.Keepalive || c.Initdead < c.Deadtime || len(c.Media) == 0) {
			t.Errorf("accepted %+v", c)
		}
	})
}

// What the original accepts without a word and is hardly meant.
func TestWarnings(t *testing.T) {
	for more, want := range map[string]string{
		"node c\n":                         `8:6: node: a third node: when one dies, each of the others takes its resources, addresses included (want two nodes)`,
		"node a\nnode hba\n":               `8:6: node: a third node: when one dies, each of the others takes its resources, addresses included (want two nodes)`,
		"node HBA\n":                       "",
		"ping\n":                           `8:1: ping: no value: the line does nothing (want a value)`,
		"keepalive 1\n":                    "",
		"keepalive 2\n":                    `8:11: keepalive: "2" replaces "1" above (want one value)`,
		"logfile /a,/b\n":                  `8:9: logfile: "/a" replaces "/dev/null" above (want one value)|8:12: logfile: "/b" replaces "/a" above (want one value)`,
		"udpport 1000\nudpport 2000\n":     `8:9: udpport: comes too late for bcast above, which keeps port 694 (want udpport above all media)|9:9: udpport: comes too late for bcast above, which keeps port 694 (want udpport above all media)`,
		"warntime 1\n":                     `8:1: warntime: 1s is not more than keepalive 1s: every heartbeat will be called late (want more than keepalive)`,
		"warntime 1100ms\n":                "",
		"warntime 10\n":                    `8:1: warntime: 10s is not less than deadtime 10s: no heartbeat will be called late (want less than deadtime)`,
		"auto_failback legacy\n":           `8:15: auto_failback: "legacy" replaces "on" above (want one value)|8:1: auto_failback: legacy is deprecated (want auto_failback on)`,
		"nice_failback on\n":               `8:15: nice_failback: obsolete: taken as auto_failback off (want auto_failback on, off or legacy instead)`,
		"crm no\ncrm_daemon_dir /x\n":      `9:16: crm_daemon_dir: has no meaning in haresources mode`,
		"use_logd yes\n":                   `8:1: use_logd: logfile/debugfile is still configured`,
		"initdead 9\ndeadtime 9\n":         `8:10: initdead: "9" replaces "10" above (want one value)|9:10: deadtime: "9" replaces "10" above (want one value)|8:1: initdead: 9s may be too small for a slow network's start (want at least 10 seconds)`,
		"udp eth0\n":                       `8:1: udp: udp is an old name of bcast`,
		"udpport 66230\n":                  `8:9: udpport: 66230 is no port: 694 is used, as by the original (want a port number from 1 to 65535)`,
		"udpport 53\n":                     `8:9: udpport: comes too late for bcast above, which keeps port 694 (want udpport above all media)|8:9: udpport: port 53 is registered for "domain"`,
		"deadtime 2001ms\n":                `8:10: deadtime: "2001ms" replaces "10" above (want one value)|8:1: warntime: 1s is not more than keepalive 1s: every heartbeat will be called late (want more than keepalive)`,
		"debug abc\n":                      `8:7: debug: "abc" is taken as 0, as by the original (want a number)`,
		"hopfudge xyz\n":                   `8:10: hopfudge: "xyz" is taken as 0, as by the original (want a number)`,
		"hopfudge 7\nmemreserve 9k\n":      `9:12: memreserve: "9k" is taken as 9, as by the original (want a number)`,
		"rtprio 5.5\n":                     `8:8: rtprio: "5.5" is taken as 5, as by the original (want a number)`,
		"baud 9600x\n":                     `8:6: baud: "9600x" is taken as 9600, as by the original (want a number)`,
		"udpport 694x\n":                   `8:9: udpport: "694x" is taken as 694, as by the original (want a number)`,
		"max_rexmit_delay 50ms\n":          `8:18: max_rexmit_delay: "50ms" is taken as 50, as by the original (want a number)`,
		"mcast eth0 225.0.0.1 70000 1 0\n": `8:7: mcast: port "70000" is taken as 4464, as by the original (want INTERFACE GROUP PORT TTL LOOP)`,
		"mcast eth0 225.0.0.1 694x 260 256\n": `8:7: mcast: port "694x" is taken as 694, as by the original (want INTERFACE GROUP PORT TTL LOOP)|8:7: mcast: ttl "260" is taken as 4, as by the original (want INTERFACE GROUP PORT TTL LOOP)|` +
			`8:7: mcast: loop "256" is taken as 0, as by the original (want INTERFACE GROUP PORT TTL LOOP)`,
		"mcast6 eth0 ff02::1:2 70000 1 0\n": `8:8: mcast6: port "70000" is taken as 4464, as by the original (want INTERFACE GROUP PORT HOPS LOOP)`,
		"mcast eth0 225.0.0.1 694 0 0\n":    `8:7: mcast: ttl 0: nothing leaves this machine (want 1 or more)`,
	} {
		_, problems := Parse("ha.cf", []byte(valid+more), host)
		var got []string
		for _, p := range problems {
			got = append(got, strings.Replace(strings.TrimPrefix(p.String(), "ha.cf:"), "warning: ", "", 1))
		}
		if text := strings.Join(got, "|"); text != want || problems.Err() != nil {
			t.Errorf("%q:\n%s\nwant\n%s", more, text, want)
		}
	}
}
