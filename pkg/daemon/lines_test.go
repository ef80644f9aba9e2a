package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/haresources"
)

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "haresources")
	nodes := []string{"a", "b"}
	parse := func(text string) []haresources.Group {
		groups, problems := haresources.Parse(path, []byte(text), nodes)
		if err := problems.Err(); err != nil {
			t.Fatal(err)
		}
		return groups
	}
	show := func(groups []haresources.Group) string {
		var lines []string
		for _, g := range groups {
			line := g.Node
			for _, r := range g.Resources {
				line += " " + r.Word
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "; ")
	}
	for _, c := range []struct {
		name, old, fresh string
		leaving, joining []cluster.Regrouped
		known            string // while what leaves has not been given up
	}{
		{"the same", "a X Y\nb Z\n", "a X  Y # the same\nb Z\n", nil, nil, "a X Y; b Z"},
		{"one more", "a X Y\n", "a X Y\nb Z\n", nil, []cluster.Regrouped{{Node: "b", Key: "Z"}}, "a X Y; b Z"},
		{"one less", "a X Y\nb Z\n", "a X Y\n", []cluster.Regrouped{{Node: "b", Key: "Z", Whole: true}}, nil, "b Z; a X Y"},
		{"a member more", "a X Y\n", "a X V Y\n", nil, []cluster.Regrouped{{Node: "a", Key: "X"}}, "a X V Y"},
		{"a member less", "a X V Y\n", "a X Y\n", []cluster.Regrouped{{Node: "a", Key: "V"}}, nil, "a V; a X Y"},
		{"two lines of one", "a X Y\n", "a X\na Y\n", nil, nil, "a X; a Y"},
		{
			"moved", "a X Y\n", "b X Y\n",
			[]cluster.Regrouped{{Node: "a", Key: "X", Other: "b", Whole: true}},
			[]cluster.Regrouped{{Node: "b", Key: "X", Other: "a"}},
			"a X Y",
		},
		{
			"a member moved, one gone", "a X V Y\nb Z\n", "a X\nb Z Y\n",
			[]cluster.Regrouped{{Node: "a", Key: "V"}, {Node: "a", Key: "Y", Other: "b"}},
			[]cluster.Regrouped{{Node: "b", Key: "Z", Other: "a"}},
			"a V; a Y; a X; b Z Y",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.fresh), 0o644); err != nil {
				t.Fatal(err)
			}
			l := &lines{path: path, nodes: nodes, force: parse(c.old), live: parse(c.old)}
			r := l.change(parse(c.fresh), nodes)
			if (r == nil) != (c.name == "the same") {
				t.Fatalf("%+v", r)
			}
			if r != nil {
				if d := cmp.Diff(c.leaving, r.Leaving); d != "" {
					t.Errorf("leaving (-want +got)\n%s", d)
				}
				if d := cmp.Diff(c.joining, r.Joining); d != "" {
					t.Errorf("joining (-want +got)\n%s", d)
				}
			}
			if got := show(l.now()); got != c.known {
				t.Errorf("known: %s, want %s", got, c.known)
			}
			// What leaves is given up as what it is, and what stays is known at once.
			w := &worker{lines: l}
			for _, g := range c.leaving {
				l.give(g.Key)
				if n := strings.Count(" "+strings.ReplaceAll(show(l.now()), ";", "")+" ", " "+g.Key+" "); n != 1 {
					t.Errorf("%s is given up as one of %d in %s", g.Key, n, show(l.now()))
				}
				w.do(t.Context(), cluster.Call{Verb: cluster.KeepGroup, Arg: g.Key})
			}
			if got := show(l.now()); got != show(parse(c.fresh)) {
				t.Errorf("known at last: %s", got)
			}
		})
	}
	// A run that goes on where another ended has to give up what the file has lost in between.
	resumed := &lines{path: path, nodes: nodes, force: parse("a X\n"), live: parse("a X\n")}
	if r := resumed.resume(parse("a X\nb Z\n"), nodes); r == nil || len(r.Leaving) != 1 || r.Leaving[0].Key != "Z" {
		t.Errorf("%+v", r)
	}
	if r := resumed.resume(parse("a X\n"), nodes); r != nil {
		t.Errorf("nothing has changed: %+v", r)
	}
	// What leaves twice, as one node's and then as the other's, is known until it has been given up twice.
	resumed.change(parse("b Z\na X\n"), nodes)
	resumed.change(parse("a Z\na X\n"), nodes)
	resumed.change(parse("a X\n"), nodes)
	if resumed.given("Z"); len(resumed.leaving) != 2 || resumed.leaving[1].Node != "a" {
		t.Errorf("known: %s", show(resumed.leaving))
	}
	// What was not reread is known by both files, and a file with mistakes is none.
	l := &lines{path: path, nodes: nodes, force: parse("a X\nb Z\n")}
	if err := os.WriteFile(path, []byte("a X V\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := show(l.now()); got != "a X V; b Z" {
		t.Error(got)
	}
	if err := os.WriteFile(path, []byte("nobody X\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := show(l.now()); got != "a X V; b Z" {
		t.Error(got)
	}
}
