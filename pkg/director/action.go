package director

import (
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Action is something to be done. Actions are carried out in the order given.
type Action interface{ isAction() }

// StartCheck asks for one check of Real as Virtual says, without waiting for it. It is answered
// by [Checked] with the same ID, once, by At+Timeout or soon after.
type StartCheck struct {
	ID      uint64
	Virtual *ldirectordcf.Virtual // the first service that has this server
	Real    *ldirectordcf.Real
	Connect bool // the connect step of checktype=N
	At      time.Time
	Timeout time.Duration
}

// CancelCheck says that nobody waits for the answer to a StartCheck any more.
type CancelCheck struct{ ID uint64 }

// ReadTable asks for the table as it is after all changes asked for so far. It is answered by
// [TableRead].
type ReadTable struct{}

// Change asks for one operation on the table. Changes and ReadTables are carried out one after
// the other; each Change is answered by [Changed], whatever happens.
type Change struct{ Op ipvs.Op }

// Mail asks for one mail about a server of Virtual, to those whom Virtual.Email names. What it is
// about is in the log already.
type Mail struct {
	Virtual *ldirectordcf.Virtual
	Text    string // of the log line
	State   State  // when it happened
}

// Monitor is one line for a monitorfile, without its date and process id.
type Monitor struct{ File, Text string }

// FallbackCommand asks for one run of Virtual's fallbackcommand, without waiting for it. Those of
// one Virtual.ID are run one after the other.
type FallbackCommand struct {
	Virtual *ldirectordcf.Virtual
	Word    string // "start" when no real server is up, "stop" when one is
}

// Log is one line of ldirectord's log.
type Log struct{ Text string }

// Ready says that the first configuration's services are in the table. It is given once.
type Ready struct{}

// Stopped says that the table is as it is to be left, and ends the director.
type Stopped struct{}

func (StartCheck) isAction()  {}
func (CancelCheck) isAction() {}
func (ReadTable) isAction()   {}
func (Change) isAction()      {}
func (Mail) isAction()        {}
func (Monitor) isAction()     {}
func (Log) isAction()         {}
func (Ready) isAction()       {}
func (Stopped) isAction()     {}

func (FallbackCommand) isAction() {}
