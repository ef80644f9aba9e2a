// Package haresources reads /etc/ha.d/haresources: the resource groups and where each is at home.
//
// The original has two readers, the daemon's check and the scripts' text pipeline, which differ in
// what they make of comments and continuations; both are honoured (spec/heartbeat-config.md, 10).
package haresources

import (
	"fmt"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
)

const space = " \t\n\v\f\r"

// Group is one logical line: a node and the resources that it prefers to run.
type Group struct {
	Node      string     // lower case
	Resources []Resource // left to right; the first names the group
	Pos       diag.Pos
}

// Key is the group's name in messages and logs: its first resource as written; "" for a line
// without resources.
func (g Group) Key() string {
	if len(g.Resources) == 0 {
		return ""
	}
	return g.Resources[0].Word
}

// Resource is one word of a line.
type Resource struct {
	Word   string   // as written: "IPaddr::10.0.0.1", "10.0.0.1/24/eth0", "ldirectord::x.cf"
	Script string   // what is run: "IPaddr" for an address alone
	Args   []string // what it is given, split at "::"
	Pos    diag.Pos
}

// Parse reads the file. nodes are the names that may begin a line: cluster nodes and, as the
// original has it, ping nodes; nil leaves that check out.
func Parse(file string, text []byte, nodes []string) ([]Group, diag.List) {
	var groups []Group
	var problems diag.List
	keys := map[string]diag.Pos{}
	lines := strings.Split(string(text), "\n")
	for n := 0; n < len(lines); n++ {
		words, next := logicalLine(file, lines, n)
		n = next
		if len(words) == 0 {
			continue
		}
		g := Group{Node: strings.ToLower(words[0].Word), Pos: words[0].Pos}
		if nodes != nil && !slices.Contains(nodes, g.Node) {
			problems.Errorf(g.Pos, "", "one of "+strings.Join(nodes, ", "), "%q is not a node of ha.cf", words[0].Word)
			problems[len(problems)-1].Wire = fmt.Sprintf("Bad nodename in %s [%s]", file, words[0].Word)
		}
		for _, w := range words[1:] {
			g.Resources = append(g.Resources, resource(w))
		}
		if len(g.Resources) == 0 {
			problems.Warnf(g.Pos, "", "resources after the node's name", "no resources")
		} else if first, twice := keys[g.Key()]; twice {
			problems.Warnf(g.Resources[0].Pos, "", "a different first resource in each line", "%q is the first resource of %s too: the two lines move as one", g.Key(), first)
		} else {
			keys[g.Key()] = g.Resources[0].Pos
		}
		groups = append(groups, g)
	}
	return groups, problems
}

// logicalLine returns the words of the line that begins at lines[n], and the index of its last
// physical line. A comment is cut on the first physical line only; one that begins with "#" ends
// there, whatever its last letter; parts joined by a backslash have no blank between them.
func logicalLine(file string, lines []string, n int) (words []Resource, last int) {
	first := strings.TrimSuffix(lines[n], "\r")
	text, _, commented := strings.Cut(first, "#")
	continued := !commented && strings.HasSuffix(text, `\`)
	if commented && strings.HasSuffix(first, `\`) && strings.TrimLeft(text, space) != "" {
		// The daemon skips the next line, the scripts read it as a line of its own. A line of
		// its own it is: what runs is what the scripts say.
		continued = false
	}
	type piece struct {
		text string
		line int
	}
	pieces := []piece{{text, n}}
	for last = n; continued && last+1 < len(lines); {
		p := &pieces[len(pieces)-1]
		p.text = strings.TrimSuffix(p.text, `\`)
		last++
		next := strings.TrimSuffix(lines[last], "\r")
		continued = strings.HasSuffix(next, `\`)
		pieces = append(pieces, piece{next, last})
	}
	if continued { // a backslash at the end of the file
		p := &pieces[len(pieces)-1]
		p.text = strings.TrimSuffix(p.text, `\`)
	}
	var word []byte
	for _, p := range pieces {
		for i := 0; i < len(p.text); i++ {
			if strings.IndexByte(space, p.text[i]) < 0 {
				if len(word) == 0 {
					words = append(words, Resource{Pos: diag.Pos{File: file, Line: p.line + 1, Col: i + 1}})
				}
				word = append(word, p.text[i])
			} else if len(word) > 0 {
				words[len(words)-1].Word, word = string(word), word[:0]
			}
		}
	}
	if len(word) > 0 {
		words[len(words)-1].Word = string(word)
	}
	return words, last
}

// resource splits a word as ResourceManager's resource2script and resource2arg do.
func resource(r Resource) Resource {
	if IsAddress(r.Word) {
		r.Script, r.Args = "IPaddr", []string{r.Word}
		return r
	}
	script, args, _ := strings.Cut(r.Word, "::")
	r.Script = script
	for a := range strings.SplitSeq(args, "::") {
		if a != "" {
			r.Args = append(r.Args, a)
		}
	}
	return r
}

// IsAddress tells whether a word is an address by the scripts' pattern [0-9]*.[0-9]*.[0-9]*.[0-9]*:
// it begins with a digit and has three dots, each followed by a digit.
func IsAddress(word string) bool {
	if word == "" || word[0] < '0' || word[0] > '9' {
		return false
	}
	dots := 0
	for i := 0; i+1 < len(word); i++ {
		if word[i] == '.' && word[i+1] >= '0' && word[i+1] <= '9' {
			dots++
		}
	}
	return dots >= 3
}
