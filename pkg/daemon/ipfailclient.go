package daemon

import (
	"strconv"
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
	get := d.Msg.Get
	if to := get("to_id"); to != "" && to != id {
		return
	}
	var in ipfail.Input
	switch get("t") {
	case "status", "NS_st":
		in = ipfail.NodeStatus{Node: get("src"), Status: get("st")}
	case "ifstat":
		in = ipfail.LinkStatus{Node: get("node"), Link: get("ifname"), Status: get("st")}
	case "hbapi-clstat":
		if get("st") != "join" {
			return
		}
		in = ipfail.ClientJoined{Node: get("src")}
	case "resource":
		in = ipfail.Resource{From: get("src"), Stable: get("isstable"), Info: get("info")}
	case "num_ping_nodes":
		n, err := strconv.Atoi(get("num_ping"))
		if err != nil {
			c.out.Logf(halog.Warn, "num_ping %q of %s is no number: ignored", get("num_ping"), get("src"))
			return
		}
		in = ipfail.PingCount{From: get("src"), Count: n}
	case "you_are_dead":
		in = ipfail.YouAreDead{}
	case "abort_giveup":
		in = ipfail.AbortGiveup{}
	default:
		return
	}
	c.act(c.machine.Step(now, in, c.view()))
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
		c.act(c.machine.Step(now, ipfail.Tick{}, c.view()))
		return
	}
	waiting := c.waiting
	c.ready, c.waiting = time.Time{}, nil
	for _, d := range waiting {
		c.deliver(now, d)
	}
}

func (c *ipfailClient) view() ipfail.View {
	st := c.status()
	v := ipfail.View{Stable: st.Stable}
	for i := len(st.Nodes) - 1; i >= 0; i-- {
		if n := st.Nodes[i]; n.Ping && n.Status == "ping" {
			v.PingNodes = append(v.PingNodes, n.Name)
		}
	}
	return v
}

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
	m := new(hamsg.Msg)
	for _, f := range fields {
		m.Add(f.Name, f.Value)
	}
	c.broker(broker.Tell{Name: id, Msg: m})
}
