package clustertest

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster"
)

// shadow is what a reader of a node's ha-log, and one who follows its actions, believe of it.
type shadow struct {
	m     *Machine
	run   int
	nodes map[string]string // statuses by the log
	links map[string]string // "node:link" to up or dead, by the log
	told  map[string]string // both, by NodeChanged and LinkChanged
}

func newShadow(m *Machine) shadow { return shadow{m: m} }

func (s *shadow) fresh() {
	if s.run != s.m.run || s.nodes == nil {
		*s = shadow{m: s.m, run: s.m.run, nodes: map[string]string{}, links: map[string]string{}, told: map[string]string{}}
	}
}

// log reads one line.
func (s *shadow) log(l cluster.Log) {
	s.fresh()
	t := l.Text
	switch {
	case strings.HasPrefix(t, "Status update for node "):
		name, st, _ := strings.Cut(t[len("Status update for node "):], ": status ")
		s.nodes[name] = st
	case strings.HasPrefix(t, "Local status now set to: "):
		s.nodes[s.m.Name] = strings.Trim(t[len("Local status now set to: "):], "'")
	case strings.HasPrefix(t, "node ") && strings.HasSuffix(t, ": is dead"):
		if name := t[len("node ") : len(t)-len(": is dead")]; name != s.m.Name {
			s.nodes[name] = "dead"
		}
	case strings.HasPrefix(t, "Link ") && strings.HasSuffix(t, "."):
		if link, st, ok := strings.Cut(t[len("Link "):len(t)-1], " "); ok {
			s.links[link] = st
		}
	}
}

// compare holds the node's own word against that of its log and of its actions.
func (s *shadow) compare(actions []cluster.Action) error {
	s.fresh()
	for _, a := range actions {
		switch a := a.(type) {
		case cluster.NodeChanged:
			s.told[a.Node] = a.Status
		case cluster.LinkChanged:
			s.told[a.Node+":"+a.Link] = a.Status
		}
	}
	if s.m.Engine == nil {
		return nil
	}
	or := func(st, other string) string {
		if st == "" {
			return other
		}
		return st
	}
	for _, n := range s.m.Engine.Status().Nodes {
		if logged := or(s.nodes[n.Name], "init"); logged != n.Status {
			return fmt.Errorf("node %s is %s, and by the log %s", n.Name, n.Status, logged)
		}
		if told := or(s.told[n.Name], "init"); told != n.Status {
			return fmt.Errorf("node %s is %s, and by the actions %s", n.Name, n.Status, told)
		}
		for _, l := range n.Links {
			name := n.Name + ":" + l.Name
			if logged := or(s.links[name], "dead"); logged != l.Status {
				return fmt.Errorf("link %s is %s, and by the log %s", name, l.Status, logged)
			}
			if told := or(s.told[name], "dead"); told != l.Status {
				return fmt.Errorf("link %s is %s, and by the actions %s", name, l.Status, told)
			}
		}
	}
	return nil
}
