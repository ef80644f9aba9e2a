package halog

// Prio is the severity of a line, numbered as syslog numbers it.
type Prio uint8

// The severities.
const (
	Emerg Prio = iota
	Alert
	Crit
	Error
	Warn
	Notice
	Info
	Debug
)

var prioWords = [...]string{"EMERG", "ALERT", "CRIT", "ERROR", "WARN", "notice", "info", "debug"}

// String is the level word as cl_log writes it: EMERG, ALERT, CRIT, ERROR, WARN, notice, info, debug.
func (p Prio) String() string {
	if int(p) < len(prioWords) {
		return prioWords[p]
	}
	return "(undef)"
}

// Facility is a syslog facility, already shifted by 3 as syslog(3) has it. Zero is none: the
// original takes "kern", which is zero too, for off.
type Facility uint16

var facilities = map[string]Facility{
	"none": 0, "kern": 0, "user": 1 << 3, "mail": 2 << 3, "daemon": 3 << 3, "auth": 4 << 3, "syslog": 5 << 3,
	"lpr": 6 << 3, "news": 7 << 3, "uucp": 8 << 3, "cron": 9 << 3, "authpriv": 10 << 3, "ftp": 11 << 3, "security": 4 << 3,
	"local0": 16 << 3, "local1": 17 << 3, "local2": 18 << 3, "local3": 19 << 3,
	"local4": 20 << 3, "local5": 21 << 3, "local6": 22 << 3, "local7": 23 << 3,
}

// ParseFacility finds a facility by the name that ha.cf and ldirectord.cf use for it.
func ParseFacility(name string) (Facility, bool) {
	f, ok := facilities[name]
	return f, ok
}

// Dialect is the form of the lines that scripts and agents write; the lines of programs are the
// same in both.
type Dialect uint8

// The dialects: the one of the tutorial (CentOS 6, resource-agents 3.9.5) and the one of Debian 12
// (resource-agents 4.12). Agents choose their texts by it too.
const (
	C6 Dialect = iota
	D12
)

// ParseDialect finds a dialect by its name in systole.cf: centos6, debian12.
func ParseDialect(name string) (Dialect, bool) {
	switch name {
	case "centos6":
		return C6, true
	case "debian12":
		return D12, true
	}
	return C6, false
}

func (d Dialect) String() string {
	if d == D12 {
		return "debian12"
	}
	return "centos6"
}
