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

// What the daemon takes for white space; the scripts know blanks and tabs only.
const (
	space  = " \t\n\r\f"
	blanks = " \t"
)

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
	p := &parser{file: file, nodes: nodes, refused: map[int]bool{}}
	p.lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range p.lines {
		if strings.HasSuffix(line, "\r") {
			if p.lines[i] = strings.TrimSuffix(line, "\r"); !p.carriage {
				p.carriage = true
				p.warn(p.at(i, len(line)-1), "", "line ends without a carriage return", "carriage return: the original takes it for a letter of the line's last resource")
			}
		}
	}
	p.daemon()
	p.scripts()
	p.keys()
	p.problems.Sort()
	return p.groups, p.problems.List(file)
}

type parser struct {
	file     string
	nodes    []string
	lines    []string     // physical lines
	carriage bool         // one of them ended in a carriage return
	refused  map[int]bool // lines with a node name that the daemon refuses
	groups   []Group
	problems diag.Report
}

func (p *parser) at(line, offset int) diag.Pos {
	return diag.Pos{File: p.file, Line: line + 1, Col: offset + 1}
}

func (p *parser) known(node string) bool {
	return p.nodes == nil || slices.ContainsFunc(p.nodes, func(n string) bool { return strings.EqualFold(n, node) })
}

// daemon is heartbeat's own check, of first words only. It stops at the first bad one.
func (p *parser) daemon() {
	wire := "Bad nodename in %s [%s]"
	for n := 0; n < len(p.lines); n++ {
		text := strings.TrimLeft(p.lines[n], space)
		if text == "" || text[0] == '#' {
			continue
		}
		word := text
		if end := strings.IndexAny(text, space); end >= 0 {
			word = text[:end]
		}
		if !p.known(word) {
			p.note(diag.Error, p.at(n, len(p.lines[n])-len(text)), wire, "one of "+strings.Join(p.nodes, ", "), "%q is not a node of ha.cf", word)
			wire = ""
			p.refused[n+1] = true
		}
		for strings.HasSuffix(p.lines[n], `\`) && n+1 < len(p.lines) {
			n++
		}
	}
}

// scripts reads the groups as ResourceManager does.
func (p *parser) scripts() {
	for n := 0; n < len(p.lines); n++ {
		words, last := p.logicalLine(n)
		if len(words) > 0 {
			g := Group{Node: strings.ToLower(words[0].Word), Pos: words[0].Pos}
			for _, w := range words[1:] {
				g.Resources = append(g.Resources, resource(w))
			}
			p.groups = append(p.groups, g)
			switch {
			case !p.known(g.Node) && !p.refused[g.Pos.Line]:
				p.warn(g.Pos, "", "one of "+strings.Join(p.nodes, ", "), "%q is not a node of ha.cf: the resources of this line are nobody's", words[0].Word)
			case len(g.Resources) == 0:
				p.warn(g.Pos, "", "resources after the node's name", "no resources")
			}
		}
		n = last
	}
}

// keys warns of keys that are a word of another line too: the scripts would move both lines as one.
func (p *parser) keys() {
	lines := map[string][]int{}
	for i, g := range p.groups {
		for _, r := range g.Resources {
			if l := lines[r.Word]; len(l) < 2 && !slices.Contains(l, i) {
				lines[r.Word] = append(l, i)
			}
		}
	}
	for i, g := range p.groups {
		for _, j := range lines[g.Key()] {
			if j < i || j > i && p.groups[j].Key() != g.Key() {
				p.warn(g.Resources[0].Pos, "", "a first resource that is in no other line", "%q, which names this group, is in line %d too", g.Key(), p.groups[j].Pos.Line)
				break
			}
		}
	}
}

// logicalLine returns the words of the line that begins at lines[n], and the index of its last
// physical line. A comment is cut on the first physical line only; one that begins with "#" ends
// there, whatever its last letter; parts joined by a backslash have no blank between them.
func (p *parser) logicalLine(n int) (words []Resource, last int) {
	text, _, _ := strings.Cut(p.lines[n], "#")
	var word []byte
	end := func() {
		if len(word) > 0 {
			words[len(words)-1].Word, word = string(word), word[:0]
		}
	}
	for last = n; ; last++ {
		more := strings.HasSuffix(text, `\`)
		text = strings.TrimSuffix(text, `\`)
		for i := range len(text) {
			switch {
			case strings.IndexByte(blanks, text[i]) >= 0:
				end()
				continue
			case len(word) == 0:
				words = append(words, Resource{Pos: p.at(last, i)})
				if text[i] == '#' {
					p.warn(p.at(last, i), "", "comments on lines of their own", "no comment: what follows a # in a continued line is resources")
				}
			}
			word = append(word, text[i])
		}
		if !more || last+1 == len(p.lines) {
			end()
			return words, last
		}
		text = p.lines[last+1]
	}
}

func (p *parser) warn(pos diag.Pos, wire, want, format string, args ...any) {
	p.note(diag.Warning, pos, wire, want, format, args...)
}

// note adds a problem. wire is the original's text with places for the file and the last argument.
func (p *parser) note(sev diag.Severity, pos diag.Pos, wire, want, format string, args ...any) {
	if wire != "" {
		wire = fmt.Sprintf(wire, p.file, args[len(args)-1])
	}
	p.problems.Add(diag.Problem{Pos: pos, Sev: sev, Msg: fmt.Sprintf(format, args...), Want: want, Wire: wire})
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
