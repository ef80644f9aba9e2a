package compat

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/lab"
)

// sideDir has the configurations that both ldirectords run: NN-NAME.cf, and NN-NAME.reload.cf for
// what it is changed to.
const sideDir = "testdata/ldirectord"

// TestSideConfigurations: the configurations of TestVMLdirectord use everything there is, but for the
// services, which TestCheckersOriginal has both check.
func TestSideConfigurations(t *testing.T) {
	unused := map[string]bool{}
	global, section := ldirectordcf.Directives()
	for _, name := range append(global, section...) {
		unused[name] = true
	}
	delete(unused, "timeout") // always an error, as is connecttimeout
	delete(unused, "connecttimeout")
	for _, value := range []string{
		"checktype=connect", "checktype=negotiate", "checktype=external", "checktype=external-perl", "checktype=ping", "checktype=on", "checktype=off",
		"checktype=3", "quiescent=yes", "quiescent=no", "fork=yes", "protocol=tcp", "protocol=udp", "protocol=fwm",
	} {
		unused[value] = true
	}
	word := regexp.MustCompile(`(?m)^\s*([a-z0-9]+)\s*=\s*(\S*)`)
	files, err := filepath.Glob(sideDir + "/*.cf")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range word.FindAllStringSubmatch(string(text), -1) {
			delete(unused, m[1])
			delete(unused, m[1]+"="+m[2])
		}
	}
	for name := range unused {
		t.Errorf("no configuration in %s uses %s", sideDir, name)
	}
}

// TestVMLdirectord gives the original and ours the same configurations, over a kernel's IPVS each,
// and has the same real servers die and return: the two tables are the same after each event.
func TestVMLdirectord(t *testing.T) {
	if !lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 15*time.Minute, 3072 }) {
		return
	}
	lab.NeedPrograms(t, "/usr/sbin/ldirectord", "/usr/sbin/ipvsadm")
	// In two halves: with twenty of each a machine of two processors is too busy for checks to be in time.
	names := sideNames(t)
	half := len(names) / 2
	t.Run("first", func(t *testing.T) { newLdirectordPair(t, names[:half], true).play() })
	t.Run("second", func(t *testing.T) { newLdirectordPair(t, names[half:], true).play() })
}

// TestLdirectordBeside is TestVMLdirectord without a kernel: both tables are models, which our
// ipvsadm stands in front of.
func TestLdirectordBeside(t *testing.T) {
	t.Parallel()
	lab.NeedRoot(t)
	lab.NeedPrograms(t, "/usr/sbin/ldirectord")
	newLdirectordPair(t, sideNames(t), false).play()
}

// play is what happens to the real servers.
func (p *ldirectordPair) play() {
	p.start()
	p.settle("all servers are up", 4*time.Second)
	web := p.farm.web
	web[11].stop()
	if !p.kernel {
		p.settle("the first has died", 4*time.Second)
	}
	web[12].stop()
	web[13].stop()
	web[14].stop()
	p.settle("all have died", 4*time.Second)
	web[12].start()
	p.settle("one has returned", 4*time.Second)
	for _, w := range web {
		w.start()
	}
	p.settle("all have returned", 4*time.Second)
	web[13].hang()
	p.address("del", 15)
	p.settle("one hangs, one is gone", 16*time.Second)
	web[13].start()
	p.address("add", 15)
	if !p.kernel {
		p.settle("they are back", 4*time.Second)
		p.maintenance()
	}
	p.reload()
	p.settle("other files", 4*time.Second)
	web[12].stop()
	p.settle("a death after the reload", 4*time.Second)
	if p.has("09-external.cf") {
		p.sameFallbacks()
		p.samePrograms()
	}
	if p.has("18-mail.cf") && p.mails < 4 {
		p.t.Errorf("only %d mails were compared", p.mails)
	}
	p.stop()
	p.settle("both are stopped", time.Second)
	for name, seen := range p.seen {
		if len(seen) < p.least(name) {
			p.t.Errorf("%s: only %d different tables in the whole story", name, len(seen))
		}
	}
}

// maintenance takes a server out and gives it back.
func (p *ldirectordPair) maintenance() {
	for _, s := range p.sides {
		p.write(s, "/etc/ha.d/down/10.9.0.11", "")
	}
	p.settle("one is in maintenance", 4*time.Second)
	for _, s := range p.sides {
		p.must(s.Remove("/etc/ha.d/down/10.9.0.11"))
	}
	p.settle("no maintenance", 4*time.Second)
}

// ldirectordPair is two directors, one with the original, and the real servers of both.
type ldirectordPair struct {
	t      *testing.T
	ctx    context.Context
	kernel bool
	names  []string
	sides  [2]*side2
	farm   *sideFarm
	mails  int                        // that were compared
	seen   map[string]map[string]bool // by configuration, the tables of its services
}

// side2 is a director of the pair.
type side2 struct {
	*lab.Node
	name       string
	env        []string
	logged     int             // of the log's bytes, those that were compared
	programs   map[string]bool // lines about checkcommands
	supervised *lab.Cmd
}

// command runs a program of the director's.
func (s *side2) command(ctx context.Context, name string, args ...string) *lab.Cmd {
	c := s.Command(ctx, name, args...)
	c.Env = append(c.Env, s.env...)
	return c
}

// sideNames are the files of sideDir that are started with.
func sideNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(sideDir + "/*.cf")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f, ".reload.cf") {
			names = append(names, filepath.Base(f))
		}
	}
	return names
}

func newLdirectordPair(t *testing.T, names []string, kernel bool) *ldirectordPair {
	p := &ldirectordPair{t: t, ctx: t.Context(), names: names, kernel: kernel, seen: map[string]map[string]bool{}}
	n := lab.Net(t)
	p.farm = newSideFarm(t, n)
	for i, name := range []string{"ours", "original"} {
		addr := func(s string) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf(s, i+1)) }
		node, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Addrs: []netip.Prefix{addr("10.9.0.%d/24"), addr("fd09::%d/64")}}}})
		p.must(err)
		// Perl runs the original a second time when this is not set.
		s := &side2{Node: node, name: name, env: []string{"PERLIO=perlio"}, programs: map[string]bool{}}
		p.sides[i] = s
		if name == "ours" || !kernel {
			path := os.Getenv(lab.SystoleEnv)
			if path == "" {
				path = program(t)
			}
			text, err := os.ReadFile(path)
			p.must(err)
			p.must(s.WriteFile("/usr/lib/systole/systole", text, 0o755))
		}
		if name == "ours" {
			p.must(s.Symlink("/usr/lib/systole/systole", "/usr/sbin/ldirectord"))
		}
		if !kernel {
			p.must(s.Symlink("/usr/lib/systole/systole", "/usr/sbin/ipvsadm"))
			s.env = append(s.env, "SYSTOLE_IPVS=userspace")
			serveTable(t, fmt.Sprintf("/proc/%d/root/run/systole-ipvs.sock", s.Pid()), model.New())
		}
		p.write(s, "/etc/hosts", "127.0.0.1 localhost\n10.8.6.1 vip6.lab.example\n10.9.0.11 web1.lab.example\n"+
			"10.9.0.12 web2.lab.example\n10.9.0.13 web3.lab.example\n")
		p.write(s, "/etc/ha.d/down/README", "real servers in maintenance\n")
		p.must(s.WriteFile("/usr/local/bin/reachable", []byte("#!/bin/bash\nexec 3<>/dev/tcp/$3/$4\n"), 0o755))
		p.must(s.WriteFile("/usr/local/bin/hangs", []byte("#!/bin/sh\nexec sleep 100\n"), 0o755))
		p.must(s.WriteFile("/usr/local/bin/reachable.pl", []byte("use IO::Socket::INET;\n"+
			"exit(IO::Socket::INET->new(PeerAddr => $ARGV[2], PeerPort => $ARGV[3], Timeout => 5) ? 0 : 1);\n"), 0o755))
		p.must(s.WriteFile("/usr/local/bin/fallback", []byte("#!/bin/sh\necho \"$*\" >>/var/log/fallback\n"), 0o755))
		p.must(s.WriteFile("/usr/local/bin/callback", []byte("#!/bin/sh\necho \"$*\" >>/var/log/callback\n"), 0o755))
		for _, name := range names {
			p.write(s, "/etc/ha.d/"+name, p.configuration(filepath.Join(sideDir, name)))
		}
	}
	return p
}

// configuration reads a file. Twenty Perl programs are too much for a virtual machine if they check
// as often as on a real one.
func (p *ldirectordPair) configuration(file string) string {
	text, err := os.ReadFile(file)
	p.must(err)
	if p.kernel {
		return regexp.MustCompile(`checkinterval=\d`).ReplaceAllString(string(text), "checkinterval=8")
	}
	return string(text)
}

func (p *ldirectordPair) has(name string) bool { return slices.Contains(p.names, name) }

func (p *ldirectordPair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *ldirectordPair) write(s *side2, path, text string) {
	p.t.Helper()
	p.must(s.WriteFile(path, []byte(text), 0o644))
}

// ldirectord calls both for a configuration. Signals do for the original what its program would,
// which takes Perl seconds to load in a virtual machine.
func (p *ldirectordPair) ldirectord(name, action string) {
	p.t.Helper()
	for _, s := range p.sides {
		c := s.command(p.ctx, "/usr/sbin/ldirectord", name, action)
		if signal := map[string]string{"stop": "TERM", "reload": "HUP"}[action]; p.kernel && s.name == "original" && signal != "" {
			c = s.command(p.ctx, "sh", "-c", "kill -"+signal+" $(cat /var/run/ldirectord."+name+".pid)")
		}
		if r, err := c.Result(); err != nil || r.Code != 0 {
			p.t.Errorf("%s: ldirectord %s %s: %+v %v", s.name, name, action, r, err)
		}
	}
}

func (p *ldirectordPair) start() {
	p.t.Helper()
	begin := time.Now()
	var group sync.WaitGroup
	slots := make(chan struct{}, 3)
	for _, name := range p.names {
		switch name {
		case "20-executed.cf": // 19 starts it
		case "21-supervised.cf":
			for _, s := range p.sides {
				s.supervised = s.command(p.ctx, "/usr/sbin/ldirectord", name, "start")
				p.must(s.supervised.Start())
			}
		default:
			group.Go(func() {
				slots <- struct{}{}
				p.ldirectord(name, "start")
				<-slots
			})
		}
	}
	group.Wait()
	p.t.Logf("all are started after %v", time.Since(begin).Round(100*time.Millisecond))
}

func (p *ldirectordPair) stop() {
	p.t.Helper()
	for _, name := range p.names {
		if name != "20-executed.cf" && name != "21-supervised.cf" {
			p.ldirectord(name, "stop")
		}
	}
	for _, s := range p.sides {
		if s.supervised != nil {
			p.must(s.supervised.Process.Signal(unix.SIGTERM))
			if err := s.supervised.Wait(); err != nil {
				p.t.Errorf("%s: the supervised one: %v", s.name, err)
			}
		}
		waitFor(p.t, 2*time.Minute, s.name+" has ended", func() bool {
			r, err := s.Exec(p.ctx, "sh", "-c", "ls /var/run/ldirectord.*.pid")
			return err == nil && r.Stdout == ""
		})
	}
}

// reload brings the other files.
func (p *ldirectordPair) reload() {
	p.t.Helper()
	for _, name := range p.names {
		file := filepath.Join(sideDir, strings.Replace(name, ".cf", ".reload.cf", 1))
		if _, err := os.Stat(file); err != nil {
			continue
		}
		for _, s := range p.sides {
			p.write(s, "/etc/ha.d/"+name, p.configuration(file))
		}
		if !strings.Contains(name, "autoreload") {
			p.ldirectord(name, "reload")
		}
	}
	if !p.has("17-autoreload.cf") {
		return
	}
	for _, s := range p.sides {
		waitFor(p.t, time.Minute, s.name+" has run the callback", func() bool {
			text, err := s.ReadFile("/var/log/callback")
			return err == nil && string(text) == "/etc/ha.d/17-autoreload.cf\n"
		})
	}
}

func (p *ldirectordPair) address(what string, n int) {
	p.t.Helper()
	r, err := p.farm.Exec(p.ctx, "ip", "addr", what, fmt.Sprintf("10.9.0.%d/24", n), "dev", "eth0")
	if err != nil || r.Code != 0 {
		p.t.Fatalf("%+v %v", r, err)
	}
}

// tables is a director's table, sorted, service by service.
func (p *ldirectordPair) tables(s *side2) []string {
	p.t.Helper()
	var services []string
	for _, args := range [][]string{{"-S", "-n"}, {"-L", "-n", "--thresholds"}} {
		r, err := s.command(p.ctx, "/usr/sbin/ipvsadm", args...).Result()
		if err != nil || r.Code != 0 {
			p.t.Fatalf("%s: ipvsadm %v: %+v %v", s.name, args, r, err)
		}
		var dests []string
		flush := func() {
			if len(services) > 0 {
				slices.Sort(dests)
				services[len(services)-1] += strings.Join(dests, "")
			}
			dests = nil
		}
		lines := bufio.NewScanner(strings.NewReader(r.Stdout))
		for lines.Scan() {
			line := strings.TrimRight(lines.Text(), " ") + "\n"
			switch {
			case strings.HasPrefix(line, "-A") || regexp.MustCompile(`^(TCP|UDP|FWM) `).MatchString(line):
				flush()
				services = append(services, line)
			case strings.HasPrefix(line, "-a") || strings.HasPrefix(line, "  -> ") && !strings.Contains(line, "RemoteAddress"):
				dests = append(dests, line)
			}
		}
		flush()
	}
	slices.Sort(services)
	return services
}

// settle waits until both tables have been the same for a while, no sooner than after least and an
// interval of checks.
func (p *ldirectordPair) settle(when string, least time.Duration) {
	p.t.Helper()
	begin := time.Now()
	if p.kernel {
		least += 8 * time.Second
	}
	time.Sleep(least) // two tables that are both the old ones prove nothing
	same := 0
	var ours, original []string
	for same < 3 {
		ours, original = p.tables(p.sides[0]), p.tables(p.sides[1])
		if slices.Equal(ours, original) {
			same++
		} else {
			same = 0
			if time.Since(begin) > lab.Patient(3*time.Minute) {
				p.t.Fatalf("%s: the tables differ\n--- ours\n%s--- original\n%s\n%s", when, strings.Join(except(ours, original), ""),
					strings.Join(except(original, ours), ""), p.logs())
			}
		}
		time.Sleep(time.Second)
	}
	p.t.Logf("%s: %d services and lists are the same after %v", when, len(ours), time.Since(begin).Round(100*time.Millisecond))
	p.sameLines(when)
	for _, name := range p.names {
		if p.seen[name] == nil {
			p.seen[name] = map[string]bool{}
		}
		p.seen[name][strings.Join(slices.DeleteFunc(slices.Clone(ours), func(s string) bool { return !ofConfiguration(name, s) }), "")] = true
	}
}

// bothLog are lines that both write when servers come and go. At a start and a reload the original
// has servers go up and down on the way; and its order is its own.
var bothLog = regexp.MustCompile(`^(Added|Restored|Deleted|Quiescent|Readd|Soft failure|Resetting|emailalert|Purged)`)

// programLog are lines that both write at each check by a program that hangs or is not there.
var programLog = regexp.MustCompile(`^(system_timeout|Exiting with exit_status 127)`)

// samePrograms compares them; how often they came is chance.
func (p *ldirectordPair) samePrograms() {
	p.t.Helper()
	ours, original := p.sides[0].programs, p.sides[1].programs
	if len(ours) != 2 || !maps.Equal(ours, original) {
		p.t.Errorf("lines about checkcommands: ours %q, original %q", slices.Collect(maps.Keys(ours)), slices.Collect(maps.Keys(original)))
	}
}

// lines are what a side has logged since the last time, and where its log ends.
func (p *ldirectordPair) lines(s *side2) (said []string, end int) {
	p.t.Helper()
	text, err := s.ReadFile("/var/log/ldirectord.log")
	p.must(err)
	for line := range strings.Lines(string(text[s.logged:])) {
		// With fork=yes the original's children do not know of each other.
		_, rest, _ := strings.Cut(line, "] ")
		if bothLog.MatchString(rest) && !strings.Contains(rest, "10.8.15.") {
			said = append(said, rest)
		}
		if programLog.MatchString(rest) {
			s.programs[rest] = true
		}
	}
	slices.Sort(said)
	return said, len(text)
}

// sameLines compares what was logged since the last time. A line may come a round of checks after the table
// has changed: one that says that a server is well again for good.
func (p *ldirectordPair) sameLines(when string) {
	p.t.Helper()
	var said [2][]string
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var ends [2]int
		for i, s := range p.sides {
			said[i], ends[i] = p.lines(s)
		}
		if slices.Equal(said[0], said[1]) || time.Since(begun) > 10*time.Second || when == "all servers are up" || when == "other files" {
			p.sides[0].logged, p.sides[1].logged = ends[0], ends[1]
			break
		}
	}
	if when == "all servers are up" || when == "other files" {
		p.sameMails("")
		return
	}
	switch ours, original := minus(said[0], said[1]), minus(said[1], said[0]); {
	case len(ours) == 0 && len(original) > 0 && cameBack(original):
		p.t.Logf("%s: checks of the original's, not of ours, have timed out on this machine\n%s", when, strings.Join(original, ""))
		when = ""
	case len(ours)+len(original) > 0:
		p.t.Errorf("%s: other lines in the log\n--- ours\n%s--- original\n%s", when, strings.Join(ours, ""), strings.Join(original, ""))
	}
	p.sameMails(when)
}

// cameBack tells whether lines only say that servers went and came back as often.
func cameBack(lines []string) bool {
	balance := map[string]int{}
	for _, line := range lines {
		verb, what, _ := strings.Cut(line, " ")
		server, _, _ := strings.Cut(what, " (Weight")
		server = strings.TrimSpace(server)
		switch verb {
		case "Added", "Restored":
			balance[server]++
		case "Deleted", "Quiescent":
			balance[server]--
		case "Resetting", "Soft":
		default:
			return false
		}
	}
	for _, n := range balance {
		if n != 0 {
			return false
		}
	}
	return true
}

// minus is what of a is not in b, each as often as it is there more often.
func minus(a, b []string) (rest []string) {
	count := map[string]int{}
	for _, s := range b {
		count[s]++
	}
	for _, s := range a {
		if count[s]--; count[s] < 0 {
			rest = append(rest, s)
		}
	}
	return rest
}

// sameMails compares the mails that were sent since the last time, if when says so.
func (p *ldirectordPair) sameMails(when string) {
	p.t.Helper()
	var sent [2][]string
	for i := range p.sides {
		sent[i] = p.farm.take(netip.AddrFrom4([4]byte{10, 9, 0, byte(i + 1)}))
		slices.Sort(sent[i])
	}
	if when != "" && !slices.Equal(sent[0], sent[1]) {
		p.t.Errorf("%s: other mails\n--- ours\n%s--- original\n%s", when, strings.Join(except(sent[0], sent[1]), "\n"),
			strings.Join(except(sent[1], sent[0]), "\n"))
	}
	p.mails += len(sent[0])
}

// ofConfiguration tells whether a service is one of a configuration's: addresses and marks have its number.
func ofConfiguration(name, service string) bool {
	n := strings.TrimLeft(name[:2], "0")
	return strings.Contains(service, "10.8."+n+".") || strings.Contains(service, "[fd08::"+n+":") ||
		regexp.MustCompile(`^(-A -f|FWM ) *`+n+`{1,2}( |$)`).MatchString(service)
}

// least is how many different tables a configuration must have had.
func (p *ldirectordPair) least(name string) int {
	switch name {
	case "12-on-off.cf", "13-services.cf", "08-udp.cf":
		return 2
	}
	return 3
}

func except(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// logs is how the logs of both end.
func (p *ldirectordPair) logs() string {
	var b strings.Builder
	for _, s := range p.sides {
		text, _ := s.ReadFile("/var/log/ldirectord.log") // there may be none
		fmt.Fprintf(&b, "--- ldirectord.log of %s ends\n%s\n", s.name, lastLines(string(text), 60))
	}
	return b.String()
}

// sameFallbacks: both have told the fallbackcommand the same last word of each service.
func (p *ldirectordPair) sameFallbacks() {
	p.t.Helper()
	last := func(s *side2) map[string]string {
		text, err := s.ReadFile("/var/log/fallback")
		p.must(err)
		words := map[string]string{}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			n := len(f)
			words[strings.Join(append(f[:n-3:n-3], f[n-2:]...), " ")] = f[n-3]
		}
		return words
	}
	ours, original := last(p.sides[0]), last(p.sides[1])
	if len(ours) != 4 || fmt.Sprint(ours) != fmt.Sprint(original) {
		p.t.Errorf("fallbackcommand: ours %v, original %v", ours, original)
	}
}
