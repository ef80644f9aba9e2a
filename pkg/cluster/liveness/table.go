package liveness

import (
	"slices"
	"time"
)

// Statuses of nodes and links. A node may say any other word of itself.
const (
	Init   = "init"
	Up     = "up"
	Active = "active"
	Dead   = "dead"
	Ping   = "ping"
)

// Node is one node: a machine of the cluster, or a ping node or group.
type Node struct {
	Name string
	// Ping is true for a ping node or group.
	Ping bool
	// Status is what it said last, or Dead.
	Status string
	// Heard is when its last status came, at first the start of the daemon; zero after a restart
	// of the node, until its first status.
	Heard time.Time
	// Deadtime is the silence after which it is dead: what it says itself.
	Deadtime time.Duration
	// Links are the ways to it.
	Links []*Link
}

// Link is one way to a node.
type Link struct {
	// Name is that of the medium, or of the ping node itself.
	Name string
	// Up is false at first and after silence.
	Up bool
	// Heard is when the last packet came in on it, at first the start of the daemon.
	Heard time.Time
}

// Table is all nodes, in the order of ha.cf.
type Table struct {
	self  string
	nodes []*Node
	// initdead is the silence allowed at first; zero once communication is up.
	initdead time.Duration
}

// New makes an empty table for the node named self. initdead is the silence that is allowed to all
// nodes until [Table.CommUp].
func New(self string, initdead time.Duration) *Table {
	return &Table{self: self, initdead: initdead}
}

// Add appends a node whose silence is counted from now, with one link for each name. A name that
// stands twice (two media on one interface) makes one link: packets cannot be told apart by it.
func (t *Table) Add(name string, ping bool, deadtime time.Duration, links []string, now time.Time) *Node {
	n := &Node{Name: name, Ping: ping, Status: Init, Heard: now, Deadtime: deadtime}
	for _, link := range links {
		if n.Link(link) == nil {
			n.Links = append(n.Links, &Link{Name: link, Heard: now})
		}
	}
	t.nodes = append(t.nodes, n)
	return n
}

// Remove takes a node out.
func (t *Table) Remove(n *Node) {
	t.nodes = slices.DeleteFunc(t.nodes, func(x *Node) bool { return x == n })
}

// Nodes are all nodes in order. The slice belongs to the table.
func (t *Table) Nodes() []*Node { return t.nodes }

// Alive is how many normal nodes are up or active, the own one included.
func (t *Table) Alive() int {
	alive := 0
	for _, n := range t.nodes {
		if !n.Ping && (n.Status == Up || n.Status == Active) {
			alive++
		}
	}
	return alive
}

// CommUp ends the time of the long silence.
func (t *Table) CommUp() { t.initdead = 0 }

// Link is the node's link of that name, or nil.
func (n *Node) Link(name string) *Link {
	for _, l := range n.Links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Receive notes a packet of the node on the link of that name, and returns the link if that
// has brought it up. A link that is not configured is ignored.
func (n *Node) Receive(link string, now time.Time) *Link {
	l := n.Link(link)
	if l == nil {
		return nil
	}
	l.Heard = now
	if l.Up {
		return nil
	}
	l.Up = true
	return l
}

// Interval is how long before now the last status came, in whole 10 ms as the original's clock has
// it; 0 if none has come since a restart of the node.
func (n *Node) Interval(now time.Time) time.Duration {
	if n.Heard.IsZero() {
		return 0
	}
	return now.Sub(n.Heard).Truncate(10 * time.Millisecond)
}

// Excuse makes up for a time in which we could not hear the others.
func (t *Table) Excuse(deaf time.Duration) {
	for _, n := range t.nodes {
		if n.Name == t.self {
			continue
		}
		if !n.Heard.IsZero() {
			n.Heard = n.Heard.Add(deaf)
		}
		for _, l := range n.Links {
			l.Heard = l.Heard.Add(deaf)
		}
	}
}

// limit is the silence that the node is allowed.
func (t *Table) limit(n *Node) time.Duration {
	if t.initdead > 0 {
		return t.initdead
	}
	return n.Deadtime
}

// Overdue returns the first node, in order, that is not marked dead and has been silent too long;
// nil if there is none. The own node never is.
func (t *Table) Overdue(now time.Time) *Node {
	for _, n := range t.nodes {
		if at, ok := t.nodeDue(n); ok && !now.Before(at) {
			return n
		}
	}
	return nil
}

func (t *Table) nodeDue(n *Node) (at time.Time, ok bool) {
	if n.Status == Dead || n.Heard.IsZero() || n.Name == t.self {
		return time.Time{}, false
	}
	return n.Heard.Add(t.limit(n)), true
}

// OverdueLink returns the first link that is up and has been silent too long, and its node, and
// marks it down; nil if there is none. Links of the own node never are.
func (t *Table) OverdueLink(now time.Time) (*Node, *Link) {
	for _, n := range t.nodes {
		for _, l := range n.Links {
			if at, ok := t.linkDue(n, l); ok && !now.Before(at) {
				l.Up = false
				return n, l
			}
		}
	}
	return nil, nil
}

func (t *Table) linkDue(n *Node, l *Link) (at time.Time, ok bool) {
	if !l.Up || n.Name == t.self {
		return time.Time{}, false
	}
	return l.Heard.Add(t.limit(n)), true
}

// Deadline is when the next node or link will be overdue; ok is false if none will.
func (t *Table) Deadline() (at time.Time, ok bool) {
	earlier := func(x time.Time, valid bool) {
		if valid && (!ok || x.Before(at)) {
			at, ok = x, true
		}
	}
	for _, n := range t.nodes {
		earlier(t.nodeDue(n))
		for _, l := range n.Links {
			earlier(t.linkDue(n, l))
		}
	}
	return at, ok
}
