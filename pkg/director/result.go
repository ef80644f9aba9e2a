package director

import (
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
)

// checked applies the answer to a check to all services that have the server
// (service_set of the original).
func (d *Director) checked(in Checked) {
	p := d.schedule.answered(in.ID, d.now)
	if p == nil {
		return // of a configuration that is gone
	}
	defer d.settleState()
	p.took = in.Took
	p.spent += in.Took
	if in.Maintenance != "" {
		d.maintain(p, "in maintenance, by the file "+in.Maintenance)
		return
	}
	if p.members[0].v.config.CheckType == ldirectordcf.Off {
		d.resume(p) // only maintenancedir counts
		return
	}
	p.endCombined(in.Up)
	if in.Log != "" {
		d.say("%s", in.Log)
	}
	d.warn(p, in.Warning)
	if in.Up && p.key.options.AgentPort != 0 {
		d.agentSaid(p, in.Agent)
		switch {
		case p.agent.maint:
			d.maintain(p, "in maintenance, says its agent ("+p.agent.text+")")
			return
		case p.agent.down:
			in.Up, in.Reason = false, "its agent says "+p.agent.text
		}
	}
	d.monitor(p, in)
	if in.Up {
		d.succeeded(p)
	} else {
		d.failed(p, in)
	}
}

// resume gives a server of checktype=off back what a file in maintenancedir took from it.
func (d *Director) resume(p *probe) {
	d.resetFailures(p)
	for _, m := range p.members {
		if m.suspended {
			m.suspended = false
			d.setHealth(m, Up)
			d.restore(m)
			d.balance(m.v)
		}
	}
}

func (d *Director) resetFailures(p *probe) {
	if p.failures > 0 {
		d.say("Resetting soft failure count: %s (%s)", p.members[0].name, p.members[0].v.id)
		p.failures = 0
	}
}

func (d *Director) succeeded(p *probe) {
	d.resetFailures(p)
	p.rises++
	for _, m := range p.members {
		if m.health == Down && p.rises < m.v.config.Options.Rise {
			d.say("Real server %s (%s) answers again: success %d/%d", m.name, m.v.id, p.rises, m.v.config.Options.Rise)
		} else if m.health != Up {
			d.setHealth(m, Up)
			d.restore(m)
			d.balance(m.v)
		}
	}
}

func (d *Director) failed(p *probe, in Checked) {
	p.rises = 0
	p.failed++
	p.note(Failure{At: d.epoch.Add(d.now), Reason: in.Reason, Trace: in.Trace})
	if !p.watched() {
		return
	}
	p.failures++
	d.sayReason(p, in.Reason)
	for _, m := range p.members {
		if m.health == Down {
			continue
		}
		if limit := m.v.config.FailureCount; m.health == Up && p.failures < limit {
			d.say("Soft failure real server: %s (%s) failure %d/%d", m.name, m.v.id, p.failures, limit)
			continue
		}
		d.takeOut(m)
	}
}

// takeOut makes m Down and removes it from the table.
func (d *Director) takeOut(m *member) {
	before := m.health
	d.setHealth(m, Down)
	asked := d.remove(m, before == Unknown || d.config.Global.ReaddQuiescent)
	d.balance(m.v)
	if !asked && (before == Unknown || m.v.fallbackAt(m.dest.Addr)) {
		d.missing(m)
	}
}

// maintain takes a server out because of a file in maintenancedir, or because its agent says so: at
// once, whatever failurecount says, and again if somebody put it back.
func (d *Director) maintain(p *probe, reason string) {
	if p.watched() {
		p.note(Failure{At: d.epoch.Add(d.now), Reason: reason})
		d.sayReason(p, reason)
	}
	p.failures++
	p.rises, p.left = 0, 0
	for _, m := range p.members {
		d.monitorLine(m, false, "Server in maintenance")
		if m.health == Down {
			d.remove(m, d.config.Global.ReaddQuiescent)
		} else {
			m.suspended = m.v.config.CheckType == ldirectordcf.Off
			d.takeOut(m)
		}
	}
}

// warnAgain is how often a warning that stays is logged.
const warnAgain = 24 * time.Hour

// warn logs what a check has to say of a server although it may be up: when it begins, and once a
// day while it lasts.
func (d *Director) warn(p *probe, warning string) {
	if warning != "" && (p.warning == "" || d.now-p.warned >= warnAgain) {
		d.say("Warning of real server %s (%s): %s", p.members[0].name, p.members[0].v.id, warning)
		p.warned = d.now
	}
	p.warning = warning
}

func (d *Director) sayReason(p *probe, reason string) {
	if reason != "" {
		d.say("Check of real server %s (%s) failed: %s", p.members[0].name, p.members[0].v.id, reason)
	}
}

// monitor writes the result to the monitorfiles of all services that have the server. As in the
// original nothing is said of a checktype that checks nothing, nor of a ping without an answer.
func (d *Director) monitor(p *probe, in Checked) {
	switch p.members[0].v.config.CheckedAs() {
	case "on", "off":
		return
	case "ping":
		if !in.Up {
			return
		}
	}
	for _, m := range p.members {
		d.monitorLine(m, in.Up, in.Monitor)
	}
}

var monitorEscape = strings.NewReplacer("%", "%25", "|", "%7c", "\r", "%0d", "\n", "%0a")

func (d *Director) monitorLine(m *member, up bool, text string) {
	if m.v.config.MonitorFile == "" {
		return
	}
	if text == "" {
		text = "-"
	}
	word := " [down] "
	if up {
		word = " [up] "
	}
	d.do(Monitor{File: m.v.config.MonitorFile, Text: m.monitorName() + word + monitorEscape.Replace(text)})
}

// monitorName is the server's identity with every run of colons as one blank and without
// backslashes.
func (m *member) monitorName() string {
	var b strings.Builder
	for i := range len(m.real.ID) {
		switch c := m.real.ID[i]; {
		case c == '\\':
		case c != ':':
			b.WriteByte(c)
		case i == 0 || m.real.ID[i-1] != ':':
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// setHealth keeps the counts that depend on a member's health.
func (d *Director) setHealth(m *member, h Health) {
	d.count(m, -1)
	m.health = h
	d.count(m, +1)
}

func (d *Director) setDrained(m *member, drained bool) {
	d.count(m, -1)
	m.drained = drained
	d.count(m, +1)
}

func (d *Director) count(m *member, n int) {
	if m.health == Unknown {
		d.unknown += n
	}
	if m.health == Up && !m.drained {
		m.v.serving += n
	}
}

// settleState ends a start or reload when every server has its verdict.
func (d *Director) settleState() {
	if d.unknown == 0 && d.stopping == "" {
		d.state = Running
	}
}
