package director

import (
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Input is something that happened.
type Input interface{ isInput() }

// ConfigRead brings a valid configuration: the first one starts the director, a later one is a
// reload. It takes effect with the next [TableRead], which the director asks for.
type ConfigRead struct {
	Config  *ldirectordcf.Config
	Drained []Server // as in Drain, from then on
}

// TableRead answers [ReadTable]: the whole table, or why it could not be read. Every [Change]
// asked for before the ReadTable has been answered by then; none asked for after it is in
// Entries. The director keeps Entries.
type TableRead struct {
	Entries []ipvs.Entry
	Err     error
}

// Changed answers the oldest [Change] that has no answer yet.
type Changed struct{ Err error }

// Checked answers [StartCheck].
type Checked struct {
	ID     uint64 // of the StartCheck
	Up     bool
	Reason string // why it is not up; for a log line
	// Maintenance names the file of maintenancedir that takes the server out; then nobody asked it.
	Maintenance string
	Took        time.Duration // how long the check took
	Monitor     string        // for the monitorfile; empty is "-"
	Trace       []string      // what was said in a failed check
	Agent       string        // what the server's agent says; empty if it was not asked or did not answer
	Warning     string        // what is wrong although the server may be up
	Log         string        // a line about this check, whatever comes of it; or empty
}

// Drain gives the whole list of servers that are to get no new connections. They stay drained over
// reloads. Servers that are not in the configuration count for nothing.
type Drain struct{ Servers []Server }

// Refresh asks for the table to be read now: somebody looks at its counters.
type Refresh struct{}

// Tick says that time has passed; it is due at [Director.Deadline].
type Tick struct{}

// Stop asks for an orderly end. Signal is what the last log line names: "TERM", "INT", ...
type Stop struct{ Signal string }

func (ConfigRead) isInput() {}
func (TableRead) isInput()  {}
func (Changed) isInput()    {}
func (Checked) isInput()    {}
func (Drain) isInput()      {}
func (Refresh) isInput()    {}
func (Tick) isInput()       {}
func (Stop) isInput()       {}
