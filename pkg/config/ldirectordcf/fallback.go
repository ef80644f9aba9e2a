package ldirectordcf

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// fallbackText is a fallback line before its names are resolved.
type fallbackText struct {
	st      statement
	pos     diag.Pos
	addr    string
	port    string
	hasPort bool
	forward ipvs.Forward
}

var fallbackPort = regexp.MustCompile(`^(.*):([A-Za-z0-9_-]+)$`)

// fallbackLine keeps a section's fallback for its end, when the protocol is known.
func (p *parser) fallbackLine(s *section, st statement) bool {
	if !p.familyFits(s, st, "fallback") {
		return false
	}
	f, ok := p.readFallback(st)
	if ok {
		s.fallback = f
	}
	return ok
}

// readFallback reads "address[:port] [method]" from the last one or two words of the value.
func (p *parser) readFallback(st statement) (*fallbackText, bool) {
	f := &fallbackText{st: st, pos: p.pos(st), forward: ipvs.Route}
	words := strings.FieldsFunc(st.value, isBlankRune)
	if len(words) == 0 {
		wire := "invalid " + st.family() + " address or could not resolve for fallback server: "
		p.fail(p.at(st, 0), st.name, wire, "address[:port] [gate|masq|ipip]", "no address")
		return nil, false
	}
	if len(words) > 2 {
		p.warn(p.at(st, 0), st.name, "", "address[:port] [gate|masq|ipip]", "all but the last two words are ignored")
	}
	if len(words) > 1 {
		method := words[len(words)-1]
		forward, ok := forwards[method]
		if !ok {
			p.fail(p.at(st, strings.LastIndex(st.value, method)), st.name, badMethodWire, "gate, masq or ipip", "bad forwarding method %q", clip(method))
			return nil, false
		}
		f.forward = forward
		words = words[:len(words)-1]
	}
	f.addr = words[len(words)-1]
	if m := fallbackPort.FindStringSubmatch(f.addr); m != nil {
		f.addr, f.port, f.hasPort = m[1], m[2], true
	}
	return f, true
}

// family is the family that a directive's name is for, as messages call it.
func (st statement) family() string {
	if strings.HasSuffix(st.name, "6") {
		return familyName(ipvs.IPv6)
	}
	return familyName(ipvs.IPv4)
}

// globalFallback resolves a fallback for all sections of its family.
func (p *parser) globalFallback(st statement) {
	f, ok := p.readFallback(st)
	if !ok {
		return
	}
	resolved := p.resolveFallback(f, "")
	if resolved == nil {
		return
	}
	list := p.cfg.Global.Fallback
	for i := range list {
		if list[i].Addr.Addr().Is6() == resolved.Addr.Addr().Is6() {
			list[i] = *resolved
			return
		}
	}
	p.cfg.Global.Fallback = append(list, *resolved)
}

// resolveFallback looks up the address and port; nil after an error. Without a port it is 0.
func (p *parser) resolveFallback(f *fallbackText, proto string) *Fallback {
	st := f.st
	family := ipvs.IPv4
	if strings.HasSuffix(st.name, "6") {
		family = ipvs.IPv6
	}
	at := max(strings.LastIndex(st.value, f.addr), 0)
	addr, err := p.host(f.addr, family)
	if err != nil {
		wire := "invalid " + st.family() + " address or could not resolve for fallback server: " + f.addr
		want := "an " + st.family() + " address or a name that has one"
		p.fail(p.at(st, at), st.name, wire, want, "address %q: %v", clip(f.addr), err)
		return nil
	}
	var port uint16
	if f.hasPort {
		port, err = p.port(f.port, proto)
		if err != nil {
			p.fail(p.at(st, at+len(f.addr)+1), st.name, "invalid port for fallback server", "a port or a service name", "port %q: %v", clip(f.port), err)
			return nil
		}
	}
	return &Fallback{Pos: f.pos, Addr: netip.AddrPortFrom(addr, port), Forward: f.forward}
}
