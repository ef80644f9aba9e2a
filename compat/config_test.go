package compat

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/systole-ha/systole/pkg/config/authkeys"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// recordedHost is the machine on which the records were made.
func recordedHost() hacf.Host {
	in := func(names ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	executable, link := in("/bin/true", "/etc"), in("eth0", "lo")
	return hacf.Host{
		Node:        "hba",
		UserExists:  in("root", "hacluster"),
		GroupExists: in("root", "haclient"),
		Executable:  executable,
		CheckLink: func(_, name string) error {
			if !link(name) {
				return errors.New("No such device")
			}
			return nil
		},
		LinkIndex: func(name string) (int, error) { return slices.Index([]string{"", "lo", "eth0"}, name), nil },
		CheckTTY: func(path string) error {
			switch path {
			case "/dev/null", "/dev/zero":
				return nil
			case "/etc/passwd":
				return errors.New("not a character device")
			}
			return fs.ErrNotExist
		},
		Resolve:     func(string, bool) error { return errors.New(unknownReason) },
		StonithType: in("null", "ssh", "baytech", "meatware", "external", "external/ssh"),
		StonithNames: func(plugin string) ([]string, error) {
			switch plugin {
			case "baytech":
				return []string{"ipaddr", "login", "password"}, nil
			case "external":
				return []string{"ssh", "ipmi"}, nil // programs, of which there are many
			}
			return []string{"hostlist"}, nil
		},
		ReadFile: func(path string) ([]byte, error) {
			switch path {
			case "/etc/hostname":
				return []byte("vm\n"), nil
			case "/etc/hosts":
				return []byte("# hosts\n127.0.0.1 localhost\n"), nil
			case "/dev/null":
				return nil, nil
			}
			return nil, fs.ErrNotExist
		},
		PortOfService: func(string) error { return errors.New("unknown port") },
		ServiceOfPort: func(port int) string { return map[int]string{53: "domain"}[port] },
	}
}

// original is what the original would have logged for the problems.
func original(problems diag.List) []string {
	var lines []string
	for _, p := range problems {
		if p.Wire == "" {
			continue
		}
		level := "ERROR: "
		if p.Sev == diag.Warning {
			level = "WARN: "
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(p.Wire, "\n]", `\n]`), "\n") {
			if !strings.HasPrefix(line, "ERROR: ") && !strings.HasPrefix(line, "WARN: ") && !strings.HasPrefix(line, "info: ") {
				line = level + line
			}
			lines = append(lines, visible(line))
		}
	}
	return lines
}

// problemsOf leaves out of a record what is no problem of the file: what goes to standard error
// without a level, and what the daemon tells of its state.
func problemsOf(log []string) []string {
	var lines []string
	for _, l := range log {
		if !strings.HasPrefix(l, "stderr: ") && !strings.HasPrefix(l, "notice: ") && !strings.HasPrefix(l, "info: Pacemaker support: ") &&
			l != "info: Enabling logging daemon " && !strings.HasPrefix(l, "info: logfile and debug file are those specified") {
			lines = append(lines, l)
		}
	}
	return lines
}

// differences are the cases in which we answer otherwise on purpose, with our answer (see DEVIATIONS.md).
var differences = map[string]string{
	"> keepalive 500cl_gfoo": "refused", // a slip of the original's: "cl_g" is no unit
	// A carriage return ends a line; the original takes it for a letter of the resource's name.
	`= hba r1\r`:              "accepted | keys of hba: r1\\n | resources of hba: r1 \\n | keys of hbb: | resources of hbb:",
	`= hba r1\r | = hbb r2\r`: "accepted | keys of hba: r1\\n | resources of hba: r1 \\n | keys of hbb: r2\\n | resources of hbb: r2 \\n",
	// A backslash at the end of the file continues nothing; the original takes it for a resource.
	`= hba r1 \\`: "accepted | keys of hba: r1\\n | resources of hba: r1 \\n | keys of hbb: | resources of hbb:",
}

func TestHaCfRecords(t *testing.T) {
	compare(t, "ha.cf.txt", func(c *confCase) (diag.List, []string) {
		_, problems := hacf.Parse("/etc/ha.d//ha.cf", []byte(c.text(haCfBase)), recordedHost())
		return problems, nil
	})
}

func TestAuthkeysRecords(t *testing.T) {
	compare(t, "authkeys.txt", func(c *confCase) (diag.List, []string) {
		_, problems := authkeys.Parse("/etc/ha.d//authkeys", []byte(c.text("")), authkeys.Any)
		return problems, nil
	})
}

func TestHaresourcesRecords(t *testing.T) {
	compare(t, "haresources.txt", func(c *confCase) (diag.List, []string) {
		groups, problems := haresources.Parse("/etc/ha.d//haresources", []byte(c.text("")), []string{"hba", "hbb", "10.98.0.9", "g1"})
		var scripts []string
		for _, node := range []string{"hba", "hbb"} {
			var keys, all string
			for _, g := range groups {
				if g.Node != node {
					continue
				}
				keys += g.Key() + "\n"
				for _, r := range g.Resources {
					all += r.Word + " "
				}
				all += "\n"
			}
			scripts = append(scripts, visible("keys of "+node+": "+keys), visible("resources of "+node+": "+all))
		}
		return problems, scripts
	})
}

// documented are the directives of ha.cf, by the original's manual and its sample file.
const documented = `apiauth auto_failback autojoin baud bcast cluster compression compression_threshold conn_logd_time coredumps coreroot
	crm crm_daemon_dir crmd_spawns_pengine deadping deadtime debug debugfile enable_config_writes env failfast hbgenmethod hopfudge
	initdead keepalive log_badpack logfacility logfile max_rexmit_delay mcast mcast6 memreserve msgfmt nice_failback node pacemaker ping
	ping6 ping_group quorum_server realtime record_config_changes record_pengine_inputs respawn rtprio serial stonith_host syslogmsgfmt
	traditional_compression ucast ucast6 udp udpport use_apphbd use_logd uuidfrom warntime watchdog`

// refusals are the original's texts for what it refuses, in ha.cf, authkeys and haresources.
var refusals = []string{
	"Illegal directive [", "Log facility(", "nice_failback flag is obsolete", "Illegal realtime priority [", "Illegal hb generation method [",
	"Invalid core directory [", "must come before the pacemaker directive", "pacemaker/crm directive used multiple times!",
	"Invalid autojoin directive [", "R1 style resource management conflicts with  autojoin set", "Invalid uuidfrom directive [",
	"Compression module(", "set_compression_threshold: compress_threshhold(", "set_traditional_compression:Invalid directive value ",
	"set_env: invalid nvpair(", "Invalid max_rexmit_delay time(", "ha_config_check_boolean:Invalid directive value ",
	"No log entry found in ha.cf and use_logd is set to off", "No Stonith type given", "No Stonith hostname argument given",
	"Invalid Stonith type [", "Invalid Stonith config file [", "client name [", "Duplicate uid list in apiauth", "Duplicate gid list in apiauth",
	"Missing uid or gid in apiauth", "Invalid user id name [", "Invalid group name [", "Duplicate apiauth directive for API client",
	"Invalid uid [", "UID specified for client child is too long", "is not full pathname", "is not executable",
	"glib: Get broadcast for interface", "Illegal bcast [UDP/IP broadcast] in config file", "missing mcast address", "missing port", "missing ttl",
	"missing loop", "bad addr [", "bad port [", "bad ttl [", "bad loop [", "is invalid or not set up properly", "missing mcast6 address",
	"missing target IP address/hostname", "ucast: cannot resolve hostname", "missing ucast6 address", "Serial port not full pathname [",
	"Nonexistent serial port [", "not a char device", "glib: unknown host: ", "Illegal ping [ping membership] in config file",
	"No heartbeat media defined", "no nodes defined", "not in configuration!", "Dead time [", "Initial dead time [", "Ping dead time [",
	"Invalid auth line [", "Auth line [", "Invalid authnum [", "Invalid authtype [", "doesn't use a key", "requires a key",
	"Missing auth directive in keyfile [", "Auth Key [", "Bad nodename in /etc/ha.d//haresources [",
}

// TestRecordsAreComplete holds the records against what is documented: each directive is in a case
// that the original accepts, each refusal in one that it refuses.
func TestRecordsAreComplete(t *testing.T) {
	accepted := map[string]bool{}
	var refused strings.Builder
	for _, file := range []string{"ha.cf.txt", "authkeys.txt", "haresources.txt"} {
		for _, c := range readConfRecord(t, filepath.Join(confDir, file)).cases() {
			switch c.verdict {
			case "accepted":
				for line := range strings.Lines(c.text("")) {
					if words := strings.Fields(line); len(words) > 1 {
						accepted[words[0]] = true
					}
				}
			case "refused":
				refused.WriteString(strings.Join(c.log, "\n") + "\n")
			default:
				t.Errorf("%s: %s has no answer", file, c.name())
			}
		}
	}
	for _, d := range strings.Fields(documented) {
		if !accepted[d] {
			t.Errorf("no case with %s is accepted", d)
		}
	}
	for _, text := range refusals {
		if !strings.Contains(refused.String(), text) {
			t.Errorf("no case is refused with %q", text)
		}
	}
}

// TestTutorial reads the files of the tutorial: nobody has a word to say.
func TestTutorial(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile("../testdata/conf/tutorial/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	_, problems := hacf.Parse("ha.cf", read("ha.cf"), hacf.Host{Node: "ha-master"})
	ring, more := authkeys.Parse("authkeys", read("authkeys"), authkeys.Any)
	problems = append(problems, more...)
	groups, more := haresources.Parse("haresources", read("haresources"), []string{"ha-master", "ha-slave", "group1"})
	problems = append(problems, more...)
	cf, more := ldirectordcf.Parse("ldirectord.cf", read("ldirectord.cf"), ldirectordcf.Options{})
	problems = append(problems, more...)
	rules, more := ipvs.ParseRules("ipvsadm.rules", read("ipvsadm.rules"), ipvs.Names{})
	problems = append(problems, more...)
	if len(problems) != 0 {
		t.Error(problems)
	}
	if ring == nil || len(groups) != 1 || len(groups[0].Resources) != 3 || len(cf.Virtuals) != 1 || len(cf.Virtuals[0].Reals) != 2 || len(rules) != 3 {
		t.Errorf("%v, %v, %d virtuals, %d rules", ring, groups, len(cf.Virtuals), len(rules))
	}
}

// TestHaCfLines holds what systole show prints against what was read: the same file again.
func TestHaCfLines(t *testing.T) {
	read := func(text string) (*hacf.Config, error) {
		c, problems := hacf.Parse("ha.cf", []byte(text), recordedHost())
		return c, problems.Err()
	}
	meaning := func(c hacf.Config) hacf.Config {
		c.Params, c.APIAuth = nil, c.Access() // defaults are printed, too
		c.Nodes, c.Media, c.Clients, c.APIAuth = slices.Clone(c.Nodes), slices.Clone(c.Media), slices.Clone(c.Clients), slices.Clone(c.APIAuth)
		for i := range c.Nodes {
			c.Nodes[i].Pos = diag.Pos{}
		}
		for i := range c.Media {
			c.Media[i].Pos = diag.Pos{}
		}
		for i := range c.Clients {
			c.Clients[i].Pos = diag.Pos{}
		}
		for i := range c.APIAuth {
			c.APIAuth[i].Pos = diag.Pos{}
		}
		if c.Stonith != nil {
			s := *c.Stonith
			s.Pos = diag.Pos{}
			c.Stonith = &s
		}
		return c
	}
	tried := 0
	for _, c := range readConfRecord(t, filepath.Join(confDir, "ha.cf.txt")).cases() {
		first, err := read(c.text(haCfBase))
		if err != nil {
			continue
		}
		tried++
		var text strings.Builder
		for _, l := range first.Lines() {
			text.WriteString(l.Directive + " " + l.Value + "\n")
		}
		again, err := read(text.String())
		if err != nil {
			t.Errorf("%s: %v\n%s", c.name(), err, text.String())
		} else if diff := cmp.Diff(meaning(*first), meaning(*again), cmpopts.IgnoreUnexported(hacf.Config{})); diff != "" {
			t.Errorf("%s: what is shown means something else:\n%s", c.name(), diff)
		}
	}
	if tried < 100 {
		t.Errorf("only %d files", tried)
	}
}

// compare holds a parser against a record: the same verdict, the same lines for the log, and what
// else the record has.
func compare(t *testing.T, file string, parse func(c *confCase) (problems diag.List, more []string)) {
	for _, c := range readConfRecord(t, filepath.Join(confDir, file)).cases() {
		problems, more := parse(c)
		verdict := "accepted"
		if problems.Err() != nil {
			verdict = "refused"
		}
		got := answer(verdict, append(original(problems), more...))
		want := answer(c.verdict, problemsOf(c.log))
		if other, ok := differences[c.name()]; ok {
			want = other
		}
		if got != want {
			t.Errorf("%s\n%s\nthe original:\n%s\nproblems: %v", c.name(), got, want, problems)
		}
	}
}

// answer is an answer on one line.
func answer(verdict string, log []string) string {
	parts := []string{verdict}
	for _, l := range log {
		parts = append(parts, strings.TrimRight(l, " "))
	}
	return strings.Join(parts, " | ")
}
