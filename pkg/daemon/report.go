package daemon

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/takeover"
)

// StatusParam is the parameter by which clients of the API get a [Report], as JSON in one line. The originals' daemon
// does not know it.
const StatusParam = "systole_status"

// Report is what a running heartbeat says of itself: `systole status --json`. Times are seconds where they are numbers.
type Report struct {
	Node        string       `json:"node"`
	Version     string       `json:"version"`
	PID         int          `json:"pid"`
	State       string       `json:"state"` // init, up or active
	Since       time.Time    `json:"since"` // when it was started
	Stable      bool         `json:"stable"`
	Phase       string       `json:"phase"`
	Standby     string       `json:"standby"`
	Held        string       `json:"held"`      // none, local, foreign or all
	PeerHeld    string       `json:"peer_held"` // the same of the other node, from its viewpoint
	HeldSince   time.Time    `json:"held_since"`
	Keepalive   float64      `json:"keepalive"`
	Deadtime    float64      `json:"deadtime"`
	Nodes       []NodeReport `json:"nodes"`
	Groups      []GroupState `json:"groups"`
	Moves       []Move       `json:"moves"` // of resources to or from this node, the latest last
	Takeovers   uint64       `json:"takeovers"`
	Operations  []Operation  `json:"operations"`
	Jobs        []string     `json:"jobs"` // under way and waiting
	Sent        uint64       `json:"sent"` // number of the last message of this run
	Unconfirmed uint64       `json:"unconfirmed"`
	Dropped     Dropped      `json:"dropped"`
}

// NodeReport is a node of the cluster, or a ping node.
type NodeReport struct {
	Name    string       `json:"name"`
	Ping    bool         `json:"ping"`
	Status  string       `json:"status"`
	Since   time.Time    `json:"since"` // zero: not changed since the start
	Heard   time.Time    `json:"heard"`
	Deaths  uint64       `json:"deaths"`
	Late    uint64       `json:"late"`
	Lost    uint64       `json:"lost"`
	Missing int          `json:"missing"`
	Links   []LinkReport `json:"links"`
}

// LinkReport is a link to a node.
type LinkReport struct {
	Name   string    `json:"name"`
	Status string    `json:"status"`
	Since  time.Time `json:"since"`
	Heard  time.Time `json:"heard"`
}

// GroupState is a line of haresources.
type GroupState struct {
	Key       string   `json:"key"`
	Resources []string `json:"resources"`
	Preferred string   `json:"preferred"` // the node that the line names
	Holders   []string `json:"holders"`   // one, when all is well
}

// Move is a change of what this node holds.
type Move struct {
	At   time.Time `json:"at"`
	From string    `json:"from"`
	To   string    `json:"to"`
	Why  string    `json:"why"`
	Took float64   `json:"took"` // until resources were at rest again; 0 while they are not
}

// Operation counts what was done with a group.
type Operation struct {
	Group  string  `json:"group"`
	Verb   string  `json:"verb"` // takegroup or givegroup
	Count  uint64  `json:"count"`
	Failed uint64  `json:"failed"`
	Last   float64 `json:"last"`
	Total  float64 `json:"total"`
}

// Dropped counts packets by the reason for which they were dropped; see [cluster.BadPackets].
type Dropped struct {
	Malformed uint64 `json:"malformed"`
	Unsigned  uint64 `json:"unsigned"`
	Fields    uint64 `json:"fields"`
	Unknown   uint64 `json:"unknown"`
	Replayed  uint64 `json:"replayed"`
	Repeated  uint64 `json:"repeated"`
}

// report is made by the loop's goroutine.
func (l *loop) report() Report {
	s, h := l.engine.Status(), l.history
	r := Report{
		Node: s.Node, Version: VersionText, State: s.State, Since: h.began, Stable: s.Stable, Phase: s.Phase, Standby: s.Standby,
		Held: s.Held.String(), PeerHeld: s.PeerHeld.String(), HeldSince: h.changed, Moves: slices.Clone(h.moves), Takeovers: h.takeover,
		Sent: s.Sequence, Unconfirmed: s.Sequence - s.Acked, Dropped: Dropped(s.Bad), Nodes: []NodeReport{}, Groups: []GroupState{}, Jobs: []string{},
	}
	for _, n := range s.Nodes {
		nr := NodeReport{
			Name: n.Name, Ping: n.Ping, Status: n.Status, Since: h.since[n.Name], Heard: n.Heard, Deaths: h.deaths[n.Name],
			Late: n.Late, Lost: n.Lost, Missing: n.Missing, Links: []LinkReport{},
		}
		for _, k := range n.Links {
			nr.Links = append(nr.Links, LinkReport{Name: k.Name, Status: k.Status, Since: h.since[n.Name+" "+k.Name], Heard: k.Heard})
		}
		r.Nodes = append(r.Nodes, nr)
	}
	for _, o := range h.done {
		r.Operations = append(r.Operations, *o)
	}
	slices.SortFunc(r.Operations, func(a, b Operation) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Verb, b.Verb))
	})
	for _, j := range s.Jobs {
		r.Jobs = append(r.Jobs, j.Name)
	}
	return r
}

// reportText is the report as a client gets it.
func (d *service) reportText() string {
	r := d.loop.report()
	r.PID = d.core.PID()
	r.Keepalive, r.Deadtime = d.Files.HA.Keepalive.Seconds(), d.Files.HA.Deadtime.Seconds()
	for _, g := range d.lines.known() {
		gs := GroupState{Key: g.Key(), Preferred: g.Node, Holders: d.holders(r, g.Node)}
		for _, x := range g.Resources {
			gs.Resources = append(gs.Resources, x.Word)
		}
		r.Groups = append(r.Groups, gs)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return "" // of such a value: cannot be
	}
	return string(text)
}

// holders are who claims a node's groups. Of more than two nodes it is not known which of the others does.
func (d *service) holders(r Report, node string) []string {
	held, _ := takeover.ParseHold(r.Held)
	peer, _ := takeover.ParseHold(r.PeerHeld)
	own := cluster.Foreign
	if strings.EqualFold(node, r.Node) {
		own = cluster.Local
	}
	list := []string{}
	if held.Has(own) {
		list = append(list, r.Node)
	}
	for _, n := range r.Nodes {
		if !n.Ping && n.Name != r.Node && peer.Has(own.Other()) {
			return append(list, n.Name)
		}
	}
	return list
}
