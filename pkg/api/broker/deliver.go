package broker

import (
	"slices"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// point is a place in a node's stream of messages.
type point struct{ generation, seq uint64 }

// points are how far the streams have come of which something is missing: what a new client gets
// later of those is from before its time (create_seq_snapshot_table).
func (b *Broker) points() map[string]point {
	var points map[string]point
	for _, n := range b.cfg.Status().Nodes {
		if n.FirstMissing == 0 {
			continue
		}
		if points == nil {
			points = map[string]point{}
		}
		points[n.Name] = point{n.Generation, n.LastSeq}
	}
	return points
}

// place is where a message stands; ok is false for one that was made here, which has none.
func place(m *hamsg.Msg) (p point, ok bool) {
	seq, ok1 := m.GetHex(hamsg.FSeq)
	gen, ok2 := m.GetHex(hamsg.FGeneration)
	return point{gen, seq}, ok1 && ok2 && m.Get(hamsg.FOrig) != ""
}

// delivered takes what the engine delivers.
func (b *Broker) delivered(kind cluster.Kind, m *hamsg.Msg) {
	if kind == cluster.Kept && m.Type() == hamsg.TQueryClient {
		b.queried(m)
	}
	if len(b.clients) > 0 {
		if kind == cluster.Kept && m.Type() == hamsg.TClientStatus && b.early(m) {
			b.delayed = append(b.delayed, m)
		} else {
			b.offer(kind, m)
		}
	}
	b.catchUp()
}

// queried answers another daemon's question for a client.
func (b *Broker) queried(m *hamsg.Msg) {
	name, asker := m.Get(hamsg.FClientName), m.Get(hamsg.FFromID)
	if name == "" || asker == "" {
		return
	}
	b.do(Send{hamsg.New(hamsg.TRespondClient).Add(hamsg.FTo, m.Get(hamsg.FOrig)).Add(hamsg.FResult, "OK").
		Add(hamsg.FClientName, name).Add(hamsg.FToID, asker).Add(hamsg.FClientStat, onOffLine(b.byID(name) != nil))})
}

// early tells whether earlier messages of its sender are missing still. News of clients wait for
// them, so that a client's farewell does not overtake what it has said.
func (b *Broker) early(m *hamsg.Msg) bool {
	p, ok := place(m)
	if !ok {
		return false
	}
	for _, n := range b.cfg.Status().Nodes {
		if n.Name == m.Get(hamsg.FOrig) {
			return n.FirstMissing != 0 && n.Generation == p.generation && n.FirstMissing < p.seq
		}
	}
	return false
}

// catchUp delivers what no longer has to wait.
func (b *Broker) catchUp() {
	if len(b.delayed) == 0 {
		return
	}
	waiting := b.delayed
	b.delayed = nil
	for _, m := range waiting {
		if b.early(m) {
			b.delayed = append(b.delayed, m)
		} else {
			b.offer(cluster.Kept, m)
		}
	}
}

// offer gives a message to those clients that want its kind. One to a client goes to nobody else.
func (b *Broker) offer(kind cluster.Kind, m *hamsg.Msg) {
	var body []byte // encoded once
	give := func(c *client) {
		if c.conn == 0 || c.mask&kind == 0 || b.tooOld(c, m) {
			return
		}
		if body == nil {
			body = b.encode(m)
		}
		b.push(c, body)
	}
	if m.Has(hamsg.FToID) {
		if c := b.byID(m.Get(hamsg.FToID)); c != nil {
			give(c)
		}
		return
	}
	for _, c := range b.clients {
		give(c)
	}
}

// tooOld tells whether a message was sent before the client signed on.
func (b *Broker) tooOld(c *client, m *hamsg.Msg) bool {
	if len(c.before) == 0 {
		return false
	}
	from := m.Get(hamsg.FOrig)
	before, waits := c.before[from]
	p, ok := place(m)
	switch {
	case !waits || !ok:
		return false
	case p.generation > before.generation:
		delete(c.before, from)
		return false
	case p.generation < before.generation || p.seq <= before.seq:
		b.complain(cluster.Warn, "message is dropped ")
		return true
	}
	nodes := b.cfg.Status().Nodes
	i := slices.IndexFunc(nodes, func(n cluster.NodeStatus) bool { return n.Name == from })
	if i < 0 || nodes[i].FirstMissing == 0 || nodes[i].FirstMissing > before.seq {
		delete(c.before, from)
	}
	return false
}

// tell sends a message to a client.
func (b *Broker) tell(c *client, m *hamsg.Msg) { b.push(c, b.encode(m)) }

func (b *Broker) push(c *client, body []byte) {
	b.do(Write{c.conn, body})
	if c.signal != 0 {
		b.do(Signal{c.conn, c.pid, c.signal})
	}
}

// write sends a message over a connection.
func (b *Broker) write(id Conn, m *hamsg.Msg) { b.do(Write{id, b.encode(m)}) }

// encode gives a message the form that ha.cf asks for. Text ends in a NUL that counts.
func (b *Broker) encode(m *hamsg.Msg) []byte {
	if !b.cfg.Netstring && !m.NetstringOnly() {
		if body, err := m.AppendText(nil); err == nil {
			return append(body, 0)
		}
	}
	return m.AppendNetstring(nil)
}
