package cluster

import (
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// Action is something that the engine wants done. Actions are carried out in the order given.
type Action interface{ isAction() }

// Send puts bytes on the media. They are signed and complete.
type Send struct {
	// Media is empty for every heartbeat medium (bcast, mcast, ucast, serial), or the name of
	// the one ping node or ping group whose echo request carries the bytes as payload.
	Media string
	Bytes []byte
	// Type is the message's type ("status", "NS_ackmsg", …); for traces, not needed to send.
	Type string
}

// Level is the severity of a log line, by the original's names.
type Level uint8

// The levels, most severe first.
const (
	Emerg Level = iota
	Alert
	Crit
	Error
	Warn
	Notice
	Info
	Debug
)

// String is the word that ha-log shows.
func (l Level) String() string {
	words := [...]string{"EMERG", "ALERT", "CRIT", "ERROR", "WARN", "notice", "info", "debug"}
	if int(l) < len(words) {
		return words[l]
	}
	return "info"
}

// Log is one line of entity heartbeat. Text is what follows "LEVEL: ".
type Log struct {
	Level Level
	Text  string
	// Job is 0 for a line of the master control process, else the number of the job (in the
	// original a forked child, which logs under its own pid) whose line it is.
	Job int
}

// Verb says which program of the original a [Call] stands for.
type Verb string

// The programs that heartbeat's children call.
const (
	// ReqResource is `req_resource KEY`: look whether the group is owned; if not, say so by a
	// message (see [Done]): ip-request-resp to ourselves if HA_NICEFAILBACK or HA_DONTASK is
	// "yes", else ip-request.
	ReqResource Verb = "req_resource"
	// TakeGroup is `ResourceManager takegroup KEY`.
	TakeGroup Verb = "takegroup"
	// GiveGroup is `ResourceManager givegroup KEY`.
	GiveGroup Verb = "givegroup"
	// DropGroup has no counterpart in the original: give the group as GiveGroup does if its key
	// resource is running here, else do and log nothing. It is called some seconds after the start
	// for groups that we do not hold, but may have held when an earlier run was killed.
	DropGroup Verb = "dropgroup"
	// KeepGroup has no counterpart either, and runs nothing: what has left one line of haresources
	// stays here, as it is in another line that is ours, and is known by that one alone from now on.
	KeepGroup Verb = "keepgroup"
	// Harc is `harc TYPE`: run rc.d/TYPE. Stock scripts: status (which calls mach_down for a dead
	// node), ip-request, ip-request-resp, hb_takeover.
	Harc Verb = "harc"
)

// Call is one program run.
type Call struct {
	Verb Verb
	// Arg is the key of the group (its first resource), or for Harc the type in lower case.
	Arg string
	// Env is what the program gets besides the daemon's environment, as "NAME=value": for Harc
	// HA_<field> for each text field of the message, in the message's order, and HA_OSTATUS;
	// HA_NICEFAILBACK=yes unless auto_failback is legacy; HA_DONTASK=yes if no other node is active.
	Env []string
}

// Getenv is the value of name in Env, or "".
func (c Call) Getenv(name string) string {
	for _, kv := range c.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// String is the command line as the original's log lines show it.
func (c Call) String() string {
	switch c.Verb {
	case ReqResource:
		return "/usr/share/heartbeat/req_resource " + c.Arg
	case Harc:
		return "/etc/ha.d//harc " + c.Arg
	default:
		return "/usr/share/heartbeat/ResourceManager " + string(c.Verb) + " " + c.Arg
	}
}

// Run asks for a call. It is answered by [Done] with the same ID, whatever happens: the engine
// knows the call as pending until then. The engine asks for one call at a time; the next Run
// comes only after the Done of the one before.
type Run struct {
	ID int
	// Job is the job the call belongs to, as in [Log].
	Job  int
	Call Call
}

// Stonith asks for the STONITH device: to reset a node, or, with Node empty, to tell whether it works.
// It is answered by [StonithDone] with the same ID, whatever happens. It runs beside calls, and
// more than one may be under way.
type Stonith struct {
	ID int
	// Job is as in [Log].
	Job  int
	Node string
}

// NodeChanged says that a node's status is now Status: "init", "up", "active", "dead", "ping".
type NodeChanged struct {
	Node, Status string
}

// LinkChanged says that a link to a node is now Status: "up" or "dead".
type LinkChanged struct {
	Node, Link, Status string
}

// Kind says what sort of message a [Deliver] carries; API clients choose kinds by a mask.
type Kind uint8

// The kinds, with the original's values (KEEPIT, NOCHANGE, DROPIT, DUPLICATE, APICALL, PROTOCOL).
const (
	Kept      Kind = 1
	NoChange  Kind = 2
	Dropped   Kind = 4
	Duplicate Kind = 8
	APICall   Kind = 16
	Protocol  Kind = 32
)

// Deliver offers a message to the API clients. Msg is not changed after that.
type Deliver struct {
	Kind Kind
	Msg  *hamsg.Msg
}

// CommUp says that communication with all nodes is up, or they are known to be dead, and that the
// node is now active: time to open the API socket and to start the managed clients. It comes
// once, and not if a shutdown is pending.
type CommUp struct{}

// StopClients asks that the managed clients be stopped, last started first. It is answered by
// [ClientsStopped], at once if there are none (any more); it may come again.
type StopClients struct{}

// AwaitSync asks for [Synced] as soon as the other node's connection table is in sync with ours; with
// On false nobody waits for that any more.
type AwaitSync struct{ On bool }

// SaveDeleted asks that the list of deleted nodes (delhostcache) be written.
type SaveDeleted struct {
	Nodes []string
}

// Exit ends the daemon. No action follows it, and the engine is to be thrown away.
type Exit struct {
	// Code is the exit status if Restart is not set.
	Code int
	// Restart asks for a new start of the daemon after a silence of Wait. Its generation must
	// be a higher one.
	Restart bool
	Wait    time.Duration
	// Quick says that the resources are still held (restart for a changed ha.cf): the new daemon
	// is to be told Held (its option -C) by [Config.Restarted] and [Config.Held].
	Quick bool
	Held  Hold
	// Awaited are lines that are ours, and that the other node had not given up yet: [Config.Awaited].
	Awaited []Regrouped
}

func (Send) isAction()        {}
func (Log) isAction()         {}
func (Run) isAction()         {}
func (Stonith) isAction()     {}
func (NodeChanged) isAction() {}
func (LinkChanged) isAction() {}
func (Deliver) isAction()     {}
func (CommUp) isAction()      {}
func (StopClients) isAction() {}
func (AwaitSync) isAction()   {}
func (SaveDeleted) isAction() {}
func (Exit) isAction()        {}
