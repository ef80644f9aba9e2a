package clustertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster"
)

// Lines of haresources are cluster.Groups whose Key is all members, with + between them; the engine is told
// the first alone. A member is one resource, and what a [Watch] watches; none is up on a machine on purpose when
// its line is not, which goes for addresses.

func members(g cluster.Group) []string { return strings.Split(g.Key, "+") }

func first(g cluster.Group) string {
	key, _, _ := strings.Cut(g.Key, "+")
	return key
}

// engineGroups are lines as the engine is told them.
func engineGroups(lines []cluster.Group) []cluster.Group {
	groups := make([]cluster.Group, 0, len(lines))
	for _, g := range lines {
		groups = append(groups, cluster.Group{Node: g.Node, Key: first(g)})
	}
	return groups
}

// parseLines reads NODE:MEMBER+MEMBER... words.
func parseLines(words []string) ([]cluster.Group, error) {
	lines := []cluster.Group{}
	for _, w := range words {
		node, key, ok := strings.Cut(w, ":")
		if !ok {
			return nil, fmt.Errorf("%s: want NODE:MEMBER+MEMBER", w)
		}
		lines = append(lines, cluster.Group{Node: node, Key: key})
	}
	return lines, nil
}

// lineWords are the words of lines.
func lineWords(lines []cluster.Group) (words []string) {
	for _, g := range lines {
		words = append(words, g.Node+":"+g.Key)
	}
	return words
}

// sum stands for lines: see [cluster.Config].
func sum(lines []cluster.Group) string { return strings.Join(lineWords(lines), ",") }

func has(g cluster.Group, member string) bool { return slices.Contains(members(g), member) }

// nodeOf is the node of the line that has a member, or "".
func nodeOf(lines []cluster.Group, member string) string { return lineOf(lines, member).Node }

// lineOf is the line that has a member, or none.
func lineOf(lines []cluster.Group, member string) (line cluster.Group) {
	for _, g := range lines {
		if has(g, member) {
			return g
		}
	}
	return line
}

// files are what a machine knows of haresources.
type files struct {
	file    []cluster.Group // as it is
	force   []cluster.Group // as the daemon has last read it
	leaving []cluster.Group // what it has lost and is not given up yet
	giving  string          // the first of that which is being given up now
	late    []cluster.Group // a file that came while the daemon was about to start again, or nil
	killed  bool            // the daemon was killed: nothing knows any more what it had to give up
}

// Haresources changes the file, and has the daemon reread it. Whoever changes that of a machine whose
// daemon is not there stops by hand what runs there all the same of lines that are not the same any more,
// and so does who starts a daemon that was killed with a change not done: nothing else knows of it.
func (m *Machine) Haresources(lines []cluster.Group) {
	m.late = nil
	switch {
	case m.Engine == nil && !m.Stopped && len(m.Up) > 0:
		m.late = lines // one who sees it restart waits with the file
		return
	case m.Engine == nil:
		m.byHand(lines)
	}
	m.file = lines
	run := m.run
	reread := func() {
		if m.Engine != nil && m.run == run {
			m.reread()
		}
	}
	if m.frozen {
		m.held = append(m.held, reread)
		return
	}
	reread()
}

// byHand stops by hand what a daemon that was killed has left up of lines that are not the same in a file: it may
// not have read the file that it was given last, or not have given up all that this has lost, and the next one
// knows nothing of that. (So it is with the original; only a journal on disk could know it.) Lines that are the
// same stay up, and are the daemons' own business.
func (m *Machine) byHand(lines []cluster.Group) {
	for _, g := range slices.Concat(m.leaving, m.force, m.file) {
		if slices.ContainsFunc(lines, func(x cluster.Group) bool { return x.Key == g.Key }) {
			continue
		}
		for _, key := range members(g) {
			m.set(key, false)
		}
	}
}

// reread tells the daemon what the file has lost and what has come.
func (m *Machine) reread() {
	old, fresh := m.force, m.file
	r := &cluster.Regroup{Groups: engineGroups(fresh), Sum: sum(fresh)}
	for _, g := range old {
		parts := map[string][]string{} // by the node that has them now
		var order []string
		for _, key := range members(g) {
			to := nodeOf(fresh, key)
			if to == g.Node {
				continue
			}
			if parts[to] == nil {
				order = append(order, to)
			}
			parts[to] = append(parts[to], key)
		}
		for _, to := range order {
			part := cluster.Group{Node: g.Node, Key: strings.Join(parts[to], "+")}
			m.leaving = append(m.leaving, part)
			r.Leaving = append(r.Leaving, cluster.Regrouped{Node: g.Node, Key: first(part), Other: to, Whole: part == g})
		}
	}
	for _, g := range fresh {
		from, joins := "", false
		for _, key := range members(g) {
			if was := nodeOf(old, key); was != g.Node {
				joins = true
				if was != "" {
					from = was
				}
			}
		}
		if joins {
			r.Joining = append(r.Joining, cluster.Regrouped{Node: g.Node, Key: first(g), Other: from})
		}
	}
	m.force = fresh
	if slices.Equal(old, fresh) {
		r = nil
	}
	m.Step(cluster.Reread{Regroup: r})
}

// known are the lines that scripts go by: what leaves is known until it has been given up.
func (m *Machine) known() []cluster.Group {
	if len(m.leaving) == 0 && slices.Equal(m.force, m.file) {
		return m.file
	}
	list := slices.Clone(m.leaving)
	for _, g := range slices.Concat(m.file, m.force) {
		if !slices.ContainsFunc(list, func(x cluster.Group) bool { return first(x) == first(g) || first(x) == m.giving && has(g, first(x)) }) {
			list = append(list, g)
		}
	}
	return list
}

// line is the line that a key stands for: any of its members will do.
func (m *Machine) line(key string) (g cluster.Group, ok bool) {
	for _, g := range m.known() {
		if has(g, key) {
			return g, true
		}
	}
	return g, false
}

// lineOf are the members of the line that a key stands for.
func (m *Machine) lineOf(key string) []string {
	if g, ok := m.line(key); ok {
		return members(g)
	}
	return nil
}

// leaves notes that a line is being given up.
func (m *Machine) leaves(key string) {
	if slices.ContainsFunc(m.leaving, func(g cluster.Group) bool { return first(g) == key }) {
		m.giving = key
	}
}

// given forgets what has left the file.
func (m *Machine) given(key string) {
	m.giving = ""
	if i := slices.IndexFunc(m.leaving, func(g cluster.Group) bool { return first(g) == key }); i >= 0 {
		m.leaving = slices.Delete(m.leaving, i, i+1) // what has left since then is to be given up, too
	}
}

// lines are what the machine goes by: what its daemon has read, or the file.
func (m *Machine) lines() []cluster.Group {
	if m.Engine != nil {
		return m.force
	}
	return m.file
}

// rewrite notes which groups a new file on one machine changes.
func (w *Watch) rewrite(words []string) {
	fresh, err := parseLines(words[2:])
	if err != nil {
		return // the command says so
	}
	w.newest = fresh
	old := w.Sim.Machine(words[1]).lines()
	for _, g := range slices.Concat(old, fresh) {
		if slices.Contains(old, g) && slices.Contains(fresh, g) {
			continue
		}
		for _, key := range members(g) {
			w.group(key).changes = true
		}
	}
}

// spread has what a member does, that cannot be started or stopped, befall those in a line with it.
func (w *Watch) spread() {
	for _, m := range w.Sim.Machines {
		for _, g := range slices.Concat(m.lines(), w.newest) {
			all := members(g)
			if slices.ContainsFunc(all, func(key string) bool { return w.group(key).tainted }) {
				for _, key := range all {
					w.group(key).tainted = true
				}
			}
		}
	}
}

// group is what is known of a group; it makes a new one.
func (w *Watch) group(key string) *group {
	i := slices.IndexFunc(w.groups, func(g group) bool { return g.key == key })
	if i < 0 {
		i = len(w.groups)
		w.groups = append(w.groups, newGroup(key))
	}
	return &w.groups[i]
}

// count is how many members a machine's lines have.
func (w *Watch) count(m *Machine) (n int) {
	for _, g := range m.lines() {
		n += len(members(g))
	}
	return n
}

// alike tells whether all machines go by the same file, and by the newest.
func (w *Watch) alike() bool {
	for _, m := range w.Sim.Machines {
		if w.newest != nil && !slices.Equal(m.lines(), w.newest) {
			return false
		}
	}
	return true
}

// listed tells whether a group is in the files, and whether these agree on that and on its node. In legacy mode
// they have to agree on its line, too: a node asks for each of its lines by name when it starts, and the other
// gives up what it knows by that name.
func (w *Watch) listed(g *group) (listed, agreed bool) {
	if !g.changes {
		return true, true
	}
	var line cluster.Group
	for n, m := range w.Sim.Machines {
		here := cluster.Group{Node: nodeOf(m.lines(), g.key)}
		if m.cfg.Failback == cluster.FailbackLegacy {
			here = lineOf(m.lines(), g.key)
		}
		if n > 0 && here != line {
			return false, false
		}
		line = here
	}
	return line.Node != "", true
}

// forget ends the time in which a change of haresources may show.
func (w *Watch) forget() {
	for i := range w.groups {
		g := &w.groups[i]
		if listed, _ := w.listed(g); listed {
			g.changes = false
		}
	}
}
