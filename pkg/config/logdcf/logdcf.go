// Package logdcf reads /etc/logd.cf, the file of cluster-glue's logging daemon ha_logd: where lines go
// when ha.cf says "use_logd yes". Its grammar is "directive value", a line each; # begins a comment.
package logdcf

import "strings"

// Path is where the file is.
const Path = "/etc/logd.cf"

// Config is the part of the file that says where lines go, and how they look.
type Config struct {
	LogFile   string // empty: none
	DebugFile string // empty: none
	Facility  string // of syslog; "none" is off
	Plain     bool   // syslogmsgfmt is off
}

// Parse reads the file. What it does not know is ha_logd's to complain of; an empty text gives
// ha_logd's defaults, which is syslog's facility daemon alone.
func Parse(text []byte) Config {
	c := Config{Facility: "daemon"}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch strings.ToLower(words[0]) {
		case "logfile":
			c.LogFile = words[1]
		case "debugfile":
			c.DebugFile = words[1]
		case "logfacility":
			c.Facility = words[1]
		case "syslogmsgfmt":
			switch strings.ToLower(words[1]) {
			case "off", "no", "false", "n", "0":
				c.Plain = true
			}
		}
	}
	return c
}
