package cluster_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/clustertest"
)

// goldenDir holds what the original logged and sent.
const goldenDir = "../../testdata/halog"

// goldens say what was done in each record, at which time after the first start. The original's
// ipfail, which hands back foreign resources a few seconds after a join, is played by hand.
var goldens = []struct {
	name string
	play []step
}{
	{"S1", []step{{0, "start ha-master"}, {240, "start ha-slave"}, {27000, ""}}},
	{"S1-alone", []step{{0, "start ha-master"}, {22000, ""}}},
	{"S2", []step{{0, "start ha-master"}, {100, "start ha-slave"}, {21000, "stop ha-master"}, {35500, ""}}},
	{"S3", []step{
		{0, "start ha-master"},
		{90, "start ha-slave"},
		{14000, "stop ha-master"},
		{25800, "start ha-master"},
		{34500, "ipfail ha-master"},
		{44000, ""},
	}},
	{"S4-poweroff", []step{{0, "start ha-master"}, {80, "start ha-slave"}, {21100, "poweroff ha-master"}, {37000, ""}}},
	{"S4-kill9", []step{{0, "start ha-master"}, {80, "start ha-slave"}, {22000, "kill ha-master"}, {80000, ""}}},
	{"S4-kill9-restart", []step{
		{0, "start ha-master"},
		{80, "start ha-slave"},
		{21600, "kill ha-master"},
		{81200, "start ha-master"},
		{91200, "ipfail ha-master"},
		{100000, ""},
	}},
	{"S6", []step{
		{0, "start ha-master"},
		{140, "start ha-slave"},
		{28300, "standby ha-master all"},
		{48500, "takeover ha-master all"},
		{64000, ""},
	}},
}

type step struct {
	ms  int
	cmd string
}

// record is what one node logged and sent.
type record struct {
	log  []line
	wire []string // messages in the order of their numbers
}

type line struct {
	child string // "" for the master control process
	text  string
}

// TestGolden plays the records' stories with two engines that look at their input as seldom as
// the original, and compares each node's log lines and messages with the original's.
func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			ours := play(g.play)
			for _, node := range []string{"ha-master", "ha-slave"} {
				theirs := record{log: readLog(t, g.name, node), wire: readWire(t, g.name, node)}
				if len(theirs.log) == 0 && len(ours[node].log) == 0 {
					continue
				}
				a, b := normalise(theirs.log), normalise(ours[node].log)
				if d := cmp.Diff(a, b); d != "" {
					t.Errorf("%s: log differs (-original +ours):\n%s", node, d)
				}
				theirMain, theirReports := normaliseWire(theirs.wire)
				ourMain, ourReports := normaliseWire(ours[node].wire)
				if d := cmp.Diff(theirMain, ourMain) + cmp.Diff(theirReports, ourReports); d != "" {
					t.Errorf("%s: messages differ (-original +ours):\n%s", node, d)
				}
			}
		})
	}
}

// play runs a story and records it.
func play(steps []step) map[string]*record {
	nodes := []string{"ha-master", "ha-slave"}
	groups := []cluster.Group{{Node: "ha-master", Key: "IPaddr::172.16.60.111"}}
	sim := clustertest.New(7)
	records := map[string]*record{}
	for _, n := range nodes {
		c := clustertest.Config(n, 7, nodes, groups)
		sim.Add(c).Poll = 500 * time.Millisecond
		records[n] = &record{}
	}
	runs := map[string]int{}
	sim.OnLog = func(m *clustertest.Machine, l cluster.Log) {
		if strings.HasSuffix(l.Text, "'up'") {
			runs[m.Name]++
		}
		child := ""
		if l.Job > 0 {
			child = fmt.Sprint(runs[m.Name], l.Job)
		}
		records[m.Name].log = append(records[m.Name].log, line{child, l.Level.String() + ": " + l.Text})
	}
	sim.OnSend = func(m *clustertest.Machine, s cluster.Send) {
		if s.Media == "" {
			records[m.Name].wire = append(records[m.Name].wire, clustertest.Fields(clustertest.Decode(s.Bytes)))
		}
	}
	sc := &clustertest.Scenario{Sim: sim}
	at := 0
	for _, st := range steps {
		sim.Run(time.Duration(st.ms-at) * time.Millisecond)
		at = st.ms
		w := strings.Fields(st.cmd)
		switch {
		case len(w) == 0:
		case w[0] == "ipfail":
			sim.Machine(w[1]).Tell("t=ask_resources", "rsc_hold=foreign", "src="+w[1], "info=me", "from_id=ipfail", "to_id=ipfail", "client_gen=0")
		default:
			if err := sc.Command(w[0], w[1:]); err != nil {
				panic(err)
			}
		}
	}
	return records
}

var (
	logLine = regexp.MustCompile(`^\w{3} \d\d [\d:]{8} \S+ heartbeat: \[(\d+)\]: (.*)$`)
	// notOurs are lines that the daemon writes, not the engine: start-up, media, child processes
	// that the original has and we have not; and those that come of the original's order of
	// sending, which makes its peers see gaps.
	notOurs = regexp.MustCompile(`glib: |Core dumps could|Consider setting|Pacemaker support|Logging daemon|\*\*\*\*|` +
		`Configuration validated|heartbeat: version|No Previous generation|Heartbeat generation|No uuid found|Creating FIFO|` +
		`Cannot lock ourselves|Starting child client|: Starting "|: killing |Core process \d|` +
		`lost packet\(s\) for|No pkts missing from`)
	pidInText = regexp.MustCompile(`in progress\. \(\d+\)`)
)

// readLog reads the lines of a record that an engine has to log.
func readLog(t *testing.T, name, node string) []line {
	var lines []line
	master := ""
	for _, text := range readGzip(t, filepath.Join(goldenDir, name, node+".log.gz")) {
		m := logLine.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if strings.Contains(m[2], "heartbeat: version") {
			master = m[1]
		}
		if notOurs.MatchString(": " + m[2]) {
			continue
		}
		l := line{child: m[1], text: m[2]}
		if m[1] == master {
			l.child = ""
		}
		lines = append(lines, l)
	}
	return lines
}

func readGzip(t *testing.T, path string) []string {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for sc := bufio.NewScanner(z); sc.Scan(); {
		lines = append(lines, sc.Text())
	}
	return lines
}

// normalise makes two logs of one story comparable. What remains must be equal, in order.
//
//   - Lines about links and statuses go to a list of their own for each node: how they interleave
//     with the rest depends on how fast packets are looked at.
//   - Whether a node's "up" is seen before its "active" depends on that too.
//   - Each child's lines go to a list of their own; the original's children run side by side.
//   - "Other node completed standby takeover" and "remote resource transition completed." come in
//     either order: the original sends the messages behind them in the wrong one.
//   - Pids are left out.
func normalise(log []line) map[string][]string {
	out := map[string][]string{}
	children := map[string][]string{}
	for _, l := range log {
		text := pidInText.ReplaceAllString(l.text, "in progress. (PID)")
		subject := "main"
		if m := regexp.MustCompile(`(?:Link|Status update for node) ([^: ]+)`).FindStringSubmatch(text); m != nil {
			subject = m[1]
		}
		if l.child != "" {
			children[l.child] = append(children[l.child], text)
			continue
		}
		list := out[subject]
		if n := len(list); n > 0 && strings.HasSuffix(list[n-1], ": status up") && strings.HasSuffix(text, ": status active") {
			list = list[:n-1]
		}
		if n := len(list); n > 0 && strings.Contains(list[n-1], "remote resource transition") && strings.Contains(text, "Other node completed") {
			list = append(list[:n-1], text, list[n-1])
		} else {
			list = append(list, text)
		}
		out[subject] = list
	}
	for _, lines := range children {
		out["children"] = append(out["children"], strings.Join(lines, " / "))
	}
	sort.Strings(out["children"])
	return out
}

// readWire reads what a node sent, in the order of its numbers.
func readWire(t *testing.T, name, node string) []string {
	type numbered struct {
		gen, seq uint64
		text     string
	}
	var list []numbered
	for _, text := range readGzip(t, filepath.Join(goldenDir, name, "wire.txt.gz")) {
		f := strings.Split(text, "\t")[1:]
		if !slices.Contains(f, "src="+node) {
			continue
		}
		n := numbered{text: strings.Join(f, "\t")}
		for _, kv := range f {
			fmt.Sscanf(kv, "seq=%x", &n.seq)
			fmt.Sscanf(kv, "hg=%x", &n.gen)
		}
		if n.seq > 0 {
			list = append(list, n)
		}
	}
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].gen != list[j].gen {
			return list[i].gen < list[j].gen
		}
		return list[i].seq < list[j].seq
	})
	var out []string
	for _, n := range list {
		out = append(out, n.text)
	}
	return out
}

// varying are the fields whose values differ from run to run.
var varying = map[string]bool{"srcuuid": true, "destuuid": true, "seq": true, "hg": true, "ts": true, "ld": true, "auth": true}

// normaliseWire makes what a node sent comparable: heartbeats, acknowledgements and the messages of
// ipfail are left out, of the others each field's name and place count, and its value unless
// it varies. Reports of req_our_resources are listed apart: they come from a child that the
// original runs beside others.
func normaliseWire(msgs []string) (out, reports []string) {
	for _, text := range msgs {
		fields := strings.Split(text, "\t")
		skip := !slices.ContainsFunc(fields, func(s string) bool { return strings.HasPrefix(s, "seq=") })
		for i, kv := range fields {
			k, v, _ := strings.Cut(kv, "=")
			switch {
			case k == "from_id" && fields[0] != "t=ask_resources", k == "t" && v == "status":
				skip = true
			case varying[k]:
				fields[i] = k
			}
		}
		switch {
		case skip:
		case strings.Contains(text, "req_our_resources()"):
			reports = append(reports, strings.Join(fields, " "))
		default:
			out = append(out, strings.Join(fields, " "))
		}
	}
	return out, reports
}
