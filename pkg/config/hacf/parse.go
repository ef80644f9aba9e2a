package hacf

import (
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
)

// word is a piece of a line with its place.
type word struct {
	text string
	pos  diag.Pos
}

type parser struct {
	cfg      *Config
	host     Host
	problems diag.List
	recorded map[string]string
	seen     map[string]diag.Pos // first place of each directive
	useLogd  bool                // use_logd was given
	initdead bool                // given
	deadping bool                // given
	warntime bool                // given
	logs     bool                // logfile, debugfile or a facility was given
	failback bool                // the flag that nice_failback looks at: auto_failback's nice bit
}

const (
	space  = " \t\n\v\f\r"
	delims = space + ","
)

// Parse reads a ha.cf. The Config is complete even if there are errors; it must not be run with
// then. Problems that the original logs carry its text in Wire.
func Parse(file string, text []byte, host Host) (*Config, diag.List) {
	p := &parser{
		cfg:      &Config{File: file},
		host:     host,
		recorded: map[string]string{},
		seen:     map[string]diag.Pos{},
	}
	p.builtin()
	for n, line := range strings.Split(string(text), "\n") {
		p.line(n+1, line)
	}
	errs, _ := p.problems.Count()
	p.defaults()
	p.semantics(errs == 0)
	for _, d := range directives {
		if v, ok := p.recorded[d.name]; ok {
			p.cfg.Params = append(p.cfg.Params, Param{d.name, v})
		}
	}
	return p.cfg, p.problems
}

// line handles one physical line. An overlong one is treated as one line too: the original's
// buffer of 5120 bytes would silently start a second directive in its middle.
func (p *parser) line(n int, line string) {
	line, _, _ = strings.Cut(line, "#")
	line, _, _ = strings.Cut(line, "\r")
	at := func(off int) diag.Pos { return diag.Pos{File: p.cfg.File, Line: n, Col: off + 1} }
	start := len(line) - len(strings.TrimLeft(line, space))
	if start == len(line) {
		return
	}
	end := start + strings.IndexAny(line[start:]+" ", space)
	name := word{line[start:end], at(start)}
	rest := end
	for rest < len(line) && strings.ContainsRune(delims, rune(line[rest])) {
		rest++
	}
	if name.text == "udp" {
		p.warn(name.pos, "udp", "", "WARNING: directive 'udp' replaced by 'bcast'", "udp is an old name of bcast")
		name.text = "bcast"
	}
	d := find(name.text)
	if d == nil {
		p.fail(name.pos, "", "a directive of ha.cf", "Illegal directive ["+name.text+"] in "+p.cfg.File, "%q is not a directive", name.text)
		return
	}
	if _, ok := p.seen[d.name]; !ok {
		p.seen[d.name] = name.pos
	}
	if d.pending != "" {
		p.pend(d, name.pos)
	}
	if d.whole {
		d.set(p, d, word{strings.TrimRight(line[rest:], space), at(rest)})
		return
	}
	for _, w := range split(line, rest, delims, at) {
		d.set(p, d, w)
		if d.record {
			p.recorded[d.name] = w.text
		}
	}
}

// split cuts line into words from offset off on.
func split(line string, off int, cut string, at func(int) diag.Pos) []word {
	var words []word
	for off < len(line) {
		if strings.ContainsRune(cut, rune(line[off])) {
			off++
			continue
		}
		end := off + strings.IndexAny(line[off:]+cut[:1], cut)
		words = append(words, word{line[off:end], at(off)})
		off = end
	}
	return words
}

// fields splits a whole-line argument at white space.
func (w word) fields() []word {
	return split(w.text, 0, space, func(off int) diag.Pos {
		pos := w.pos
		pos.Col += off
		return pos
	})
}

// pend notes once that a directive has no effect yet.
func (p *parser) pend(d *directive, pos diag.Pos) {
	for _, had := range p.cfg.Pending {
		if had.Directive == d.name {
			return
		}
	}
	p.cfg.Pending.Warnf(pos, d.name, "", "not yet in effect: %s", d.pending)
}

// fail notes an error. wire is what the original logs, one line or several; "" is nothing.
func (p *parser) fail(pos diag.Pos, directive, want, wire, format string, args ...any) {
	p.problems.Errorf(pos, directive, want, format, args...)
	p.problems[len(p.problems)-1].Wire = wire
}

func (p *parser) warn(pos diag.Pos, directive, want, wire, format string, args ...any) {
	p.problems.Warnf(pos, directive, want, format, args...)
	p.problems[len(p.problems)-1].Wire = wire
}
