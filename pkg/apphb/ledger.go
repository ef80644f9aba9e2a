package apphb

import (
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"
)

// Event is something to say about a client, with the original's words.
type Event struct {
	Kind EventKind
	Text string
	Name string // of the client
}

// EventKind says how bad an event is.
type EventKind uint8

// The kinds of events.
const (
	Note    EventKind = iota
	Warning           // a client has failed, or hung up
	Reboot            // so has one that the machine is not to run without
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// entry is a registered client.
type entry struct {
	id             int
	name, instance string
	pid            int32
	interval, warn time.Duration
	critical       bool
	last           time.Time // of its last heartbeat, or its sign-on
	failed         bool
}

// Ledger knows the clients and when each was heard. The zero Ledger is empty.
type Ledger struct{ entries []*entry }

func (l *Ledger) find(id int) *entry {
	if i := slices.IndexFunc(l.entries, func(e *entry) bool { return e.id == id }); i >= 0 {
		return l.entries[i]
	}
	return nil
}

// Handle takes a message of the connection with that number. answer is the error number to be sent
// back; a heartbeat has no answer (answered is false).
func (l *Ledger) Handle(now time.Time, id int, m Message) (events []Event, answer syscall.Errno, answered bool) {
	e := l.find(id)
	switch {
	case m.Kind == Register && e != nil:
		return nil, syscall.EEXIST, true
	case m.Kind == Register:
		l.entries = append(l.entries, &entry{
			id: id, name: m.Name, instance: m.Instance, pid: m.PID,
			interval: never, warn: never, last: now,
		})
		return nil, 0, true
	case e == nil && m.Kind == Beat:
		return nil, 0, false
	case e == nil:
		return nil, syscall.EBADF, true
	}
	switch m.Kind {
	case Unregister:
		l.remove(id)
	case Beat:
		return e.beat(now), 0, false
	case SetInterval:
		e.interval, e.last, e.failed = orNever(m.Time), now, false
	case SetWarn:
		e.warn = orNever(m.Time)
	case SetBoot:
		e.critical = m.Time > 0
	}
	return nil, 0, true
}

// orNever takes 0 for "do not watch".
func orNever(d time.Duration) time.Duration {
	if d <= 0 {
		return never
	}
	return d
}

func (l *Ledger) remove(id int) {
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool { return e.id == id })
}

func (e *entry) event(k EventKind, format string, args ...any) Event {
	text := fmt.Sprintf("apphb client '%s' / '%s' (pid %d) ", e.name, e.instance, e.pid) + fmt.Sprintf(format, args...)
	if k == Warning && e.critical {
		k, text = Reboot, "Critical "+text
	}
	return Event{Kind: k, Text: text, Name: e.name}
}

func (e *entry) beat(now time.Time) (events []Event) {
	if e.failed {
		e.failed = false
		events = append(events, e.event(Note, "resumed heartbeats"))
	}
	if silent := now.Sub(e.last); silent > e.warn {
		events = append(events, e.event(Note, "late heartbeat: %d ms", silent.Milliseconds()))
	}
	e.last = now
	return events
}

// Gone says that a connection has ended. A client that has not unregistered before has hung up.
func (l *Ledger) Gone(id int) []Event {
	e := l.find(id)
	if e == nil {
		return nil
	}
	l.remove(id)
	return []Event{e.event(Warning, "hangup")}
}

// Tick finds the clients that have been silent too long.
func (l *Ledger) Tick(now time.Time) (events []Event) {
	for _, e := range l.entries {
		if !e.failed && now.Sub(e.last) >= e.interval {
			e.failed = true
			events = append(events, e.event(Warning, "failed to heartbeat"))
		}
	}
	return events
}

// Deadline is when Tick is due; ok is false if nobody is watched.
func (l *Ledger) Deadline() (at time.Time, ok bool) {
	for _, e := range l.entries {
		if e.failed || e.interval == never {
			continue
		}
		if t := e.last.Add(e.interval); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}
