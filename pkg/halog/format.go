package halog

import (
	"strconv"
	"strings"
	"time"
)

// Kind says who wrote a line; the form and the destinations depend on it.
type Kind uint8

// The kinds of lines.
const (
	Core   Kind = iota // a program's, through cl_log
	Script             // a script's, through ha_log: the text begins with its own level word
	Output             // what a script printed: debug file only, as it is
)

// Record is one line.
type Record struct {
	Time   time.Time
	Kind   Kind
	Prio   Prio
	Entity string // the program's name; of a script its whole tag, NAME(INSTANCE)[PID]
	PID    int    // Core only
	Text   string
}

// Formatter appends the line that stands for r, its newline included, to dst.
type Formatter func(dst []byte, r Record) []byte

// maxText is where cl_log cuts a text (MAXLINE less one).
const maxText = 5119

const (
	coreDate   = "Jan 02 15:04:05"     // cl_log: zero-padded day
	scriptDate = "2006/01/02_15:04:05" // HA_DATEFMT as heartbeat exports it
	debianDate = "Jan 02 15:04:05"     // HA_DATEFMT's default in resource-agents 4.12
	syslogDate = "Jan _2 15:04:05"     // syslog(3), logger(1)
)

// oneLine cuts text to length and keeps it on one line: what a peer or a script says must not be
// able to forge the next log line.
func oneLine(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = strings.TrimRight(text, "\n")
	if strings.ContainsAny(text, "\n\x00") {
		text = strings.NewReplacer("\n", " ", "\x00", "").Replace(text)
	}
	return text
}

// fileFormat is the form of log files and of standard error, for node (uname -n).
// plain is ha.cf's "syslogmsgfmt false".
func fileFormat(node string, plain bool, d Dialect) Formatter {
	return func(dst []byte, r Record) []byte {
		switch {
		case r.Kind == Output:
			return append(append(dst, r.Text...), '\n')
		case r.Kind == Script && d == D12:
			dst = r.Time.AppendFormat(dst, scriptDate)
			dst = append(dst, "  "...)
			dst = append(dst, r.Entity...)
			dst = append(dst, ":    "...)
			dst = append(dst, r.Text...)
		case r.Kind == Script:
			return scriptLine(dst, r)
		case plain:
			dst = append(dst, r.Entity...)
			dst = append(dst, '[')
			dst = strconv.AppendInt(dst, int64(r.PID), 10)
			dst = append(dst, "]: "...)
			dst = r.Time.AppendFormat(dst, scriptDate)
			dst = append(dst, ' ')
			dst = append(dst, r.Prio.String()...)
			dst = append(dst, ": "...)
			dst = append(dst, r.Text...)
		default:
			dst = r.Time.AppendFormat(dst, coreDate)
			dst = append(dst, ' ')
			dst = append(dst, node...)
			dst = append(dst, ' ')
			dst = append(dst, r.Entity...)
			dst = append(dst, ": ["...)
			dst = strconv.AppendInt(dst, int64(r.PID), 10)
			dst = append(dst, "]: "...)
			dst = append(dst, r.Prio.String()...)
			dst = append(dst, ": "...)
			dst = append(dst, r.Text...)
		}
		return append(dst, '\n')
	}
}

// debugFormat is the form of the debug file: as the log file's, but scripts write theirs the same
// way in both dialects.
func debugFormat(file Formatter) Formatter {
	return func(dst []byte, r Record) []byte {
		if r.Kind == Script {
			return scriptLine(dst, r)
		}
		return file(dst, r)
	}
}

func scriptLine(dst []byte, r Record) []byte {
	dst = append(dst, r.Entity...)
	dst = append(dst, ":\t"...)
	dst = r.Time.AppendFormat(dst, scriptDate)
	dst = append(dst, ' ')
	dst = append(dst, r.Text...)
	return append(dst, '\n')
}

// syslogFormat is what cl_log and logger(1) hand to syslogd after the date.
func syslogFormat(dst []byte, r Record) []byte {
	dst = append(dst, r.Entity...)
	dst = append(dst, ": "...)
	if r.Kind == Script {
		return append(dst, r.Text...)
	}
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, int64(r.PID), 10)
	dst = append(dst, "]: "...)
	dst = append(dst, r.Prio.String()...)
	dst = append(dst, ": "...)
	dst = append(dst, r.Text...)
	return append(dst, 0)
}

// scriptPrio is the syslog severity that ha_log gives a text: it looks for the words anywhere in it.
func scriptPrio(text string) Prio {
	switch {
	case isDebug(text):
		return Debug
	case strings.Contains(text, "ERROR"):
		return Error
	case strings.Contains(text, "WARN"):
		return Warn
	case strings.Contains(text, "INFO"), text == "info":
		return Info
	}
	return Notice
}

func isDebug(text string) bool {
	return strings.HasPrefix(text, "debug:") || strings.HasPrefix(text, "DEBUG:")
}

// Tag is how a script names itself in the log: NAME(INSTANCE)[PID].
func Tag(name, instance string, pid int) string {
	return name + "(" + instance + ")[" + strconv.Itoa(pid) + "]"
}
