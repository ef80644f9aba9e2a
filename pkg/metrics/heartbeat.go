package metrics

import (
	"slices"

	"github.com/systole-ha/systole/pkg/daemon"
)

// statuses are all that a node may have.
var statuses = []string{"init", "up", "active", "dead", "ping"}

func (s sink) heartbeat(r *daemon.Report) {
	s.gauge("heartbeat_start_time_seconds", "When heartbeat was started, since the epoch.", float64(r.Since.Unix()), nil)
	s.gauge("heartbeat_stable", "Whether no resources are on the move, here or there.", truth(r.Stable), nil)
	s.counter("messages_sent_total", "Messages to the cluster in this run.", float64(r.Sent), nil)
	s.gauge("messages_unacknowledged", "Messages of ours that not every node has acknowledged.", float64(r.Unconfirmed), nil)
	for _, n := range r.Nodes {
		s.node(n)
	}
	for reason, count := range map[string]uint64{
		"malformed": r.Dropped.Malformed, "auth": r.Dropped.Unsigned, "fields": r.Dropped.Fields, "unknown_node": r.Dropped.Unknown,
		"replay": r.Dropped.Replayed, "repeated": r.Dropped.Repeated,
	} {
		s.counter("packets_dropped_total", "Packets that were dropped, by reason.", float64(count), pairs{{"reason", reason}})
	}
	for _, g := range r.Groups {
		p := pairs{{"group", g.Key}}
		s.gauge("resource_group_held", "Whether this node claims the resource group.", truth(slices.Contains(g.Holders, r.Node)), p)
		s.gauge("resource_group_holders", "How many nodes claim the resource group: 1 is right, 2 a partition.", float64(len(g.Holders)), p)
	}
	s.counter("takeovers_total", "How often this node has taken the other's resources.", float64(r.Takeovers), nil)
	s.gauge("resources_changed_timestamp_seconds", "When the resources of this node last changed, since the epoch.", float64(r.HeldSince.Unix()), nil)
	if n := len(r.Moves); n > 0 {
		s.gauge("resources_move_duration_seconds", "How long the last move of resources to or from this node took.", r.Moves[n-1].Took, nil)
	}
	for _, o := range r.Operations {
		p := pairs{{"group", o.Group}, {"op", o.Verb}}
		s.durations("resource_group_op_duration_seconds", "Operations on resource groups.", o.Count, o.Total, p)
		s.counter("resource_group_op_failures_total", "Operations on resource groups that failed.", float64(o.Failed), p)
	}
}

func (s sink) node(n daemon.NodeReport) {
	p := pairs{{"node", n.Name}}
	for _, st := range statuses {
		s.gauge("node_status", "1 for the status that the node has.", truth(n.Status == st), p.with("status", st))
	}
	s.counter("node_deaths_total", "How often the node was declared dead.", float64(n.Deaths), p)
	s.counter("heartbeats_late_total", "Heartbeats of the node that came later than warntime.", float64(n.Late), p)
	s.counter("messages_lost_total", "Messages of the node that did not come the first time.", float64(n.Lost), p)
	if !n.Heard.IsZero() {
		s.gauge("heartbeat_last_timestamp_seconds", "When the node's last heartbeat came, since the epoch.", float64(n.Heard.UnixMilli())/1000, p)
	}
	for _, l := range n.Links {
		s.gauge("link_up", "Whether the node is heard on the link.", truth(l.Status == "up"), p.with("link", l.Name))
	}
}
