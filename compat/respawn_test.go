package compat

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// respawned is the program that cl_respawn keeps running. It says that it runs, and ends with 7, but the third time with
// the exit status that it is given; without one it stays.
const respawned = `#!/bin/sh
echo "$#: $*" >>/tmp/runs
echo $$ >/tmp/child.new; mv /tmp/child.new /tmp/child
[ -n "$END" ] || exec sleep 1000
[ $(wc -l </tmp/runs) -lt 3 ] || exit $END
exit 7
`

// respawnLines are shell command lines; DIR/cl_respawn is the original's or ours.
var respawnLines = []string{
	"DIR/cl_respawn", "DIR/cl_respawn -h", "DIR/cl_respawn -x", "DIR/cl_respawn -m", "DIR/cl_respawn -l", "DIR/cl_respawn -p /tmp/pid",
	"DIR/cl_respawn /nonexistent", "DIR/cl_respawn nonexistent", "DIR/cl_respawn -r", "RSP_PID=4000000 DIR/cl_respawn -r",
	"HA_logfacility=local3 HA_logfile=/tmp/log HA_debugfile=/tmp/debug DIR/cl_respawn /nonexistent; ls /tmp/log /tmp/debug",
	// Restarts, until the magic exit status.
	"END=100 DIR/cl_respawn /tmp/respawned a 'b c'; " + respawnAborts, "END=42 DIR/cl_respawn -m 42 -i 100 -w 300 /tmp/respawned -m 1; " + respawnAborts,
	"END=0 DIR/cl_respawn -m 0 -p /tmp/pid /tmp/respawned; " + respawnAborts,
	// While the program runs: its place in the tree, the pid file, a second one, the program's death, and signals.
	begin + "cat /tmp/pid | tr -s ' ' | sed s/$p/OWN/; ps -o sid=,pgid= -p $p | tr -s ' ' | sed s/$p/OWN/g; readlink /proc/$p/cwd /proc/$p/fd/[012]; ps -o ppid= -p $(cat /tmp/child) | tr -d ' ' | sed s/$p/OWN/; " +
		"readlink /proc/$(cat /tmp/child)/fd/[012]; DIR/cl_respawn -p /tmp/pid /tmp/respawned; c=$(cat /tmp/child); rm /tmp/child; kill -KILL $c; " + running + end,
	"set -m; " + begin + "kill -HUP $p; kill -INT $p; kill -CONT $p; sleep 0.3; test -d /proc/$(cat /tmp/child); echo $?; " + end,
}

const (
	// The original aborts or crashes when it is done: DEVIATIONS.
	respawnAborts = "code=$?; test $code = 134 -o $code = 139 && code=0; echo $code; cat /tmp/runs; ls /tmp/pid"
	running       = "until test -s /tmp/child && grep -q sleep /proc/$(cat /tmp/child)/cmdline; do sleep 0.02; done; "
	begin         = "DIR/cl_respawn -p /tmp/pid /tmp/respawned & p=$!; " + running
	end           = "c=$(cat /tmp/child); kill -TERM $p; wait $p; echo $?; test -d /proc/$c; echo $?; cat /tmp/runs; ls /tmp/pid"
)

// respawnNormal is what differs from run to run.
var respawnNormal = rewrites{
	{regexp.MustCompile(`(?m)^(<\d+>)?[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d `), "${1}DATE "},
	{regexp.MustCompile(`\[(pid: )?\d+\]`), "[PID]"},
	{regexp.MustCompile(`(PID +is|process|\[ pid:) \d+`), "PID"},
	{regexp.MustCompile(`(?m)^(Aborted|Segmentation fault).*\n`), ""}, // the shell about the original
}

// TestRespawn (10 s) holds cl_respawn against the original: usage, errors, exit statuses, restarts, the magic exit status, pid file,
// signals, and what is logged.
func TestRespawn(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/usr/bin/cl_respawn")
	_, d := toolHost(t, "cl_respawn")
	if err := d.WriteFile("/tmp/respawned", []byte(respawned), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, line := range respawnLines {
		var want respawnOutcome
		for _, dir := range []string{"/usr/bin", "/usr/lib/ours"} {
			got := respawnRun(t, d, dir, line, fmt.Sprintf("end of %s, %d", dir, i))
			if dir == "/usr/bin" {
				want = got
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-original +ours)\n%s", line, diff)
			}
		}
	}
}

// respawnOutcome is what a command line did. Nothing in it is of one run only.
type respawnOutcome struct {
	Code                   int
	Stdout, Stderr, Syslog string
}

func respawnRun(t *testing.T, d *lab.Node, dir, line, mark string) respawnOutcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before, err := d.Syslog()
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Exec(ctx, "sh", "-c", strings.ReplaceAll("rm -f /tmp/runs /tmp/child /tmp/pid; ( "+line+" ); code=$?; logger -t mark '"+mark+"'; exit $code", "DIR", dir))
	if err != nil {
		t.Fatal(err)
	}
	var all []lab.SyslogLine
	waitFor(t, time.Minute, "syslog of "+line, func() bool {
		all, err = d.Syslog()
		return err == nil && slices.ContainsFunc(all, func(l lab.SyslogLine) bool { return strings.Contains(l.Text, mark) })
	})
	var logged []string
	for _, l := range all[len(before):] {
		text := respawnNormal.apply(l.Text)
		again := strings.Contains(text, "Killing pid") && slices.Contains(logged, text) // the original says so twice
		slow := slowMachine.re.MatchString(text)
		if !again && !slow && !strings.Contains(text, mark) {
			logged = append(logged, text)
		}
	}
	normal := func(s string) string { return respawnNormal.apply(strings.ReplaceAll(s, dir, "DIR")) }
	return respawnOutcome{r.Code, normal(r.Stdout), normal(r.Stderr), strings.Join(logged, "\n")}
}
