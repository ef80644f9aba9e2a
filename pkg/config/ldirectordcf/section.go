package ldirectordcf

import (
	"net/netip"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// section is a virtual section while it is read. What is resolved only at its end is kept as
// text until then.
type section struct {
	v        Virtual
	head     statement // the virtual line
	family   ipvs.Family
	addr     string // as on the virtual line; empty if that line is unusable
	port     string
	lost     bool // not a section to the original: an ended one, read on after an error
	fallback *fallbackText
	reals    []statement

	serviceAt diag.Pos // of service=, else of the virtual line
	receiveAt diag.Pos
	flagsAt   diag.Pos // of schedflags=
}

// newSection starts the section of a virtual or virtual6 line.
func (p *parser) newSection(st statement) *section {
	s := &section{head: st, family: ipvs.IPv4, serviceAt: p.pos(st)}
	if st.name == "virtual6" {
		s.family = ipvs.IPv6
	}
	s.v = Virtual{
		Pos: p.pos(st), places: map[string]diag.Pos{}, Protocol: "tcp", Scheduler: "wrr", CheckCommand: "/bin/true", Request: "/", HTTPMethod: "GET",
	}
	p.readVirtual(s)
	return s
}

// sectionLine handles a line below a virtual line. It is false if the line ends the section
// and is to be read as a global one.
func (p *parser) sectionLine(raw string) bool {
	if at := skipBlanks(raw, 0); at < len(raw) && raw[at] == '#' {
		return true
	}
	text, _, _ := strings.Cut(raw, "#")
	text = strings.ReplaceAll(text, "\t", "    ")
	start := 0
	for start < len(text) && text[start] == ' ' {
		start++
	}
	if start == len(text) && start > tabWidth {
		start = len(text) - 1 // five blanks or more are a directive whose name is a blank
	}
	least := tabWidth
	if p.sec.lost {
		least = 1
	}
	if start < least || start == len(text) {
		p.endSection()
		return false
	}
	st := p.readStatement(raw, text, start, true)
	set, known := sectionDirectives[st.name]
	if !known || !st.assigned {
		p.unknownInSection(st, known)
		return true
	}
	if set(p, p.sec, st) {
		p.sec.v.places[st.name] = p.pos(st)
	}
	return true
}

// unknownInSectionWire is what the original says of an unknown line of a section.
func unknownInSectionWire(raw string) string { return `Unknown command "` + raw + "\n\"" }

func (p *parser) unknownInSection(st statement, known bool) {
	wire := unknownInSectionWire(st.raw)
	_, global := globalDirectives[st.name]
	switch {
	case known:
		p.fail(p.pos(st), st.name, wire, st.name+" = value", "no equals sign after the name")
	case global || st.name == "supervised":
		p.fail(p.pos(st), st.name, wire, "it in column 1, outside of sections", "global directive in a section")
	case st.name == "virtual" || st.name == "virtual6":
		p.fail(p.pos(st), st.name, wire, "it in column 1", "indented virtual line")
	case strings.TrimFunc(st.raw, isBlankRune) == "":
		p.fail(p.pos(st), "", wire, "an empty line, or none", "line of blanks")
	case st.name == "":
		p.fail(p.pos(st), "", wire, "a directive", "unknown line %q", clip(st.raw))
	default:
		p.fail(p.pos(st), st.name, wire, "a directive of a section", "unknown directive %q", clip(st.name))
	}
}

// endSection resolves the names of the section that ends at the current line and keeps it.
func (p *parser) endSection() {
	s := p.sec
	p.sec, p.ended = nil, s
	p.resolve(s)
	if !s.lost {
		p.sections = append(p.sections, s)
	}
}

// resume is a section for the indented lines that follow the end of s: they are read for their
// mistakes only.
func (s *section) resume() *section {
	v := s.v
	v.Reals, v.Fallback, v.Receive, v.places = nil, nil, "", map[string]diag.Pos{}
	return &section{v: v, head: s.head, family: s.family, lost: true, serviceAt: s.serviceAt}
}

// gave tells whether the section has a good value of a directive.
func (s *section) gave(directive string) bool {
	_, given := s.v.places[directive]
	return given
}

// inherit gives every section the globals that it does not set, and derives what follows from
// both. Globals count for all sections, wherever they stand.
func (p *parser) inherit() {
	g := &p.cfg.Global
	for _, s := range p.sections {
		v := &s.v
		if !s.gave("checkcount") {
			v.CheckCount = g.CheckCount
		}
		if !s.gave("failurecount") {
			v.FailureCount = g.FailureCount
		}
		if !s.gave("quiescent") {
			v.Quiescent = g.Quiescent
		}
		if !s.gave("cleanstop") {
			v.CleanStop = g.CleanStop
		}
		if !s.gave("fallbackcommand") {
			v.FallbackCommand = g.FallbackCommand
		}
		p.inheritEmail(s)
		p.inheritTimes(s)
		p.inheritFallback(s)
		if v.CheckType == Negotiate || v.CheckType == Combined {
			p.warnOracle(s)
		}
		p.cfg.Virtuals = append(p.cfg.Virtuals, *v)
	}
}

func (p *parser) inheritEmail(s *section) {
	e, g := &s.v.Email, &p.cfg.Global.Email
	if !s.gave("emailalert") {
		e.To = g.To
	}
	if !s.gave("emailalertfreq") {
		e.Freq = g.Freq
	}
	if !s.gave("emailalertstatus") {
		e.Status = g.Status
	}
	if !s.gave("smtp") {
		e.SMTP = g.SMTP
	}
	e.From = g.From
}

// inheritTimes settles the timeouts and the interval (spec/ldirectord.md 1.10): the two
// timeouts stand in for each other, level by level, before their defaults of 5 and 30 s.
func (p *parser) inheritTimes(s *section) {
	v, g := &s.v, &p.cfg.Global
	check, negotiate := v.CheckTimeout, v.NegotiateTimeout
	v.CheckTimeout = firstSet(check, negotiate, g.CheckTimeout, g.NegotiateTimeout, 5*second)
	v.NegotiateTimeout = firstSet(negotiate, check, g.NegotiateTimeout, g.CheckTimeout, 30*second)
	switch {
	case !s.gave("checkinterval"):
		v.CheckInterval = g.CheckInterval
	case !g.Fork:
		v.CheckInterval = g.CheckInterval
		wire := "checkinterval in virtual service " + v.ID() + " ignored when fork=no"
		p.note(diag.Problem{
			Pos: v.places["checkinterval"], Directive: "checkinterval", Wire: wire, WireLine: -1,
			Want: "fork=yes", Msg: "ignored in section " + v.ID(),
		})
	}
}

// inheritFallback takes the global fallback of the section's family. Without a port of its own
// it has the virtual's, which is 0 for a mark.
func (p *parser) inheritFallback(s *section) {
	if s.v.Fallback != nil || s.fallback != nil {
		return
	}
	for _, f := range p.cfg.Global.Fallback {
		if f.Addr.Addr().Is6() != (s.family == ipvs.IPv6) {
			continue
		}
		if f.Addr.Port() == 0 && s.v.VIP.FWMark == 0 {
			f.Addr = netip.AddrPortFrom(f.Addr.Addr(), s.v.VIP.Addr.Port())
		}
		s.v.Fallback = &f
	}
}
