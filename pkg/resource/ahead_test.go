package resource

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
)

// trace is the real order of what agents do.
type trace struct {
	mu   sync.Mutex
	done []string
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.done = append(tr.done, fmt.Sprintf(format, args...))
}

// take gives what was done since the last call.
func (tr *trace) take() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	done := tr.done
	tr.done = nil
	return done
}

// traced is an agent that tells the trace what it does, and the log in its own words.
type traced struct {
	*trace
	fail agent.Op // this operation fails
}

func (a *traced) Run(_ context.Context, c agent.Call) (agent.Result, error) {
	if c.Op == agent.Status {
		return agent.Result{}, nil
	}
	a.add("%s %s", c.Name, c.Op)
	c.Log.Script(c.Name, "INFO: "+string(c.Op))
	if c.Op == a.fail {
		return agent.Result{Code: 1}, fmt.Errorf("no %s today", c.Op)
	}
	return agent.Result{}, nil
}

// surrounder is a traced agent that surrounds the addresses of its group.
type surrounder struct {
	traced
	hangs bool // Settle waits until it is told to give up
	left  bool // a killed process left it behind
	off   bool // it does not surround
}

func (a *surrounder) Surrounds() bool { return !a.off }

func (a *surrounder) Left(context.Context, agent.Call) bool { return a.left }

func (a *surrounder) Settle(ctx context.Context, c agent.Call) {
	if a.hangs {
		<-ctx.Done()
	}
	a.add("%s settled", c.Name)
}

const (
	takenLog = `ResourceManager(default)[A]: info: Acquiring resource group: ha-master IPaddr::10.0.0.1 web ipvsadm ldirectord
ResourceManager(default)[A]: info: Running /etc/ha.d/resource.d/IPaddr 10.0.0.1 start
IPaddr: INFO: start
ResourceManager(default)[A]: info: Running /etc/ha.d/resource.d/web  start
web: INFO: start
ResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  start
ipvsadm: INFO: start
ResourceManager(default)[A]: info: Running /etc/init.d/ldirectord  start
ldirectord: INFO: start
`
	givenLog = `ResourceManager(default)[A]: info: Releasing resource group: ha-master IPaddr::10.0.0.1 web ipvsadm ldirectord
ResourceManager(default)[A]: info: Running /etc/init.d/ldirectord  stop
%sResourceManager(default)[A]: info: Running /etc/init.d/ipvsadm  stop
%sResourceManager(default)[A]: info: Running /etc/ha.d/resource.d/web  stop
web: INFO: stop
ResourceManager(default)[A]: info: Running /etc/ha.d/resource.d/IPaddr 10.0.0.1 stop
IPaddr: INFO: stop
%s`
	stopLines = "ldirectord: INFO: stop\n"
	clearLine = "ipvsadm: INFO: stop\n"
)

// TestSurround wants the table filled before the address is up and cleared after it is gone, with the
// log in the order of haresources.
func TestSurround(t *testing.T) {
	const file = "ha-master IPaddr::10.0.0.1 web ipvsadm ldirectord"
	for name, c := range map[string]struct {
		hangs, off  bool
		take, give  []string
		logOfGiving string
	}{
		"kernel": {
			take:        []string{"ipvsadm start", "ldirectord start", "ipvsadm settled", "ldirectord settled", "IPaddr start", "web start"},
			give:        []string{"web stop", "IPaddr stop", "ldirectord stop", "ipvsadm stop"},
			logOfGiving: fmt.Sprintf(givenLog, "", "", stopLines+clearLine),
		},
		"hung real server": {
			hangs:       true,
			take:        []string{"ipvsadm start", "ldirectord start", "ipvsadm settled", "ldirectord settled", "IPaddr start", "web start"},
			give:        []string{"web stop", "IPaddr stop", "ldirectord stop", "ipvsadm stop"},
			logOfGiving: fmt.Sprintf(givenLog, "", "", stopLines+clearLine),
		},
		"forwarder": {
			off:         true,
			take:        []string{"IPaddr start", "web start", "ipvsadm start", "ldirectord start"},
			give:        []string{"ldirectord stop", "ipvsadm stop", "web stop", "IPaddr stop"},
			logOfGiving: fmt.Sprintf(givenLog, stopLines, clearLine, ""),
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := &trace{}
			b := newBench(t, file, halog.C6, Options{Agents: map[string]agent.Agent{
				"IPaddr": &traced{trace: tr}, "web": &traced{trace: tr},
				"ipvsadm": &surrounder{traced: traced{trace: tr}, off: c.off}, "ldirectord": &surrounder{traced: traced{trace: tr}, hangs: c.hangs, off: c.off},
			}})
			if d := b.take(t, "IPaddr::10.0.0.1"); d.Code != 0 {
				t.Errorf("%+v", d)
			}
			got := tr.take()
			if diff := cmp.Diff(c.take, got); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(takenLog, b.log(t)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			if d := b.give(t, "IPaddr::10.0.0.1"); d.Code != 0 {
				t.Errorf("%+v", d)
			}
			if diff := cmp.Diff(c.give, tr.take()); diff != "" {
				t.Errorf("given (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.logOfGiving, b.log(t)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSurroundFails wants failures of what is done out of turn treated in its turn.
func TestSurroundFails(t *testing.T) {
	tr := &trace{}
	agents := map[string]agent.Agent{
		"IPaddr": &traced{trace: tr}, "web": &traced{trace: tr}, "ipvsadm": &surrounder{traced: traced{trace: tr}},
		"ldirectord": &surrounder{traced: traced{trace: tr, fail: agent.Start}},
	}
	b := newBench(t, "ha-master IPaddr::10.0.0.1 web ipvsadm ldirectord", halog.C6, Options{StopRetries: 1, Agents: agents})
	b.take(t, "ldirectord")
	want := []string{"ipvsadm start", "ldirectord start", "ipvsadm settled", "IPaddr start", "web start", "web stop", "IPaddr stop", "ldirectord stop", "ipvsadm stop"}
	if diff := cmp.Diff(want, tr.take()); diff != "" {
		t.Errorf("a start that fails (-want +got):\n%s", diff)
	}
	if log := b.log(t); !strings.Contains(log, takenLog+`ResourceManager(default)[A]: ERROR: Return code 1 from /etc/init.d/ldirectord
ResourceManager(default)[A]: CRIT: Giving up resources due to failure of ldirectord
`) {
		t.Error(log)
	}

	agents["IPaddr"].(*traced).fail = agent.Start
	b.take(t, "ldirectord")
	want = []string{"ipvsadm start", "ldirectord start", "ipvsadm settled", "IPaddr start", "web stop", "IPaddr stop", "ldirectord stop", "ipvsadm stop"}
	if diff := cmp.Diff(want, tr.take()); diff != "" {
		t.Errorf("an address that fails (-want +got):\n%s", diff)
	}
	b.log(t)

	agents["ipvsadm"].(*surrounder).fail = agent.Stop
	if d := b.give(t, "ldirectord"); d.Code != 0 { // it does not run
		t.Errorf("%+v", d)
	}
	want = []string{"web stop", "IPaddr stop", "ldirectord stop", "ipvsadm stop", "ipvsadm stop"}
	if diff := cmp.Diff(want, tr.take()); diff != "" {
		t.Errorf("a stop that fails (-want +got):\n%s", diff)
	}
	if log := b.log(t); !strings.Contains(log, "IPaddr: INFO: stop\n"+stopLines+clearLine+`ResourceManager(default)[A]: ERROR: Return code 1 from /etc/init.d/ipvsadm
ResourceManager(default)[A]: info: Retrying failed stop operation [ipvsadm]
`) {
		t.Error(log)
	}
}

// blocked is a surrounder whose start ends when the address is up.
type blocked struct {
	surrounder
	up chan struct{}
}

func (a *blocked) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	if c.Op == agent.Start {
		<-a.up
	}
	return a.surrounder.Run(ctx, c)
}

// raised is an address that tells when it is up.
type raised struct {
	traced
	up chan struct{}
}

func (a *raised) Run(ctx context.Context, c agent.Call) (agent.Result, error) {
	if c.Op == agent.Start {
		defer close(a.up)
	}
	return a.traced.Run(ctx, c)
}

// TestSurroundHangs wants the address up although what is to be there before it does not start.
func TestSurroundHangs(t *testing.T) {
	tr, up := &trace{}, make(chan struct{})
	b := newBench(t, "ha-master IPaddr::10.0.0.1 ldirectord", halog.C6, Options{Agents: map[string]agent.Agent{
		"IPaddr": &raised{traced{trace: tr}, up}, "ldirectord": &blocked{surrounder{traced: traced{trace: tr}}, up},
	}})
	if d := b.take(t, "ldirectord"); d.Code != 0 {
		t.Errorf("%+v", d)
	}
	if diff := cmp.Diff([]string{"IPaddr start", "ldirectord start"}, tr.take()[:2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSurroundLeft: killed between the table and the address, a daemon leaves the one without the other.
func TestSurroundLeft(t *testing.T) {
	tr := &trace{}
	ld := &surrounder{traced: traced{trace: tr}}
	b := newBench(t, "ha-master IPaddr::10.0.0.1 ldirectord", halog.C6, Options{Agents: map[string]agent.Agent{
		"IPaddr": &traced{trace: tr}, "ldirectord": ld,
	}})
	drop := func() (done []string, log string) {
		t.Helper()
		if d := b.Do(t.Context(), cluster.Call{Verb: cluster.DropGroup, Arg: "IPaddr::10.0.0.1"}); d.Code != 0 {
			t.Errorf("%+v", d)
		}
		return tr.take(), b.log(t)
	}
	if done, log := drop(); done != nil || log != "" {
		t.Errorf("nothing is left: %q %s", done, log)
	}
	ld.left = true
	done, log := drop()
	if diff := cmp.Diff([]string{"IPaddr stop", "ldirectord stop"}, done); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(log, "ResourceManager(default)[A]: WARN: ldirectord is running here and should not be: an earlier heartbeat left it behind\n") {
		t.Error(log)
	}
}
