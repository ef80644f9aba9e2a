package cluster

import (
	"time"

	"github.com/systole-ha/systole/pkg/cluster/takeover"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// Hold is which resources a node claims, from its own viewpoint.
type Hold = takeover.Hold

// The values of [Hold].
const (
	None    = takeover.None
	Local   = takeover.Local
	Foreign = takeover.Foreign
	All     = takeover.All
)

// Failback is the auto_failback directive.
type Failback = takeover.Failback

// The values of [Failback].
const (
	FailbackOn     = takeover.On
	FailbackOff    = takeover.Off
	FailbackLegacy = takeover.Legacy
)

// Config is all that the engine is told once. It is not changed by the engine.
type Config struct {
	// Node is the own name, lower case; it must be among Nodes.
	Node string
	// UUID is the own identity (hb_uuid).
	UUID hamsg.UUID
	// Generation is this run's number: higher than that of any earlier run of this node.
	Generation uint64
	// Run is a random number for this run, not 0: what packets are known by where the keys ask for
	// numbers (hmac-sha256).
	Run uint64
	// Seed feeds everything random: retransmission delays, the acknowledgement phase.
	Seed uint64
	// PID is printed in one log line of the shutdown.
	PID int

	// Nodes are the normal nodes in ha.cf order, lower case; Pings the ping nodes and groups.
	Nodes []string
	Pings []Ping
	// Links are the names of the heartbeat media in ha.cf order: interface or tty. The same
	// name may stand more than once (bcast eth0 and ucast eth0).
	Links []string

	// The times of ha.cf, all positive and with the original's defaults filled in.
	Keepalive, Deadtime, Warntime, Initdead, Deadping time.Duration
	// MaxRexmitDelay is the directive of that name (250 ms by default).
	MaxRexmitDelay time.Duration

	// Failback is auto_failback.
	Failback Failback
	// FailbackSync is how long an automatic failback may wait until the returned node knows the
	// connections of this one: see [AwaitSync]. 0 is no wait.
	FailbackSync time.Duration
	// Groups are the lines of haresources in order.
	Groups []Group
	// Sum stands for what haresources says: nodes with the same one have the same lines.
	Sum string
	// Unmanaged turns the resource layer off (heartbeat -M).
	Unmanaged bool
	// Hooks are the names of the programs in /etc/ha.d/rc.d: which messages are passed to harc.
	Hooks []string

	// Stonith is the name of the STONITH device, as log lines show it; "" is no device. With one, a node
	// that has died without giving up its resources is reset before they are taken.
	Stonith string

	// Ring holds the authentication keys.
	Ring *hbauth.Ring
	// Netstring is msgfmt netstring: no inner auth field in what we send.
	Netstring bool
	// Compress is traditional_compression: a message whose wire form is longer than CompressOver
	// bytes (compression_threshold) is sent compressed. Without it only one that would be too long
	// for any receiver is, and nested messages that ask for it.
	Compress     bool
	CompressOver int
	// Hopfudge is added to the number of nodes in the ttl field (directive hopfudge, 1 by default).
	Hopfudge int
	// QuietBadPackets is log_badpack off.
	QuietBadPackets bool
	// Load gives the text of the ld field (/proc/loadavg); nil or "" means "n/a".
	Load func() string

	// Wall gives the wall clock's time at now, for the ts field and the notice of a clock that was
	// set back; nil means that now has it. Everything else goes by the monotonic clock of now.
	Wall func(now time.Time) time.Time

	// Restarted says that this run follows an Exit with Quick set (heartbeat -R), and Held what
	// and Awaited that said.
	Restarted bool
	Held      Hold
	Awaited   []Regrouped
}

// Ping is a ping node or ping group: something that answers echo requests.
type Ping struct {
	// Name is the host as configured, or the group's name: the node's and the link's name.
	Name string
	// Plugin is "ping", "ping6" or "ping_group".
	Plugin string
}

// Group is one line of haresources.
type Group struct {
	// Node is the preferred node, lower case.
	Node string
	// Key is the first resource of the line, which names the group.
	Key string
}
