package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/systole-ha/systole/pkg/halog"
)

// Spec is one medium of ha.cf.
type Spec struct {
	Kind string   // directive: bcast, mcast, mcast6, ucast, ucast6, serial, ping, ping6, ping_group
	Name string   // interface, tty, pinged host as written, or name of the group: the link's name
	Args []string // mcast, mcast6: group, port, ttl, loop; ucast, ucast6: the peer; ping_group: the hosts
	Port int      // UDP port of bcast, ucast and ucast6; 0 is that of the Options
}

// String is "kind name", which is how ha-log names a medium.
func (s Spec) String() string { return s.Kind + " " + s.Name }

// Ping tells whether the medium pings: whether its far end is a pseudo-node that answers
// echoes, and not other heartbeats.
func (s Spec) Ping() bool { return s.Kind == "ping" || s.Kind == "ping6" || s.Kind == "ping_group" }

// Text tells whether the medium carries messages in text form, a serial line, and not as the signed
// netstrings of all others.
func (s Spec) Text() bool { return s.Kind == "serial" }

// arg is word i after the name, or "".
func (s Spec) arg(i int) string {
	if i < len(s.Args) {
		return s.Args[i]
	}
	return ""
}

// Options are what all media of a node have in common.
type Options struct {
	// Port is the UDP port of bcast, ucast and ucast6; 0 is 694.
	Port int
	// Baud is the speed of serial lines, one of 9600, 19200, 38400, 57600, 115200, 230400 and 460800;
	// 0 is 19200.
	Baud int
	// Ident is the ICMP identifier of the ping kinds: the low 16 bits of a process id. Media of
	// one daemon may share it.
	Ident uint16
	// WriteTimeout is how long a write may block before it is given up together with all
	// packets that wait; the original takes the keepalive. 0 is 2 s.
	WriteTimeout time.Duration
	// Late has a medium that cannot be opened yet opened by Run, as one whose interface comes back: for a
	// daemon that continues another's run, and must not end because an interface is away. Open does not
	// wait then, and never fails.
	Late bool
	// Report, if not nil, is told what an operator should know. It is called by Open and by Run.
	Report func(Event)
}

// Event is one thing about a medium that belongs into the log.
type Event struct {
	Medium Spec
	Prio   halog.Prio
	Text   string // the whole line after the level, in the original's words where it has any
	Err    error  // the cause of a failure, which Text names already; nil for what is merely worth knowing
}

// Frame is one packet that came in.
type Frame struct {
	From  netip.AddrPort // the sender's address, for log lines; of a ping kind without a port, of a serial line none
	Bytes []byte         // the packet, for a ping kind the payload of the reply; valid until deliver returns
}

// Stats counts what a medium has done.
type Stats struct {
	Up       bool   // its sockets are open
	Sent     uint64 // packets written; a ping group's count once for all its hosts
	Received uint64 // packets delivered
	Failed   uint64 // packets that could not be written
	Dropped  uint64 // packets given up unwritten, because too many were waiting
	Overrun  uint64 // packets lost unread, because they came too fast, as of a second ago at most
}

// Medium is one link of this node. All methods may be called from any goroutine.
type Medium interface {
	// Spec is what the medium was made from.
	Spec() Spec
	// Send queues a packet and returns at once; errors are reported as events. For a ping kind
	// the packet is the payload of one echo request to each host; for a serial line it is a message
	// in text form. The packet must not be changed afterwards.
	Send(packet []byte)
	// Run sends and receives until ctx ends, then sends what is still queued, closes the medium
	// and returns nil. Nothing short of that ends it. deliver is called by one goroutine at a
	// time, as fast as packets come in; while it waits, they pile up in the kernel, where the excess
	// is lost, so it must return when ctx ends. If the interface has come back Run opens new sockets, in the network
	// namespace of the thread it was called on.
	Run(ctx context.Context, deliver func(Frame)) error
	// Close gives back what Open took, for a medium that is never Run.
	Close() error
	// Stats are the counts so far.
	Stats() Stats
}

// logFunc takes one line for the log.
type logFunc func(p halog.Prio, err error, format string, args ...any)

// driver is what the kinds differ in.
type driver interface {
	// open opens the medium and logs what the original does. A patient one waits, for so long as the
	// original does, for a port that is taken or for an interface that has no address yet.
	open(ctx context.Context, patient bool, log logFunc) (conn, error)
	// writeFailed logs what the original does about a packet that could not be sent.
	writeFailed(log logFunc, packet []byte, err error)
	// readFailed logs what the original does about a failed read.
	readFailed(log logFunc, err error)
}

// conn is an open medium.
type conn interface {
	// send writes one packet, at the latest until the deadline.
	send(packet []byte, deadline time.Time) error
	// receive waits for a packet; ok is false for one that is not for this medium.
	receive() (f Frame, ok bool, err error)
	// check is nil as long as the sockets fit the interface. It logs what is worth knowing even then.
	check(log logFunc) error
	close() error
}

// impatient is asked of a driver whose writes have a limit of their own.
type impatient interface {
	// timedOut logs what the original does about a write that took too long.
	timedOut(log logFunc)
}

// Open opens the medium; nothing runs yet. What fails has been reported in the original's words,
// and the error says it in ours. ctx bounds the waiting: for names to be resolved, for another
// program to leave the port (up to ten seconds), and for the interface of mcast to get an address
// (up to two minutes).
func Open(ctx context.Context, s Spec, o Options) (Medium, error) {
	if s.Port != 0 {
		o.Port = s.Port
	}
	if o.Port == 0 {
		o.Port = 694
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 2 * time.Second
	}
	l := &link{spec: s, opts: o, queue: make(chan []byte, queueLen), watched: s.Kind != "serial"}
	if o.Late {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookEvery) // for names
		defer cancel()
	}
	var err error
	if l.driver, err = newDriver(ctx, s, o, l.log); err == nil {
		l.conn, err = l.driver.open(ctx, !o.Late, l.log)
	} else {
		l.driver = &lateDriver{spec: s, opts: o}
	}
	switch {
	case err == nil:
		l.up.Store(true)
	case o.Late:
		l.gone = err
		l.log(halog.Warn, err, "%s: %s; opening it when that is possible.", s, err)
	default:
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	return l, nil
}

// newDriver makes the driver of a kind. ctx bounds the resolving of names.
func newDriver(ctx context.Context, s Spec, o Options, log logFunc) (driver, error) {
	switch s.Kind {
	case "bcast":
		return newBcast(s, o), nil
	case "mcast":
		return newMcast(s)
	case "mcast6":
		return newMcast6(s, log)
	case "ucast":
		return newUcast(ctx, s, o, log)
	case "ucast6":
		return newUcast6(s, o, log)
	case "serial":
		return newSerial(s, o, log)
	case "ping":
		return newPing(ctx, s, o, log)
	case "ping6":
		return newPing6(s, o, log)
	case "ping_group":
		return newPingGroup(ctx, s, o, log)
	}
	return nil, errors.New("no such kind of medium")
}

// lateDriver makes its driver when the medium is opened: a name may not resolve before.
type lateDriver struct {
	driver // nil until it is made
	spec   Spec
	opts   Options
}

func (l *lateDriver) open(ctx context.Context, patient bool, log logFunc) (conn, error) {
	if l.driver == nil {
		d, err := newDriver(ctx, l.spec, l.opts, log)
		if err != nil {
			return nil, err
		}
		l.driver = d
	}
	return l.driver.open(ctx, patient, log)
}

func (l *lateDriver) writeFailed(log logFunc, packet []byte, err error) {
	if l.driver != nil {
		l.driver.writeFailed(log, packet, err)
	}
}
