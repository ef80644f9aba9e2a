package cluster

import (
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/cluster/seqtrack"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// maxUnacked is the original's limit of unacknowledged messages (half of its history, less one).
const maxUnacked = 249

// received takes a packet from a medium. Nothing of it is believed before it has verified.
func (e *Engine) received(in Received) {
	m, ok := e.open(e.ring, in)
	if !ok {
		return
	}
	if m.Get(hamsg.FOrig) == e.cfg.Node && m.Type() != hamsg.TPingStatus {
		e.echo(m, in)
		return
	}
	if run, ok := m.GetHex(hamsg.FRun); ok {
		if n := e.node(m.Get(hamsg.FOrig)); n != nil && !n.Ping {
			n.run = run
		}
	}
	e.process(m, in.Link, in.From)
}

// echo takes a packet that says it is ours. On a broadcast medium our own come back: that shows
// the link to be up, no more, for they have been processed before they were sent.
func (e *Engine) echo(m *hamsg.Msg, in Received) {
	uuid, _ := m.GetUUID(hamsg.FOrigUUID)
	seq, sequenced := m.GetHex(hamsg.FSeq)
	gen, _ := m.GetHex(hamsg.FGeneration)
	if uuid != e.cfg.UUID || gen > e.cfg.Generation {
		e.bad.Unknown++
		if e.allow("twin", Error) {
			e.log(Error, "Another node uses our name "+e.cfg.Node+": its packets are dropped (link "+in.Link+" "+in.From+", uuid "+uuid.String()+")")
		}
		return
	}
	if gen == e.cfg.Generation && sequenced && seq <= e.history.High() {
		e.linkHeard(e.self, in.Link)
	}
}

// process is process_clustermsg of heartbeat.c: what a message means, from a medium (link is its
// name) or from ourselves (link is empty).
func (e *Engine) process(m *hamsg.Msg, link, from string) {
	src := m.Get(hamsg.FOrig)
	if src == "" || !m.Has(hamsg.FTime) || m.Type() == "" {
		e.badFields(m, "process_clustermsg: missing from/ts/type: iface "+orUnknown(link, "?")+", from "+orUnknown(src, "<?>"))
		return
	}
	if ts, ok := m.GetHex(hamsg.FTime); !ok || ts == 0 {
		e.bad.Fields++
		return
	}
	if !m.Unsequenced() {
		if !m.Has(hamsg.FSeq) {
			e.badFields(m, "process_clustermsg: missing seqno: iface "+orUnknown(link, "?")+", from "+src)
			return
		}
		if _, ok := m.GetHex(hamsg.FSeq); !ok {
			e.badFields(m, "process_clustermsg: has bad cseq: iface "+orUnknown(link, "?")+", from "+src)
			return
		}
	}
	n := e.node(src)
	if n == nil {
		e.bad.Unknown++
		e.complain("unknown", m, "process_status_message: bad node ["+src+"] in message")
		return
	}
	e.learnUUID(n, m)
	switch e.classify(n, m) {
	case drop:
		e.emit(Deliver{Kind: Dropped, Msg: m})
		return
	case duplicate:
		e.linkHeard(n, link)
		e.emit(Deliver{Kind: Duplicate, Msg: m})
		return
	}
	e.noteClock(n, m)
	e.linkHeard(n, link)
	n.heard = true
	e.handle(n, m)
	e.checkComm()
}

func orUnknown(s, unknown string) string {
	if s == "" {
		return unknown
	}
	return s
}

// learnUUID binds a name to a uuid. The name counts: a uuid under two names is a copied
// hb_uuid file, and is complained of; the original would rename one of the nodes.
func (e *Engine) learnUUID(n *node, m *hamsg.Msg) {
	uuid, ok := m.GetUUID(hamsg.FOrigUUID)
	if !ok || uuid == n.uuid || n == e.self {
		return
	}
	for _, other := range e.nodes {
		if other != n && other.uuid == uuid {
			if e.allow("uuid", Warn) {
				e.log(Warn, "nodes "+other.Name+" and "+n.Name+" have the same uuid "+uuid.String()+": has hb_uuid been copied?")
			}
			return
		}
	}
	known := !n.uuid.IsZero()
	n.uuid = uuid
	if known && e.allow("newuuid", Info) {
		e.log(Info, "node "+n.Name+" changed its uuid to "+uuid.String())
	}
}

// fate is what becomes of a message.
type fate uint8

const (
	drop fate = iota
	duplicate
	accept
)

// classify is should_drop_message of heartbeat.c: by sequence number, generation and address.
func (e *Engine) classify(n *node, m *hamsg.Msg) fate {
	if m.Unsequenced() {
		if m.Type() == hamsg.TNakRexmit {
			e.lostForGood(n, m)
			return drop
		}
		if to := m.Get(hamsg.FTo); to != "" && to != e.cfg.Node {
			return drop
		}
		return accept
	}
	seq, _ := m.GetHex(hamsg.FSeq)
	if seq == 0 {
		e.badFields(m, "should_drop_message: bad sequence number")
		return drop
	}
	gen, ok := m.GetHex(hamsg.FGeneration)
	if !ok && m.Has(hamsg.FGeneration) {
		e.badFields(m, "should_drop_message: bad generation number")
		return drop
	}
	if gen < n.generation {
		e.bad.Replayed++
		e.replayed(n, gen)
		return drop
	}
	if m.Type() == hamsg.TStatus && !e.newStatus(n, gen, seq) {
		return drop
	}
	switch {
	case gen < n.windowGen:
		return drop
	case gen > n.windowGen:
		// Whatever message is the first of a new run, numbers count anew.
		n.windowGen = gen
		n.window.Forget()
		n.acked, n.reportSeq, n.sum, n.sumSeq = 0, 0, "", 0
		if m.Type() != hamsg.TStatus {
			n.Heard = e.now // it is not silent, only its status has been lost
		}
	}
	o := n.window.Offer(seq, e.now)
	e.noteOffer(n, seq, o)
	switch {
	case o.Verdict == seqtrack.Duplicate:
		return duplicate
	case o.Verdict == seqtrack.Stale || !e.forUs(m):
		return drop
	}
	return accept
}

// forUs tells whether a sequenced message is addressed to us or to all.
func (e *Engine) forUs(m *hamsg.Msg) bool {
	if uuid, ok := m.GetUUID(hamsg.FToUUID); ok {
		return uuid == e.cfg.UUID
	}
	to := m.Get(hamsg.FTo)
	return to == "" || to == e.cfg.Node
}

// newStatus looks at a status' generation, which tells restarts and healed partitions; false means
// that the message is an old one.
func (e *Engine) newStatus(n *node, gen, seq uint64) bool {
	switch {
	case gen == n.generation && gen > 0 && n.Status == liveness.Dead:
		if seq <= n.statusSeq {
			return false
		}
		e.log(Crit, "Cluster node "+n.Name+" returning after partition.")
		e.log(Info, "For information on cluster partitions, See URL: http://linux-ha.org/wiki/Split_Brain")
		e.log(Warn, "Deadtime value may be too small.")
		e.log(Info, "See FAQ for information on tuning deadtime.")
		e.log(Info, "URL: http://linux-ha.org/wiki/FAQ#Heavy_Load")
	case gen > n.generation:
		if n.generation > 0 {
			e.log(Info, "Heartbeat restart on node "+n.Name)
		}
		n.Heard = time.Time{}
		n.statusTime, n.statusSeq = 0, 0
		n.hasResources, n.left = true, false
	}
	n.generation = gen
	return true
}

// handle does what an accepted message asks for.
func (e *Engine) handle(n *node, m *hamsg.Msg) {
	kind := Kept
	switch m.Type() {
	case hamsg.TStatus, hamsg.TPingStatus:
		if n.Ping != (m.Type() == hamsg.TPingStatus) || !e.status(n, m) {
			kind = NoChange
		}
	case hamsg.TAck:
		kind = Protocol
		e.rsc.Heard()
		e.acked(n, m)
	case hamsg.TRexmit:
		kind = Protocol
		e.rsc.Heard()
		e.rexmit(n, m)
	case hamsg.TReqNodes:
		kind = Protocol
		e.answerReqnodes(n)
	case hamsg.TRepNodes:
		kind = Protocol
		e.repnodes(n, m)
	case hamsg.TAddNode, hamsg.TDelNode, hamsg.TSetWeight, hamsg.TSetSite:
		e.emit(Deliver{Kind: kind, Msg: m})
		e.administer(m)
		return
	default:
		e.emit(Deliver{Kind: kind, Msg: m})
		e.handleResource(n, m)
		return
	}
	e.emit(Deliver{Kind: kind, Msg: m})
}

// newest tells whether what a node says about resources is newer than what it reported before:
// what was lost and sent again may come too late. That goes for reports and for the request that
// begins a standby.
func (n *node) newest(m *hamsg.Msg) bool {
	seq, _ := m.GetHex(hamsg.FSeq)
	switch m.Type() {
	case hamsg.TAskResources:
		return seq > n.reportSeq || !strings.EqualFold(m.Get(hamsg.FComment), "me")
	case hamsg.TResources:
		if seq < n.reportSeq {
			return false
		}
		n.reportSeq = seq
	}
	return true
}

// handleResource passes on what concerns resources: to the takeover machine, or to a script.
func (e *Engine) handleResource(n *node, m *hamsg.Msg) {
	if e.cfg.Unmanaged {
		return
	}
	switch m.Type() {
	case hamsg.TShutDone:
		if !e.commUp && n != e.self {
			e.log(Info, "Received shutdown notice from '"+n.Name+"'.")
			return
		}
		n.hasResources, n.left = false, true
		e.rsc.Handle(m, n.Name)
	case hamsg.TStarting, hamsg.TResources, hamsg.TAskResources:
		if e.commUp && n.newest(m) {
			e.rsc.Handle(m, n.Name)
			if n != e.self && m.Type() != hamsg.TAskResources {
				e.askAwaited()
			}
		}
	case hamsg.TIPRequest:
		if e.commUp && n != e.self {
			e.notify(m)
		}
	case hamsg.THaresources:
		if e.commUp && n != e.self {
			e.regrouped(n, m)
		}
	case hamsg.TIPRequestResp:
		if e.commUp && m.Has(hamsg.FSum) {
			if n != e.self && m.Get(hamsg.FTo) == e.cfg.Node {
				e.regrouped(n, m)
			}
		} else if e.commUp && !e.rsc.Closing() {
			if n != e.self && m.Get(hamsg.FTo) == e.cfg.Node {
				e.rsc.Heard()
			}
			e.answered(m)
			e.notify(m)
		}
	case hamsg.TStonith:
		if e.commUp && n != e.self && m.Get(hamsg.FNode) == e.cfg.Node {
			e.buried(n, m)
		}
	case hamsg.TClientStatus, hamsg.TQueryClient, hamsg.TRespondClient:
		// For API clients.
	case hamsg.TConnections:
		// For the daemon, which finds it in Deliver.
	default:
		if e.commUp {
			e.notify(m)
		}
	}
}
