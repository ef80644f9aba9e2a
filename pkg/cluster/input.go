package cluster

import "github.com/systole-ha/systole/pkg/hbauth"

// Input is something that happened. The engine is told of it with [Engine.Step].
type Input interface{ isInput() }

// Tick says that time has passed, no more. It is due at [Engine.Deadline] at the latest;
// earlier or extra ticks do no harm.
type Tick struct{}

// Received is one datagram, or one message of a serial line, exactly as it came. It may hold
// anything: what does not decode or verify is counted, logged at a limited rate, and dropped.
type Received struct {
	// Link is the name of the medium it came in on: the interface or tty, or the ping node or
	// group for the payload of an ICMP echo reply.
	Link string
	// From is the sender's address as the medium knows it; for log lines only, may be empty.
	From  string
	Bytes []byte
}

// Sighted tells of packets of another node that a [Screen] has kept out because they may be copies from
// the past. Once the node hears which of its runs they were of, its next one shows that they are not.
type Sighted struct {
	Node string
	Run  uint64
}

// Said is one message that a local program sent to the cluster: the text between and including
// ">>>" and "<<<" that hb_standby, hb_takeover, req_resource, mach_down, the rc.d scripts and
// API clients write to the FIFO. Unsigned, without control fields.
type Said struct {
	Text []byte
}

// Done answers [Run]: the call has ended.
type Done struct {
	// ID is the Run's.
	ID int
	// Code is the call's exit status as its script would return it; 0 is success. For
	// req_resource 0 covers both "owned already" and "asked for".
	Code int
	// Signal is the number of the signal that killed it, or 0.
	Signal int
	// Say holds the messages that the script would have written to the FIFO, in order, in the
	// form of [Said]. A script that ran as a child has written them to the real FIFO instead.
	Say [][]byte
}

// StonithDone answers [Stonith]: the device has done, or not done, what it was asked.
type StonithDone struct {
	ID     int
	Result StonithResult
	// PID is the number of the process that asked the device; for a log line.
	PID int
}

// StonithResult is what a STONITH device has said.
type StonithResult uint8

// The results of a device that are told apart.
const (
	StonithOK      StonithResult = iota
	StonithBadHost               // it does not control that node
	StonithFailed
)

// Synced answers [AwaitSync]: the other node knows our connections, or there is no sense in waiting.
type Synced struct{}

// ClientsStopped answers [StopClients]: no managed client is left.
type ClientsStopped struct{}

// Shutdown asks for an orderly end, as SIGTERM does; with Restart set, for the end that the
// original calls "shutdown with restart" (resources are given up, the daemon starts anew).
type Shutdown struct {
	Restart bool
}

// Reread asks for what SIGHUP does. The caller has looked at the files.
type Reread struct {
	// ConfigChanged says that ha.cf has changed and is valid: the daemon restarts at once and
	// keeps its resources, as the original does.
	ConfigChanged bool
	// Ring, if not nil, is the new content of authkeys, valid.
	Ring *hbauth.Ring
	// Regroup, if not nil, is what has changed in haresources.
	Regroup *Regroup
}

func (Tick) isInput()           {}
func (Received) isInput()       {}
func (Sighted) isInput()        {}
func (Said) isInput()           {}
func (Done) isInput()           {}
func (StonithDone) isInput()    {}
func (Synced) isInput()         {}
func (ClientsStopped) isInput() {}
func (Shutdown) isInput()       {}
func (Reread) isInput()         {}
