package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster/liveness"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// defaultWeight is a node's weight unless hb_setweight says otherwise. In haresources mode clients
// may ask for it, and nothing else depends on it.
const defaultWeight = 100

// administer does what hb_addnode, hb_delnode, hb_setweight and hb_setsite have sent; every node of the
// cluster does. Nothing of it is written to ha.cf.
func (e *Engine) administer(m *hamsg.Msg) {
	switch m.Type() {
	case hamsg.TAddNode:
		names, ok := m.Lookup(hamsg.FNodeList)
		if !ok {
			e.complain("addnode", m, "HBDoMsg_T_ADDNODE: nodelist not found in msg")
			return
		}
		for _, name := range strings.Fields(names.Value) {
			e.join(strings.ToLower(name))
		}
	case hamsg.TDelNode:
		names, ok := m.Lookup(hamsg.FNodeList)
		if !ok {
			e.complain("delnode", m, "HBDoMsg_T_DELNODE: node not found in msg")
			return
		}
		e.expel(strings.Fields(names.Value))
	case hamsg.TSetWeight:
		weight, ok := m.GetInt(hamsg.FWeight)
		switch n := e.node(strings.ToLower(m.Get(hamsg.FNode))); {
		case !m.Has(hamsg.FNode):
			e.complain("setweight", m, "HBDoMsg_T_SETWEIGHT: node not found in msg")
		case !ok:
			e.complain("setweight", m, "HBDoMsg_T_SETWEIGHT: weight not found in msg")
		case n == nil:
			e.log(Debug, "set weight to non-existing node "+oneLine(m.Get(hamsg.FNode)))
		default:
			n.weight = int(weight)
		}
	case hamsg.TSetSite:
		switch n := e.node(strings.ToLower(m.Get(hamsg.FNode))); {
		case !m.Has(hamsg.FNode):
			e.complain("setsite", m, "HBDoMsg_T_SETSITE: node not found in msg")
		case !m.Has(hamsg.FSite):
			e.complain("setsite", m, "HBDoMsg_T_SETSITE: site not found in msg")
		case n == nil:
			e.log(Debug, "set site to non-existing node "+oneLine(m.Get(hamsg.FNode)))
		default:
			n.site = m.Get(hamsg.FSite)
		}
	}
}

// join adds a node (hb_add_one_node). It counts as starting, and as dead if it is not heard.
func (e *Engine) join(name string) {
	e.log(Info, "hb_add_one_node: Adding new node["+oneLine(name)+"] to configuration.")
	switch {
	case e.node(name) != nil:
		e.log(Error, "hb_add_one_node: node("+oneLine(name)+") already exists")
	case len(e.nodes) >= maxNodes:
		e.log(Error, fmt.Sprintf("hb_add_one_node: there are %d nodes already", len(e.nodes)))
	default:
		e.addNode(name)
		if i := slices.Index(e.deleted, name); i >= 0 {
			e.setDeleted(slices.Delete(slices.Clone(e.deleted), i, i+1))
		}
		return
	}
	e.log(Error, "Add node "+oneLine(name)+" failed")
}

// expel removes nodes (HBDoMsg_T_DELNODE): all of them dead, while all others run.
func (e *Engine) expel(names []string) {
	for _, name := range names {
		if n := e.node(name); n != nil && n.Status != liveness.Dead && n != e.self {
			e.log(Warn, "deletion failed: node "+name+" is not dead")
			return
		}
	}
	for _, n := range e.nodes {
		if !n.Ping && n != e.self && !n.alive() && !slices.Contains(names, n.Name) {
			e.log(Error, "HBDoMsg_T_DELNODE: deletion failed. We don't have all required nodes alive ("+n.Name+" is dead)")
			return
		}
	}
	for _, name := range names {
		e.log(Info, "Removing node ["+oneLine(name)+"] from configuration.")
		n := e.node(name)
		switch {
		case n == nil:
			e.log(Error, "hb_remove_one_node: node "+oneLine(name)+" not found in config")
			e.log(Error, "Deleting node "+oneLine(name)+" failed")
		case n == e.self:
			e.log(Error, "I am being deleted from the cluster. This should not happen")
			e.shutdown(false)
		case n.Ping:
			e.log(Error, "Deleting node "+oneLine(name)+" failed")
		default:
			e.removeNode(n)
			if !slices.Contains(e.deleted, name) {
				e.setDeleted(append(slices.Clone(e.deleted), name))
			}
			e.emit(Deliver{Kind: Kept, Msg: hamsg.New(hamsg.TDelNode).Add(hamsg.FNode, name)})
		}
	}
}

func (e *Engine) setDeleted(names []string) {
	e.deleted = names
	e.emit(SaveDeleted{Nodes: slices.Clone(names)})
}
