package broker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// process takes a message of a client (api_process_request).
func (b *Broker) process(c *conn, m *hamsg.Msg) {
	cl := c.client
	switch m.Type() {
	case "":
		b.complain(cluster.Error, "api_process_request: bad message type")
	case hamsg.TAPIRequest:
		b.offer(cluster.APICall, m)
		b.request(c, m)
	default:
		if cl.casual {
			b.complain(cluster.Info, "api_process_request: general message from casual client!")
			b.remove(cl, "badclient")
			return
		}
		b.forward(cl, m)
	}
}

// maxForward is how long a message for the cluster may be: it has to go into a datagram with its header.
const maxForward = 60000

// forward sends a client's message to the cluster: to clients of its own name, wherever they are.
func (b *Broker) forward(cl *client, m *hamsg.Msg) {
	if size := len(m.AppendNetstring(nil)); size > maxForward {
		b.complain(cluster.Error, "message of client %s dropped: %d bytes are more than %d", cl.id, size, maxForward)
		return
	}
	b.do(Send{m.Clone().Set(hamsg.FFromID, cl.id).Set(hamsg.FToID, cl.id).SetInt(hamsg.FClientGen, int64(cl.gen))})
}

func (b *Broker) request(c *conn, m *hamsg.Msg) {
	from, pid, kind := m.Get(hamsg.FFromID), m.Get(hamsg.FPID), m.Get(hamsg.FReqType)
	if from == "" && pid == "" || kind == "" {
		b.complain(cluster.Error, "api_process_request: no fromid/pid/reqtype in message.")
		return
	}
	n, _ := m.GetInt(hamsg.FPID)
	is := func(cl *client) bool { return n > 0 && int64(cl.pid) == n || from != "" && cl.id == from }
	if !is(c.client) {
		i := slices.IndexFunc(b.clients, is)
		if i < 0 {
			b.complain(cluster.Error, "api_process_request: msg from non-client")
			return
		}
		other := b.clients[i]
		b.complain(cluster.Error, "Client mismatch! (impersonation?)")
		b.complain(cluster.Info, "pids (%d vs %d), Client IDs (%s vs %s)", c.client.pid, other.pid, c.client.id, other.id)
		return
	}
	x := &exchange{Broker: b, client: c.client, msg: m, kind: kind}
	answer := requests[kind]
	if answer == nil {
		b.complain(cluster.Error, "Unknown API request")
		x.bad("")
		return
	}
	answer(x)
}

// exchange is a request with what is needed to answer it.
type exchange struct {
	*Broker
	client *client
	msg    *hamsg.Msg
	kind   string
}

// requests are the answers to requests, by the names of their types in hb_api_core.h.
var requests = map[string]func(*exchange){
	"signoff":      func(x *exchange) { x.remove(x.client, "signoff") },
	"setfilter":    (*exchange).setFilter,
	"setsignal":    (*exchange).setSignal,
	"nodelist":     (*exchange).nodeList,
	"nodestatus":   ofNode(func(n cluster.NodeStatus) hamsg.Field { return text(hamsg.FStatus, n.Status) }),
	"nodeweight":   ofNode(func(n cluster.NodeStatus) hamsg.Field { return text(hamsg.FWeight, strconv.Itoa(n.Weight)) }),
	"nodesite":     ofNode(func(n cluster.NodeStatus) hamsg.Field { return text(hamsg.FSite, n.Site) }),
	"nodetype":     ofNode(func(n cluster.NodeStatus) hamsg.Field { return text(hamsg.FNodeType, nodeType(n)) }),
	"numnodes":     (*exchange).numNodes,
	"iflist":       (*exchange).ifList,
	"ifstatus":     (*exchange).ifStatus,
	"clientstatus": (*exchange).clientStatus,
	"getparm":      (*exchange).getParm,
	"getrsc":       (*exchange).getResources,
	"getuuid":      (*exchange).getUUID,
	"getnodename":  (*exchange).getNodeName,
	"set_sendqlen": (*exchange).setQueue,
}

// Reasons of refused requests.
const (
	invalid   = "EINVAL"
	forbidden = "EPERM"
	noLinks   = "UhOh"
)

func text(name, value string) hamsg.Field { return hamsg.Field{Name: name, Value: value} }

// public tells whether the client came over the public socket.
func (x *exchange) public() bool {
	c := x.conns[x.client.conn]
	return c != nil && c.peer.Public
}

// ok answers with the fields and the good result.
func (x *exchange) ok(fields ...hamsg.Field) { x.answer("OK", fields) }

// more is one of several answers, not the last.
func (x *exchange) more(fields ...hamsg.Field) { x.answer("ok/more", fields) }

func (x *exchange) answer(result string, fields []hamsg.Field) {
	m := response(x.kind)
	for _, f := range fields {
		m.AddField(f)
	}
	x.tell(x.client, m.Add(hamsg.FResult, result))
}

// bad refuses the request.
func (x *exchange) bad(info string) {
	x.complainOf(x.msg, "api_process_request: bad request ["+oneLine(x.kind)+"]")
	m := response(x.kind).Add(hamsg.FResult, "badreq")
	if info != "" {
		m.Add(hamsg.FComment, info)
	}
	x.tell(x.client, m)
}

// node is the node that the request names, in whatever case; ok is false if there is none, and
// the request is then refused.
func (x *exchange) node() (n cluster.NodeStatus, ok bool) {
	name := x.msg.Get(hamsg.FNode)
	nodes := x.cfg.Status().Nodes
	i := slices.IndexFunc(nodes, func(n cluster.NodeStatus) bool { return strings.EqualFold(n.Name, name) })
	if i < 0 {
		x.bad(invalid)
		return n, false
	}
	return nodes[i], true
}

func nodeType(n cluster.NodeStatus) string {
	if n.Ping {
		return "ping"
	}
	return "normal"
}

// ofNode answers with one field of a node.
func ofNode(field func(cluster.NodeStatus) hamsg.Field) func(*exchange) {
	return func(x *exchange) {
		if n, ok := x.node(); ok {
			x.ok(field(n))
		}
	}
}

func (x *exchange) nodeList() {
	nodes := x.cfg.Status().Nodes
	for i, n := range nodes {
		send := x.more
		if i == len(nodes)-1 {
			send = x.ok
		}
		send(text(hamsg.FNode, n.Name), text(hamsg.FNodeType, nodeType(n)), text(hamsg.FStatus, n.Status))
	}
}

func (x *exchange) numNodes() {
	count := 0
	for _, n := range x.cfg.Status().Nodes {
		if !n.Ping {
			count++
		}
	}
	x.ok(text(hamsg.FNumNodes, strconv.Itoa(count)))
}

func (x *exchange) ifList() {
	n, ok := x.node()
	switch {
	case !ok:
		return
	case len(n.Links) == 0 && n.Ping:
		x.bad(noLinks)
		return
	case len(n.Links) == 0:
		x.bad(invalid)
		return
	}
	for i, l := range n.Links {
		send := x.more
		if i == len(n.Links)-1 {
			send = x.ok
		}
		send(text(hamsg.FIfName, l.Name), text(hamsg.FStatus, l.Status))
	}
}

func (x *exchange) ifStatus() {
	n, ok := x.node()
	if !ok {
		return
	}
	name := x.msg.Get(hamsg.FIfName)
	for _, l := range n.Links {
		if l.Name == name {
			x.ok(text(hamsg.FStatus, l.Status))
			return
		}
	}
	x.bad(invalid)
}

// clientStatus of a node that runs is asked of that node; its answer goes to the client as it comes.
func (x *exchange) clientStatus() {
	name := x.msg.Get(hamsg.FClientName)
	if name == "" {
		x.bad(invalid)
		return
	}
	n, ok := x.node()
	switch {
	case !ok:
	case x.msg.Get(hamsg.FNode) == x.cfg.Node:
		x.ok(text(hamsg.FSubtype, hamsg.TRespondClient), text(hamsg.FClientStat, onOffLine(x.byID(name) != nil)))
	case n.Status != "active":
		x.ok(text(hamsg.FSubtype, hamsg.TRespondClient), text(hamsg.FClientStat, onOffLine(false)))
	default:
		x.do(Send{hamsg.New(hamsg.TQueryClient).Add(hamsg.FTo, n.Name).Add(hamsg.FClientName, name).Add(hamsg.FFromID, x.client.id)})
	}
}

func onOffLine(on bool) string {
	if on {
		return "online"
	}
	return "offline"
}

func (x *exchange) getParm() {
	name := x.msg.Get(hamsg.FPName)
	switch name {
	case "":
		x.bad(invalid)
		return
	case "crm":
		name = "pacemaker"
	}
	if value, ok := x.cfg.Param(name); ok {
		x.ok(text(hamsg.FPValue, value))
		return
	}
	x.ok()
}

func (x *exchange) getResources() {
	st := x.cfg.Status()
	held := "transition"
	if st.Stable {
		held = st.Held.String()
	}
	x.ok(text(hamsg.FResources, held))
}

func (x *exchange) getUUID() {
	name := x.msg.Get(hamsg.FQueryName)
	if name == "" {
		x.bad("no query node name found")
		return
	}
	for _, n := range x.cfg.Status().Nodes {
		if strings.EqualFold(n.Name, name) {
			x.ok(hamsg.Field{Name: hamsg.FQueryUUID, Kind: hamsg.Binary, Value: string(n.UUID[:])})
			return
		}
	}
	x.ok()
}

func (x *exchange) getNodeName() {
	f, ok := x.msg.Lookup(hamsg.FQueryUUID)
	if !ok || f.Kind != hamsg.Binary {
		x.bad("no query node name found")
		return
	}
	for _, n := range x.cfg.Status().Nodes {
		if !n.UUID.IsZero() && string(n.UUID[:]) == f.Value {
			x.ok(text(hamsg.FQueryName, n.Name))
			return
		}
	}
	x.complain(cluster.Error, "api_get_nodename: nodename not found in map table")
	x.ok()
}

// allKinds are the bits of a filter mask.
const allKinds = cluster.Kept | cluster.NoChange | cluster.Dropped | cluster.Duplicate | cluster.APICall | cluster.Protocol

// setFilter chooses the kinds of messages that a client gets. All but the ordinary one show what
// others say, and are for root and for the daemon's own user.
func (x *exchange) setFilter() {
	mask, ok := x.msg.GetHex(hamsg.FFilterMask)
	kinds := cluster.Kind(mask & uint64(allKinds))
	switch {
	case !ok || kinds == 0:
		x.bad(invalid)
	case kinds&^cluster.Kept != 0 && x.client.uid != 0 && x.client.uid != x.cfg.UID:
		x.bad(forbidden)
	default:
		x.client.mask = kinds
		x.ok()
	}
}

// Signals that a client may not ask for.
const (
	maxSignal = 31
	sigKill   = 9
	sigStop   = 19
)

func (x *exchange) setSignal() {
	n, ok := x.msg.GetInt(hamsg.FSignal)
	switch {
	case !ok:
		x.bad("")
	case n < 0 || n > maxSignal || n == sigKill || n == sigStop:
		x.bad(invalid)
	default:
		x.client.signal = int(n)
		x.ok()
	}
}

// maxQueue bounds what a client may ask for; the server bounds the bytes, too.
const maxQueue = 64 << 10

func (x *exchange) setQueue() {
	if !x.msg.Has(hamsg.FSendQueue) {
		x.complain(cluster.Error, "api_set_sendqlen: getting field F_SENDQLEN failed")
		return
	}
	n, _ := x.msg.GetInt(hamsg.FSendQueue)
	if n <= 0 || n > maxQueue || x.public() {
		x.complain(cluster.Error, "api_set_sendqlen: invalid length value(%d)", n)
		return
	}
	x.do(Queue{x.client.conn, int(n)})
	x.complain(cluster.Info, "the send queue length from heartbeat to client %s is set to %d", x.client.id, n)
}
