package cluster

import (
	"fmt"
	"strconv"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/cluster/seqtrack"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// noteOffer logs and acknowledges what a sequence number has shown.
func (e *Engine) noteOffer(n *node, seq uint64, o seqtrack.Offer) {
	if o.Lost > 0 && n != e.self {
		n.lost += uint64(o.Lost)
		e.log(Warn, fmt.Sprintf("%d lost packet(s) for [%s] [%d:%d]", o.Lost, n.Name, o.After, seq))
		if o.TooMany {
			e.log(Error, "lost a lot of packets!")
		}
	}
	if o.Complete {
		e.log(Info, "No pkts missing from "+n.Name+"!")
	}
	if o.Ack > 0 && e.flowControl && n != e.self {
		e.send(hamsg.New(hamsg.TAck).Add(hamsg.FTo, n.Name).SetHex(hamsg.FAckSeq, o.Ack))
	}
}

// askMissing asks for what is missing, of nodes that run.
func (e *Engine) askMissing() {
	for _, n := range e.nodes {
		if !n.alive() {
			continue
		}
		for _, r := range n.window.Ask(e.now) {
			e.lossSeen()
			e.send(hamsg.New(hamsg.TRexmit).Add(hamsg.FTo, n.Name).
				Add(hamsg.FFirstSeq, strconv.FormatUint(r.First, 10)).Add(hamsg.FLastSeq, strconv.FormatUint(r.Last, 10)))
		}
	}
}

// acked takes an acknowledgement.
func (e *Engine) acked(n *node, m *hamsg.Msg) {
	if !e.flowControl || n.Ping || n == e.self {
		return
	}
	seq, ok := m.GetHex(hamsg.FAckSeq)
	switch {
	case !ok || seq <= n.acked || seq <= e.history.Acked():
		return
	case seq > e.history.High():
		if e.allow("ackseq", Error) {
			e.log(Error, fmt.Sprintf("HBDoMsg_T_ACK: corrupted ackseq current hiseq = %d ackseq =%d in this message", e.history.High(), seq))
		}
		return
	}
	n.acked = seq
	lowest := seq
	for _, other := range e.nodes {
		if other != e.self && !other.Ping && other.Status != liveness.Dead && other.acked < lowest {
			lowest = other.acked
		}
	}
	e.history.Ack(lowest)
}

// rexmit answers a request to send something again.
func (e *Engine) rexmit(n *node, m *hamsg.Msg) {
	first, ok1 := m.GetInt(hamsg.FFirstSeq)
	last, ok2 := m.GetInt(hamsg.FLastSeq)
	if !ok1 || !ok2 || first <= 0 || last < first {
		e.badFields(m, "Invalid rexmit seqnos")
		return
	}
	e.lossSeen()
	n.acked = min(n.acked, uint64(first)-1)
	answers, beyond := e.history.Request(uint64(first), uint64(last), e.now)
	if beyond && e.allow("beyond", Warn) {
		e.log(Warn, fmt.Sprintf("Rexmit of seq %d requested. %d is max.", last, e.history.High()))
	}
	for _, a := range answers {
		if a.Msg != nil {
			e.emit(Send{Bytes: e.resent(a.Msg), Type: a.Msg.Type()})
			continue
		}
		if e.allow("norexmit", Error) {
			e.log(Error, fmt.Sprintf("Cannot rexmit pkt %d for %s: %s", a.Seq, n.Name, a.Refusal))
			e.log(Info, fmt.Sprintf("fromnode =%s, fromnode's ackseq = %d", n.Name, n.acked))
		}
		e.send(hamsg.New(hamsg.TNakRexmit).SetHex(hamsg.FFirstSeq, a.Seq).Add(hamsg.FTo, n.Name).Add(hamsg.FComment, a.Refusal))
	}
}

// resent is a message that is sent again: the same bytes, but for a number of its own if it is to have
// one.
func (e *Engine) resent(m *hamsg.Msg) []byte {
	if e.ring.Numbered() {
		return e.seal(m.Clone(), m.Has(hamsg.FAuth))
	}
	return e.wire(m)
}

// lostForGood takes a node's word that it cannot send a message again.
func (e *Engine) lostForGood(n *node, m *hamsg.Msg) {
	seq, ok := m.GetHex(hamsg.FFirstSeq)
	if !ok || seq == 0 {
		e.badFields(m, "should_drop_message: bad nak seq number")
		return
	}
	if n == e.self {
		return
	}
	if to := m.Get(hamsg.FTo); to == "" || to == e.cfg.Node {
		if e.allow("lost", Error) {
			e.log(Error, fmt.Sprintf("Irretrievably lost packet: node %s seq %d", n.Name, seq))
		}
	}
	o := n.window.Lost(seq)
	e.noteOffer(n, seq, o)
}
