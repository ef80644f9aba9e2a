package media

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/systole-ha/systole/pkg/halog"
)

const (
	queueLen  = 256                    // packets that may wait to be sent
	lookEvery = time.Second            // how often a link that needs it is looked after
	drainTime = 500 * time.Millisecond // for what is still queued when the medium ends
)

// The original's limits on write error messages (write_child in heartbeat.c).
const (
	quietAfter = 11   // failed writes in a row that are reported
	quietUntil = 1000 // failed writes in a row after which reports start again
)

// link runs a medium of any kind.
type link struct {
	spec   Spec
	opts   Options
	driver driver
	queue  chan []byte
	// watched says that the kernel tells of all that makes sockets useless.
	watched bool

	// These belong to Open first, then to the goroutine of Run.
	conn   conn  // nil while the medium cannot be opened
	gone   error // why
	failed int   // failed writes in a row
	quiet  int   // those of them that were not reported
	// Packets given up unwritten that were told of, and when.
	told   uint64
	toldAt time.Time
	// Packets lost unread: by earlier sockets, and when how many were told of.
	overrunBefore, overrunTold uint64
	overrunAt                  time.Time

	up                                atomic.Bool
	sent, received, unsent, discarded atomic.Uint64
	overrun                           atomic.Uint64
}

func (l *link) Spec() Spec { return l.spec }

func (l *link) Stats() Stats {
	return Stats{
		Up: l.up.Load(), Sent: l.sent.Load(), Received: l.received.Load(),
		Failed: l.unsent.Load(), Dropped: l.discarded.Load(), Overrun: l.overrun.Load(),
	}
}

func (l *link) log(p halog.Prio, err error, format string, args ...any) {
	if l.opts.Report != nil {
		l.opts.Report(Event{Medium: l.spec, Prio: p, Text: fmt.Sprintf(format, args...), Err: err})
	}
}

func (l *link) Send(packet []byte) {
	select {
	case l.queue <- packet:
	default:
		l.discarded.Add(1)
	}
}

func (l *link) Close() error {
	if l.conn == nil {
		return nil
	}
	c := l.conn
	l.conn, l.gone, l.overrunBefore = nil, net.ErrClosed, l.overrun.Load()
	l.up.Store(false)
	if err := c.close(); err != nil {
		return fmt.Errorf("close %s: %w", l.spec, err)
	}
	return nil
}

// Run owns the sockets and is the only one that writes to them. It starts one goroutine for
// each set of sockets, which reads them, and joins it when it closes them; and one that hears the
// kernel's notices.
func (l *link) Run(ctx context.Context, deliver func(Frame)) error {
	r := runner{link: l, ctx: ctx, deliver: deliver, rush: make(chan struct{}, 1)}
	defer r.listen()()
	r.startReader()
	tick := time.NewTimer(lookEvery)
	defer tick.Stop()
	for ticking := true; ; {
		if !ticking && r.restless() {
			tick.Reset(lookEvery)
			ticking = true
		}
		select {
		case <-ctx.Done():
			r.drain()
			r.shut()
			return nil
		case packet := <-l.queue:
			r.write(packet)
		case _, more := <-r.changes:
			if !more {
				r.changes = nil
			}
			r.refit()
		case <-r.rush:
		case <-tick.C:
			ticking = false
			r.refit()
			r.reportDiscarded()
			r.reportOverrun()
		case err := <-r.reader:
			r.reader = nil
			l.driver.readFailed(l.log, err)
			r.shut()
			l.gone = err // until the next look
		}
	}
}

// runner is the state of one Run.
type runner struct {
	*link
	ctx     context.Context
	deliver func(Frame)
	reader  chan error // the reader's end: its last error
	// changes has a value when interfaces or addresses have changed; nil when nobody tells.
	changes <-chan struct{}
	rush    chan struct{} // has a value when packets come faster than they are read
}

// listen has the kernel tell of changes, until stop is called, if that is any help.
func (r *runner) listen() (stop func()) {
	if !r.watched {
		return func() {}
	}
	n, err := openNotices()
	if err != nil {
		r.log(halog.Warn, err, "%s: no notices of changed interfaces (%v): looking every %s", r.spec, err, lookEvery)
		return func() {}
	}
	r.changes = n.changed
	return n.close
}

// restless tells whether there is something to look after that no notice is sent of: the less a node
// wakes up for nothing, the less it costs.
func (r *runner) restless() bool {
	return r.conn == nil || r.changes == nil || behind(r.conn)
}

// behind tells whether packets come in faster than they are read.
func behind(c conn) bool {
	b, ok := c.(interface{ behind() bool })
	return ok && b.behind()
}

func (r *runner) startReader() {
	if r.conn == nil {
		return
	}
	c, end := r.conn, make(chan error, 1)
	r.reader = end
	go func() { end <- r.read(c) }()
}

// read delivers what comes in until reading fails, which it does when the sockets are closed.
func (r *runner) read(c conn) error {
	for {
		f, ok, err := c.receive()
		switch {
		case err != nil:
			return err
		case ok:
			if behind(c) {
				select {
				case r.rush <- struct{}{}:
				default:
				}
			}
			r.received.Add(1)
			r.deliver(f)
		}
	}
}

// shut closes the sockets and joins their reader.
func (r *runner) shut() {
	if err := r.Close(); err != nil {
		r.log(halog.Warn, err, "%s", err)
	}
	if r.reader != nil {
		<-r.reader
		r.reader = nil
	}
}

// refit opens the medium anew if its sockets no longer fit the interface. It logs when the
// interface goes and, in the original's words for a start, when it is back; nothing in between.
func (r *runner) refit() {
	if r.conn != nil {
		err := r.conn.check(r.log)
		if err == nil {
			return
		}
		r.shut()
		r.log(halog.Warn, err, "%s: %s; opening it anew.", r.spec, err)
	}
	var lines []Event
	c, err := r.driver.open(r.ctx, false, func(p halog.Prio, err error, format string, args ...any) {
		lines = append(lines, Event{Medium: r.spec, Prio: p, Text: fmt.Sprintf(format, args...), Err: err})
	})
	if err != nil {
		r.gone = err
		return
	}
	for _, e := range lines {
		r.log(e.Prio, e.Err, "%s", e.Text)
	}
	r.conn = c
	r.up.Store(true)
	r.startReader()
}

// write sends one packet. If that fails because the interface was replaced, which a closer look
// tells, it tries again on new sockets.
func (r *runner) write(packet []byte) {
	err := r.send(packet, r.opts.WriteTimeout)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		before := r.conn
		if r.refit(); r.conn != nil && r.conn != before {
			err = r.send(packet, r.opts.WriteTimeout)
		}
	}
	switch {
	case err == nil:
		r.sent.Add(1)
		if r.quiet > 0 {
			r.log(halog.Warn, nil, "write_child: %d %s messages discarded while suppressed.", r.quiet, r.spec)
		}
		r.failed, r.quiet = 0, 0
	default:
		r.writeFailed(packet, err)
		r.unsent.Add(1) // after the log: who sees the count finds the line
	}
	if time.Since(r.toldAt) >= lookEvery {
		r.reportDiscarded()
	}
}

func (r *runner) send(packet []byte, limit time.Duration) error {
	if r.conn == nil {
		return r.gone
	}
	return r.conn.send(packet, time.Now().Add(limit))
}

// writeFailed logs a failed write, unless too many failed before it. When a write took too long it
// gives up what waits behind it: that would arrive too late.
func (r *runner) writeFailed(packet []byte, err error) {
	if r.failed++; r.failed > quietUntil {
		r.failed, r.quiet = 1, 0
	}
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if r.failed > quietAfter {
		r.quiet++
		if late {
			r.flush()
		}
		return
	}
	d, own := r.driver.(impatient)
	switch {
	case late && own:
		d.timedOut(r.log)
	case late:
		r.log(halog.Error, err, "Write timeout on %s.: Interrupted system call", r.spec)
	default:
		r.driver.writeFailed(r.log, packet, err)
		r.log(halog.Error, err, "write_child: write failure on %s.: %s", r.spec, strerror(err))
	}
	if late {
		r.flush()
	}
	if r.failed == quietAfter {
		r.log(halog.Warn, nil, "Temporarily Suppressing write error messages")
		r.log(halog.Warn, nil, "Is a cable unplugged on %s?", r.spec)
	}
}

// flush gives up all packets that wait.
func (r *runner) flush() {
	for {
		select {
		case <-r.queue:
			r.discarded.Add(1)
		default:
			r.reportDiscarded()
			return
		}
	}
}

func (r *runner) reportDiscarded() {
	if n := r.discarded.Load(); n > r.told {
		r.log(halog.Warn, nil, "%d messages discarded due to write errors on %s", n-r.told, r.spec)
		r.told, r.toldAt = n, time.Now()
	}
}

// overrunQuiet is the time between two lines about packets that were lost unread.
const overrunQuiet = time.Minute

// reportOverrun tells of packets that came faster than they could be read.
func (r *runner) reportOverrun() {
	c, ok := r.conn.(interface{ overrun() uint64 })
	if !ok {
		return
	}
	n := c.overrun()
	r.overrun.Store(r.overrunBefore + n)
	if total := r.overrun.Load(); total > r.overrunTold && time.Since(r.overrunAt) >= overrunQuiet {
		r.log(halog.Warn, nil, "%d packets lost unread on %s: they come faster than they can be read", total-r.overrunTold, r.spec)
		r.overrunTold, r.overrunAt = total, time.Now()
	}
}

// drain sends what was queued before the end: a node says goodbye with its last packets.
func (r *runner) drain() {
	for end := time.Now().Add(drainTime); ; {
		select {
		case packet := <-r.queue:
			if r.send(packet, time.Until(end)) == nil {
				r.sent.Add(1)
				continue
			}
			r.unsent.Add(1)
		default:
			return
		}
	}
}
