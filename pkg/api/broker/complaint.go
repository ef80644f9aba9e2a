package broker

import (
	"fmt"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// complaints limits the lines about what clients do wrong: a client in a loop must not fill the
// disk.
type complaints struct {
	since   time.Time // begin of the interval
	lines   int       // in it
	skipped int       // of the one before
}

const (
	complaintsFor = time.Minute
	maxComplaints = 200 // lines in that time
	maxDump       = 40  // fields of a message
	maxValue      = 200 // bytes of a field
)

// complain logs what a client has done wrong.
func (b *Broker) complain(l cluster.Level, format string, args ...any) {
	if b.now.Sub(b.since) >= complaintsFor {
		if b.skipped > 0 {
			b.logf(cluster.Warn, "%d more lines about API clients left out", b.skipped)
		}
		b.complaints = complaints{since: b.now}
	}
	if b.lines++; b.lines > maxComplaints {
		b.skipped++
		return
	}
	b.logf(l, format, args...)
}

func (b *Broker) logf(l cluster.Level, format string, args ...any) {
	b.log(l, oneLine(fmt.Sprintf(format, args...)))
}

// complainOf logs what is wrong with a message, and the message.
func (b *Broker) complainOf(m *hamsg.Msg, text string) {
	b.complain(cluster.Error, "%s", text)
	fields := m.Fields()
	b.complain(cluster.Error, "MSG: Dumping message with %d fields", len(fields))
	for i, f := range fields {
		if i == maxDump {
			return
		}
		value := f.Value
		if len(value) > maxValue {
			value = value[:maxValue]
		}
		if f.Kind == hamsg.String {
			b.complain(cluster.Error, "MSG[%d] : [%s=%s]", i, f.Name, value)
		} else {
			b.complain(cluster.Error, "MSG[%d] : [(%d)%s=%x(%d)]", i, f.Kind, f.Name, value, len(f.Value))
		}
	}
}

// oneLine keeps what a client wrote from looking like lines of the log.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 1000 {
		s = s[:1000]
	}
	return s
}
