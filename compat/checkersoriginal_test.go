package compat

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// sideBySide is one check that both programs make.
type sideBySide struct {
	name     string
	instance string // of the original: a configuration of its own
	section  string
	monitor  string // file
	ours     *checked
	original string // "up", "down", or "none" if it never came to a verdict
	text     string // of its monitorfile
}

// dumbIPVSAdm stands in for ipvsadm where only verdicts count.
const dumbIPVSAdm = `#!/bin/sh
[ "$1" != -L ] || printf '%s\n' 'IP Virtual Server version 1.2.1 (size=4096)' 'Prot LocalAddress:Port Scheduler Flags' '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn'
`

// How long an instance of the original has to start, and for each of its checks, which it makes one
// after the other. What it has not come to by then it never comes to, where that is known of it; for other
// verdicts there is all the time that a busy machine takes.
const (
	originalStart = 8 * time.Second
	originalCheck = 8 * time.Second
	originalBusy  = 2 * time.Minute
	// How often an original that came to no verdict is asked again, though it is not known for that.
	originalAgain = 3
)

// TestCheckersOriginal has the original ldirectord make the same checks of the same servers, and
// compares the verdicts. It takes about a minute.
func TestCheckersOriginal(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/usr/sbin/ldirectord")
	f := newFarmland(t)
	f.misbehave(t)
	var all []*sideBySide
	add := func(c checkCase, what string, addr netip.Addr, limit time.Duration) {
		n := len(all)
		s := &sideBySide{
			name: fmt.Sprintf("%s %s %s %s", c.service, c.what, what, addr), instance: c.service, monitor: fmt.Sprintf("/var/log/monitor-%d", n),
			ours: &checked{spec: c.spec(t, addr, c.port), limit: limit},
		}
		// What can hang or end the original is done by an instance of its own.
		switch {
		case what != "real", c.what == "ping":
			s.instance += fmt.Sprint(n)
		case addr.Is6():
			s.instance += "6"
		}
		s.section = c.conf(n, addr, c.port) + "\tmonitorfile=\"" + s.monitor + "\"\n\n"
		all = append(all, s)
	}
	seen := map[string]bool{}
	for _, c := range checkCases {
		if c.service == "oracle" {
			continue
		}
		for _, a := range []netip.Addr{goodServer, goodServer6} {
			add(c, "real", a, 5*time.Second)
		}
		// Of a service's good checks the first is made of bad servers, too.
		if !c.up || seen[c.service] || c.service == "none" {
			continue
		}
		seen[c.service] = true
		for _, m := range manners {
			if m.name == "stalls in TLS" && !c.overTLS() {
				continue
			}
			add(c, m.name, m.addr, time.Second)
		}
	}
	f.runOriginal(t, all)
	for range originalAgain {
		var missing []*sideBySide
		for _, s := range all {
			if s.original == "none" && s.known("none") == nil {
				t.Logf("asked again, alone: %s", s.name)
				s.instance += "-" + filepath.Base(s.monitor)
				missing = append(missing, s)
			}
		}
		f.runOriginal(t, missing)
	}
	var ours []*checked
	for _, s := range all {
		ours = append(ours, s.ours)
	}
	f.checkAll(ours, 16)
	if os.Getenv("VERDICTS") != "" {
		for _, s := range all {
			t.Logf("%-60s %s", s.name, s)
		}
	}
	met := map[*knownDifference]bool{}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			switch d := s.known(s.original); {
			case s.same():
			case d != nil:
				met[d] = true
			default:
				t.Error(s)
			}
		})
	}
	for i := range knownDifferences {
		if d := &knownDifferences[i]; !met[d] {
			t.Errorf("the original is said to be %s for %q, and is not", d.original, d.match)
		}
	}
	t.Logf("%d checks made by both", len(all))
}

// runOriginal has the original make all checks and reads its verdicts. So many instances at a time
// wait rather than work.
func (f *farmland) runOriginal(t *testing.T, all []*sideBySide) {
	t.Helper()
	const slots = 12
	if err := f.director.WriteFile("/usr/sbin/ipvsadm", []byte(dumbIPVSAdm), 0o755); err != nil {
		t.Fatal(err)
	}
	instances := map[string][]*sideBySide{}
	var names []string
	for _, s := range all {
		if instances[s.instance] == nil {
			names = append(names, s.instance)
		}
		instances[s.instance] = append(instances[s.instance], s)
	}
	gate := make(chan bool, slots)
	var group sync.WaitGroup
	for _, name := range names {
		gate <- true
		group.Go(func() {
			defer func() { <-gate }()
			if err := f.instance(t, name, instances[name]); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// instance runs one ldirectord until all its verdicts are there, or will never be.
func (f *farmland) instance(t *testing.T, name string, checks []*sideBySide) error {
	limit := originalBusy
	if slices.ContainsFunc(checks, func(s *sideBySide) bool { return s.known("none") != nil }) {
		limit = originalStart + time.Duration(len(checks))*originalCheck
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	conf := fmt.Sprintf("checktimeout=%d\ncheckinterval=300\nquiescent=no\nlogfile=\"/var/log/%s.log\"\n", checks[0].ours.limit/time.Second, name)
	for _, s := range checks {
		s.original, s.text = "none", ""
		conf += s.section
	}
	path := "/etc/ha.d/" + name + ".cf"
	if err := f.director.WriteFile(path, []byte(conf), 0o644); err != nil {
		return err
	}
	r, err := f.director.Exec(ctx, "/usr/sbin/ldirectord", path, "start")
	if err != nil || r.Code != 0 {
		return fmt.Errorf("ldirectord %s start: %v, exit status %d: %s%s", path, err, r.Code, r.Stdout, r.Stderr)
	}
	missing := checks
	for ; len(missing) > 0 && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		text, _ := f.director.ReadFile(missing[0].monitor) // there may be none yet
		if m := monitorLine.FindSubmatch(text); m != nil {
			missing[0].original, missing[0].text = string(m[1]), string(m[2])
			missing = missing[1:]
		}
	}
	ctx = context.WithoutCancel(ctx)
	pid := "/var/run/ldirectord." + name + ".cf.pid"
	if len(missing) > 0 && missing[0].known("none") == nil {
		r, err := f.director.Exec(ctx, "sh", "-c", "p=$(cat "+pid+"); cat /proc/$p/wchan /proc/$p/syscall; grep Sig /proc/$p/status; ss -tunp; tail -n 5 /var/log/"+name+".log")
		t.Logf("%s: no verdict after %v: %v\n%s%s", missing[0].name, limit, err, r.Stdout, r.Stderr)
	}
	// It may have ended by itself.
	_, err = f.director.Exec(ctx, "sh", "-c", "kill -KILL $(cat "+pid+") 2>/dev/null; true")
	return err
}

// same tells whether both came to one verdict.
func (s *sideBySide) same() bool {
	return s.original == map[bool]string{true: "up", false: "down"}[s.ours.result.Up]
}

// known is the known difference in which the original's verdict is this one, if there is one.
func (s *sideBySide) known(original string) *knownDifference {
	for i := range knownDifferences {
		if d := &knownDifferences[i]; d.original == original && d.match.MatchString(s.name) {
			return d
		}
	}
	return nil
}

func (s *sideBySide) String() string {
	return fmt.Sprintf("ours up %v (%s), original %q (%.200q)", s.ours.result.Up, s.ours.result.Reason, s.original, s.text)
}

// monitorLine is the first line of a monitorfile.
var monitorLine = regexp.MustCompile(`^\[[^\]]*\] \[\d+\] .* \[(up|down)\] (.*)\n`)

// knownDifference is a verdict of the original that is wrong on purpose not copied.
type knownDifference struct {
	match    *regexp.Regexp // names of checks
	original string
	why      string
}

var knownDifferences = []knownDifference{
	{regexp.MustCompile(`^(https page|(pops|imaps) login|imaps greeting) real`), "down", "it verifies certificates where the Perl modules do"},
	{regexp.MustCompile(`^(pop|imap|imaps|pgsql|radius) .* real fd20`), "down", "no IPv6"},
	{regexp.MustCompile(`^http ping real fd20`), "none", "no IPv6: it ends"},
	{regexp.MustCompile(`^radius wrong login real fd20`), "none", "no IPv6: it ends"},
	{regexp.MustCompile(`^ftp login (refused|hung|absent)|^ftp wrong login`), "up", "an empty receive matches whatever happens"},
	{regexp.MustCompile(`^pops? greeting (refused|absent)|^pops greeting (hung|drips|stalls|floods)`), "up", "without login the result is ignored"},
	{regexp.MustCompile(`^(ftp login|smtp hello|submission hello|pop greeting|imap greeting) (drips|floods)`), "none", "a time limit for each read, or none"},
	{regexp.MustCompile(`^(pop greeting|mysql row|pgsql row) (hung|drips|stalls)|^(mysql|pgsql) row absent`), "none", "no time limit"},
	{regexp.MustCompile(`^nntp greeting absent`), "none", "the kernel's time limit"},
	{regexp.MustCompile(`^nntp greeting (drips|floods)`), "up", "the greeting's first byte is enough"},
	{regexp.MustCompile(`^imap wrong answer`), "up", "it asks port 143, whatever the file says"},
	{regexp.MustCompile(`^dns (anything|default) real`), "down", "an empty receive never matches"},
}
