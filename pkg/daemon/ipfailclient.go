package daemon

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/ipfail"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// ipfailClient is ipfail in process: it stands where the client library and the API socket stand
// between the original's ipfail and its daemon.
type ipfailClient struct {
	log    func(pid int) *halog.Logger // lines of entity ipfail
	status func() cluster.Status
	broker func(broker.Input) // knows it as a client among others
	cfg    ipfail.Config      // Self, AutoFailback, Keepalive

	machine *ipfail.Machine // nil until signed on
	out     *halog.Logger
	ready   time.Time         // when it takes up its messages; zero when it has
	waiting []cluster.Deliver // what came before
}

// id is the client's name on the wire.
const id = "ipfail"

// settle is how long ipfail is busy after its start: messages that come meanwhile wait. The original's
// takes that long to sign on, so that a partner that returns and asks for the count at once gets
// its answer when an automatic failback is over, not in the middle of it.
const settle = 4 * time.Second

// signOn is what the daemon of the original tells the cluster when a client signs on.
func (c *ipfailClient) signOn(now time.Time, pid int) {
	st := c.status()
	cfg := c.cfg
	cfg.PID = pid
	for i := len(st.Nodes) - 1; i >= 0; i-- {
		n := st.Nodes[i]
		cfg.Nodes = append(cfg.Nodes, ipfail.NodeStatus{Node: n.Name, Status: n.Status})
		if !n.Ping && n.Name != cfg.Self {
			cfg.Peer = n.Name // the last walked is the first configured
		}
	}
	c.out = c.log(pid)
	var actions []ipfail.Action
	c.machine, actions = ipfail.Start(cfg)
	c.ready = now.Add(settle)
	c.broker(broker.Join{Name: id, PID: pid})
	c.act(actions)
}

func (c *ipfailClient) signOff() {
	if c.machine == nil {
		return
	}
	c.machine, c.waiting = nil, nil
	c.broker(broker.Leave{Name: id})
}

// deliver turns a message into what ipfail makes of it. Like the original with its filter, it sees
// messages that were normally processed, and of those to a client only its own.
func (c *ipfailClient) deliver(now time.Time, d cluster.Deliver) {
	if c.machine == nil || d.Kind != cluster.Kept {
		return
	}
	if !c.ready.IsZero() {
		c.waiting = append(c.waiting, d)
		return
	}
	if to := d.Msg.Get(hamsg.FToID); to != "" && to != id {
		return
	}
	in, err := ipfail.Read(d.Msg)
	switch {
	case err != nil:
		c.out.Log(halog.Warn, err.Error())
	case in != nil:
		c.act(c.machine.Step(now, in, view{c.status()}))
	}
}

func (c *ipfailClient) deadline() (time.Time, bool) {
	if c.machine == nil {
		return time.Time{}, false
	}
	if !c.ready.IsZero() {
		return c.ready, true
	}
	return c.machine.Deadline()
}

func (c *ipfailClient) tick(now time.Time) {
	if c.ready.IsZero() {
		c.act(c.machine.Step(now, ipfail.Tick{}, view{c.status()}))
		return
	}
	waiting := c.waiting
	c.ready, c.waiting = time.Time{}, nil
	for _, d := range waiting {
		c.deliver(now, d)
	}
}

// view is a status as ipfail looks at it.
type view struct{ status cluster.Status }

// PingNodes is ipfail.View.
func (v view) PingNodes() []string {
	var names []string
	for _, n := range slices.Backward(v.status.Nodes) {
		if n.Ping && n.Status == "ping" {
			names = append(names, n.Name)
		}
	}
	return names
}

// Stable is ipfail.View.
func (v view) Stable() bool { return v.status.Stable }

// HoldsForeign is ipfail.View.
func (v view) HoldsForeign() bool { return v.status.Held.Has(cluster.Foreign) }

// AwaitsSync is ipfail.View.
func (v view) AwaitsSync() bool { return v.status.AwaitsSync }

// act logs and says.
func (c *ipfailClient) act(actions []ipfail.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case ipfail.Log:
			prio := halog.Info
			if a.Debug {
				prio = halog.Debug
			}
			c.out.Log(prio, a.Text)
		case ipfail.Tell:
			c.tell(a.Fields)
		case ipfail.Broadcast:
			c.tell(a.Fields)
		}
	}
}

func (c *ipfailClient) tell(fields []ipfail.Field) {
	c.broker(broker.Tell{Name: id, Msg: ipfail.Message(fields)})
}
