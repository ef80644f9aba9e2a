package hacf

import (
	"fmt"
	"math"
	"slices"
	"strconv"
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
	value
}

// value is how a directive's words get into the Config, and how the Config says them again.
type value struct {
	set func(p *parser, d *directive, w word)
	get func(c *Config) string // nil: Lines says it otherwise, or it means nothing
}

// directives is filled by init, since the setters look things up in it; byName has crm too, which
// is the same as pacemaker.
var (
	directives []*directive
	byName     = map[string]*directive{}
)

func init() {
	directives = []*directive{
		{name: "cluster", def: "linux-ha", explain: "the name of cluster", record: true, value: str(func(c *Config) *string { return &c.Cluster })},
		{name: "hopfudge", def: "1", explain: "# of hops above cluster size", record: true, value: integer(0, 255, "", func(c *Config) *int { return &c.Hopfudge })},
		{name: "keepalive", def: "1000ms", explain: "keepalive time", record: true, value: duration(1, func(c *Config) *time.Duration { return &c.Keepalive }, nil)},
		{name: "deadtime", def: "30000ms", explain: "node deadtime", record: true, value: duration(0, func(c *Config) *time.Duration { return &c.Deadtime }, nil)},
		{name: "deadping", explain: "ping deadtime", record: true, value: duration(0, func(c *Config) *time.Duration { return &c.Deadping }, func(p *parser) *bool { return &p.deadping })},
		{name: "initdead", explain: "initial deadtime", record: true, value: duration(0, func(c *Config) *time.Duration { return &c.Initdead }, func(p *parser) *bool { return &p.initdead })},
		{name: "warntime", explain: "warning time", record: true, value: duration(1, func(c *Config) *time.Duration { return &c.Warntime }, func(p *parser) *bool { return &p.warntime })},
		{name: "watchdog", explain: "watchdog device", record: true, value: value{setWatchdog, func(c *Config) string { return c.Watchdog }}},
		{name: "baud", def: "19200", explain: "baud rate", record: true, value: value{setBaud, func(c *Config) string { return strconv.Itoa(c.Baud) }}},
		{name: "udpport", explain: "UDP port number", record: true, value: value{set: setUDPPort}},
		{name: "logfacility", explain: "syslog log facility", record: true, value: value{setFacility, func(c *Config) string { return c.LogFacility }}},
		{name: "logfile", explain: "log file", record: true, value: logPath(func(c *Config) *string { return &c.LogFile })},
		{name: "debugfile", explain: "debug file", record: true, value: logPath(func(c *Config) *string { return &c.DebugFile })},
		{name: "nice_failback", value: value{set: setNiceFailback}},
		{name: "auto_failback", def: "legacy", explain: "auto failback", record: true, value: value{setFailback, func(c *Config) string { return c.Failback.String() }}},
		{name: "rtprio", explain: "realtime priority", record: true, value: value{setRTPrio, func(c *Config) string { return strconv.Itoa(c.RTPrio) }}},
		{name: "hbgenmethod", def: "file", explain: "protocol generation computation method", record: true, value: oneOf("Illegal hb generation method [%s]", func(c *Config) *string { return &c.GenMethod }, "file", "time")},
		{name: "realtime", def: "true", explain: "enable realtime behavior?", record: true, value: boolean("", func(c *Config) *bool { return &c.Realtime })},
		{name: "debug", explain: "debug level", record: true, value: integer(0, 255, "", func(c *Config) *int { return &c.Debug })},
		{name: "msgfmt", def: "classic", explain: "message format in the wire", record: true, value: oneOf("", func(c *Config) *string { return &c.Msgfmt }, "classic", "netstring")},
		{name: "use_logd", explain: "use logging daemon", record: true, value: value{setUseLogd, func(c *Config) string { return onOff(c.UseLogd) }}},
		{name: "conn_logd_time", def: "60", explain: "the interval to reconnect to logd", record: true, value: duration(1, func(c *Config) *time.Duration { return &c.ConnLogdTime }, nil)},
		{name: "use_apphbd", value: boolean("", func(c *Config) *bool { return &c.UseApphbd })},
		{name: "log_badpack", def: "true", explain: "warn about bad packets", record: true, value: boolean("", func(c *Config) *bool { return &c.LogBadPack })},
		{name: "syslogmsgfmt", def: "true", explain: "log to files in syslog format", record: true, value: boolean("", func(c *Config) *bool { return &c.SyslogMsgFmt })},
		{name: "coredumps", def: "true", explain: "enable Linux-HA core dumps", record: true, value: boolean("", func(c *Config) *bool { return &c.CoreDumps })},
		{name: "coreroot", explain: "set root directory of core dump area", record: true, value: value{setCoreRoot, func(c *Config) string { return c.CoreRoot }}},
		{name: "crm_daemon_dir", value: value{set: setPacemakerOnly}},
		{name: "crmd_spawns_pengine", value: value{set: setPacemakerOnly}},
		{name: "pacemaker", def: "false", explain: "enable Pacemaker resource management", record: true, value: value{setPacemaker, func(c *Config) string { return c.Pacemaker }}},
		{name: "autojoin", def: "none", explain: "set automatic join mode/style", record: true, value: value{setAutojoin, func(c *Config) string { return c.Autojoin }}},
		{name: "uuidfrom", def: "file", explain: "set the source for uuid", record: true, value: oneOf("Invalid uuidfrom directive [%s]", func(c *Config) *string { return &c.UUIDFrom }, "file", "nodename")},
		{name: "compression", def: "zlib", explain: "set compression module", record: true, value: oneOf("Compression module(%s) not found", func(c *Config) *string { return &c.Compression }, "zlib", "bz2")},
		{name: "compression_threshold", def: "2", explain: "set compression threshold", record: true, value: integer(1, math.MaxInt32, "set_compression_threshold: compress_threshhold(%s) invalid", func(c *Config) *int { return &c.CompressionThreshold })},
		{name: "traditional_compression", def: "no", explain: "set traditional_compression", record: true, value: boolean("set_traditional_compression:Invalid directive value %s", func(c *Config) *bool { return &c.TraditionalCompression })},
		{name: "env", value: value{set: setEnv}},
		{name: "max_rexmit_delay", def: "250", explain: "set the maximum rexmit delay time", record: true, value: value{setRexmitDelay, func(c *Config) string { return strconv.FormatInt(c.MaxRexmitDelay.Milliseconds(), 10) }}},
		{name: "record_config_changes", def: "on", explain: "record changes to the cib (valid only with: pacemaker on)", record: true, value: value{set: recordedBool}},
		{name: "record_pengine_inputs", def: "on", explain: "record the input used by the policy engine (valid only with: pacemaker on)", record: true, value: value{set: recordedBool}},
		{name: "enable_config_writes", def: "on", explain: "write configuration changes to disk (valid only with: pacemaker on)", record: true, value: value{set: recordedBool}},
		{name: "memreserve", def: "6500", explain: "number of kbytes to preallocate in heartbeat", record: true, value: integer(1, math.MaxInt32, "", func(c *Config) *int { return &c.MemReserve })},
		{name: "quorum_server", explain: "the name or ip of quorum server", record: true, value: value{set: setQuorumServer}},
		{name: "node", value: value{set: setNode}},
		{name: "stonith", whole: true, value: value{set: setStonith}},
		{name: "stonith_host", whole: true, value: value{set: setStonithHost}},
		{name: "apiauth", whole: true, value: value{set: setAPIAuth}},
		{name: "respawn", whole: true, value: value{set: setClient}},
		{name: "failfast", whole: true, value: value{set: setClient}},
		{name: "bcast", value: value{set: setMedium}},
		{name: "serial", value: value{set: setMedium}},
		{name: "ping", value: value{set: setMedium}},
		{name: "ping6", value: value{set: setMedium}},
		{name: "mcast", whole: true, value: value{set: setMedium}},
		{name: "mcast6", whole: true, value: value{set: setMedium}},
		{name: "ucast", whole: true, value: value{set: setMedium}},
		{name: "ucast6", whole: true, value: value{set: setMedium}},
		{name: "ping_group", whole: true, value: value{set: setMedium}},
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

// The values of the simple kinds. wire is the original's text for a bad one with one %s, or ""
// where it has none of its own.

func str(field func(*Config) *string) value {
	return value{
		set: func(p *parser, _ *directive, w word) { *field(p.cfg) = w.text },
		get: func(c *Config) string { return *field(c) },
	}
}

func logPath(field func(*Config) *string) value {
	v := str(field)
	v.set = func(p *parser, _ *directive, w word) { *field(p.cfg), p.logs = w.text, true }
	return v
}

func integer(low, high int, wire string, field func(*Config) *int) value {
	return value{
		set: func(p *parser, d *directive, w word) {
			n := atoi(w.text)
			if n < low || n > high {
				p.fail(w.pos, d.name, fmt.Sprintf("a number from %d to %d", low, high), wired(wire, w.text), "bad number %q", w.text)
				return
			}
			p.odd(d, w, n)
			*field(p.cfg) = n
		},
		get: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

func boolean(wire string, field func(*Config) *bool) value {
	return value{
		set: func(p *parser, d *directive, w word) {
			v, ok := parseBool(w.text)
			if !ok {
				p.fail(w.pos, d.name, "yes or no", wired(wire, w.text), "bad value %q", w.text)
				return
			}
			*field(p.cfg) = v
		},
		get: func(c *Config) string { return onOff(*field(c)) },
	}
}

func oneOf(wire string, field func(*Config) *string, words ...string) value {
	v := str(field)
	v.set = func(p *parser, d *directive, w word) {
		if !slices.Contains(words, w.text) {
			p.fail(w.pos, d.name, strings.Join(words, " or "), wired(wire, w.text), "bad value %q", w.text)
			return
		}
		*field(p.cfg) = w.text
	}
	return v
}

// duration takes a time of at least low milliseconds. given, if not nil, notes that it was set.
func duration(low int, field func(*Config) *time.Duration, given func(*parser) *bool) value {
	return value{
		set: func(p *parser, d *directive, w word) {
			t, ok := parseTime(w.text)
			if !ok || t < time.Duration(low)*time.Millisecond {
				p.fail(w.pos, d.name, "seconds, or a number with ms", "", "bad duration %q", w.text)
				return
			}
			*field(p.cfg) = t
			if given != nil {
				*given(p) = true
			}
		},
		get: func(c *Config) string { return seconds(*field(c)) },
	}
}

func wired(format, text string) string {
	if format == "" {
		return ""
	}
	return fmt.Sprintf(format, text)
}

// Directives are the names of all directives, in the order of the original's table.
func Directives() []string {
	var list []string
	for _, d := range directives {
		list = append(list, d.name)
	}
	return list
}
