package director_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// TestScenarios plays the stories in testdata: a director on a model table, with real servers
// whose answers are scripted, on a clock of its own. The commands:
//
//	config             the input is a ldirectord.cf; the first one starts, another one reloads.
//	                   rise=N, jitter=N% and the like are options of all its services in systole.cf
//	servers            A:P=up|down|hang|slow|maintenance ...; those not named are down. In the input,
//	                   one a line, A:P=down REASON or A:P=up WHAT ITS AGENT SAYS
//	ipvsadm            the input is ipvsadm commands of somebody else
//	refuse             OP=TEXT: the table refuses operations whose name begins with OP; without
//	                   arguments no longer
//	slow D             each operation and reading takes so long
//	unreadable         the table cannot be read; with "no" it can again
//	run D [checks]     lets time pass; checks shows their starts too
//	table              what ipvsadm -Sn would say
//	status             the director's Status
//	drain              VID,A:P ...: these are drained from now on, all others are not
//	stop [SIGNAL]      asks for the end
//
// The output is the log with the seconds since the start, and what "table" says after each
// command that changed the table.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			w := newWorld(t)
			datadriven.RunTest(t, path, w.command)
		})
	}
}

// world is what surrounds the director.
type world struct {
	t       *testing.T
	start   time.Time
	now     time.Time
	d       *director.Director
	table   *model.Table
	servers map[string]server
	refuse  map[string]string
	drained []director.Server
	broken  bool
	checks  bool // show their starts
	answers []answer
	out     strings.Builder
	ops     int

	slow time.Duration // how long the table takes for an operation
	jobs []job         // what it has before it

	onCheck  func(director.StartCheck) // nil, or looks on
	onChange func(ipvs.Op)
}

type server struct{ state, reason string }

// answer is a check's result that is to come.
type answer struct {
	at time.Time
	in director.Checked
}

// job is an operation or reading that a slow table has not come to.
type job struct {
	at     time.Time
	action director.Action
}

const slowAnswer = 300 * time.Millisecond

func newWorld(t *testing.T) *world {
	start := time.Date(2026, 11, 22, 13, 0, 0, 0, time.UTC)
	return &world{
		t: t, start: start, now: start, d: director.New(start), table: model.New(),
		servers: map[string]server{}, refuse: map[string]string{},
	}
}

func (w *world) command(t *testing.T, c *datadriven.TestData) string {
	w.out.Reset()
	w.ops = 0
	w.checks = c.HasArg("checks")
	show := true
	switch c.Cmd {
	case "config":
		config, problems := ldirectordcf.Parse("cf", []byte(strings.ReplaceAll(c.Input, "\\t", "\t")), ldirectordcf.Options{})
		if err := problems.Err(); err != nil {
			return err.Error()
		}
		if err := extend(c, config); err != nil {
			t.Fatal(err)
		}
		w.step(director.ConfigRead{Config: config, Drained: w.drained})
	case "servers":
		w.setServers(c)
		show = false
	case "ipvsadm":
		for _, rule := range w.rules(c.Input) {
			if err := w.table.Do(context.Background(), rule); err != nil {
				fmt.Fprintln(&w.out, err)
			}
		}
		show = false
	case "refuse":
		clear(w.refuse)
		for _, a := range c.CmdArgs {
			w.refuse[strings.ReplaceAll(a.Key, "_", " ")] = strings.ReplaceAll(a.Vals[0], "_", " ")
		}
		show = false
	case "unreadable":
		w.broken = !c.HasArg("no")
		show = false
	case "slow":
		w.slow = duration(t, c)
		show = false
	case "run":
		w.run(duration(t, c))
	case "drain":
		w.drained = nil
		for _, a := range c.CmdArgs {
			v, r, _ := strings.Cut(a.Key, ",")
			w.drained = append(w.drained, director.Server{Virtual: v, Real: r})
		}
		w.step(director.Drain{Servers: w.drained})
	case "table":
		return w.rulesText()
	case "status":
		return w.status()
	case "stop":
		signal := "TERM"
		if len(c.CmdArgs) > 0 {
			signal = c.CmdArgs[0].Key
		}
		w.step(director.Stop{Signal: signal})
	default:
		t.Fatalf("%s: unknown command %q", c.Pos, c.Cmd)
	}
	if show && w.ops > 0 {
		w.out.WriteString(w.rulesText())
	}
	return w.out.String()
}

func duration(t *testing.T, c *datadriven.TestData) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(c.CmdArgs[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// extend sets what ldirectord.cf has no words for: "rise=3" is an option of all services.
func extend(c *datadriven.TestData, config *ldirectordcf.Config) error {
	var text strings.Builder
	for _, a := range c.CmdArgs {
		fmt.Fprintf(&text, "service * %s %s\n", a.Key, strings.Join(a.Vals, " "))
	}
	extra, problems := systolecf.Parse("systole.cf", []byte(text.String()))
	config.Extend(&extra)
	return problems.Err()
}

func (w *world) setServers(c *datadriven.TestData) {
	clear(w.servers)
	for _, a := range c.CmdArgs {
		w.servers[a.Key] = server{state: a.Vals[0]}
	}
	for line := range strings.Lines(c.Input) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), "=")
		state, reason, _ := strings.Cut(rest, " ")
		w.servers[name] = server{state, reason}
	}
}

func (w *world) rules(text string) (ops []ipvs.Op) {
	rules, problems := ipvs.ParseRules("rules", []byte(text), ipvs.Names{})
	if err := problems.Err(); err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rules {
		ops = append(ops, r.Command.Op)
	}
	return ops
}

func (w *world) rulesText() string {
	entries, err := w.table.Snapshot(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var b []byte
	for _, e := range entries {
		slices.SortFunc(e.Dests, func(a, b ipvs.DestEntry) int { return a.Addr.Compare(b.Addr) })
		b = ipvs.AppendRule(b, e, ipvs.Names{})
		for _, d := range e.Dests { // which ipvsadm -S leaves out
			if d.UpperThreshold != 0 || d.LowerThreshold != 0 {
				b = fmt.Appendf(b, "   %v: upper threshold %d, lower %d\n", d.Addr, d.UpperThreshold, d.LowerThreshold)
			}
		}
	}
	if len(b) == 0 {
		return "(empty)\n"
	}
	return string(b)
}

func (w *world) status() string {
	var b strings.Builder
	s := w.d.Status()
	fmt.Fprintln(&b, s.State)
	for _, v := range s.Virtuals {
		fmt.Fprintf(&b, "%s fallback=%v repairs=%d %s\n", v.ID, v.Fallback, v.Repairs, v.Error)
		for _, r := range v.Reals {
			checked := "never"
			if !r.Checked.IsZero() {
				checked = w.since(r.Checked)
			}
			fmt.Fprintf(&b, "  %s %s failures=%d checked=%s %s\n", r.Addr, r.Health, r.Failures, checked, r.Reason)
			if r.Drained {
				fmt.Fprintf(&b, "    drained, weight %d\n", r.Weight)
			}
		}
	}
	return b.String()
}

func (w *world) since(at time.Time) string { return fmt.Sprintf("%.3f", at.Sub(w.start).Seconds()) }

// run lets d pass: deadlines of the director and answers of checks, in order.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		at, ok := w.d.Deadline()
		next := -1
		for i, a := range w.answers {
			if !ok || a.at.Before(at) {
				at, ok, next = a.at, true, i
			}
		}
		working := len(w.jobs) > 0 && (!ok || w.jobs[0].at.Before(at))
		if working {
			at, ok = w.jobs[0].at, true
		}
		if !ok || at.After(end) {
			w.now = end
			return
		}
		if at.After(w.now) {
			w.now = at
		}
		switch {
		case working:
			j := w.jobs[0]
			w.jobs = w.jobs[1:]
			w.step(w.work(j.action))
		case next < 0:
			w.step(director.Tick{})
		default:
			in := w.answers[next].in
			w.answers = slices.Delete(w.answers, next, next+1)
			w.step(in)
		}
	}
}

// step feeds the director and does what it asks for, table operations at once.
func (w *world) step(in director.Input) {
	inputs := []director.Input{in}
	for len(inputs) > 0 {
		in, inputs = inputs[0], inputs[1:]
		for _, a := range w.d.Step(w.now, in) {
			switch a := a.(type) {
			case director.Log:
				fmt.Fprintf(&w.out, "%s %s\n", w.since(w.now), a.Text)
			case director.Mail:
				fmt.Fprintf(&w.out, "%s [mail to %s, %v: %s]\n", w.since(w.now), a.Virtual.Email.To, a.State, a.Text)
			case director.Monitor:
				fmt.Fprintf(&w.out, "%s [%s: %s]\n", w.since(w.now), a.File, a.Text)
			case director.FallbackCommand:
				fmt.Fprintf(&w.out, "%s [%s %s %s]\n", w.since(w.now), a.Virtual.FallbackCommand, a.Word, a.Virtual.ID())
			case director.Ready:
				fmt.Fprintf(&w.out, "%s [ready]\n", w.since(w.now))
			case director.Stopped:
				fmt.Fprintf(&w.out, "%s [stopped]\n", w.since(w.now))
			case director.StartCheck:
				w.startCheck(a)
			case director.CancelCheck:
				w.answers = slices.DeleteFunc(w.answers, func(x answer) bool { return x.in.ID == a.ID })
			case director.Change, director.ReadTable:
				if w.slow == 0 && len(w.jobs) == 0 {
					inputs = append(inputs, w.work(a))
					continue
				}
				at := w.now
				if n := len(w.jobs); n > 0 {
					at = w.jobs[n-1].at
				}
				w.jobs = append(w.jobs, job{at.Add(w.slow), a})
			}
		}
	}
}

// work is the table doing one thing.
func (w *world) work(a director.Action) director.Input {
	if c, ok := a.(director.Change); ok {
		w.ops++
		return director.Changed{Err: w.change(c.Op)}
	}
	if w.broken {
		return director.TableRead{Err: errors.New("no such module")}
	}
	entries, err := w.table.Snapshot(context.Background())
	return director.TableRead{Entries: entries, Err: err}
}

func (w *world) change(op ipvs.Op) error {
	if w.onChange != nil {
		w.onChange(op)
	}
	for prefix, text := range w.refuse {
		if strings.HasPrefix(op.String(), prefix) {
			return fmt.Errorf("%s: %s", op, text)
		}
	}
	return w.table.Do(context.Background(), op)
}

func (w *world) startCheck(a director.StartCheck) {
	if w.onCheck != nil {
		w.onCheck(a)
	}
	if w.checks {
		how := a.Virtual.CheckedAs()
		if a.Connect {
			how = "connect"
		}
		fmt.Fprintf(&w.out, "%s [check %s %s of %s, %v]\n", w.since(w.now), how, a.Real.Addr, a.Virtual.ID(), a.Timeout)
	}
	s := w.servers[a.Real.Addr.String()]
	if a.Virtual.CheckType == ldirectordcf.On && s.state != "maintenance" {
		s.state = "up"
	}
	x := answer{w.now.Add(time.Millisecond), director.Checked{ID: a.ID, Reason: s.reason}}
	switch s.state {
	case "up":
		x.in.Up, x.in.Reason, x.in.Agent = true, "", s.reason
	case "slow":
		x.in.Up = true
		x.at = w.now.Add(slowAnswer)
	case "maintenance":
		x.in.Maintenance = s.reason
	case "hang":
		x.at = w.now.Add(a.Timeout)
		x.in.Reason = "timeout"
	}
	w.answers = append(w.answers, x)
}
