package lab

import (
	"errors"
	"io/fs"
	"strings"
	"time"
)

// SyslogLine is a line that came to the node's /dev/log.
type SyslogLine struct {
	Time time.Time // arrival, to the microsecond
	Text string    // as it came: <priority>, date, tag, text; line ends inside are \n
}

// Syslog returns what came to the node's /dev/log so far.
func (n *Node) Syslog() ([]SyslogLine, error) {
	b, err := n.ReadFile(SyslogFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lines []SyslogLine
	for line := range strings.Lines(string(b)) {
		date, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, err := time.Parse(syslogTime, date)
		if ok && err == nil {
			lines = append(lines, SyslogLine{Time: at, Text: text})
		}
	}
	return lines, nil
}
