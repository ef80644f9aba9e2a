package hacf

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/systole-ha/systole/pkg/diag"
)

// mediaDirectives are those of media.
var mediaDirectives = []string{"bcast", "ucast", "ucast6", "mcast", "mcast6", "serial", "ping", "ping6", "ping_group"}

// builtin is what the original has before it reads a line.
func (p *parser) builtin() {
	p.cfg.RTPrio = 1
	p.cfg.UDPPort = p.host.HAClusterPort
	if p.cfg.UDPPort == 0 {
		p.cfg.UDPPort = 694
	}
}

// defaults applies the default of each directive that was not given, in table order.
func (p *parser) defaults() {
	for _, d := range directives {
		if _, given := p.recorded[d.name]; given || d.def == "" {
			continue
		}
		d.set(p, d, word{text: d.def, pos: diag.Pos{File: p.cfg.File}})
		p.recorded[d.name] = d.def
	}
}

// semantics makes the checks that need the whole file, in the original's order (config.c's
// init_config). After errors in the lines the original stops before these checks, so their texts
// are not what it would have logged; and a value that was refused is not judged once more.
func (p *parser) semantics() {
	p.judging, p.unsound = true, p.problems.Errors() > 0
	c := p.cfg
	if len(c.Media) == 0 && !p.anyBad(mediaDirectives...) {
		p.fail(p.placeOf(""), "", "bcast, ucast, mcast or serial", "No heartbeat media defined", "no heartbeat media")
	}
	if !p.warntime {
		c.Warntime = c.Deadtime / 2 / time.Millisecond * time.Millisecond
		p.recorded["warntime"] = millis(c.Warntime)
	}
	if c.Autojoin != "any" {
		p.nodes()
	}
	p.times()
	if _, given := p.recorded["udpport"]; !given {
		p.recorded["udpport"] = strconv.Itoa(c.UDPPort)
	}
	if c.Failback == Legacy && !p.anyBad("auto_failback") {
		p.warn(p.placeOf("auto_failback"), "auto_failback", "auto_failback on",
			"Deprecated 'legacy' auto_failback option selected.\nPlease convert to 'auto_failback on'.\nSee documentation for conversion details.",
			"legacy is deprecated")
	}
	p.logging()
	if c.Autojoin != "none" && c.Autojoin != "" {
		p.fail(p.placeOf("autojoin"), "autojoin", "none",
			"R1 style resource management conflicts with  autojoin set\nYou need either unset autojoin or enable crm", "%s does not go with haresources", c.Autojoin)
	}
}

func (p *parser) nodes() {
	c, own := p.cfg, p.host.Node
	if len(c.Nodes) == 0 && !p.anyBad("node") {
		p.fail(p.placeOf("node"), "", "node NAME NAME", "no nodes defined", "no nodes")
	}
	names := map[string]bool{}
	for _, n := range c.Nodes {
		if names[n.Name] = true; len(names) == 3 {
			p.warn(n.Pos, "node", "two nodes", "", "a third node: when one dies, each of the others takes its resources, addresses included")
			break
		}
	}
	if own == "" || p.anyBad("node") || slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Name == own }) {
		return
	}
	at := p.placeOf("node")
	if len(c.Nodes) > 0 {
		at = c.Nodes[0].Pos
	}
	p.fail(at, "node", "this machine's name among the nodes",
		fmt.Sprintf("Current node [%s] not in configuration!\n", own)+
			"info: By default, cluster nodes are named by `uname -n` and must be declared with a 'node' directive in the ha.cf file.\n"+
			"info: See also: http://linux-ha.org/wiki/Ha.cf#node_directive",
		"this machine is %q, which is no node", own)
}

func (p *parser) times() {
	c := p.cfg
	ms := time.Duration.Milliseconds
	if c.Deadtime <= 2*c.Keepalive && !p.anyBad("deadtime", "keepalive") {
		p.fail(p.placeOf("deadtime", "keepalive"), "deadtime", "more than twice keepalive",
			fmt.Sprintf("Dead time [%d] is too small compared to keeplive [%d]", ms(c.Deadtime), ms(c.Keepalive)), "%v is too small for keepalive %v", c.Deadtime, c.Keepalive)
	}
	if !p.initdead {
		switch {
		case c.Deadtime > 10*time.Second:
			c.Initdead = c.Deadtime
		case c.Deadtime < 6*time.Second:
			c.Initdead = 12 * time.Second
		default:
			c.Initdead = 2 * c.Deadtime
		}
		p.recorded["initdead"] = millis(c.Initdead)
	}
	switch {
	case p.anyBad("initdead", "deadtime"):
	case c.Initdead < c.Deadtime:
		p.fail(p.placeOf("initdead"), "initdead", "at least deadtime",
			fmt.Sprintf("Initial dead time [%d] is smaller than deadtime [%d]", ms(c.Initdead), ms(c.Deadtime)), "%v is smaller than deadtime %v", c.Initdead, c.Deadtime)
	case c.Initdead < 10*time.Second:
		p.warn(p.placeOf("initdead"), "initdead", "at least 10 seconds",
			fmt.Sprintf("Initial dead time [%d ms] may be too small!\ninfo: Initial dead time accounts for slow network startup time\ninfo: It should be >= deadtime and >= 10 seconds", ms(c.Initdead)),
			"%v may be too small for a slow network's start", c.Initdead)
	}
	if !p.deadping {
		c.Deadping = c.Deadtime
		p.recorded["deadping"] = millis(c.Deadping)
	} else if c.Deadping <= 2*c.Keepalive && !p.anyBad("deadping", "keepalive") {
		p.fail(p.placeOf("deadping"), "deadping", "more than twice keepalive",
			fmt.Sprintf("Ping dead time [%d] is too small compared to keeplive [%d]", ms(c.Deadping), ms(c.Keepalive)), "%v is too small for keepalive %v", c.Deadping, c.Keepalive)
	}
	if c.Warntime <= c.Keepalive && !p.anyBad("warntime", "keepalive", "deadtime") {
		p.warn(p.placeOf("warntime", "deadtime", "keepalive"), "warntime", "more than keepalive", "", "%v is not more than keepalive %v: every heartbeat will be called late", c.Warntime, c.Keepalive)
	}
	if c.Warntime >= c.Deadtime && !p.anyBad("warntime", "deadtime") {
		p.warn(p.placeOf("warntime", "deadtime", "keepalive"), "warntime", "less than deadtime", "", "%v is not less than deadtime %v: no heartbeat will be called late", c.Warntime, c.Deadtime)
	}
}

// logging is check_logd_usage: a file without any destination means the logging daemon.
func (p *parser) logging() {
	c := p.cfg
	some := p.logs || p.syslog()
	switch {
	case p.anyBad("use_logd", "logfacility"):
	case !some && !p.useLogd:
		p.warn(p.placeOf(""), "", "logfile, debugfile or logfacility", "info: No log entry found in ha.cf -- use logd", "no log destination; the logging daemon's are used")
		c.UseLogd = true
		p.recorded["use_logd"] = "yes"
	case !some && !c.UseLogd:
		p.fail(p.placeOf("use_logd"), "use_logd", "logfile, debugfile or logfacility", "No log entry found in ha.cf and use_logd is set to off", "no log destination at all")
	case some && c.UseLogd:
		what := "logfile/debugfile"
		if p.syslog() {
			what += "/logfacility"
		}
		p.warn(p.placeOf("use_logd"), "use_logd", "", fmt.Sprintf("logd is enabled but %s is still configured in ha.cf", what), "%s is still configured", what)
	}
	if p.syslog() {
		for _, name := range []string{"logfile", "debugfile"} {
			if _, ok := p.recorded[name]; !ok {
				p.recorded[name] = "/dev/null"
			}
		}
	}
}

// anyBad tells whether a value of one of the directives was refused.
func (p *parser) anyBad(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return p.bad[n] })
}

// placeOf is where the first of the directives that is in the file stands, or the file.
func (p *parser) placeOf(names ...string) diag.Pos {
	for _, n := range names {
		if pos, ok := p.seen[n]; ok {
			return pos
		}
	}
	return diag.Pos{File: p.cfg.File}
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }
