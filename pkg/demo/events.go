package demo

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// events are what happens, as it happens: lines of the directors' logs that tell the story, where
// the virtual address is, and who serves the client.
type events struct {
	s      *story
	logs   []*logFile
	holder string
	served string
	asked  time.Time // when the client was last looked at
}

// logFile is a log of a director, read on where it was left.
type logFile struct {
	director *lab.Director
	path     string
	read     int
}

func newEvents(s *story) *events {
	e := &events{s: s, holder: s.holder(), served: "nobody"}
	for _, d := range []*lab.Director{s.hosts.Master, s.hosts.Slave} {
		for _, path := range []string{"/var/log/ha-log", "/var/log/ldirectord.log"} {
			e.logs = append(e.logs, &logFile{director: d, path: path})
		}
	}
	return e
}

// poll prints what is new, with the time since the act.
func (e *events) poll(acted time.Time) {
	h := e.s.holder() // before the logs, so that they have told by then why it is there
	for _, l := range e.logs {
		for _, line := range l.lines() {
			if text, ok := telling(line); ok {
				e.tell(acted, l.director.Name(), text)
			}
		}
	}
	if h != e.holder {
		e.holder = h
		e.tell(acted, "VIP", "is on "+h)
	}
	if time.Since(e.asked) < 50*time.Millisecond {
		return
	}
	e.asked = time.Now()
	served := strings.Join(slices.Sorted(maps.Keys(e.s.lately())), " and ")
	if served == "" {
		served = "nobody"
	}
	if served != e.served {
		e.served = served
		e.tell(acted, "client", "is served by "+served)
	}
}

func (e *events) tell(acted time.Time, host, text string) {
	e.s.printf("  %+7.2f s  %-9s  %s\n", time.Since(acted).Seconds(), host, text)
}

// lines are the whole lines that are new. A host without power has none.
func (l *logFile) lines() []string {
	text, err := l.director.ReadFile(l.path)
	if err != nil || len(text) < l.read {
		l.read = 0
		return nil
	}
	fresh := string(text[l.read:])
	end := strings.LastIndexByte(fresh, '\n') + 1
	l.read += end
	return strings.Split(strings.TrimSuffix(fresh[:end], "\n"), "\n")
}

// logHeads are what stands before the message in the logs: dates, host, program and its number.
var logHeads = regexp.MustCompile(`^(?:\w{3} [ \d]\d [\d:]{8} \S+ (heartbeat|ipfail): \[\d+\]: |(\w+)\([^)]*\)\[\d+\]:\s*[\d/]+_[\d:]+ |[\d/]+_[\d:]+\s+(\w+)\([^)]*\)\[\d+\]:\s+|\[[^]|]*\|([^]|]*)\|\d+\] )`)

// tellingLines are the messages that make the story.
var tellingLines = regexp.MustCompile(`is dead$|^info: Status update for node ha-\w+: status active|Local status now set to: 'active'|Resources being acquired from|resource group: |Running .*(start|stop)$` +
	`|Heartbeat shutdown (in progress|complete)|wants to go standby|can take our|(give up|acquire) \w+ HA resources|(Added|Deleted|Restored|Quiescent|Purged) \w+ server|server .* is (down|up)`)

// telling takes the head off a line of a log; ok is false for a line that the story goes without.
func telling(line string) (text string, ok bool) {
	m := logHeads.FindStringSubmatchIndex(line)
	if m == nil {
		return "", false
	}
	program := ""
	for i := 2; i < len(m); i += 2 {
		if m[i] >= 0 {
			program = line[m[i]:m[i+1]]
		}
	}
	text = strings.TrimSpace(line[m[1]:])
	return program + ": " + text, tellingLines.MatchString(text)
}
