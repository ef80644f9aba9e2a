package resource

import (
	"context"
	"regexp"
	"strings"

	"github.com/systole-ha/systole/pkg/config/haresources"
)

// ListKeys is `ResourceManager listkeys PATTERN`: the keys of the lines that begin with a match of
// the extended regular expression and a blank, letter case aside. A pattern that is none is taken
// literally.
func (m *Manager) ListKeys(pattern string) []string {
	re, err := regexp.CompilePOSIX("^(" + strings.ToLower(pattern) + ") ")
	if err != nil {
		re = regexp.MustCompile("^" + regexp.QuoteMeta(strings.ToLower(pattern)) + " ")
	}
	var keys []string
	for _, g := range m.o.Groups() {
		if len(g.Resources) > 0 && re.MatchString(strings.ToLower(line(g)+" ")) {
			keys = append(keys, g.Key())
		}
	}
	return keys
}

// Lines is `ResourceManager ourkeys` or otherkeys: the resources of the lines of this node, or of all
// others, each with the original's blank at its end.
func (m *Manager) Lines(ours bool) []string {
	var lines []string
	for _, g := range m.o.Groups() {
		if strings.EqualFold(g.Node, m.o.Node) == ours {
			_, words, _ := strings.Cut(line(g)+" ", " ")
			lines = append(lines, words)
		}
	}
	return lines
}

// StatGroup is `ResourceManager statgroup KEY`: how much of a group is running, NONE, SOME or ALL. The
// original writes it to the debug file only.
func (m *Manager) StatGroup(ctx context.Context, key string) {
	s := m.script("ResourceManager")
	j := &job{Manager: m, ctx: ctx}
	g, ok := m.group(s, key)
	if !ok {
		return
	}
	owned := 0
	for _, r := range g.Resources {
		if j.owned(s, r) {
			owned++
		}
	}
	m.o.Log.Print(extent(owned, g))
}

func extent(owned int, g haresources.Group) string {
	switch owned {
	case 0:
		return "NONE"
	case len(g.Resources):
		return "ALL"
	}
	return "SOME"
}
