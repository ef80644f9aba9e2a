package hacf

import (
	"fmt"
	"maps"
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
	problems diag.Report
	recorded map[string]string
	seen     map[string]diag.Pos // last place of each directive: its value counts
	bad      map[string]bool     // directives with a refused value
	judging  bool                // the lines are read, the whole is looked at
	unsound  bool                // the original has stopped: what follows is not logged in its words
	clients  map[string]bool     // that have an apiauth
	ports    map[string]int      // udpport at the first medium of a kind
	useLogd  bool                // use_logd was given
	initdead bool                // given
	deadping bool                // given
	warntime bool                // given
	logs     bool                // logfile, debugfile or a facility was given
	failback bool                // the flag that nice_failback looks at: auto_failback's nice bit
}

// What the original takes for white space and for the ends of words.
const (
	space  = " \t\n\r\f"
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
		bad:      map[string]bool{},
		clients:  map[string]bool{},
		ports:    map[string]int{},
	}
	p.builtin()
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		p.line(n, line)
	}
	p.cfg.places = p.seen
	p.cfg.lost = p.anyBad(mediaDirectives...) || p.bad[""]
	given := maps.Clone(p.recorded)
	p.defaults()
	p.semantics()
	for _, d := range directives {
		if v, ok := p.recorded[d.name]; ok {
			_, told := given[d.name]
			p.cfg.Params = append(p.cfg.Params, Param{d.name, v, !told})
		}
	}
	return p.cfg, p.problems.List(file)
}

// maxLine is the longest line, without its comment. The original takes what goes beyond its buffer
// for a line of its own.
const maxLine = 5119

// line handles one physical line.
func (p *parser) line(n int, line string) {
	if end := strings.IndexAny(line, "#\r\n"); end >= 0 {
		line = line[:end]
	}
	at := func(off int) diag.Pos { return diag.Pos{File: p.cfg.File, Line: n, Col: off + 1} }
	start := len(line) - len(strings.TrimLeft(line, space))
	if start == len(line) {
		return
	}
	if len(line) > maxLine {
		p.fail(at(0), "", fmt.Sprintf("at most %d bytes", maxLine), "", "a line of %d bytes", len(line))
		return
	}
	end := start + strings.IndexAny(line[start:]+" ", space)
	name := word{line[start:end], at(start)}
	rest := end
	for rest < len(line) && strings.IndexByte(delims, line[rest]) >= 0 {
		rest++
	}
	if name.text == "udp" {
		p.warn(name.pos, "udp", "", "WARNING: directive 'udp' replaced by 'bcast'", "udp is an old name of bcast")
		name.text = "bcast"
	}
	d := byName[name.text]
	if d == nil {
		p.unknown(name)
		return
	}
	p.seen[d.name] = name.pos
	if d.whole {
		w := word{strings.TrimRight(line[rest:], space), at(rest)}
		d.set(p, d, w)
		return
	}
	words := split(line, rest, delims, at)
	if len(words) == 0 {
		p.warn(name.pos, d.name, "a value", "", "no value: the line does nothing")
	}
	for _, w := range words {
		d.set(p, d, w)
		if !d.record {
			continue
		}
		// udpport may well change between two kinds of media.
		if was, twice := p.recorded[d.name]; twice && was != w.text && !p.bad[d.name] && d.name != "udpport" {
			p.warn(w.pos, d.name, "one value", "", "%q replaces %q above", w.text, was)
		}
		p.recorded[d.name] = w.text
	}
}

// unknown reports a word that is no directive.
func (p *parser) unknown(name word) {
	want := "a directive of ha.cf"
	short, _, _ := strings.Cut(strings.ToLower(name.text), ",")
	if byName[short] != nil {
		want = short + " and a blank"
	} else if short == "ipfail" || short == "dopd" {
		want = "respawn hacluster /usr/lib/heartbeat/" + short
	}
	p.fail(name.pos, "", want, "Illegal directive ["+name.text+"] in "+p.cfg.File, "%q is not a directive", name.text)
}

// split cuts line into words from offset off on.
func split(line string, off int, cut string, at func(int) diag.Pos) []word {
	var words []word
	for off < len(line) {
		if strings.IndexByte(cut, line[off]) >= 0 {
			off++
			continue
		}
		end := strings.IndexAny(line[off:], cut)
		if end < 0 {
			end = len(line) - off
		}
		words = append(words, word{line[off : off+end], at(off)})
		off += end
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

// fail notes an error. wire is what the original logs, one line or several; "" is nothing.
func (p *parser) fail(pos diag.Pos, directive, want, wire, format string, args ...any) {
	p.note(diag.Error, pos, directive, want, wire, format, args...)
}

func (p *parser) warn(pos diag.Pos, directive, want, wire, format string, args ...any) {
	p.note(diag.Warning, pos, directive, want, wire, format, args...)
}

func (p *parser) note(sev diag.Severity, pos diag.Pos, directive, want, wire, format string, args ...any) {
	if sev == diag.Error && !p.judging {
		p.bad[directive] = true
	}
	if p.unsound {
		wire = ""
	}
	p.problems.Add(diag.Problem{Pos: pos, Sev: sev, Directive: directive, Want: want, Wire: wire, Msg: fmt.Sprintf(format, args...)})
}
