package ldirectordcf

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Parse reads the text of a ldirectord.cf. It goes on after a mistake, so that all problems of
// the file are in the list, in the order in which the original would meet them; the Config is
// fit for use only if the list's Err is nil. Problems of a line carry its number as the
// original counts; Wire is the original's MSG without its "Error [PID] reading file ..." lead.
func Parse(file string, text []byte, opts Options) (*Config, diag.List) {
	p := &parser{file: file, opts: opts, cfg: &Config{File: file, Global: defaults()}, ids: map[string]int{}}
	carriage := false
	for i, raw := range splitLines(string(text)) {
		p.line = i + 1
		if line, cut := strings.CutSuffix(raw, "\r"); cut {
			raw = line
			if !carriage {
				carriage = true
				p.warn(diag.Pos{File: file, Line: p.line, Col: len(raw) + 1}, "", "", "line ends without a carriage return",
					"carriage return: the original takes it for a part of some values, and refuses others for it")
			}
		}
		if p.sec != nil && p.sectionLine(raw) {
			continue
		}
		p.globalLine(raw)
	}
	if p.sec != nil {
		p.endSection()
	}
	p.inherit()
	return p.cfg, p.problems.List(file)
}

// splitLines cuts a text at newlines; a final newline does not start another line.
func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// parser is one run of Parse.
type parser struct {
	file     string
	opts     Options
	cfg      *Config
	problems diag.Report
	line     int // the current line, from 1

	sec      *section   // the section being read; nil in global state
	ended    *section   // the last one that ended
	sections []*section // those that have a usable virtual line
	ids      map[string]int
	reals    int
}

// statement is one directive with its value.
type statement struct {
	line     int
	raw      string // the line as it is in the file
	name     string
	nameAt   int // offset of the name in raw
	value    string
	valueAt  int  // offset of the value in the text that was matched
	expanded bool // the matched text had its tabs expanded
	assigned bool // there was an equals sign
}

// readStatement takes "name = value" apart; text is raw or raw without comment and tabs, and
// start is where in it the directive begins.
func (p *parser) readStatement(raw, text string, start int, expanded bool) statement {
	st := statement{line: p.line, raw: raw, expanded: expanded}
	i := start
	for i < len(text) && isWordByte(text[i]) {
		i++
	}
	st.name = text[start:i]
	st.nameAt = column(raw, start, expanded)
	i = skipBlanks(text, i)
	if i < len(text) && text[i] == '=' {
		st.assigned = true
		i = skipBlanks(text, i+1)
	}
	st.value, st.valueAt = text[i:], i
	return st
}

// column turns an offset in a line with expanded tabs into one in the line itself.
func column(raw string, offset int, expanded bool) int {
	if !expanded {
		return offset
	}
	seen := 0
	for i := range len(raw) {
		if raw[i] == '\t' {
			seen += tabWidth
		} else {
			seen++
		}
		if seen > offset {
			return i
		}
	}
	return len(raw)
}

// pos is the place of the directive's name.
func (p *parser) pos(st statement) diag.Pos {
	return diag.Pos{File: p.file, Line: st.line, Col: st.nameAt + 1}
}

// at is the place of byte i of the value.
func (p *parser) at(st statement, i int) diag.Pos {
	return diag.Pos{File: p.file, Line: st.line, Col: column(st.raw, st.valueAt+i, st.expanded) + 1}
}

// maxWire bounds the original's text of a problem.
const maxWire = 500

// fail records an error. wire is the original's text.
func (p *parser) fail(pos diag.Pos, directive, wire, want, format string, args ...any) {
	p.note(diag.Problem{Pos: pos, Sev: diag.Error, Directive: directive, Wire: wire, Want: want, Msg: fmt.Sprintf(format, args...)})
}

// warn records a warning. wire is the original's text; empty if it would say nothing.
func (p *parser) warn(pos diag.Pos, directive, wire, want, format string, args ...any) {
	p.note(diag.Problem{Pos: pos, Sev: diag.Warning, Directive: directive, Wire: wire, Want: want, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) note(x diag.Problem) {
	if len(x.Wire) > maxWire {
		x.Wire = x.Wire[:maxWire] + "..."
	}
	p.problems.Add(x)
}

// globalLine handles a line outside of sections.
func (p *parser) globalLine(raw string) {
	text := strings.TrimFunc(raw, isBlankRune)
	if text == "" || text[0] == '#' {
		return
	}
	if isBlank(raw[0]) {
		p.indentedLine(raw)
		return
	}
	st := p.readStatement(raw, raw, 0, false)
	switch {
	case (st.name == "virtual" || st.name == "virtual6") && st.assigned:
		p.sec = p.newSection(st)
		return
	case strings.HasPrefix(st.name, "supervised"):
		p.supervised(st)
		return
	}
	set, known := globalDirectives[st.name]
	if !known || !st.assigned {
		p.unknownGlobal(st, known)
		return
	}
	st.value = p.cutComment(st)
	errs := p.problems.Errors()
	set(p, st)
	if p.problems.Errors() == errs {
		p.cfg.Global.places[st.name] = p.pos(st)
	}
}

// indentedLine handles an indented line where the original expects a global one. If a section
// has ended above, by a blank or less indented line, the mistake is reported once and the rest
// of the block is read as if the section had gone on, to find what else is wrong with it.
func (p *parser) indentedLine(raw string) {
	at := len(raw) - len(strings.TrimLeftFunc(raw, isBlankRune))
	pos := diag.Pos{File: p.file, Line: p.line, Col: at + 1}
	word := firstWord(raw[at:])
	if p.ended == nil {
		p.fail(pos, word, unknownWire(raw), "no blanks before a global directive", "indented line outside of a section")
		return
	}
	p.fail(pos, word, unknownWire(raw), "a # line instead of the blank one, and at least 4 columns of indentation",
		"the section of line %d ended above this line", p.ended.v.Pos.Line)
	p.sec = p.ended.resume()
	p.sectionLine(raw)
}

// unknownWire is what the original says of an unknown global line: the line with its newline, and a blank.
func unknownWire(raw string) string { return "Unknown command " + raw + "\n " }

// unknownGlobal reports a global line that is no directive. known is true for a directive's
// name without an equals sign.
func (p *parser) unknownGlobal(st statement, known bool) {
	wire := unknownWire(st.raw)
	switch _, inSection := sectionDirectives[st.name]; {
	case known || st.name == "virtual" || st.name == "virtual6":
		p.fail(p.pos(st), st.name, wire, st.name+" = value", "no equals sign after the name")
	case st.name == "":
		p.fail(p.pos(st), "", wire, "a directive", "unknown line %q", clip(st.raw))
	case inSection:
		p.fail(p.pos(st), st.name, wire, "it indented under a virtual line", "directive of a section outside of one")
	default:
		p.fail(p.pos(st), st.name, wire, "a global directive or a virtual line", "unknown directive %q", clip(st.name))
	}
}

// cutComment returns the value without a trailing "# comment". To the original there are no
// comments on global lines: many values merely ignore what follows, others fail or take it in.
func (p *parser) cutComment(st statement) string {
	quoted := false
	for i := range len(st.value) {
		switch c := st.value[i]; {
		case c == '"':
			quoted = !quoted
		case c == '#' && !quoted && i > 0 && isBlank(st.value[i-1]):
			p.warn(p.at(st, i), st.name, "", "comments on lines of their own", "comment after a value; the original does not know them here")
			return strings.TrimRightFunc(st.value[:i], isBlankRune)
		}
	}
	return st.value
}

// defaults is the Global of an empty file.
func defaults() Global {
	return Global{
		CheckInterval: 10 * second, CheckCount: 1, FailureCount: 1, LogFile: "/var/log/ldirectord.log", CleanStop: true,
		Email: Email{Status: EmailAll}, places: map[string]diag.Pos{},
	}
}

// familyName is how the original names a family in messages.
func familyName(f ipvs.Family) string {
	if f == ipvs.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}
