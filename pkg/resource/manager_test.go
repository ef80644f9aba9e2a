package resource

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/systole-ha/systole/pkg/agent"
	children "github.com/systole-ha/systole/pkg/agent/script"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/halog"
)

// bench is a Manager whose files are in a directory of the test.
type bench struct {
	*Manager
	dir     string // etc/ha.d and the rest are in it
	logfile string
	debug   string
	read    map[string]int // how much of a file was looked at already
}

// newBench makes a Manager with the scripts of testdata and with haresources as given. o has what
// differs from the usual.
func newBench(t *testing.T, file string, d halog.Dialect, o Options) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), read: map[string]int{}}
	for _, sub := range []string{"ha.d/rc.d", "ha.d/resource.d", "init.d", "run"} {
		if err := os.MkdirAll(filepath.Join(b.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.logfile, b.debug = filepath.Join(b.dir, "ha-log"), filepath.Join(b.dir, "ha-debug")
	groups, problems := haresources.Parse("haresources", []byte(file), nil)
	if problems.Err() != nil {
		t.Fatal(problems.Err())
	}
	if o.Groups == nil {
		o.Groups = func() []haresources.Group { return groups }
	}
	if o.Node == "" {
		o.Node = "ha-master"
	}
	o.Log = halog.New(halog.Config{LogFile: b.logfile, DebugFile: b.debug, Dialect: d})
	o.Script = children.New(children.Options{Output: o.Log.OpenDebug, Dir: b.dir})
	o.Paths = Paths{HaDir: filepath.Join(b.dir, "ha.d"), InitD: filepath.Join(b.dir, "init.d")}
	o.Env = append(o.Env, "RUN="+filepath.Join(b.dir, "run"), "HA_LOGFILE="+b.logfile)
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Millisecond
	}
	b.Manager = New(o)
	t.Cleanup(o.Log.Close)
	return b
}

// program installs a script.
func (b *bench) program(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, path), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

var (
	fileDate = regexp.MustCompile(`^\d{4}/\d\d/\d\d_[\d:]{8}  (\S+):    `)
	tabDate  = regexp.MustCompile(`^(\S+):\t\d{4}/\d\d/\d\d_[\d:]{8} `)
	tagPID   = regexp.MustCompile(`^[^\t]*?\[(\d+)\]:`)
)

// letters puts letters in the place of pids, in the order in which they appear.
type letters map[string]string

func (p letters) replace(line string) string {
	m := tagPID.FindStringSubmatchIndex(line)
	if m == nil {
		return line
	}
	pid := line[m[2]:m[3]]
	if p[pid] == "" {
		p[pid] = string(rune('A' + len(p)))
	}
	return line[:m[2]] + p[pid] + line[m[3]:]
}

// fresh gives the lines that a file has got since it was read last, without dates, with letters for
// pids, and with the usual places instead of the test's.
func (b *bench) fresh(t *testing.T, file, prefix string, p letters) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text[b.read[file]:])) {
		line = fileDate.ReplaceAllString(line, "$1: ")
		line = tabDate.ReplaceAllString(line, "$1: ")
		out.WriteString(prefix + p.replace(strings.ReplaceAll(line, b.dir+"/", "/etc/")))
	}
	b.read[file] = len(text)
	return out.String()
}

// differences are answers in the session that are not the original's: half of this group runs.
var differences = map[string]string{
	"HA_NICEFAILBACK=yes req_resource stuck::1": "rc=0\nsay: >>>\nsay: t=ip-request-resp\nsay: dest=ha-master\nsay: ipaddr=stuck::1\nsay: weown=yes\nsay: ok=OK\nsay: <<<\n",
}

// TestSession repeats a session with the original scripts.
func TestSession(t *testing.T) {
	text, err := os.ReadFile("testdata/haresources")
	if err != nil {
		t.Fatal(err)
	}
	rebooted := 0
	b := newBench(t, string(text), halog.D12, Options{StopRetries: 1, Reboot: func() { rebooted++ }})
	if err := os.CopyFS(filepath.Join(b.dir, "ha.d/resource.d"), os.DirFS("testdata/resource.d")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/scripts.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var command string
	var want []string
	step := func() {
		if command == "! chmod -x rc.d/status" {
			if err := os.WriteFile(filepath.Join(b.dir, "ha.d/rc.d/status"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if command != "" {
			answer, ours := differences[command]
			if !ours {
				answer = strings.Join(want, "")
			}
			if diff := cmp.Diff(answer, b.step(t, strings.Split(command, " "))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", command, diff)
			}
		}
		want = nil
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		if c, ok := strings.CutPrefix(s.Text(), "=== "); ok {
			step()
			command = c
		} else if !strings.HasPrefix(s.Text(), "#") {
			want = append(want, s.Text()+"\n")
		}
	}
	step()
	if rebooted != 1 {
		t.Errorf("%d reboots, want 1", rebooted)
	}
}

// step does one command of the session and gives what can be seen of it.
func (b *bench) step(t *testing.T, words []string) string {
	t.Helper()
	n := len(words)
	env, verb, arg := words[:n-2], words[n-2], words[n-1]
	var code int
	var stderr []string
	var say [][]byte
	switch verb {
	case "verifyallidle":
		code = b.VerifyAllIdle(t.Context(), func(line string) { stderr = append(stderr, line) })
	default:
		d := b.Do(t.Context(), cluster.Call{Verb: cluster.Verb(verb), Arg: arg, Env: env})
		code, say = d.Code, d.Say
	}
	var out strings.Builder
	fmt.Fprintf(&out, "rc=%d\n", code)
	for _, l := range stderr {
		fmt.Fprintf(&out, "err: %s\n", l)
	}
	p := letters{}
	out.WriteString(b.fresh(t, b.logfile, "log: ", p))
	out.WriteString(b.fresh(t, b.debug, "dbg: ", p))
	for _, s := range say {
		for l := range strings.Lines(string(s)) {
			out.WriteString("say: " + l)
		}
	}
	return out.String()
}

// fake is an in-process agent that does as it is told.
type fake struct {
	calls   []string
	renewed []string
	code    map[agent.Op]int
	status  string
	panics  agent.Op
}

func (f *fake) Run(_ context.Context, c agent.Call) (agent.Result, error) {
	f.calls = append(f.calls, fmt.Sprintf("%s %s %s via %s", c.Name, strings.Join(c.Args, " "), c.Op, filepath.Base(filepath.Dir(c.Path))))
	if c.Op == f.panics {
		panic("oops")
	}
	if c.Op == agent.Status {
		return agent.Result{Output: f.status}, nil
	}
	if code := f.code[c.Op]; code != 0 {
		return agent.Result{Code: code}, fmt.Errorf("no %s today", c.Op)
	}
	return agent.Result{Output: string(c.Op) + "ed\n"}, nil
}

func (f *fake) Renew(_ context.Context, c agent.Call) error {
	f.renewed = append(f.renewed, c.Name)
	return nil
}

func (b *bench) take(t *testing.T, key string) cluster.Done {
	t.Helper()
	return b.Do(t.Context(), cluster.Call{Verb: cluster.TakeGroup, Arg: key})
}

func (b *bench) give(t *testing.T, key string) cluster.Done {
	t.Helper()
	return b.Do(t.Context(), cluster.Call{Verb: cluster.GiveGroup, Arg: key})
}

func (b *bench) log(t *testing.T) string {
	t.Helper()
	return b.fresh(t, b.logfile, "", letters{})
}

// TestChoice wants a built-in agent for its name, unless the administrator has a script of his own.
func TestChoice(t *testing.T) {
	stockWrapper := ours(t, "/etc/ha.d/resource.d/IPaddr")
	for name, c := range map[string]struct {
		files map[string]string
		links map[string]string
		want  string // the agent's call, or "" for the script's
		log   string
	}{
		"nothing there":   {want: "IPaddr 10.0.0.1 start via resource.d"},
		"stock wrapper":   {files: map[string]string{"ha.d/resource.d/IPaddr": stockWrapper}, want: "IPaddr 10.0.0.1 start via resource.d"},
		"our own program": {links: map[string]string{"ha.d/resource.d/IPaddr": "/proc/self/exe"}, want: "IPaddr 10.0.0.1 start via resource.d"},
		"in init.d":       {files: map[string]string{"init.d/IPaddr": stockWrapper}, want: "IPaddr 10.0.0.1 start via init.d"},
		"administrator's": {
			files: map[string]string{"ha.d/resource.d/IPaddr": "#!/bin/sh\necho mine $*\n", "init.d/IPaddr": stockWrapper},
			log:   "ResourceManager(default)[A]: info: /etc/ha.d/resource.d/IPaddr is not the stock script: it is run, not the built-in agent (to have that: builtin IPaddr in systole.cf)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			b := newBench(t, "ha-master 10.0.0.1", halog.C6, Options{Agents: map[string]agent.Agent{"IPaddr": f}})
			for path, text := range c.files {
				b.program(t, path, text)
			}
			for path, to := range c.links {
				real, err := os.Readlink(to)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(real, filepath.Join(b.dir, path)); err != nil {
					t.Fatal(err)
				}
			}
			if d := b.take(t, "10.0.0.1"); d.Code != 0 {
				t.Errorf("%+v", d)
			}
			dir := "resource.d"
			if c.want != "" {
				if len(f.calls) != 2 || f.calls[1] != c.want {
					t.Errorf("calls %q", f.calls)
				}
				dir = c.want[strings.LastIndexByte(c.want, ' ')+1:]
			} else if debug := b.fresh(t, b.debug, "", letters{}); len(f.calls) != 0 || !strings.Contains(debug, "\nmine 10.0.0.1 start\n") {
				t.Errorf("calls %q, debug file %q", f.calls, debug)
			}
			path := map[string]string{"resource.d": "/etc/ha.d/resource.d", "init.d": "/etc/init.d"}[dir]
			want := "ResourceManager(default)[A]: info: Acquiring resource group: ha-master 10.0.0.1\n" + c.log +
				"ResourceManager(default)[A]: info: Running " + path + "/IPaddr 10.0.0.1 start\n"
			if diff := cmp.Diff(want, b.log(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	f := &fake{panics: agent.Start}
	b := newBench(t, "ha-master ipvsadm", halog.C6, Options{Agents: map[string]agent.Agent{"ipvsadm": f}})
	if d := b.take(t, "ipvsadm"); d.Code != 0 { // that of the release
		t.Errorf("%+v", d)
	}
	want := `ResourceManager(default)[A]: info: Acquiring resource group: ha-master ipvsadm
ResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  start
ResourceManager(default)[B]: CRIT: internal error in ipvsadm start: oops (the stack is in the debug file)
ResourceManager(default)[A]: ERROR: Return code 1 from /etc/init.d/ipvsadm
ResourceManager(default)[A]: CRIT: Giving up resources due to failure of ipvsadm
ResourceManager(default)[A]: info: Releasing resource group: ha-master ipvsadm
ResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  stop
`
	if diff := cmp.Diff(want, b.log(t)); diff != "" {
		t.Error(diff)
	}
	if debug := b.fresh(t, b.debug, "", letters{}); !strings.Contains(debug, "manager_test.go") {
		t.Errorf("no stack in the debug file:\n%s", debug)
	}
	// The manager itself: its list of groups is not to be had.
	b = newBench(t, "", halog.C6, Options{Groups: func() []haresources.Group { panic("no list") }})
	if d := b.take(t, "x"); d.Code != 1 {
		t.Errorf("%+v", d)
	}
}

func TestRenew(t *testing.T) {
	f := &fake{status: "INFO:  Running OK\n"}
	b := newBench(t, "ha-master IPaddr::10.0.0.1", halog.C6, Options{Agents: map[string]agent.Agent{"IPaddr": f}})
	b.take(t, "IPaddr::10.0.0.1")
	if !slices.Equal(f.renewed, []string{"IPaddr"}) || len(f.calls) != 1 {
		t.Errorf("renewed %q, calls %q", f.renewed, f.calls)
	}
}

// TestStandby wants a standby of the failed group's kind some time after a failed start.
func TestStandby(t *testing.T) {
	for want, o := range map[string]Options{
		"local":   {Node: "ha-master"},
		"foreign": {Node: "ha-slave"},
		"always":  {Node: "ha-master", AlwaysForeign: true},
	} {
		t.Run(want, func(t *testing.T) {
			said := make(chan string, 1)
			o.Say = func(text []byte) { said <- string(text) }
			o.StandbyDelay = 20 * time.Millisecond
			o.Agents = map[string]agent.Agent{"ipvsadm": &fake{code: map[agent.Op]int{agent.Start: 1}}}
			b := newBench(t, "ha-master ipvsadm", halog.C6, o)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { b.Run(ctx); close(ended) }()
			begin := time.Now()
			b.take(t, "ipvsadm")
			kind := strings.Replace(want, "always", "foreign", 1)
			if got := <-said; got != ">>>\nt=ask_resources\nrsc_hold="+kind+"\ninfo=me\n<<<\n" {
				t.Error(got)
			}
			if took := time.Since(begin); took < o.StandbyDelay {
				t.Errorf("after %v", took)
			}
			if log := b.log(t); !strings.HasSuffix(log, "hb_standby(default)[B]: Going standby ["+kind+"].\n") {
				t.Error(log)
			}
			cancel()
			<-ended
		})
	}
}

// TestStopFailure wants what systole.cf says about a resource that cannot be stopped.
func TestStopFailure(t *testing.T) {
	const retries = `ResourceManager(default)[A]: info: Releasing resource group: ha-master ipvsadm
ResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  stop
ResourceManager(default)[A]: ERROR: Return code 2 from /etc/init.d/ipvsadm
ResourceManager(default)[A]: info: Retrying failed stop operation [ipvsadm]
ResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  stop
ResourceManager(default)[A]: ERROR: Return code 2 from /etc/init.d/ipvsadm
`
	for name, c := range map[string]struct {
		o     Options
		want  string
		said  string
		again string
	}{
		"no way to reboot": {want: "CRIT: Resource STOP failure. Reboot required!\nCRIT: Killing heartbeat ungracefully!\nCRIT: Unable to force reboot.\n"},
		"standby": {
			o: Options{StopFailure: GoStandby, StandbyDelay: 20 * time.Millisecond}, said: "all", // once: it is stopped again in the standby
			want:  "CRIT: Resource STOP failure. ipvsadm is still running here; going standby in 20ms (stopfailure standby).\n",
			again: "CRIT: Resource STOP failure. ipvsadm is still running here (stopfailure standby).\n",
		},
		"log": {o: Options{StopFailure: OnlyLog}, want: "CRIT: Resource STOP failure. ipvsadm is still running here (stopfailure log).\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Agents = map[string]agent.Agent{"ipvsadm": &fake{code: map[agent.Op]int{agent.Stop: 2}, status: "running"}}
			c.o.Env = []string{"HA_STOPRETRYMAX=1"}
			said := make(chan string, 1)
			c.o.Say = func(text []byte) { said <- string(text) }
			b := newBench(t, "ha-master ipvsadm", halog.C6, c.o)
			if d := b.give(t, "ipvsadm"); d.Code != 2 {
				t.Errorf("%+v", d)
			}
			want := retries
			for l := range strings.Lines(c.want) {
				want += "ResourceManager(default)[A]: " + l
			}
			if diff := cmp.Diff(want, b.log(t)); diff != "" {
				t.Error(diff)
			}
			if c.said == "" {
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { b.Run(ctx); close(ended) }()
			if got := <-said; !strings.Contains(got, "rsc_hold="+c.said) {
				t.Error(got)
			}
			b.give(t, "ipvsadm")
			log := b.log(t)
			cancel()
			<-ended
			if !strings.HasSuffix(log, c.again) || len(b.standbys) > 0 || len(said) > 0 {
				t.Errorf("the second time: %s", log)
			}
		})
	}
}

// TestCancelled wants a call to end when the daemon does, without more ado.
func TestCancelled(t *testing.T) {
	b := newBench(t, "ha-master hang okay", halog.C6, Options{StopRetries: -1, RetryDelay: time.Hour})
	b.program(t, "ha.d/resource.d/hang", "#!/bin/sh\n[ $1 = status ] && exit 0\n[ $1 = stop ] && exit 1\n: >$RUN/here\nexec sleep 300\n")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(b.dir, "run/here")); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if d := b.Do(ctx, cluster.Call{Verb: cluster.TakeGroup, Arg: "hang"}); d.Code == 0 {
		t.Errorf("%+v", d)
	}
	if log := b.log(t); strings.Contains(log, "Giving up") || strings.Contains(log, "okay start") {
		t.Error(log)
	}
	soon, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if d := b.Do(soon, cluster.Call{Verb: cluster.GiveGroup, Arg: "hang"}); d.Code == 0 { // in the wait for a retry
		t.Errorf("%+v", d)
	}
}

func TestHooks(t *testing.T) {
	b := newBench(t, "ha-slave okay", halog.C6, Options{})
	b.program(t, "ha.d/rc.d/ifstat", "#!/bin/sh\necho link $HA_ifname $0 $1\nexit 3\n")
	b.program(t, "ha.d/rc.d/.hidden", "")
	b.program(t, "ha.d/resource.d/okay", "#!/bin/sh\n")
	if got := fmt.Sprint(b.Hooks()); got != "[hb_takeover ifstat ip-request ip-request-resp status]" {
		t.Error(got)
	}
	do := func(kind string, env ...string) cluster.Done {
		return b.Do(t.Context(), cluster.Call{Verb: cluster.Harc, Arg: kind, Env: env})
	}
	if d := do("ifstat", "HA_ifname=eth0"); d.Code != 3 {
		t.Errorf("%+v", d)
	}
	if got := b.fresh(t, b.debug, "", letters{}); !strings.HasSuffix(got, "\nlink eth0 /etc/ha.d//rc.d/ifstat ifstat\n") {
		t.Error(got)
	}
	b.log(t)
	// A status script of the administrator's is run instead of ours.
	b.program(t, "ha.d/rc.d/status", "#!/bin/sh\necho $HA_src $HA_DIR\nkill -9 $$\n")
	if d := do("status", "HA_st=dead", "HA_src=ha-slave"); d.Signal != 9 {
		t.Errorf("%+v", d)
	}
	want := "harc(default)[A]: info: Running /etc/ha.d//rc.d/status status\n" +
		"harc(default)[A]: info: /etc/ha.d//rc.d/status is not the stock script: it is run as a child\n"
	if diff := cmp.Diff(want, b.log(t)); diff != "" {
		t.Error(diff)
	}
	if got := b.fresh(t, b.debug, "", letters{}); !strings.Contains(got, "\nha-slave /etc/ha.d/\n") {
		t.Error(got)
	}
	// And so is his harc.
	b.program(t, "ha.d/harc", "#!/bin/sh\necho my harc $1\n")
	do("status", "HA_st=dead", "HA_src=ha-slave")
	if got := b.fresh(t, b.debug, "", letters{}); !strings.HasSuffix(got, "\nmy harc status\n") {
		t.Error(got)
	}
	if got := b.log(t); got != "harc(default)[A]: info: /etc/ha.d//harc is not the stock script: it is run as a child\n" {
		t.Error(got)
	}
	if d := b.Do(t.Context(), cluster.Call{Verb: "bogus"}); d.Code == 0 {
		t.Errorf("%+v", d)
	}
}

func TestOwnedText(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                     false,
		"running":                              true,
		"Running OK":                           true,
		"is stopped":                           false,
		"not running":                          false,
		"NOT running":                          false,
		"it is Not yet Running":                false,
		"not here\nbut running":                false,
		"running, not stopped":                 true,
		"RUNNING":                              false,
		"NOT RUNNING":                          false,
		"not OK":                               true,
		"..........ipvsadm is OK.":             true,
		"ipvsadm is stoped":                    false,
		"IP Virtual Server version 1.2.1\nTCP": false,
		"knot running":                         false,
		"cannot be running":                    false,
		"nothing running":                      true,
	} {
		if isOwned(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestSeveralLines(t *testing.T) {
	f := &fake{}
	b := newBench(t, "ha-master ipvsadm x\nha-slave ipvsadm y\n", halog.C6, Options{Agents: map[string]agent.Agent{"ipvsadm": f, "x": f, "y": f}})
	b.take(t, "ipvsadm x")
	want := `ResourceManager(default)[A]: WARN: ipvsadm is in more than one line of haresources; the one of node ha-master is used
ResourceManager(default)[A]: info: Acquiring resource group: ha-master ipvsadm x
ResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  start
ResourceManager(default)[A]: info: Running /etc/ha.d/resource.d/x  start
`
	if diff := cmp.Diff(want, b.log(t)); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LANG", "de_DE.UTF-8")
	t.Setenv("PATH", "/own")
	m := New(Options{Env: []string{"HA_CURHOST=a", "HA_DIR=/etc/ha.d/", "HA_RESOURCEDIR=/x"}})
	env := m.environ([]string{"HA_src=b", "HA_CURHOST=c"})
	for name, want := range map[string]string{
		"LC_ALL": "C", "LANG": "", "HA_CURHOST": "c", "HA_src": "b", "HA_DIR": "/etc/ha.d", "HA_RESOURCEDIR": "/x",
		"PATH": "/usr/libexec/heartbeat:/usr/sbin:/usr/share/heartbeat:/own:/sbin:/bin:/usr/sbin:/usr/bin:/usr/ucb",
	} {
		if got := lookup(env, name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	seen := map[string]bool{}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
}
