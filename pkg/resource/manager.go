package resource

import (
	"context"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
)

// Group is one line of haresources.
type Group struct {
	Node      string   // preferred node, lower case
	Resources []string // as written, left to right; the first is the group's key
}

// Options is what a Manager works with.
type Options struct {
	Node   string                 // own name, lower case (HA_CURHOST)
	Groups func() []Group         // haresources as it is now; called for each operation, as the original reads the file each time
	Log    *halog.Log             // where script lines go
	Agents map[string]agent.Agent // in-process agents by resource name: IPaddr, IPaddr2, IPv6addr, ipvsadm, ldirectord
	Script agent.Agent            // runs any other resource as a child (agent/script)
	Paths  Paths                  // zero value: the usual places
	Env    []string               // the daemon's environment for children: HA_* of ha.cf, as "NAME=value"
	// Say sends a message to the cluster as hb_standby does, outside of a call: the standby that
	// follows a failed start. The text is as in cluster.Said.
	Say func(text []byte)

	StopRetries   int           // HA_STOPRETRYMAX: 0 means 10; negative: for ever
	RetryDelay    time.Duration // between failed stops: 0 means 1 s
	StandbyDelay  time.Duration // from a failed start to hb_standby: 0 means 30 s
	StopFailure   StopFailure   // what to do about a resource that cannot be stopped
	Reboot        func()        // ends this machine at once; nil: nothing is done but a CRIT line
	AlwaysForeign bool          // after a failed start say "foreign" for own groups too, as the original does
}

// StopFailure is what follows when a resource is still running after the last attempt to stop it
// (systole.cf stopfailure).
type StopFailure uint8

// The answers to a failed stop.
const (
	RebootNow StopFailure = iota // the original's: protects shared data
	GoStandby                    // hb_standby, and leave the resource
	OnlyLog                      // CRIT lines only
)

// Paths are the places of scripts. Empty fields have the usual values, given here.
type Paths struct {
	HaDir      string // /etc/ha.d
	ResourceD  string // /etc/ha.d/resource.d (HA_RESOURCEDIR)
	InitD      string // /etc/init.d
	Programs   string // /usr/share/heartbeat: ResourceManager, mach_down, req_resource as log lines name them
	HaBin      string // /usr/libexec/heartbeat
	WorkingDir string // /var/lib/heartbeat/cores/root
}

// Manager takes and gives up resource groups.
type Manager struct {
	o Options
}

// New makes a Manager. It starts nothing.
func New(o Options) *Manager { return &Manager{o: o} }

// Run carries out what is due later: the standby some time after a failed start. It returns when
// ctx ends.
func (m *Manager) Run(ctx context.Context) { <-ctx.Done() }

// Do carries out one call of the engine and returns its outcome; the ID of the Done is for the
// caller to fill in. It blocks as long as the agents and scripts take, without limit, as in the
// original; when ctx ends, children are killed and the rest of the call is left undone. Calls may
// be made at the same time; operations on the same resource wait for each other.
func (m *Manager) Do(ctx context.Context, c cluster.Call) cluster.Done { return cluster.Done{} }

// Hooks are the names of the messages that are given to harc: the programs in rc.d, and the stock
// ones, which need not be there. For cluster.Config.Hooks.
func (m *Manager) Hooks() []string { return nil }

// Owned reports whether a resource is running here, as `ResourceManager status` finds it.
func (m *Manager) Owned(ctx context.Context, resource string) bool { return false }

// VerifyAllIdle looks at the key of every group, as the init script does before the daemon's start,
// logs those that are active, and returns how many there are, and the lines that the original also
// prints on standard error.
func (m *Manager) VerifyAllIdle(ctx context.Context) (active int, stderr []string) { return 0, nil }
