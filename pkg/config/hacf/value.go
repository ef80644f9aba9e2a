package hacf

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// forever is the longest time, short enough to be doubled and added to a date.
const forever = 100 * 365 * 24 * time.Hour

// parseTime reads a time as cl_get_msec does: a number with dots, then nothing for seconds, or a
// word that begins with ms or us in any case. The result is rounded to milliseconds.
func parseTime(s string) (time.Duration, bool) {
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	if end == 0 {
		return 0, false
	}
	digits := s[:end]
	if i := strings.IndexByte(digits, '.'); i >= 0 { // atof stops at a second dot
		if j := strings.IndexByte(digits[i+1:], '.'); j >= 0 {
			digits = digits[:i+1+j]
		}
	}
	n, err := strconv.ParseFloat("0"+digits, 64)
	if err != nil {
		n = math.Inf(1) // a number of more than 300 digits
	}
	unit := strings.ToLower(s[end:])
	switch {
	case unit == "":
		n *= 1000
	case strings.HasPrefix(unit, "ms"):
	case strings.HasPrefix(unit, "us"):
		n /= 1000
	default:
		return 0, false
	}
	ms := math.Floor(n + 0.5)
	if ms > float64(forever.Milliseconds()) {
		return forever, true
	}
	return time.Duration(ms) * time.Millisecond, true
}

// parseBool reads a boolean as cl_str_to_boolean does.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "y", "1":
		return true, true
	case "false", "off", "no", "n", "0":
		return false, true
	}
	return false, false
}

// atoi is C's: leading digits count, anything else is 0.
func atoi(s string) int {
	s = strings.TrimLeft(s, space)
	sign := 1
	if s != "" && (s[0] == '-' || s[0] == '+') {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > math.MaxInt32/10 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return sign * n
}

// plain tells whether s is the number n and nothing else.
func plain(s string, n int) bool {
	v, err := strconv.Atoi(s)
	return err == nil && v == n
}

// odd warns of a word that the original takes for the number n, though it is another one or none.
func (p *parser) odd(d *directive, w word, n int) {
	if !plain(w.text, n) {
		p.warn(w.pos, d.name, "a number", "", "%q is taken as %d, as by the original", w.text, n)
	}
}

// facilities are libc's names, and "none"; kern is facility 0, which the original takes for off.
var facilities = map[string]bool{
	"auth": true, "authpriv": true, "cron": true, "daemon": true, "ftp": true, "kern": true, "lpr": true, "mail": true,
	"mark": true, "news": true, "security": true, "syslog": true, "user": true, "uucp": true, "local0": true, "local1": true,
	"local2": true, "local3": true, "local4": true, "local5": true, "local6": true, "local7": true, "none": true,
}
