package daemon

import (
	"strings"

	"github.com/systole-ha/systole/pkg/halog"
)

// logWire logs the original's text for a problem: one line or several, each with the problem's
// severity unless it begins with a level word of its own.
func logWire(log *halog.Logger, prio halog.Prio, wire string) {
	if wire == "" {
		return
	}
	for line := range strings.SplitSeq(wire, "\n") {
		at := prio
		for _, l := range []struct {
			word string
			prio halog.Prio
		}{{"ERROR: ", halog.Error}, {"WARN: ", halog.Warn}, {"info: ", halog.Info}} {
			if rest, ok := strings.CutPrefix(line, l.word); ok {
				at, line = l.prio, rest
				break
			}
		}
		log.Log(at, line)
	}
}
