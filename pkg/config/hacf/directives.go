package hacf

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// directive is a row of the original's table. Its order is that of the recorded parameters.
type directive struct {
	name    string
	def     string // applied when the directive is absent; "" is none
	explain string // heartbeat -D and -v
	whole   bool   // takes the rest of the line, not word by word
	record  bool   // becomes a parameter, HA_NAME in the environment
	set     func(p *parser, d *directive, w word)
}

// directives is filled by init, since the setters look things up in it; byName has crm too, which
// is the same as pacemaker.
var (
	directives []*directive
	byName     = map[string]*directive{}
)

func init() {
	directives = []*directive{
		{name: "cluster", def: "linux-ha", explain: "the name of cluster", record: true, set: str(func(c *Config) *string { return &c.Cluster })},
		{name: "hopfudge", def: "1", explain: "# of hops above cluster size", record: true, set: integer(0, 255, "", func(c *Config) *int { return &c.Hopfudge })},
		{name: "keepalive", def: "1000ms", explain: "keepalive time", record: true, set: duration(1, func(p *parser) *time.Duration { return &p.cfg.Keepalive })},
		{name: "deadtime", def: "30000ms", explain: "node deadtime", record: true, set: duration(0, func(p *parser) *time.Duration { return &p.cfg.Deadtime })},
		{name: "deadping", explain: "ping deadtime", record: true, set: duration(0, func(p *parser) *time.Duration { p.deadping = true; return &p.cfg.Deadping })},
		{name: "initdead", explain: "initial deadtime", record: true, set: duration(0, func(p *parser) *time.Duration { p.initdead = true; return &p.cfg.Initdead })},
		{name: "warntime", explain: "warning time", record: true, set: setWarntime},
		{name: "watchdog", explain: "watchdog device", record: true, set: setWatchdog},
		{name: "baud", def: "19200", explain: "baud rate", record: true, set: setBaud},
		{name: "udpport", explain: "UDP port number", record: true, set: setUDPPort},
		{name: "logfacility", explain: "syslog log facility", record: true, set: setFacility},
		{name: "logfile", explain: "log file", record: true, set: logPath(func(c *Config) *string { return &c.LogFile })},
		{name: "debugfile", explain: "debug file", record: true, set: logPath(func(c *Config) *string { return &c.DebugFile })},
		{name: "nice_failback", set: setNiceFailback},
		{name: "auto_failback", def: "legacy", explain: "auto failback", record: true, set: setFailback},
		{name: "rtprio", explain: "realtime priority", record: true, set: setRTPrio},
		{name: "hbgenmethod", def: "file", explain: "protocol generation computation method", record: true, set: oneOf("Illegal hb generation method [%s]", func(c *Config) *string { return &c.GenMethod }, "file", "time")},
		{name: "realtime", def: "true", explain: "enable realtime behavior?", record: true, set: boolean("", func(c *Config) *bool { return &c.Realtime })},
		{name: "debug", explain: "debug level", record: true, set: integer(0, 255, "", func(c *Config) *int { return &c.Debug })},
		{name: "msgfmt", def: "classic", explain: "message format in the wire", record: true, set: oneOf("", func(c *Config) *string { return &c.Msgfmt }, "classic", "netstring")},
		{name: "use_logd", explain: "use logging daemon", record: true, set: setUseLogd},
		{name: "conn_logd_time", def: "60", explain: "the interval to reconnect to logd", record: true, set: duration(1, func(p *parser) *time.Duration { return &p.cfg.ConnLogdTime })},
		{name: "use_apphbd", set: boolean("", func(c *Config) *bool { return &c.UseApphbd })},
		{name: "log_badpack", def: "true", explain: "warn about bad packets", record: true, set: boolean("", func(c *Config) *bool { return &c.LogBadPack })},
		{name: "syslogmsgfmt", def: "true", explain: "log to files in syslog format", record: true, set: boolean("", func(c *Config) *bool { return &c.SyslogMsgFmt })},
		{name: "coredumps", def: "true", explain: "enable Linux-HA core dumps", record: true, set: boolean("", func(c *Config) *bool { return &c.CoreDumps })},
		{name: "coreroot", explain: "set root directory of core dump area", record: true, set: setCoreRoot},
		{name: "crm_daemon_dir", set: setPacemakerOnly},
		{name: "crmd_spawns_pengine", set: setPacemakerOnly},
		{name: "pacemaker", def: "false", explain: "enable Pacemaker resource management", record: true, set: setPacemaker},
		{name: "autojoin", def: "none", explain: "set automatic join mode/style", record: true, set: setAutojoin},
		{name: "uuidfrom", def: "file", explain: "set the source for uuid", record: true, set: oneOf("Invalid uuidfrom directive [%s]", func(c *Config) *string { return &c.UUIDFrom }, "file", "nodename")},
		{name: "compression", def: "zlib", explain: "set compression module", record: true, set: oneOf("Compression module(%s) not found", func(c *Config) *string { return &c.Compression }, "zlib", "bz2")},
		{name: "compression_threshold", def: "2", explain: "set compression threshold", record: true, set: integer(1, math.MaxInt32, "set_compression_threshold: compress_threshhold(%s) invalid", func(c *Config) *int { return &c.CompressionThreshold })},
		{name: "traditional_compression", def: "no", explain: "set traditional_compression", record: true, set: boolean("set_traditional_compression:Invalid directive value %s", func(c *Config) *bool { return &c.TraditionalCompression })},
		{name: "env", set: setEnv},
		{name: "max_rexmit_delay", def: "250", explain: "set the maximum rexmit delay time", record: true, set: setRexmitDelay},
		{name: "record_config_changes", def: "on", explain: "record changes to the cib (valid only with: pacemaker on)", record: true, set: recordedBool},
		{name: "record_pengine_inputs", def: "on", explain: "record the input used by the policy engine (valid only with: pacemaker on)", record: true, set: recordedBool},
		{name: "enable_config_writes", def: "on", explain: "write configuration changes to disk (valid only with: pacemaker on)", record: true, set: recordedBool},
		{name: "memreserve", def: "6500", explain: "number of kbytes to preallocate in heartbeat", record: true, set: integer(1, math.MaxInt32, "", func(c *Config) *int { return &c.MemReserve })},
		{name: "quorum_server", explain: "the name or ip of quorum server", record: true, set: str(func(c *Config) *string { return &c.Cluster })},
		{name: "node", set: setNode},
		{name: "stonith", whole: true, set: setStonith},
		{name: "stonith_host", whole: true, set: setStonithHost},
		{name: "apiauth", whole: true, set: setAPIAuth},
		{name: "respawn", whole: true, set: setClient},
		{name: "failfast", whole: true, set: setClient},
		{name: "bcast", set: setMedium},
		{name: "serial", set: setMedium},
		{name: "ping", set: setMedium},
		{name: "ping6", set: setMedium},
		{name: "mcast", whole: true, set: setMedium},
		{name: "mcast6", whole: true, set: setMedium},
		{name: "ucast", whole: true, set: setMedium},
		{name: "ucast6", whole: true, set: setMedium},
		{name: "ping_group", whole: true, set: setMedium},
	}
	for _, d := range directives {
		byName[d.name] = d
	}
	byName["crm"] = byName["pacemaker"]
}

// Default is a directive with the value that its absence means.
type Default struct{ Directive, Value, Description string }

// Defaults are the directives that have one, in the order of `heartbeat -D`.
func Defaults() []Default {
	var list []Default
	for _, d := range directives {
		if d.def != "" {
			list = append(list, Default{d.name, d.def, d.explain})
		}
	}
	return list
}

// The setters of the simple kinds. wire is the original's text for a bad value with one %s, or ""
// where it has none of its own.

func str(field func(*Config) *string) func(*parser, *directive, word) {
	return func(p *parser, _ *directive, w word) { *field(p.cfg) = w.text }
}

func logPath(field func(*Config) *string) func(*parser, *directive, word) {
	return func(p *parser, _ *directive, w word) { *field(p.cfg), p.logs = w.text, true }
}

func integer(low, high int, wire string, field func(*Config) *int) func(*parser, *directive, word) {
	return func(p *parser, d *directive, w word) {
		n := atoi(w.text)
		if n < low || n > high {
			p.fail(w.pos, d.name, fmt.Sprintf("a number from %d to %d", low, high), wired(wire, w.text), "bad number %q", w.text)
			return
		}
		*field(p.cfg) = n
	}
}

func boolean(wire string, field func(*Config) *bool) func(*parser, *directive, word) {
	return func(p *parser, d *directive, w word) {
		v, ok := parseBool(w.text)
		if !ok {
			p.fail(w.pos, d.name, "yes or no", wired(wire, w.text), "bad value %q", w.text)
			return
		}
		*field(p.cfg) = v
	}
}

func oneOf(wire string, field func(*Config) *string, values ...string) func(*parser, *directive, word) {
	return func(p *parser, d *directive, w word) {
		for _, v := range values {
			if w.text == v {
				*field(p.cfg) = v
				return
			}
		}
		p.fail(w.pos, d.name, strings.Join(values, " or "), wired(wire, w.text), "bad value %q", w.text)
	}
}

// duration takes a time of at least low milliseconds.
func duration(low int, field func(*parser) *time.Duration) func(*parser, *directive, word) {
	return func(p *parser, d *directive, w word) {
		t, ok := parseTime(w.text)
		if !ok || t < time.Duration(low)*time.Millisecond {
			p.fail(w.pos, d.name, "seconds, or a number with ms", "", "bad duration %q", w.text)
			return
		}
		*field(p) = t
	}
}

func wired(format, value string) string {
	if format == "" {
		return ""
	}
	return fmt.Sprintf(format, value)
}
