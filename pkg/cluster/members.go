package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Limits of the original: status words of 31 characters, 100 nodes.
const (
	maxStatus = 31
	maxNodes  = 100
)

// maxDeadtime bounds the dead time that we believe of a node.
const maxDeadtime = 24 * time.Hour

// status takes a heartbeat (HBDoMsg_T_STATUS) and tells whether it has brought a change.
func (e *Engine) status(n *node, m *hamsg.Msg) (changed bool) {
	st := m.Get(hamsg.FStatus)
	if st == "" {
		e.log(Error, "HBDoMsg_T_STATUS: status update without st field")
		return false
	}
	ts, _ := m.GetHex(hamsg.FTime)
	seq, _ := m.GetHex(hamsg.FSeq)
	if ts < n.statusTime && seq < n.statusSeq {
		return false
	}
	if _, ok := m.GetInt(hamsg.FProtocol); !ok && !n.Ping && n != e.self && e.flowControl {
		e.log(Info, "flow control disabled due to different version heartbeat")
		e.flowControl = false
	}
	// A node that is active the first time that we hear it, or again, has done its "starting" where
	// we could not hear it: behind a partition it may have taken what we hold.
	back, anew := n.Status == liveness.Dead, n.Heard.IsZero()
	back = e.late(n) || back
	missed := back || anew && n.reportSeq == 0 && e.rsc.Settles()
	st = clip(st, maxStatus)
	if n != e.self && !strings.EqualFold(st, n.Status) {
		changed = true
		e.log(Info, "Status update for node "+n.Name+": status "+st)
		n.Status = st
		e.emit(NodeChanged{Node: n.Name, Status: st})
		if !e.cfg.Unmanaged {
			e.notify(m)
		}
	}
	if dt, ok := m.GetHex(hamsg.FDeadTime); ok && dt > 0 && dt <= uint64(maxDeadtime.Milliseconds()) && !n.Ping {
		n.Deadtime = time.Duration(dt) * time.Millisecond
	}
	n.Heard, n.statusTime, n.statusSeq = e.now, ts, seq
	if !e.commUp || n == e.self || n.Ping || st != liveness.Active {
		return changed
	}
	if changed || anew {
		e.reask()
		e.rsc.PeerActive()
		if !e.rsc.Nice() {
			e.askAwaited()
		}
	}
	if missed && (back || e.rsc.Nice()) {
		e.resync()
	}
	return changed
}

// late complains of a heartbeat that comes late. One that comes after the dead time shows that the
// node was dead for us, whether we had noticed or not; revived then says that a normal node that
// has never been away has just been declared dead.
func (e *Engine) late(n *node) (revived bool) {
	interval := n.Interval(e.now)
	switch {
	case interval > e.cfg.Deadtime:
		n.late++
		e.log(Crit, fmt.Sprintf("Late heartbeat: Node %s: interval %d ms (> deadtime)", n.Name, interval.Milliseconds()))
		if n != e.self {
			e.markDead(n)
			return !n.Ping
		}
	case interval > e.cfg.Warntime:
		n.late++
		e.log(Warn, fmt.Sprintf("Late heartbeat: Node %s: interval %d ms", n.Name, interval.Milliseconds()))
	}
	return false
}

// markDead declares a node dead and recovers what it held (mark_node_dead). The own node is
// never marked: see fence.
func (e *Engine) markDead(n *node) {
	e.log(Warn, "node "+n.Name+": is dead")
	n.Status = liveness.Dead
	e.emit(NodeChanged{Node: n.Name, Status: liveness.Dead})
	if n.Ping {
		notice := e.deadNotice(n).Add(hamsg.FComment, "ping")
		e.emit(Deliver{Kind: Kept, Msg: notice})
		if !e.cfg.Unmanaged {
			e.notify(notice)
		}
	} else {
		e.emit(Deliver{Kind: Kept, Msg: e.deadNotice(n)})
		if e.stranger(n) {
			e.log(Info, "node "+n.Name+" has never been here, and no resources are its own: nothing is taken over.")
		} else {
			e.rsc.Dead(takeover.Death{Node: n.Name, Heard: n.heard, HasResources: n.hasResources, Left: n.left})
		}
	}
	n.window.Abandon()
	n.heard = false
	n.statusTime = 0
	n.acked = 0
}

// stranger tells whether a node that is dead cannot have had anything: it was added to the list of nodes, by
// hb_addnode or as another node has it, has not been heard since we started, and haresources does not name
// it. (The original takes over from it all the same, which means that it thinks the peer has nothing.)
func (e *Engine) stranger(n *node) bool {
	return n.generation == 0 && !slices.Contains(e.cfg.Nodes, n.Name) &&
		!slices.ContainsFunc(e.cfg.Groups, func(g Group) bool { return g.Node == n.Name })
}

// deadNotice is the message that stands for a node's death, for clients and scripts.
func (e *Engine) deadNotice(n *node) *hamsg.Msg {
	return hamsg.New(hamsg.TStatus).Add(hamsg.FSeq, "1").SetHex(hamsg.FTime, uint64(e.wall())).
		Add(hamsg.FOrig, n.Name).Add(hamsg.FStatus, liveness.Dead)
}

// linkHeard notes a packet on a link.
func (e *Engine) linkHeard(n *node, link string) {
	if l := n.Receive(link, e.now); l != nil {
		e.linkChanged(n.Name, l)
	}
}

func (e *Engine) linkChanged(name string, l *liveness.Link) {
	st := liveness.Dead
	if l.Up {
		st = liveness.Up
	}
	e.log(Info, "Link "+name+":"+l.Name+" "+st+".")
	e.emit(LinkChanged{Node: name, Link: l.Name, Status: st})
	m := hamsg.New(hamsg.TIfStatus).Add(hamsg.FNode, name).Add(hamsg.FIfName, l.Name).Add(hamsg.FStatus, st)
	e.emit(Deliver{Kind: Kept, Msg: m})
	if !e.cfg.Unmanaged {
		e.notify(m)
	}
}

// checkComm looks whether every node has been heard or is dead, so that we may become active
// (check_comm_isup). A running node is asked for its list of nodes first.
func (e *Engine) checkComm() {
	if e.commUp || e.end.begun() {
		return
	}
	for _, n := range e.nodes {
		if !n.heard && n.Status != liveness.Dead {
			return
		}
		if n.Status == liveness.Init && !n.Ping && !e.rsc.Nice() {
			return // whether it is active decides whether it is asked for our groups
		}
	}
	if e.reqnodesAt.IsZero() {
		e.reqnodes()
	} else if e.reqnodesTarget() == nil {
		e.communicationUp()
	}
}

func (e *Engine) reqnodesTarget() *node {
	for _, n := range e.nodes {
		if n != e.self && !n.Ping && n.Status != liveness.Dead {
			return n
		}
	}
	return nil
}

// reqnodes asks a running node for its list of nodes; with none there, communication is up.
func (e *Engine) reqnodes() {
	n := e.reqnodesTarget()
	if n == nil || !e.flowControl {
		e.communicationUp()
		return
	}
	e.reqnodesAt = e.now.Add(reqnodesRetry)
	e.send(hamsg.New(hamsg.TReqNodes).Add(hamsg.FTo, n.Name))
}

// answerReqnodes tells a starting node which nodes there are. It waits for that.
func (e *Engine) answerReqnodes(n *node) {
	if n == e.self {
		return
	}
	list := ""
	for _, other := range e.nodes {
		if !other.Ping {
			list += other.Name + " "
		}
	}
	deleted := " "
	if len(e.deleted) > 0 {
		deleted = strings.Join(e.deleted, " ") + " "
	}
	e.send(new(hamsg.Msg).Add(hamsg.FTo, n.Name).Add(hamsg.FType, hamsg.TRepNodes).
		Add(hamsg.FNodeList, list).Add(hamsg.FDelNodeList, deleted))
}

// repnodes adapts our list of nodes to another node's. Communication is then up.
func (e *Engine) repnodes(n *node, m *hamsg.Msg) {
	if n == e.self {
		return
	}
	listed := strings.Fields(m.Get(hamsg.FNodeList))
	if len(listed) == 0 || len(listed) > maxNodes {
		e.log(Error, "HBDoMsg_T_REPNODES: get nodes from nodelist failed")
		return
	}
	in := map[string]bool{}
	for _, name := range listed {
		in[name] = true
		switch known := e.node(name); {
		case known == nil && len(e.nodes) < maxNodes:
			e.log(Info, "hb_add_one_node: Adding new node["+name+"] to configuration.")
			e.addNode(name)
		case known != nil && known.Ping:
			e.log(Error, "HBDoMsg_T_REPNODES: Incoming repnodes node list contains "+name)
		}
	}
	var gone []*node
	for _, other := range e.nodes {
		if !other.Ping && other != e.self && !in[other.Name] && (other.Status == liveness.Dead || other.Status == liveness.Init) {
			gone = append(gone, other)
		}
	}
	for _, other := range gone {
		e.log(Info, "Removing node ["+other.Name+"] from configuration.")
		e.removeNode(other)
	}
	e.deleted = strings.Fields(m.Get(hamsg.FDelNodeList))
	e.emit(SaveDeleted{Nodes: append([]string(nil), e.deleted...)})
	if !e.commUp && !e.reqnodesAt.IsZero() {
		e.communicationUp()
	}
}

func (e *Engine) removeNode(n *node) {
	e.table.Remove(n.Node)
	for i, other := range e.nodes {
		if other == n {
			e.nodes = append(e.nodes[:i], e.nodes[i+1:]...)
			return
		}
	}
}

// communicationUp makes the node active (comm_now_up).
func (e *Engine) communicationUp() {
	if e.commUp || e.end.begun() {
		return
	}
	e.commUp = true
	e.reqnodesAt = time.Time{}
	e.table.CommUp()
	e.log(Info, "Comm_now_up(): updating status to active")
	e.setStatus(liveness.Active)
	e.rsc.CommUp(e.allAlive(), e.others(func(*node) bool { return true }) == 0)
	if e.others(func(n *node) bool { return n.Status == liveness.Active }) > 0 {
		e.rsc.PeerActive()
	}
	e.readLate()
	if e.cfg.Stonith != "" && !e.cfg.Unmanaged {
		e.checkDevice()
	}
	e.emit(CommUp{})
}

// allAlive tells whether no normal node is dead.
func (e *Engine) allAlive() bool {
	for _, n := range e.nodes {
		if !n.Ping && n.Status == liveness.Dead {
			return false
		}
	}
	return true
}

// resync is what follows a healed partition: see takeover.Machine.Healed. With more than two nodes
// both restart, as with the original.
func (e *Engine) resync() {
	if e.cfg.Unmanaged || e.end.begun() || e.rsc.Nice() && e.rsc.State() < takeover.Received {
		return
	}
	e.sendStatus()
	if !e.rsc.Settles() {
		if e.restartAt.IsZero() {
			e.restartAt = e.now.Add(partitionRestart)
		}
		return
	}
	e.rsc.Healed()
}

// complain logs a message's fault and its fields, at a limited rate.
func (e *Engine) complain(reason string, m *hamsg.Msg, text string) {
	if e.cfg.QuietBadPackets || !e.allow(reason, Error) {
		return
	}
	e.log(Error, text)
	e.dump(m)
}

// badFields is for messages that are signed well but make no sense.
func (e *Engine) badFields(m *hamsg.Msg, text string) {
	e.bad.Fields++
	e.complain("fields", m, text)
}
