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
func (Log) isAction()         {}
func (Ready) isAction()       {}
func (Stopped) isAction()     {}
