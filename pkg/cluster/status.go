package cluster

import (
	"time"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Status is a copy of what the engine knows, for cl_status, the API and metrics.
type Status struct {
	Node       string
	Generation uint64
	// State is the own node's status: "init", "up", "active".
	State string
	// Nodes are all nodes, the own and ping nodes included, in ha.cf order.
	Nodes []NodeStatus
	// Held is what this node claims, PeerHeld what the other side claims (from its viewpoint).
	Held, PeerHeld Hold
	// Stable says that no resource movement is under way here or there. While it is false
	// `cl_status rscstatus` says "transition".
	Stable bool
	// AwaitsSync says that an automatic failback waits for the peer's connection table.
	AwaitsSync bool
	// Phase is the resource layer's state: INIT, STARTING, BOTHSTARTING, RSCRCVD, STABLE, SHUTDOWN.
	Phase string
	// Standby is the standby protocol's state: "not", "me", "other", "done".
	Standby string
	// ShuttingDown says that a shutdown was asked for or is under way.
	ShuttingDown bool
	// Jobs are the jobs under way and waiting, in order.
	Jobs []JobStatus
	// Sequence is the number of the last message sent, Acked the lowest acknowledged by all.
	Sequence, Acked uint64
	// Bad counts packets that did not decode or verify, by reason.
	Bad BadPackets
}

// NodeStatus is one node.
type NodeStatus struct {
	Name string
	// Ping is true for a ping node or group.
	Ping bool
	// Status is "init", "up", "active", "dead" or "ping".
	Status string
	// Heard is when its last accepted status came; zero if never.
	Heard time.Time
	// Deadtime is the silence after which it counts as dead.
	Deadtime   time.Duration
	UUID       hamsg.UUID
	Generation uint64
	// Missing is how many of its messages are known to be missing, FirstMissing the lowest of their
	// numbers, 0 for none; LastSeq is the highest number that has come.
	Missing               int
	FirstMissing, LastSeq uint64
	// Late counts its heartbeats that came later than warntime, Lost its messages that were missing at
	// first; most of those are sent again.
	Late, Lost uint64
	// Weight and Site are what hb_setweight and hb_setsite have set; 100 and "" else.
	Weight int
	Site   string
	Links  []LinkStatus
}

// LinkStatus is one link to a node.
type LinkStatus struct {
	Name string
	// Status is "up" or "dead".
	Status string
	// Heard is when the last packet came in on it; zero if never.
	Heard time.Time
}

// JobStatus is one job of the resource layer.
type JobStatus struct {
	// Name is the original's name of the child: req_our_resources, go_standby,
	// hb_giveup_resources, or the type of the notification.
	Name string
	// Since is when it began, zero while it waits.
	Since time.Time
	// Call is the call under way, "" if none.
	Call string
}

// BadPackets counts dropped packets.
type BadPackets struct {
	// Malformed did not decode; Unsigned failed authentication; Fields lacked control fields or
	// had bad ones; Unknown came from a node that is not configured; Replayed had an old generation, or
	// were kept out by a Screen as old; Repeated were copies of a packet that had just come.
	Malformed, Unsigned, Fields, Unknown, Replayed, Repeated uint64
}

// Congested tells whether so many of our messages are unacknowledged that clients are to wait with
// theirs (add2_xmit_hist, MAXMSGHIST/2).
func (e *Engine) Congested() bool {
	return e.flowControl && e.table.Alive() > 1 && e.history.High()-e.history.Acked() > maxUnacked+1
}

// Resources is the part of the status that changes seldom, at little cost: what this node and the other one claim, and
// whether resources are on the move.
func (e *Engine) Resources() (held, peerHeld Hold, moving bool) {
	return e.rsc.Held(), e.rsc.PeerHeld(), !e.rsc.Stable() || len(e.jobs)+len(e.queue) > 0
}

// Status is a copy of the engine's state.
func (e *Engine) Status() Status {
	s := Status{
		Node:         e.cfg.Node,
		Generation:   e.cfg.Generation,
		State:        e.self.Status,
		Held:         e.rsc.Held(),
		PeerHeld:     e.rsc.PeerHeld(),
		Stable:       e.rsc.Stable(),
		AwaitsSync:   e.rsc.AwaitsSync(),
		Phase:        e.rsc.State().String(),
		Standby:      e.rsc.Standby().String(),
		ShuttingDown: e.end.begun(),
		Sequence:     e.history.High(),
		Acked:        e.history.Acked(),
		Bad:          e.bad,
	}
	s.Nodes = make([]NodeStatus, 0, len(e.nodes))
	for _, n := range e.nodes {
		ns := NodeStatus{
			Name: n.Name, Ping: n.Ping, Status: n.Status, Deadtime: n.Deadtime,
			UUID: n.uuid, Generation: n.generation, Missing: n.window.Missing(),
			FirstMissing: n.window.FirstMissing(), LastSeq: n.window.Last(), Late: n.late, Lost: n.lost, Weight: n.weight, Site: n.site,
		}
		if n.heard {
			ns.Heard = n.Heard
		}
		ns.Links = make([]LinkStatus, 0, len(n.Links))
		for _, l := range n.Links {
			ls := LinkStatus{Name: l.Name, Status: liveness.Dead}
			if l.Up {
				ls.Status = liveness.Up
			}
			if l.Up || l.Heard.After(e.begun) {
				ls.Heard = l.Heard
			}
			ns.Links = append(ns.Links, ls)
		}
		s.Nodes = append(s.Nodes, ns)
	}
	for _, j := range e.jobs {
		js := JobStatus{Name: j.name, Since: j.since}
		if j == e.call {
			js.Call = j.calls[j.next].String()
		}
		s.Jobs = append(s.Jobs, js)
	}
	for _, n := range e.queue {
		s.Jobs = append(s.Jobs, JobStatus{Name: n.call.Arg})
	}
	return s
}
