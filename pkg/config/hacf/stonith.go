package hacf

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
)

// setStonith is "stonith TYPE FILE". The file's first line that is no comment has the parameters.
func setStonith(p *parser, d *directive, w word) {
	const syntax = "a type and a configuration file"
	f := w.fields()
	if len(f) == 0 {
		p.fail(w.pos, d.name, syntax, "No Stonith type given", "no type given")
		return
	}
	if !p.checkStonithType(d, f[0]) {
		return
	}
	file := word{pos: w.pos}
	if len(f) > 1 {
		file = f[1]
	}
	invalid := fmt.Sprintf("Invalid Stonith config file [%s]", file.text)
	cannot := fmt.Sprintf("glib: Cannot open %s\n", file.text)
	if file.text == "" {
		p.fail(file.pos, d.name, syntax, cannot+invalid, "no file given")
		return
	}
	if p.host.ReadFile != nil {
		text, err := p.host.ReadFile(file.text)
		if err != nil {
			p.fail(file.pos, d.name, syntax, cannot+invalid, "file %q: %v", file.text, err)
			return
		}
		if why, want := p.stonithParams(f[0].text, firstLine(string(text))); why != "" {
			p.fail(file.pos, d.name, want, invalid, "file %q: %s", file.text, why)
			return
		}
	}
	p.cfg.Stonith = &Stonith{Type: f[0].text, Config: file.text, Pos: w.pos}
}

// firstLine is the first line that is neither empty nor a comment.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}

// setStonithHost is "stonith_host HOST TYPE PARAMETERS", which counts if HOST is this node.
func setStonithHost(p *parser, d *directive, w word) {
	f := w.fields()
	if len(f) == 0 {
		p.fail(w.pos, d.name, "a host, a type and parameters", "No Stonith hostname argument given", "no host given")
		return
	}
	if h := strings.ToLower(f[0].text); h != "*" && p.host.Node != "" && h != p.host.Node {
		return
	}
	if len(f) < 2 {
		p.fail(w.pos, d.name, "a host, a type and parameters", "No Stonith type given", "no type given")
		return
	}
	if !p.checkStonithType(d, f[1]) {
		return
	}
	after := w.text[f[1].pos.Col-w.pos.Col+len(f[1].text):]
	params := strings.TrimSpace(after)
	if why, want := p.stonithParams(f[1].text, params); why != "" {
		at := diag.Pos{File: f[1].pos.File, Line: f[1].pos.Line, Col: f[1].pos.Col}
		if len(f) > 2 {
			at = f[2].pos
		}
		p.fail(at, d.name, want, fmt.Sprintf("Invalid Stonith configuration parameter [%s]", after), "%s", why)
		return
	}
	p.cfg.Stonith = &Stonith{Type: f[1].text, Params: params, Pos: w.pos}
}

func (p *parser) checkStonithType(d *directive, name word) bool {
	if p.host.StonithType == nil || p.host.StonithType(name.text) {
		return true
	}
	p.fail(name.pos, d.name, "a plugin of cluster-glue (stonith -L lists them)", fmt.Sprintf("Invalid Stonith type [%s]", name.text), "no stonith plugin %q", name.text)
	return false
}

// stonithParams says what is wrong with a plugin's parameters: each name wants a word, and the
// last one takes what is left.
func (p *parser) stonithParams(plugin, params string) (why, want string) {
	if p.host.StonithNames == nil {
		return "", ""
	}
	names, err := p.host.StonithNames(plugin)
	if err != nil {
		return fmt.Sprintf("plugin %q: %v", plugin, err), ""
	}
	if n := len(strings.Fields(params)); n < len(names) {
		return fmt.Sprintf("%d parameters for %q", n, plugin), strings.Join(names, " ")
	}
	return "", ""
}
