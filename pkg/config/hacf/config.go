package hacf

import (
	"time"

	"github.com/systole-ha/systole/pkg/diag"
)

// Config is a ha.cf as understood. The tags are the directives' names, where they differ from the fields'.
type Config struct {
	File  string
	Nodes []Node   // in file order, lower case; duplicates are kept, as the original keeps them
	Media []Medium // in file order

	Keepalive time.Duration // default 1 s
	Deadtime  time.Duration // default 30 s
	Warntime  time.Duration // default half of deadtime
	Initdead  time.Duration // default derived from deadtime
	Deadping  time.Duration // default deadtime

	Failback       Failback      `json:"auto_failback"` // default legacy
	Hopfudge       int           // default 1
	MaxRexmitDelay time.Duration `json:"max_rexmit_delay"` // default 250 ms
	UDPPort        int           // default 694
	Baud           int           // default 19200
	Msgfmt         string        // classic or netstring
	LogBadPack     bool          `json:"log_badpack"` // default true

	LogFile, DebugFile string        // empty: none
	LogFacility        string        // empty or "none": no syslog
	SyslogMsgFmt       bool          // default true
	UseLogd            bool          `json:"use_logd"`
	ConnLogdTime       time.Duration `json:"conn_logd_time"` // default 60 s
	Debug              int           // 0 to 255

	Clients  []Client  `json:"respawn"` // respawn and failfast
	APIAuth  []APIAuth // apiauth, file order
	Stonith  *Stonith  // the last stonith or stonith_host that applies to this node
	Watchdog string

	Realtime               bool // default true
	RTPrio                 int  // default 1
	MemReserve             int  // kB, default 6500
	CoreDumps              bool // default true
	CoreRoot               string
	GenMethod              string   `json:"hbgenmethod"` // file or time
	UUIDFrom               string   // file or nodename
	Autojoin               string   // none; other and any are refused in haresources mode
	Cluster                string   // default linux-ha
	Pacemaker              string   // as written; haresources mode only starts with a false value
	Compression            string   // zlib or bz2
	CompressionThreshold   int      `json:"compression_threshold"` // kB, default 2
	TraditionalCompression bool     `json:"traditional_compression"`
	UseApphbd              bool     `json:"use_apphbd"`
	Env                    []string // NAME=VALUE of env directives

	// Params are the recorded parameters, raw as written or as defaulted, in the order of the
	// original's directive table: what children get as HA_NAME and clients by getparm.
	Params []Param `json:"-"`

	places map[string]diag.Pos // the last of each directive, which counts
	lost   bool                // see MediaLost
}

// MediaLost tells whether a line was refused that is, or may have been meant as, a medium's: then what Media
// lacks may be lacking because of that.
func (c *Config) MediaLost() bool { return c.lost }

// Place is where a directive stands last; the file alone if it is not there.
func (c *Config) Place(directive string) diag.Pos {
	if pos, ok := c.places[directive]; ok {
		return pos
	}
	return diag.Pos{File: c.File}
}

// Param is a recorded parameter.
type Param struct {
	Name, Value string
	Default     bool // the file does not give it
}

// Param returns a recorded parameter's value; ok is false for one that was not recorded.
func (c *Config) Param(name string) (value string, ok bool) {
	for _, p := range c.Params {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Node is one word of a node directive.
type Node struct {
	Name string
	Pos  diag.Pos
}

// Medium is one medium: a heartbeat link or something to ping.
type Medium struct {
	Kind string   // bcast, mcast, mcast6, ucast, ucast6, serial, ping, ping6, ping_group
	Name string   // interface, tty, host or group name: how logs and clients call it
	Args []string // what follows the name
	// Port is the UDP port of bcast, ucast and ucast6; 0 for other kinds. It is the udpport that
	// held at the file's first medium of the kind: a later udpport line does not reach it.
	Port int
	Pos  diag.Pos
}

// Ping tells whether the medium's far end is a ping node and not a heartbeat.
func (m Medium) Ping() bool { return m.Kind == "ping" || m.Kind == "ping6" || m.Kind == "ping_group" }

// Failback is auto_failback.
type Failback uint8

// The values of auto_failback; Legacy is what its absence means.
const (
	Legacy Failback = iota
	On
	Off
)

// String is the word of the file.
func (f Failback) String() string { return [...]string{"legacy", "on", "off"}[f] }

// Client is a respawn or failfast directive.
type Client struct {
	User     string
	Command  string // verbatim: program and arguments
	Failfast bool
	Pos      diag.Pos
}

// APIAuth is an apiauth directive: who may sign on as that client.
type APIAuth struct {
	Client     string
	UIDs, GIDs []string // names or numbers
	Pos        diag.Pos
}

// Stonith is a stonith device.
type Stonith struct {
	Type   string
	Config string // stonith: the configuration file
	Params string // stonith_host: the rest of the line
	Pos    diag.Pos
}

// Host is what the parser asks about the machine. A nil function is not asked. Errors are what the
// system call said, without the name that was asked about: they become part of the original's text.
type Host struct {
	Node        string                 // own node name; "" leaves checks that need it out
	UserExists  func(name string) bool // respawn's and apiauth's users
	GroupExists func(name string) bool // apiauth's groups
	Executable  func(path string) bool // respawn's program
	// CheckLink looks at the interface of a bcast, which needs an IPv4 address (SIOCGIFBRDADDR), of a mcast,
	// which needs one too, and of a mcast6 or ucast6, which has to be there. A ucast's is not looked at.
	CheckLink     func(kind, name string) error
	LinkIndex     func(name string) (int, error) // the interface's number, for the zone of a ucast6's peer
	CheckTTY      func(path string) error        // serial's device; errors.Is fs.ErrNotExist when there is nothing
	ServiceOfPort func(port int) string          // the udp service registered for a port; "" is none
	// Resolve looks a host of ping, ping_group, ucast (IPv4) or ping6 up. Addresses in figures do not get here.
	Resolve func(host string, ipv6 bool) error
	// StonithType tells whether there is a stonith plugin of that name, StonithNames what its parameters
	// are called, ReadFile what a stonith's file says.
	StonithType  func(name string) bool
	StonithNames func(plugin string) ([]string, error)
	ReadFile     func(path string) ([]byte, error)
	// PortOfService tells whether a UDP service of that name is registered.
	PortOfService func(name string) error
	// Default udpport: what the service "ha-cluster" has; 0 means 694.
	HAClusterPort int
}
