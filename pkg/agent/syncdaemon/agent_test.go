package syncdaemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// threads is a table with the kernel's sync daemons.
type threads struct {
	*model.Table
	run   []ipvs.SyncDaemon
	calls []string
	fail  error
}

func (t *threads) SyncDaemons(context.Context) ([]ipvs.SyncDaemon, error) {
	return slices.Clone(t.run), nil
}

func (t *threads) StartSync(_ context.Context, d ipvs.SyncDaemon) error {
	t.calls = append(t.calls, fmt.Sprintf("+%s %s %d", words[d.Role], d.Iface, d.SyncID))
	if t.fail != nil {
		return t.fail
	}
	t.run = append(t.run, d)
	return nil
}

func (t *threads) StopSync(_ context.Context, d ipvs.SyncDaemon) error {
	t.calls = append(t.calls, "-"+words[d.Role])
	t.run = slices.DeleteFunc(t.run, func(h ipvs.SyncDaemon) bool { return h.Role == d.Role })
	return nil
}

type notes struct{ lines []string }

func (n *notes) Script(tag, text string) { n.lines = append(n.lines, tag+": "+text) }
func (n *notes) Print(string)            {}
func (n *notes) NextPID() int            { return 1 }

func TestAgent(t *testing.T) {
	table := &threads{Table: model.New()}
	a := New(Options{OpenTable: func() (ipvs.Table, error) { return table, nil }, Iface: "eth1"})
	var log notes
	run := func(op agent.Op, args ...string) (agent.Result, error) {
		return a.Run(t.Context(), agent.Call{Op: op, Name: Name, Args: args, Log: &log})
	}
	for _, step := range []struct {
		what  string
		do    func() (agent.Result, error)
		calls string
		out   string
	}{
		{"stand by", func() (agent.Result, error) { return agent.Result{}, a.StandBy(t.Context(), []string{"master"}) }, "+backup eth1 0", ""},
		{"stand by again", func() (agent.Result, error) { return agent.Result{}, a.StandBy(t.Context(), []string{"master"}) }, "", ""},
		{"status of a backup", func() (agent.Result, error) { return run(agent.Status, "master") }, "", "master stopped\n(ipvs syncbackup on eth1, syncid 0)\n"},
		{"start", func() (agent.Result, error) { return run(agent.Start, "master") }, "-backup +master eth1 0", ""},
		{"start again", func() (agent.Result, error) { return run(agent.Start, "master") }, "", ""},
		{"status of a master", func() (agent.Result, error) { return run(agent.Status, "master") }, "", "master running\n(ipvs syncmaster on eth1, syncid 0)\n"},
		{"another interface and syncid", func() (agent.Result, error) { return run(agent.Start, "master", "7", "eth2") }, "-master +master eth2 7", ""},
		{"stop", func() (agent.Result, error) { return run(agent.Stop, "master", "eth2", "7") }, "-master +backup eth2 7", ""},
		{"stop again", func() (agent.Result, error) { return run(agent.Stop, "master", "eth2", "7") }, "", ""},
	} {
		table.calls = nil
		r, err := step.do()
		if err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
		if got := strings.Join(table.calls, " "); got != step.calls || r.Output != step.out {
			t.Errorf("%s: calls %q, want %q; output %q, want %q", step.what, got, step.calls, r.Output, step.out)
		}
	}
	if len(log.lines) > 0 {
		t.Errorf("logged %q", log.lines)
	}
}

func TestRefusals(t *testing.T) {
	table := &threads{Table: model.New(), fail: syscall.ENODEV}
	open := func() (ipvs.Table, error) { return table, nil }
	for _, c := range []struct {
		args  []string
		table func() (ipvs.Table, error)
		line  string
		code  int
	}{
		{nil, open, "LVSSyncDaemonSwap()[1]: ERROR: LVSSyncDaemonSwap: no role (want master or backup)", 1},
		{[]string{"slave"}, open, `LVSSyncDaemonSwap(slave)[1]: ERROR: LVSSyncDaemonSwap: bad role "slave" (want master or backup)`, 1},
		{[]string{"master", "256"}, open, `LVSSyncDaemonSwap(master::256)[1]: ERROR: LVSSyncDaemonSwap: bad syncid "256" (want 0 to 255)`, 1},
		{[]string{"master"}, open, "LVSSyncDaemonSwap(master)[1]: ERROR: master on eth0: no such device", 1},
		{[]string{"master"}, func() (ipvs.Table, error) { return model.New(), nil }, "LVSSyncDaemonSwap(master)[1]: WARN: LVSSyncDaemonSwap: the model table: nothing to synchronise", 0},
	} {
		var log notes
		r, err := New(Options{OpenTable: c.table}).Run(t.Context(), agent.Call{Op: agent.Start, Name: Name, Args: c.args, Log: &log})
		if r.Code != c.code || (err != nil) != (c.code != 0) || strings.Join(log.lines, "|") != c.line {
			t.Errorf("%q: code %d, %v, %q; want code %d, %q", c.args, r.Code, err, log.lines, c.code, c.line)
		}
	}
}
