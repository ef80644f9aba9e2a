package director

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// agentState is what a real server's agent has said so far; the zero value is that of a server
// without agent. The words are HAProxy's ("agent-check" in its configuration manual).
type agentState struct {
	heard   bool // it was asked: from then on its word counts, or its silence
	scaled  bool // percent is not 100
	percent int  // of the configured weight, if scaled
	drain   bool
	maint   bool
	down    bool
	text    string // what it said last
}

// maxPercent is the most of its configured weight that an agent can give its server, maxWeight the
// most that IPVS takes for sure.
const (
	maxPercent = 1000
	maxWeight  = math.MaxUint16
)

// hear applies what an agent says, word by word. strange is the first word that it should not say.
func (s *agentState) hear(text string) (strange string) {
	s.text = strings.TrimSpace(text)
	words, _, _ := strings.Cut(text, "#") // what follows is why, for people
	for _, word := range strings.FieldsFunc(strings.ToLower(words), func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		switch word {
		case "up":
			s.down = false
		case "down", "failed", "fail", "stopped":
			s.down = true
		case "ready":
			s.drain, s.maint = false, false
		case "drain":
			s.drain, s.maint = true, false
		case "maint":
			s.drain, s.maint = false, true
		default:
			number, percent := strings.CutSuffix(word, "%")
			n, err := strconv.Atoi(number)
			switch {
			case percent && err == nil && n >= 0 && n <= maxPercent:
				s.percent, s.scaled = n, n != 100
			case strings.HasPrefix(word, "maxconn:"): // IPVS has thresholds for that, which are the file's
			case strange == "":
				strange = word
			}
		}
	}
	return strange
}

// takesWeight tells whether the server is to get no new connections.
func (s *agentState) takesWeight() bool { return s.drain || s.scaled && s.percent == 0 }

// weight is the server's weight. A part of it is never rounded to nothing.
func (s *agentState) weight(configured int32) int32 {
	if !s.scaled || configured == 0 {
		return configured
	}
	w := (int64(configured)*int64(s.percent) + 50) / 100
	return int32(min(max(w, 1), maxWeight))
}

// agentSaid takes what p's agent says: nothing if it does not answer, which changes nothing.
func (d *Director) agentSaid(p *probe, text string) {
	before := p.agent
	first := !before.heard
	p.agent.heard = true
	if text != "" {
		strange := p.agent.hear(text)
		if p.agent != before {
			more := ""
			if strange != "" {
				more = fmt.Sprintf(" (%q is not understood)", strange)
			}
			d.say("Agent of real server %s (%s) says: %s%s", p.members[0].name, p.members[0].v.id, p.agent.text, more)
		}
	}
	if p.agent == before && !first {
		return
	}
	for _, m := range p.members {
		d.setDrained(m, d.isDrained(m))
		if m.health != Up {
			continue
		}
		want := m.want()
		have := d.table.dest(m.v, want.Addr)
		if have == nil || m.drained || sameDest(*have, want) {
			d.restore(m)
		} else { // not worth a mail
			text := fmt.Sprintf("Restored real server: %s (%s) (Weight set to %d)", m.name, m.v.label, want.Weight)
			d.changeMember(m, ipvs.EditDest, want, line{text: text})
		}
		d.balance(m.v)
	}
}

// isDrained says whether m is to get no new connections, by ldirectord drain or its agent.
func (d *Director) isDrained(m *member) bool {
	return d.drained[m.server()] || m.probe != nil && m.probe.agent.takesWeight()
}

// awaitsAgent says whether m has an agent that was not asked yet: until then its weight in the
// table, which may be that of the agent, stays.
func (m *member) awaitsAgent() bool {
	return m.v.config.Options.AgentPort != 0 && m.probe != nil && !m.probe.agent.heard
}
