package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/haresources"
)

// lines are those of haresources for the resource manager. The file is read anew for each operation,
// as the scripts do; one that cannot be read, or has mistakes, leaves what was known. Lines, or parts of
// lines, that the file has lost are known until they have been given up. It is safe for use by several
// goroutines.
type lines struct {
	path  string
	nodes []string

	mu      sync.Mutex
	force   []haresources.Group // as last reread
	live    []haresources.Group // as last read
	leaving []haresources.Group // what is to be given up for good
	giving  string              // the key of that which is being given up now
}

func newLines(path string, f *Files) *lines {
	return &lines{path: path, nodes: f.nodeNames(), force: f.Groups, live: f.Groups}
}

// resume goes on from what an earlier run knew, whose lines are still here, to what the file has now, and says
// what that means; nil if it means nothing.
func (g *lines) resume(former []haresources.Group, nodes []string) *cluster.Regroup {
	fresh := g.force
	g.force = former
	return g.change(fresh, nodes)
}

// now are the groups as they are now.
func (g *lines) now() []haresources.Group {
	text, err := os.ReadFile(g.path) // may take as long as the disk does
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		if fresh, problems := haresources.Parse(g.path, text, g.nodes); problems.Err() == nil {
			g.live = fresh
		}
	}
	return g.list()
}

// known are the groups as they were read last, for the loop: heartbeats do not wait for a disk.
func (g *lines) known() []haresources.Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.list()
}

func (g *lines) list() []haresources.Group {
	list := slices.Clone(g.leaving)
	for _, set := range [][]haresources.Group{g.live, g.force} {
		for _, x := range set {
			if !slices.ContainsFunc(list, func(y haresources.Group) bool { return y.Key() == x.Key() || y.Key() == g.giving && shares(y, x) }) {
				list = append(list, x)
			}
		}
	}
	return list
}

// shares tells whether b has a's key, so that it would be found in its place.
func shares(a, b haresources.Group) bool { return has(b, a.Key()) }

func has(g haresources.Group, word string) bool {
	return slices.ContainsFunc(g.Resources, func(r haresources.Resource) bool { return r.Word == word })
}

// give notes that a group is being given up: until it has been, its key means what leaves, if something
// does, and not the line that this has moved to.
func (g *lines) give(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.ContainsFunc(g.leaving, func(x haresources.Group) bool { return x.Key() == key }) {
		g.giving = key
	}
}

// given notes that a group has been given up, or that it stays here as part of another line.
func (g *lines) given(key string) {
	g.mu.Lock()
	g.giving = ""
	if i := slices.IndexFunc(g.leaving, func(x haresources.Group) bool { return x.Key() == key }); i >= 0 {
		g.leaving = slices.Delete(g.leaving, i, i+1) // what has left since then is to be given up, too
	}
	g.mu.Unlock()
}

// change puts another file in force and says what that means; nil if it means nothing.
func (g *lines) change(fresh []haresources.Group, nodes []string) *cluster.Regroup {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := &cluster.Regroup{Groups: engineGroups(fresh), Sum: sum(fresh)}
	same := len(fresh) == len(g.force)
	for _, old := range g.force {
		parts := map[string][]haresources.Resource{} // by the node that has them now
		var order []string
		for _, res := range old.Resources {
			to, stays := "", false
			for _, n := range fresh {
				if has(n, res.Word) {
					if n.Node == old.Node {
						stays = true
						break
					}
					to = n.Node
				}
			}
			if stays {
				continue
			}
			if parts[to] == nil {
				order = append(order, to)
			}
			parts[to] = append(parts[to], res)
		}
		for _, to := range order {
			part := haresources.Group{Node: old.Node, Resources: parts[to], Pos: old.Pos}
			g.leaving = append(g.leaving, part)
			r.Leaving = append(r.Leaving, cluster.Regrouped{Node: old.Node, Key: part.Key(), Other: to, Whole: len(part.Resources) == len(old.Resources)})
		}
	}
	for i, n := range fresh {
		same = same && n.Node == g.force[i].Node && slices.EqualFunc(n.Resources, g.force[i].Resources, sameWord)
		from, joins := "", false
		for _, res := range n.Resources {
			was := slices.IndexFunc(g.force, func(old haresources.Group) bool { return old.Node == n.Node && has(old, res.Word) })
			if was >= 0 {
				continue
			}
			joins = true
			for _, old := range g.force {
				if has(old, res.Word) {
					from = old.Node
				}
			}
		}
		if joins {
			r.Joining = append(r.Joining, cluster.Regrouped{Node: n.Node, Key: n.Key(), Other: from})
		}
	}
	g.force, g.nodes = fresh, nodes
	if same {
		return nil
	}
	return r
}

// sum stands for what lines say.
func sum(list []haresources.Group) string {
	h := sha256.New()
	for _, g := range list {
		fmt.Fprintf(h, "%s", g.Node)
		for _, r := range g.Resources {
			fmt.Fprintf(h, " %s", r.Word)
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func sameWord(a, b haresources.Resource) bool { return a.Word == b.Word }

func engineGroups(list []haresources.Group) (groups []cluster.Group) {
	for _, g := range list {
		groups = append(groups, cluster.Group{Node: g.Node, Key: g.Key()})
	}
	return groups
}
