package compat

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/lab"
)

var record = flag.Bool("record", false, "write what the originals answer into testdata/conf/original")

const (
	confDir = "../testdata/conf/original/"
	// haCfBase is a ha.cf that the original accepts, to which cases are appended.
	haCfBase      = "keepalive 1\ndeadtime 10\ninitdead 10\nauto_failback on\nlogfile /dev/null\nbcast eth0\nnode hba hbb\n"
	haCfPings     = haCfBase + "ping 10.98.0.9\nping_group g1 10.98.0.9\n"
	authkeysBase  = "auth 1\n1 crc\n"
	noSuchNode    = "nosuchnode\n"
	hbOriginal    = "/usr/libexec/heartbeat/heartbeat"
	resourceMan   = "/usr/share/heartbeat/ResourceManager"
	refusedNode   = "ERROR: Bad nodename in /etc/ha.d//haresources [nosuchnode]"
	unknownReason = "REASON"
)

// originalHost is a node on which the original reads files that are written to it.
type originalHost struct {
	t    *testing.T
	node *lab.Node
}

func newOriginalHost(t *testing.T) *originalHost {
	t.Helper()
	if _, err := os.Stat(hbOriginal); err != nil {
		skip := t.Skipf
		if os.Getenv(lab.RequireEnv) != "" {
			skip = t.Fatalf
		}
		skip("the original is not here: apt-get install heartbeat")
	}
	n := lab.Net(t)
	node, err := n.AddNode(lab.NodeSpec{Name: "hba", Links: []lab.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix("10.98.0.1/24")}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &originalHost{t, node}
}

// files writes the three files.
func (h *originalHost) files(haCf, authkeys, haresources string) {
	h.t.Helper()
	for name, text := range map[string]string{"ha.cf": haCf, "authkeys": authkeys, "haresources": haresources} {
		if err := h.node.WriteFile("/etc/ha.d/"+name, []byte(text), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

// run runs a command and returns its exit status and output, standard error first.
func (h *originalHost) run(args ...string) (status int, output string) {
	h.t.Helper()
	args = append([]string{"env", "_PROC_SYS_CORE_CHECKED_=1"}, args...)
	res, err := h.node.Exec(h.t.Context(), args[0], args[1:]...)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.Code, res.Stderr + res.Stdout
}

var (
	// The two forms of a line: syslogmsgfmt on and off.
	logHead   = regexp.MustCompile(`^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d hba heartbeat: \[\d+\]: |heartbeat\[\d+\]: \d{4}/\d\d/\d\d_\d\d:\d\d:\d\d )`)
	lookupErr = regexp.MustCompile(`(unknown host: [^:]+): .*`)
	unended   = strings.NewReplacer("heartbeat: udpport setting must precede media statements", "", "heartbeat: baudrate setting must precede media statements", "")
)

// constant are the lines that the original logs for every file, or because of another one.
var constant = []string{
	"info: Pacemaker support: false",
	"WARN: Logging daemon is disabled --enabling logging daemon is recommended",
	"info: **************************",
	"info: Configuration validated. Starting heartbeat 3.0.6",
	"ERROR: Heartbeat not started: configuration error.",
	"ERROR: Authentication configuration error.",
	"ERROR: Configuration error, heartbeat not started.",
	"WARN: Initializing connection to logging daemon failed. Logging daemon may not be running",
	refusedNode,
}

// logged takes apart what the original wrote to standard error. What it would not have written to a
// log file is marked.
func logged(output string) []string {
	var lines []string
	for line := range strings.SplitSeq(unended.Replace(output), "\n") {
		text := logHead.ReplaceAllString(line, "")
		if line == "" || slices.Contains(constant, text) || strings.HasPrefix(text, "debug: ") {
			continue
		}
		if text == line && len(lines) > 0 && (strings.HasPrefix(text, "]") || strings.HasPrefix(text, " is invalid")) {
			lines[len(lines)-1] += `\n` + text // a message with a line end in it
			continue
		}
		if text == line {
			text = "stderr: " + text
		}
		lines = append(lines, visible(lookupErr.ReplaceAllString(text, "$1: "+unknownReason)))
	}
	return lines
}

// TestOriginalRecords runs the original for each case of the records and compares. With -record it
// writes what it got.
func TestOriginalRecords(t *testing.T) {
	t.Parallel()
	h := newOriginalHost(t)
	for _, r := range []struct {
		file string
		ask  func(c *confCase) (verdict string, log []string)
	}{
		// A haresources that is refused ends the start after all that ha.cf and authkeys have to say.
		{"ha.cf.txt", func(c *confCase) (string, []string) {
			h.files(c.text(haCfBase), authkeysBase, noSuchNode)
			return h.start()
		}},
		{"authkeys.txt", func(c *confCase) (string, []string) {
			h.files(haCfBase, c.text(""), noSuchNode)
			return h.start()
		}},
		{"haresources.txt", h.resources},
	} {
		rec := readConfRecord(t, filepath.Join(confDir, r.file))
		for _, c := range rec.cases() {
			verdict, log := r.ask(c)
			switch {
			case *record:
				c.verdict, c.log = verdict, log
			case verdict != c.verdict || !slices.Equal(log, c.log):
				t.Errorf("%s: %s\nthe original says %s\n%s\nthe record %s\n%s", r.file, c.name(), verdict, strings.Join(log, "\n"), c.verdict, strings.Join(c.log, "\n"))
			}
		}
		if *record {
			rec.write(t)
		}
	}
}

// start starts the original, which refuses haresources in the end if it accepts the other files.
func (h *originalHost) start() (verdict string, log []string) {
	_, out := h.run(hbOriginal)
	if strings.Contains(out, refusedNode) {
		return "accepted", logged(out)
	}
	return "refused", logged(out)
}

// resources asks both readers of haresources, the daemon and the scripts.
func (h *originalHost) resources(c *confCase) (verdict string, log []string) {
	h.files(haCfPings, authkeysBase, c.text(""))
	verdict = "accepted"
	// -R of a daemon that does not run: 6 after the check, 1 if the check refuses.
	if status, _ := h.run(hbOriginal, "-R"); status == 1 {
		_, out := h.run(hbOriginal)
		verdict, log = "refused", logged(out)
	}
	for _, node := range []string{"hba", "hbb"} {
		_, out := h.run(resourceMan, "listkeys", node)
		log = append(log, "keys of "+node+": "+visible(out))
		_, out = h.run("HA_CURHOST="+node, resourceMan, "ourkeys")
		log = append(log, "resources of "+node+": "+visible(out))
	}
	return verdict, log
}

// visible is text on one line.
func visible(text string) string {
	return strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, "\v", `\v`).Replace(text)
}

// TestMediaInterfaces makes interfaces of all sorts, and asks the original and us whether each will do
// for each kind of medium.
func TestMediaInterfaces(t *testing.T) {
	h := newOriginalHost(t)
	for _, args := range []string{
		"link add bare type veth peer name bare-end", "link set bare up",
		"link add down0 type veth peer name down0-end", "addr add 10.98.1.1/24 brd + dev down0",
		"link add host0 type veth peer name host0-end", "addr add 10.98.2.1/32 dev host0", "link set host0 up",
		"link add peer0 type veth peer name peer0-end", "addr add 10.98.3.1 peer 10.98.3.2 dev peer0", "link set peer0 up",
		"link add six0 type veth peer name six0-end", "addr add fd00:98::1/64 dev six0 nodad", "link set six0 up",
	} {
		if status, out := h.run(append([]string{"ip"}, strings.Fields(args)...)...); status != 0 {
			t.Fatalf("ip %s: %s", args, out)
		}
	}
	for _, link := range []string{"lo", "eth0", "bare", "down0", "host0", "peer0", "six0", "nosuch0", "aninterfacewithalongname"} {
		for _, medium := range []string{"bcast %s", "ucast %s 10.98.0.2", "ucast6 %s fd00:98::2", "mcast %s 225.0.0.1 694 1 0", "mcast6 %s ff02::4 694 1 0"} {
			if (link == "bare" || link == "six0") && strings.HasPrefix(medium, "mcast ") {
				continue // the original waits for an address, two minutes
			}
			line := strings.ReplaceAll(medium, "%s", link)
			h.files(haCfBase+line+"\n", authkeysBase, noSuchNode)
			theirs, log := h.start()
			var problems diag.List
			if err := h.node.Do(func() error {
				host := daemon.Host("hba")
				host.UserExists, host.GroupExists, host.Executable = nil, nil, nil
				_, problems = hacf.Parse("/etc/ha.d//ha.cf", []byte(haCfBase+line+"\n"), host)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			ours := "accepted"
			if problems.Err() != nil {
				ours = "refused"
			}
			if ours != theirs || !strings.EqualFold(strings.Join(original(problems), "\n"), strings.Join(problemsOf(log), "\n")) {
				t.Errorf("%s: the original has it %s\n%s\nwe have it %s\n%s", line, theirs, strings.Join(log, "\n"), ours, problems)
			}
		}
	}
}

// TestStonithPlugins reads the records' stonith lines with the plugins that are installed here.
func TestStonithPlugins(t *testing.T) {
	lab.NeedPrograms(t, "stonith")
	tried := 0
	for _, c := range readConfRecord(t, confDir+"ha.cf.txt").cases() {
		if !strings.HasPrefix(c.name(), "> stonith") {
			continue
		}
		tried++
		host := daemon.Host("hba")
		host.UserExists, host.GroupExists, host.Executable, host.CheckLink = nil, nil, nil, nil
		_, problems := hacf.Parse("/etc/ha.d//ha.cf", []byte(c.text(haCfBase)), host)
		if refused := problems.Err() != nil; refused != (c.verdict == "refused") {
			t.Errorf("%s: the original has it %s\nwe have %s", c.name(), c.verdict, problems)
		}
	}
	if tried < 20 {
		t.Errorf("%d cases with stonith", tried)
	}
}
