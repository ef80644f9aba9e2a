// Package manual has the manual pages. Their one source is Markdown in pages/, from which both the pages for man(1) and
// the text of "systole help TOPIC" are made.
package manual

import (
	"embed"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

//go:embed pages
var pages embed.FS

// Page is one manual page.
type Page struct {
	Name    string // heartbeat
	Section string // 8
	source  string
}

// Pages are all pages, by name.
func Pages() []Page {
	entries, err := pages.ReadDir("pages")
	if err != nil {
		panic(err) // it is part of the program
	}
	var list []Page
	for _, e := range entries {
		text, err := pages.ReadFile(path.Join("pages", e.Name()))
		if err != nil {
			panic(err)
		}
		name := strings.TrimSuffix(e.Name(), ".md")
		section := strings.TrimPrefix(path.Ext(name), ".")
		list = append(list, Page{strings.TrimSuffix(name, "."+section), section, string(text)})
	}
	return list
}

// Names are the programs or files that the page is about: those of its NAME section.
func (p Page) Names() []string {
	_, rest, _ := strings.Cut(p.source, "# NAME\n\n")
	list, _, _ := strings.Cut(rest, " - ")
	return strings.Split(list, ", ")
}

// Summary is the page's NAME section without the names.
func (p Page) Summary() string {
	_, rest, _ := strings.Cut(p.source, "# NAME\n\n")
	_, rest, _ = strings.Cut(rest, " - ")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// Roff is the page for man(1).
func (p Page) Roff() []byte { return md2man.Render([]byte(p.source)) }

// Find finds the page about a program or file, letter case aside.
func Find(topic string) (Page, bool) {
	all := Pages()
	i := slices.IndexFunc(all, func(p Page) bool {
		return slices.ContainsFunc(p.Names(), func(n string) bool { return strings.EqualFold(n, topic) })
	})
	if i < 0 {
		return Page{}, false
	}
	return all[i], true
}

var (
	bold  = regexp.MustCompile(`\*\*(.+?)\*\*`)
	italc = regexp.MustCompile(`\*(.+?)\*`)
	row   = regexp.MustCompile(`^\| *(.*?) *\| *(.*?) *\|$`)
)

// Text is the page for a terminal. With style, headings and words are set off by escape sequences.
func (p Page) Text(style bool) string {
	mark := func(on, s string) string {
		if !style {
			return s
		}
		return "\x1b[" + on + "m" + s + "\x1b[0m"
	}
	words := func(s string) string {
		s = bold.ReplaceAllStringFunc(s, func(m string) string { return mark("1", m[2:len(m)-2]) })
		s = italc.ReplaceAllStringFunc(s, func(m string) string { return mark("4", m[1:len(m)-1]) })
		return strings.ReplaceAll(s, `\\`, `\`)
	}
	var b strings.Builder
	lines := strings.Split(strings.TrimRight(p.source, "\n"), "\n")
	for i, line := range lines[3:] {
		m := row.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "# "):
			b.WriteString(mark("1", line[2:]) + "\n")
		case m != nil && (m[1] == "" || strings.HasPrefix(m[1], "-")): // a table's head
		case m != nil:
			b.WriteString("    " + m[1] + strings.Repeat(" ", max(1, 6-len(m[1]))) + words(m[2]) + "\n")
		case strings.HasPrefix(line, "    "):
			b.WriteString("    " + line + "\n")
		case strings.HasPrefix(line, ": "):
			b.WriteString("        " + words(line[2:]) + "\n")
		case line == "":
			b.WriteString("\n")
		case i > 0 && continues(lines, i+3):
			b.WriteString("        " + words(line) + "\n")
		default:
			b.WriteString("    " + words(line) + "\n")
		}
	}
	return b.String()
}

// continues tells whether a line belongs to the definition above it.
func continues(lines []string, i int) bool {
	for i--; i >= 0 && lines[i] != ""; i-- {
		if strings.HasPrefix(lines[i], ": ") {
			return true
		}
	}
	return false
}
