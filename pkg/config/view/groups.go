package view

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/config/haresources"
)

// Groups is a haresources.
type Groups struct {
	File   string  `json:"file" doc:"the file that was read"`
	Groups []Group `json:"groups" doc:"the lines with a node, in file order"`
}

// Group is one line.
type Group struct {
	Node      string     `json:"node" doc:"where the group is at home, lower case"`
	Key       string     `json:"key" doc:"the group's name in logs and messages: its first resource"`
	Resources []Resource `json:"resources" doc:"started from left to right, stopped from right to left"`
}

// Resource is a word of the line.
type Resource struct {
	Word   string   `json:"word" doc:"as written"`
	Script string   `json:"script" doc:"what is run: IPaddr for an address alone"`
	Args   []string `json:"args" doc:"its arguments, before start, stop or status"`
}

// NewGroups is the object of a haresources.
func NewGroups(file string, groups []haresources.Group) Groups {
	v := Groups{File: file, Groups: []Group{}}
	for _, g := range groups {
		group := Group{Node: g.Node, Key: g.Key(), Resources: []Resource{}}
		for _, r := range g.Resources {
			group.Resources = append(group.Resources, Resource{r.Word, r.Script, list(r.Args)})
		}
		v.Groups = append(v.Groups, group)
	}
	return v
}

// GroupsText is a haresources that says what groups say, with what is run for each.
func GroupsText(groups []haresources.Group) string {
	var b strings.Builder
	for _, g := range groups {
		b.WriteString(g.Node)
		for _, r := range g.Resources {
			b.WriteString(" " + r.Word)
		}
		b.WriteByte('\n')
		for _, r := range g.Resources {
			fmt.Fprintf(&b, "#   %s start\n", strings.Join(append([]string{r.Script}, r.Args...), " "))
		}
	}
	return b.String()
}
