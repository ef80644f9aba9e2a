package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/ipfail"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// TestIpfailSettles wants what arrives during the sign-on to be looked at after it, in order, with
// the cluster as it is then.
func TestIpfailSettles(t *testing.T) {
	out, lines := newLog(t)
	stable := false
	var said []string
	c := &ipfailClient{
		log: func(int) *halog.Logger { return out },
		status: func() cluster.Status {
			return cluster.Status{Stable: stable, Nodes: []cluster.NodeStatus{{Name: "alice", Status: "active"}, {Name: "bob", Status: "active"}, {Name: "router", Status: "ping", Ping: true}}}
		},
		broker: func(in broker.Input) {
			switch in := in.(type) {
			case broker.Join:
				said = append(said, "join")
			case broker.Tell:
				said = append(said, in.Msg.Type())
			}
		},
		cfg: ipfail.Config{Self: "alice", AutoFailback: true, Keepalive: 2 * time.Second},
	}
	start := time.Now()
	c.signOn(start, 1)
	heard := func(name string, kv ...string) {
		m := hamsg.New(name).Add("src", "bob")
		for i := 0; i < len(kv); i += 2 {
			m.Add(kv[i], kv[i+1])
		}
		c.deliver(start.Add(time.Second), cluster.Deliver{Msg: m, Kind: cluster.Kept})
	}
	heard("status", "st", "active")
	heard("num_ping_nodes", "num_ping", "1", "to_id", "ipfail")
	if got := lines.String(); strings.Contains(got, "info") {
		t.Errorf("before the time:\n%s", got)
	}
	at, ok := c.deadline()
	if !ok || at.Sub(start) != settle {
		t.Fatalf("deadline %v %v", at.Sub(start), ok)
	}
	stable = true
	c.tick(at)
	var got []string
	for line := range strings.Lines(lines.String()) {
		if _, text, ok := strings.Cut(line, " info: "); ok {
			got = append(got, strings.TrimSpace(text))
		}
	}
	const want = "Status update: Node bob now has status active|Ping node count is balanced.|Giving up foreign resources (auto_failback).|Delayed giveup in 4 seconds."
	if strings.Join(got, "|") != want {
		t.Errorf("logged %q", got)
	}
	if strings.Join(said, " ") != "join abort_giveup" {
		t.Errorf("said %q", said)
	}
	if giveup, ok := c.deadline(); !ok || giveup.Sub(at) != 4*time.Second {
		t.Errorf("gives up at %v %v", giveup.Sub(at), ok)
	}
}
