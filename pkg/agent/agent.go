// Package agent says what a resource agent is: something that can start, stop and report one
// resource of a haresources line. An agent is either in process (IPaddr, ipvsadm, ldirectord)
// or a script run as a child.
package agent

import "context"

// Op is what is asked of an agent.
type Op string

// The operations that heartbeat's ResourceManager asks for.
const (
	Start   Op = "start"
	Stop    Op = "stop"
	Status  Op = "status"
	Monitor Op = "monitor"
)

// Call is one operation on one resource.
type Call struct {
	Op   Op
	Name string   // the resource's name as in haresources, e.g. "IPaddr"
	Args []string // its arguments, split at "::"
	Env  []string // the environment of a child, complete
	Path string   // the program to run; in-process agents stand in for it and use it in texts only
	Log  Log      // where the lines go; never nil
}

// Log takes what a resource script of the original would write. *halog.Log is one.
type Log interface {
	// Script writes a ha-log line: tag is halog.Tag's NAME(INSTANCE)[PID], text has its level word.
	Script(tag, text string)
	// Print takes what the script would have printed: it goes to the debug file only.
	Print(text string)
	// NextPID gives a number for a tag, different at each call.
	NextPID() int
}

// State is what a status operation found.
type State uint8

// What a resource can be.
const (
	Unknown State = iota
	Running
	Stopped
)

// Result is the outcome of a call.
type Result struct {
	Code   int    // exit status as a script would return it (LSB/OCF: 0 is success)
	Signal int    // the signal that killed a child, or 0
	State  State  // status and monitor only
	Output string // what the original prints on standard output, newline included; the text decides whether a resource is owned. Scripts' output of start and stop is in the debug file already
}

// Agent runs operations of one kind of resource. Run is called from one goroutine at a time
// per resource and returns when the operation is done or ctx ends. A non-nil error means the
// operation failed; Result.Code is then not 0.
type Agent interface {
	Run(ctx context.Context, c Call) (Result, error)
}

// Renewer is an Agent that has something to do when its resource's group is taken and the resource
// turns out to be running already: to announce an address, for example. It writes no log lines of
// the original's.
type Renewer interface {
	Renew(ctx context.Context, c Call) error
}

// Surrounder is an Agent whose resource decides where packets for the addresses of its group go: a
// director's table. haresources starts it after them and stops it before them; but while an address
// is up without its table, the director's own servers answer there, and a client whose request one of
// them has acknowledged waits for ever once the address is gone. So the work is done around the
// addresses: its start before they come, its stop after they have gone. What is logged keeps its order.
type Surrounder interface {
	Agent
	// Surrounds reports whether the resource can be up without its addresses.
	Surrounds() bool
	// Settle returns when what the start c began serves clients as it will, or ctx ends.
	Settle(ctx context.Context, c Call)
	// Left reports whether something of the resource is here that a process which was killed has left
	// behind. The addresses, which others look at, may not have been up yet, or not any more.
	Left(ctx context.Context, c Call) bool
}
