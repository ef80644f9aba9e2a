package compat

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestCLI plays the record of the originals' command lines (testdata/cli.txt.gz: every program,
// never started, running, stopped) on a pair of ours: what each prints and returns has to be the same.
func TestCLI(t *testing.T) {
	t.Parallel()
	stages := readCLI(t, "testdata/cli.txt.gz")
	h := tutorial(t, lab.HostsOptions{
		Env:    []string{"SYSTOLE_NO_REBOOT=1"},
		Config: map[string]string{"/etc/ha.d/systole.cf": "logdialect debian12\n"}, // the record is from there
		Log:    func(string, ...any) {},
	})
	c := &cliPlayer{T: t, Hosts: h, used: map[string]bool{}}
	for _, s := range stages {
		switch s.title {
		case "stop":
			s.rows = stopped(s.rows)
		case "running, holds the resources":
			c.begin()
		case "the other after the stop":
			// The record's ha-master has just been started again, by the "reload" of a stopped one.
			c.settle()
		case "restart command":
			if r, err := c.Master.Stop(t.Context()); err != nil || r.Code != 0 {
				t.Fatalf("stop ha-master: %+v %v", r, err)
			}
		}
		t.Run(strings.ReplaceAll(s.title, " ", "-"), func(t *testing.T) { c.play(t, s) })
	}
	c.everyRow(stages)
}

// cliStage is a part of the record.
type cliStage struct {
	title, node string
	rows        []cliRow
}

// cliRow is a command line with what it printed and returned.
type cliRow struct {
	command, stdout, stderr string
	code                    int
}

func readCLI(t *testing.T, path string) []cliStage {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var stages []cliStage
	var row cliRow
	end := regexp.MustCompile(`^\[rc (\d+), [\d.]+ s\]$`)
	title := regexp.MustCompile(`^#{10} (.*) \(on (.*)\)$`)
	for in := bufio.NewScanner(z); in.Scan(); {
		line := in.Text()
		if m := title.FindStringSubmatch(line); m != nil {
			stages = append(stages, cliStage{title: m[1], node: m[2]})
			continue
		}
		s := &stages[len(stages)-1]
		switch m := end.FindStringSubmatch(line); {
		case m != nil:
			row.code, _ = strconv.Atoi(m[1])
			s.rows = append(s.rows, row)
			row = cliRow{}
		case strings.HasPrefix(line, "$ ") && row.command == "":
			row.command = line[2:]
		case strings.HasPrefix(line, "2> "):
			row.stderr += line[3:] + "\n"
		default:
			row.stdout += line + "\n"
		}
	}
	if len(stages) != 6 {
		t.Fatalf("%s has %d stages, want 6", path, len(stages))
	}
	return stages
}

type cliPlayer struct {
	*testing.T
	*lab.Hosts
	reproduced, excused int
	used                map[string]bool // rows of cliDifferent
}

func (c *cliPlayer) wait(what string, ok func() bool) {
	c.Helper()
	waitFor(c.T, time.Minute, what, ok)
}

// begin starts the pair and waits until it serves.
func (c *cliPlayer) begin() {
	for _, d := range []*lab.Director{c.Master, c.Slave} {
		// What once crashed on this machine is no part of the record.
		if r, err := d.Exec(c.Context(), "sh", "-c", "rm -f /var/lib/heartbeat/cores/*/*"); err != nil || r.Code != 0 {
			c.Fatalf("%s: %+v %v", d.Name(), r, err)
		}
		if r, err := d.Start(c.Context()); err != nil || r.Code != 0 {
			c.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	c.wait("ha-master serves", func() bool {
		have := table(c.Context(), c.Master)
		return c.Master.HoldsVIP() && strings.Contains(have, "172.16.60.204:80") && strings.Contains(have, "172.16.60.205:80")
	})
	c.settle()
}

// settle waits until both nodes are active and stable.
func (c *cliPlayer) settle() {
	for _, d := range []*lab.Director{c.Master, c.Slave} {
		c.wait(d.Name()+" is stable", func() bool {
			ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
			defer cancel()
			r, err := d.Exec(ctx, "sh", "-c", "cl_status nodestatus ha-master; cl_status nodestatus ha-slave; cl_status rscstatus")
			return err == nil && strings.HasPrefix(r.Stdout, "active\nactive\n") && !strings.Contains(r.Stdout, "transition")
		})
	}
}

// cliDifferent are rows that are not held against the record, and why. Those of one stage have its title in front.
var cliDifferent = map[string]string{
	"sleep 8": "nothing to see",

	"/usr/share/heartbeat/ResourceManager ourkeys":   deviation + "`ResourceManager ourkeys` and `otherkeys` know the node's name without HA_CURHOST",
	"/usr/share/heartbeat/ResourceManager otherkeys": deviation + "`ResourceManager ourkeys` and `otherkeys` know the node's name without HA_CURHOST",

	"never started: /usr/share/heartbeat/req_resource nosuch": deviation + "programs that write to the FIFO fail when nobody reads it",
	"never started: /etc/init.d/ipvsadm status":               "without a kernel with IPVS the table is heartbeat's",

	"running, holds nothing: cl_status clientstatus ha-master ipfail": deviation + "answers come at once",

	"the other after the stop: cl_status listnodes -v":                  "the record's node has just returned",
	"the other after the stop: cl_status clientstatus ha-master ipfail": "likewise",
	"the other after the stop: cl_status rscstatus":                     "likewise",
	"the other after the stop: cl_status rscstatus -m":                  "likewise",
}

// deviation begins a reason that is the beginning of a row of DEVIATIONS.md.
const deviation = "DEVIATIONS: "

// everyRow has each row of the record counted once: as reproduced, or as different for a reason that holds.
func (c *cliPlayer) everyRow(stages []cliStage) {
	rows := 0
	for _, s := range stages {
		rows += len(s.rows)
	}
	c.Logf("%d rows: %d reproduced, %d different for a reason", rows, c.reproduced, c.excused)
	if c.reproduced+c.excused != rows {
		c.Errorf("of %d rows of the record %d are the same and %d differ for a reason", rows, c.reproduced, c.excused)
	}
	listed, err := os.ReadFile("DEVIATIONS.md")
	if err != nil {
		c.Fatal(err)
	}
	for row, why := range cliDifferent {
		if !c.used[row] {
			c.Errorf("the record has no row %q, which is said to differ", row)
		}
		if text, ok := strings.CutPrefix(why, deviation); ok && !strings.Contains(string(listed), "\n| "+text) {
			c.Errorf("%q: DEVIATIONS.md has no row that begins with %q", row, text)
		}
	}
}

func (c *cliPlayer) play(t *testing.T, s cliStage) {
	d := c.Master
	if s.node == "ha-slave" {
		d = c.Slave
	}
	for _, row := range s.rows {
		if c.excuse(s.title+": "+row.command) || c.excuse(row.command) {
			continue
		}
		r, err := d.Exec(t.Context(), "sh", "-c", row.command)
		if err != nil {
			t.Fatal(err)
		}
		want, got := row.String(), cliRow{row.command, r.Stdout, r.Stderr, r.Code}.String()
		if cliNormal(want) != cliNormal(got) {
			t.Errorf("the original:\n%s\nours:\n%s\n%s", want, got, cmp.Diff(cliNormal(want), cliNormal(got)))
			continue
		}
		c.reproduced++
	}
}

// excuse tells whether a row is listed as different, and counts it.
func (c *cliPlayer) excuse(row string) bool {
	if cliDifferent[row] == "" {
		return false
	}
	c.used[row] = true
	c.excused++
	return true
}

// stopped puts what the record does after the stop in an order that does not depend on how fast a
// daemon starts: its "reload" of a stopped heartbeat is a start, and what follows, in the record,
// comes before that daemon answers.
func stopped(rows []cliRow) []cliRow {
	var before, after []cliRow
	for i, r := range rows {
		if strings.HasPrefix(r.command, "cl_status") || i < 4 {
			before = append(before, r)
		} else {
			after = append(after, r)
		}
	}
	return append(before, after...)
}

// String is the row as the record has it.
func (r cliRow) String() string {
	text := "$ " + r.command + "\n" + r.stdout
	for line := range strings.Lines(r.stderr) {
		text += "2> " + strings.TrimSuffix(line, "\n") + "\n"
	}
	return text + fmt.Sprintf("[rc %d]", r.code)
}

// cliNormal takes out what is of one run only: process ids, dates; and what DEVIATIONS lists.
func cliNormal(text string) string { return cliRewrites.apply(text) }

// rewrite is something that is of one run only, and what stands for it.
type rewrite struct {
	pattern *regexp.Regexp
	by      string
}

// rewrites are carried out in order.
type rewrites []rewrite

func (list rewrites) apply(text string) string {
	for _, r := range list {
		text = r.pattern.ReplaceAllString(text, r.by)
	}
	return text
}

var cliRewrites = rewrites{
	// Of one run: dates, process ids, and in listings of directories also sizes and numbers of links.
	{regexp.MustCompile(`(?m)^(2> )?[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d `), "${1}DATE "},
	{regexp.MustCompile(`(cl_status|heartbeat): \[\d+\]`), "$1: [PID]"},
	{regexp.MustCompile(`pid:? \d+`), "pid PID"},
	{regexp.MustCompile(`(?m)^([-dpsl][-rwxst]{9}) +\d+ (\w+) +(\w+) +(\d+) [A-Z][a-z]{2} +\d+ +[\d:]+ `), "$1 $2 $3 "},
	{regexp.MustCompile(`(?m)^total \d+$`), "total"},
	{regexp.MustCompile(`(?m)^ +\d+$`), "PID"},
	{regexp.MustCompile(`(?m)^0000000 .*$`), "OCTAL"},
	// DEVIATIONS: the version's parenthesis, the shell's and the parser's noise.
	{regexp.MustCompile(`3\.0\.6 \(node: [^)]*\)`), "3.0.6 (node)"},
	{regexp.MustCompile(`2> heartbeat: udpport setting must precede media statementsheartbeat: baudrate setting must precede media statements[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d `), "2> DATE "},
	{regexp.MustCompile(`(?m)^2> /usr/share/heartbeat/ResourceManager: 1: status: not found\n`), ""},
}
