package director

import (
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Input is something that happened.
type Input interface{ isInput() }

// ConfigRead brings a valid configuration: the first one starts the director, a later one is a
// reload. It takes effect with the next [TableRead], which the director asks for.
type ConfigRead struct{ Config *ldirectordcf.Config }

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
}

// Tick says that time has passed; it is due at [Director.Deadline].
type Tick struct{}

// Stop asks for an orderly end. Signal is what the last log line names: "TERM", "INT", ...
type Stop struct{ Signal string }

func (ConfigRead) isInput() {}
func (TableRead) isInput()  {}
func (Changed) isInput()    {}
func (Checked) isInput()    {}
func (Tick) isInput()       {}
func (Stop) isInput()       {}
