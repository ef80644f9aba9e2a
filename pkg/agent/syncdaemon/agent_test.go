package syncdaemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	conns []ipvs.Conn
	calls []string
	fail  error

	threshold string
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

// SyncThreshold is the kernel's.
func (t *threads) SyncThreshold(context.Context) (string, error) { return t.threshold, nil }

func (t *threads) SetSyncThreshold(_ context.Context, threshold string) error {
	t.threshold = threshold
	return nil
}

func (t *threads) Connections(context.Context) ([]ipvs.Conn, error) { return t.conns, nil }

// TestConnections: what one director samples another knows, if it has the same connections.
func TestConnections(t *testing.T) {
	const text = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP AC103C01 C350 AC103C6F 1B58 AC103CCC 1B58 ESTABLISHED     895
TCP AC103C01 C351 AC103C6F 1B58 AC103CCD 1B58 ESTABLISHED     895
TCP AC103C01 C352 AC103C6F 1B58 AC103CCC 1B58 FIN_WAIT        115
TCP AC103C01 0000 AC103C6F 1B58 AC103CCC 1B58 NONE            115
`
	one, other := &threads{Table: model.New(), conns: ipvs.ParseConns([]byte(text))}, &threads{Table: model.New()}
	agent := func(table *threads) *Agent {
		return New(Options{OpenTable: func() (ipvs.Table, error) { return table, nil }})
	}
	if _, err := agent(one).Hurry(t.Context()); err == nil || !strings.Contains(err.Error(), "no master sync daemon") {
		t.Errorf("without a daemon: %v", err)
	}
	one.run = []ipvs.SyncDaemon{{Role: ipvs.SyncMaster}}
	for n, want := range []int{0, 1, 2, 2} {
		sample, err := agent(one).Sample(t.Context(), n)
		if err != nil || len(sample) != want {
			t.Errorf("sample of %d: %x %v", n, sample, err)
		}
		for have, known := range map[int]int{0: 0, len(one.conns): want} {
			other.conns = one.conns[:have]
			if got, err := agent(other).Known(t.Context(), sample); err != nil || got != known {
				t.Errorf("of %d connections %d are known, of %d: %v", want, got, known, err)
			}
		}
	}
	elsewhere := slices.Clone(one.conns)
	for i := range elsewhere {
		elsewhere[i].Dest = one.conns[1-i%2].Dest
	}
	other.conns = elsewhere
	if sample, _ := agent(one).Sample(t.Context(), 2); len(sample) != 2 {
		t.Error(sample)
	} else if got, err := agent(other).Known(t.Context(), sample); err != nil || got != 0 {
		t.Errorf("%d connections to other servers are known: %v", got, err)
	}
}

// TestHurry: the threshold is put back, by whoever comes next if the process is killed, unless somebody
// else has changed it.
func TestHurry(t *testing.T) {
	for _, tt := range []struct {
		name, before, meanwhile, want string
		next                          func(*Agent) error
	}{
		{"an end", "3 50", "", "3 50", nil},
		{"an end, changed meanwhile", "3 50", "5 60", "5 60", nil},
		{"each packet anyway", "0 1", "", "0 1", nil},
		{"killed, a new start", "3 50", "", "3 50", func(a *Agent) error { return a.StandBy(t.Context(), []string{"master"}) }},
		{"killed, the resource stops", "3 50", "", "3 50", func(a *Agent) error {
			_, err := a.Run(t.Context(), agent.Call{Op: agent.Stop, Name: Name, Args: []string{"master"}, Log: new(notes)})
			return err
		}},
		{"killed, waits again", "3 50", "", "3 50", func(a *Agent) error {
			calm, err := a.Hurry(t.Context())
			if err != nil {
				return err
			}
			return calm()
		}},
	} {
		table := &threads{Table: model.New(), run: []ipvs.SyncDaemon{{Role: ipvs.SyncMaster}}, threshold: tt.before}
		o := Options{OpenTable: func() (ipvs.Table, error) { return table, nil }, Note: filepath.Join(t.TempDir(), "note")}
		calm, err := New(o).Hurry(t.Context())
		if err != nil || table.threshold != ipvs.EveryPacket {
			t.Fatalf("%s: threshold %q, %v", tt.name, table.threshold, err)
		}
		if tt.meanwhile != "" {
			table.threshold = tt.meanwhile
		}
		if tt.next == nil {
			err = calm()
		} else {
			err = tt.next(New(o))
		}
		if _, left := os.Stat(o.Note); err != nil || table.threshold != tt.want || left == nil {
			t.Errorf("%s: threshold %q, want %q; note: %v; %v", tt.name, table.threshold, tt.want, left, err)
		}
	}
}
