package compat

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// This file is the one place that says how an ha-log is compared with a recorded one: every line of
// the record has to be in the log, word for word and in order within its stream, except for what
// leftOut, blanks, withoutGiveup and the methods of story name, each with its reason. Lines that the
// log has beyond the record are judged by complaints.

// haLine is a line of an ha-log: of the daemon, of a client of its, or of a script.
type haLine struct {
	who  string // heartbeat, ipfail; a script's tag without its pid
	pid  string
	text string // with its level
}

var (
	coreLine   = regexp.MustCompile(`^\w{3} [ \d]\d [\d:]{8} \S+ (\S+): \[(\d+)\]: (.*)$`)
	scriptLine = regexp.MustCompile(`^\d{4}/\d\d/\d\d_[\d:]{8}  (\S+)\[(\d+)\]:    (.*)$`)
)

// parseHALog takes dates, host names and pids off. A line of another form is an error: nothing in
// the logs compared here has one.
func parseHALog(text string) ([]haLine, error) {
	var lines []haLine
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		m := coreLine.FindStringSubmatch(line)
		if m == nil {
			m = scriptLine.FindStringSubmatch(line)
		}
		if m == nil {
			return nil, fmt.Errorf("not a line of ha-log: %q", line)
		}
		lines = append(lines, haLine{m[1], m[2], m[3]})
	}
	return lines, nil
}

// rule is a kind of lines and why they are treated so.
type rule struct {
	re  *regexp.Regexp
	why string
}

func matches(rules []rule, text string) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.re.MatchString(text) })
}

// blanks are numbers that differ from run to run, each with what stands for them.
var blanks = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`in progress\. \(\d+\)`), "in progress. (PID)"},
	{regexp.MustCompile(`\(pid \d+\)`), "(pid PID)"},
	{regexp.MustCompile(`process group \d+`), "process group PID"},
	{regexp.MustCompile(`generation: \d+`), "generation: N"}, // counted from the time of the first start
	{regexp.MustCompile(`starting at \d+`), "starting at N"},
}

// leftOut are lines of the record that ours need not have.
var leftOut = []rule{
	{regexp.MustCompile(`Core dumps could be lost|Consider setting `), "depends on the machine's kernel.core_pattern and core_uses_pid"},
	{regexp.MustCompile(`Cannot lock ourselves into memory`), "depends on the machine's RLIMIT_MEMLOCK"},
	{regexp.MustCompile(`killing HB(FIFO|READ|WRITE) process|Core process \d+ exited`), "the original has a process for each direction of each medium, ours is one; their order is random there"},
	{regexp.MustCompile(`lost packet\(s\) for|No pkts missing from`), "the original numbers messages in another order than it sends them; what is logged depends on the peer"},
}

var (
	aboutNode = regexp.MustCompile(`: (?:Link ([^: ]+):|Status update for node ([^: ]+):)`)
	moved     = regexp.MustCompile(`: (local|remote) resource transition completed\.$`)
)

// story sorts the lines of a log into streams. Within a stream the order of the record is the order
// wanted; between streams it differs from one run of the original to the next, because its
// processes run side by side and look at their sockets every half second.
type story struct {
	streams map[string][]string
	names   []string
	master  string            // pid of the master control process
	lives   int               // starts so far
	jobs    map[string]string // pid of a child → its stream
	known   map[string]bool   // nodes whose status was told
	unheard int               // status scripts to leave out
	first   int               // transitions of the first start
	settled bool              // something has happened since both started: a death or a shutdown
}

func streamsOf(lines []haLine) *story {
	s := &story{streams: map[string][]string{}, known: map[string]bool{}, jobs: map[string]string{}}
	for _, l := range lines {
		if !matches(leftOut, l.text) {
			s.add(l, blank(l.text))
		}
	}
	return s
}

func (s *story) put(stream, text string) {
	if s.streams[stream] == nil {
		s.names = append(s.names, stream)
	}
	s.streams[stream] = append(s.streams[stream], text)
}

func (s *story) add(l haLine, text string) {
	switch {
	case l.who == "ipfail":
		s.ipfail(text)
	case strings.HasPrefix(l.who, "harc("):
		// The status scripts run beside whatever else runs.
		if strings.HasSuffix(text, " status") && s.unheard > 0 {
			s.unheard--
			return
		}
		s.put("harc", text)
	case l.who != "heartbeat":
		// The other scripts run one after the other.
		s.put("scripts", l.who+": "+text)
	default:
		s.daemon(l, text)
	}
}

// ipfail: of two that sign on at the same time, the later one makes the earlier ask. Which that is
// depends on the moment when each node becomes active; the record has either. So what they say
// until something happens to a node is left out, but that one answered the other is not.
func (s *story) ipfail(text string) {
	if s.lives == 1 && !s.settled {
		switch {
		case strings.HasSuffix(text, ": Ping node count is balanced."), strings.HasSuffix(text, ": No giveup timer to abort."):
			s.put("ipfail", "asked or was asked for the ping node count")
		}
		return
	}
	s.put("ipfail", text)
}

func (s *story) daemon(l haLine, text string) {
	if strings.Contains(text, "heartbeat: version") {
		s.master, s.jobs = l.pid, map[string]string{}
		s.lives++
	}
	if strings.Contains(text, "is dead") || strings.Contains(text, "hutdown") {
		s.settled = true
	}
	if l.pid != s.master && !matches(starter, text) {
		// Jobs run side by side: each kind is a stream, named by its first line.
		if s.jobs[l.pid] == "" {
			s.jobs[l.pid] = "job " + text
		}
		s.put(s.jobs[l.pid], text)
		return
	}
	m := aboutNode.FindStringSubmatch(text)
	switch {
	case m != nil:
		s.node(m[1]+m[2], text)
	case s.lives == 1 && s.first < 2 && moved.MatchString(text):
		// Of two nodes that start together either may be the first to declare that it needs
		// the other's word no longer: the record has both, on one node each.
		s.first++
		s.put("first transitions", moved.ReplaceAllString(text, ": (local or remote) resource transition completed."))
	case strings.Contains(text, ": Other node completed standby takeover of "):
		// The original sends this and what "remote resource transition completed." comes of
		// in the wrong order, so that its peer sees them in either.
		s.put("standby", text)
	case strings.HasSuffix(text, ": mach_down takeover complete."):
		// The daemon says so when the scripts are done, which on a slow machine is later than
		// the deadtime.
		s.put("mach_down", text)
	default:
		s.put("daemon", text)
	}
}

// node: links and statuses of each node come when its packets come, so each node is a stream.
func (s *story) node(name, text string) {
	if strings.Contains(text, "Status update") && !s.known[name] {
		s.known[name] = true
		if strings.HasSuffix(text, ": status up") {
			// A node that starts beside us is "up" for a moment only: whether we hear that,
			// and the script is told, depends on who was listening when.
			s.unheard++
			return
		}
	}
	s.put("node "+name, text)
}

// starter are lines of the process that starts the daemon, whose pid is another.
var starter = []rule{{regexp.MustCompile(`Pacemaker support|Logging daemon is|\*\*\*\*|Configuration validated`), "written before the daemon detaches"}}

// missing returns the first line of the record that the log lacks, with what is around it, or "".
// A record and a log are one node's.
func missing(golden, log string) string {
	want, err := parseHALog(golden)
	if err != nil {
		return "record: " + err.Error()
	}
	got, err := parseHALog(log)
	if err != nil {
		return err.Error()
	}
	g, l := streamsOf(want), streamsOf(got)
	var report strings.Builder
	for _, name := range g.names {
		at, have := 0, l.streams[name]
		for i, line := range g.streams[name] {
			n := slices.Index(have[at:], line)
			if n >= 0 {
				at += n + 1
				continue
			}
			fmt.Fprintf(&report, "stream %s: line %d of the record is missing:\n", name, i+1)
			for _, before := range g.streams[name][max(0, i-3):i] {
				fmt.Fprintf(&report, "      %s\n", before)
			}
			fmt.Fprintf(&report, "    > %s\n  the log goes on there with:\n", line)
			for _, after := range have[at:min(at+6, len(have))] {
				fmt.Fprintf(&report, "      %s\n", after)
			}
			break
		}
	}
	return report.String()
}

// withoutGiveup cuts off what follows when ipfail gives foreign resources up after an automatic
// failback. It does so if its partner asks for its count once after the failback is over. It does not
// if the question comes earlier, nor if a second one comes, which ends the delay: the partner asks
// for the lost link and for the returned ipfail, and whether the first question meets the node that
// has just started again is a matter of a second on either side.
func withoutGiveup(log string) string {
	log, _, _ = strings.Cut(log, "ha-master wants to go standby [foreign]")
	var kept strings.Builder
	for line := range strings.Lines(log) {
		if strings.HasSuffix(line, "\n") && !giveup.MatchString(line) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

var giveup = regexp.MustCompile(`ipfail: .*(Giving up foreign resources|Delayed giveup|giveup\(\) called)`)

// complaint knows a line above the level of info.
var complaint = regexp.MustCompile(`^(?i)(WARN|WARNING|ERROR|CRIT|CRITICAL|ALERT|EMERG): `)

// slowMachine is what the originals say of one.
var slowMachine = rule{regexp.MustCompile(`Late heartbeat: |Gmain_timeout_dispatch|took too long|delayed \d+ ms|CPU limit|running at low priority`), "a slow machine"}

// harmless are complaints beyond the record's.
var harmless = []rule{
	{regexp.MustCompile(`Core dumps could be lost|Consider setting |Cannot lock ourselves into memory`), "depends on the machine: see leftOut"},
	slowMachine,
	{regexp.MustCompile(`Ignored standby message 'done' from`), "an original's scripts on a slow machine ran until after the node that left was dead, which ends a standby"},
	{regexp.MustCompile(`Shutdown delayed until current resource activity finishes|T_STARTING received during takeover`), "scripts on a slow machine still run when the next thing is done"},
}

// complaints are the warnings and errors in a node's log that no record of the scenario has, whichever
// of its nodes it is. That a packet is missing, which was overtaken, is for those to say whose peer is
// the original.
func complaints(log string, peer lab.Impl, records ...string) (list []string) {
	known := map[string]bool{}
	for i, text := range append(records, log) {
		lines, err := parseHALog(text)
		if err != nil {
			return []string{err.Error()}
		}
		for _, l := range lines {
			text := anyNode.ReplaceAllString(blank(l.text), "NODE")
			switch {
			case !complaint.MatchString(text) || known[text] || matches(harmless, text):
			case overtaken.MatchString(text):
				if i == len(records) && peer != lab.Original {
					list = append(list, l.who+": "+l.text)
				}
			case i < len(records):
				known[text] = true
			default:
				list = append(list, l.who+": "+l.text)
			}
		}
	}
	return list
}

var (
	anyNode   = regexp.MustCompile(`ha-(master|slave)`)
	overtaken = regexp.MustCompile(`: 1 lost packet\(s\) for`)
)

func blank(text string) string {
	for _, b := range blanks {
		text = b.re.ReplaceAllString(text, b.with)
	}
	return text
}

// goldenLog reads a node's recorded ha-log.
func goldenLog(t *testing.T, scenario, node string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../testdata/halog", scenario, node+".log.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHALogRecords holds records of the original against each other: the beginning of one scenario
// is in the longer one that begins alike, although it was another run. And it wants no line of a
// record to be dispensable that no rule names.
func TestHALogRecords(t *testing.T) {
	for _, c := range [][2]string{{"S1", "S3"}, {"S2", "S3"}, {"S4-kill9", "S4-kill9-restart"}, {"S4-kill9", "S4-poweroff"}} {
		for _, node := range []string{"ha-master", "ha-slave"} {
			if m := missing(goldenLog(t, c[0], node), goldenLog(t, c[1], node)); m != "" {
				t.Errorf("%s of %s in %s:\n%s", c[0], node, c[1], m)
			}
		}
	}
	for _, node := range []string{"ha-master", "ha-slave"} {
		whole := goldenLog(t, "S3", node)
		if m := missing(withoutGiveup(whole), whole); m != "" {
			t.Error(m)
		}
		lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
		dispensable := 0
		for i, line := range lines {
			without := strings.Join(slices.Concat(lines[:i], lines[i+1:]), "")
			if missing(whole, without) != "" {
				continue
			}
			dispensable++
			if parsed, err := parseHALog(line); err != nil || !matches(leftOut, parsed[0].text) && !matches(firstStart, parsed[0].text) {
				t.Errorf("%s: not missed: %s", node, line)
			}
		}
		t.Logf("%s: %d of %d lines may be missing", node, dispensable, len(lines))
	}
	if missing(goldenLog(t, "S1", "ha-slave"), goldenLog(t, "S1", "ha-master")) == "" {
		t.Error("the slave's log is in the master's")
	}
}

// firstStart are the lines that the methods of story leave out.
var firstStart = []rule{
	{regexp.MustCompile(`Status update for node ha-\w+: status up$`), "story.node"},
	{regexp.MustCompile(`rc\.d/status status$`), "story.node"},
	{regexp.MustCompile(`now has status active$|Asking other side for ping node count`), "story.ipfail"},
}
