package ldirectordcf

import (
	"net/netip"
	"time"

	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Options is what the parser needs to know of the world. The zero value resolves numeric
// addresses and ports only and tests no file.
type Options struct {
	// LookupHost returns the first address of a host name in one family. Numeric addresses,
	// the short IPv4 forms included, never get here.
	LookupHost func(name string, family ipvs.Family) (netip.Addr, error)
	// LookupPort returns the port of a service name (getservbyname). proto is "tcp" or "udp",
	// or "" for whichever protocol has it. Numbers never get here.
	LookupPort func(name, proto string) (uint16, error)
	// Writable says why a log or monitor file cannot be opened for append; nil if it can.
	Writable func(path string) error
	// DirExists says whether the maintenance directory is there.
	DirExists func(path string) bool
	// Hostname is the HOSTNAME of the environment, else the node name: part of the default
	// login of ftp and sip checks.
	Hostname string
	// Debug is ldirectord -d: the log file is not tested for writing.
	Debug bool
}

// Config is a ldirectord.cf as understood: all defaults filled in, all inheritance resolved.
type Config struct {
	File     string
	Global   Global
	Virtuals []Virtual // in file order
}

// Global is the directives outside of sections, with their defaults.
type Global struct {
	CheckTimeout     time.Duration // 0 is unset; see Virtual.CheckTimeout for the effective one
	NegotiateTimeout time.Duration // 0 is unset
	CheckInterval    time.Duration // default 10 s
	CheckCount       int           // attempts of a ping check; default 1
	FailureCount     int           // failures until a server is taken out; default 1
	Fallback         []Fallback    // fallback= and fallback6=, at most one of each
	FallbackCommand  string        // default none
	AutoReload       bool          // default no
	Callback         string        // run when the file has changed; default none
	LogFile          string        // default /var/log/ldirectord.log; see LogFacility
	Execute          []string      // further configurations to run, in file order
	Fork             bool          // default no; only makes sections' checkinterval count
	Supervised       bool          // default no
	Quiescent        bool          // default no (the code's; the original's manual says yes)
	ReaddQuiescent   bool          // default no
	CleanStop        bool          // default yes
	Email            Email
	MaintenanceDir   string // default off

	places map[string]diag.Pos // see Place
}

// Place is where a directive outside of sections has its last good value; the zero Pos if it is not there.
func (g *Global) Place(directive string) diag.Pos { return g.places[directive] }

// LogFacility returns the syslog facility that logfile= names, and false if it names a file.
func (g *Global) LogFacility() (string, bool) {
	if len(g.LogFile) > 0 && g.LogFile[0] == '/' {
		return "", false
	}
	return g.LogFile, true
}

// EmailStatus is a set of daemon states in which mail is sent (emailalertstatus).
type EmailStatus uint8

// The daemon states of emailalertstatus; EmailAll is the default.
const (
	EmailStarting EmailStatus = 1 << iota
	EmailRunning
	EmailStopping
	EmailReloading
	EmailNone EmailStatus = 0
	EmailAll              = EmailStarting | EmailRunning | EmailStopping | EmailReloading
)

// Email is the mail settings.
type Email struct {
	To     string        // emailalert, as in the file; empty is off
	Freq   time.Duration // emailalertfreq; 0 is no reminders
	Status EmailStatus
	From   string // emailalertfrom, global only
	SMTP   string // server; empty means the local sendmail
}

// CheckType is checktype=.
type CheckType uint8

// The check types. Combined is checktype=N: one negotiate, N connects.
const (
	Negotiate CheckType = iota
	Connect
	Ping
	External
	ExternalPerl
	On
	Off
	Combined
)

var checkTypeNames = [...]string{"negotiate", "connect", "ping", "external", "external-perl", "on", "off", "combined"}

// String is the word of the file; "combined" for a number.
func (c CheckType) String() string { return checkTypeNames[c] }

// Virtual is one section.
type Virtual struct {
	Pos      diag.Pos // of the virtual line
	VIP      ipvs.VIP
	Protocol string // "tcp", "udp" or "fwm"
	Reals    []Real // ranges expanded, in file order

	Fallback        *Fallback // the section's or the global one of its family; nil is none
	FallbackCommand string    // the section's or the global one

	Scheduler  string     // default wrr; not checked against a list
	Persistent uint32     // seconds; 0 is not persistent
	Netmask    uint8      // prefix length; 0 is none, or OddMask
	OddMask    netip.Addr // an IPv4 netmask that is no prefix
	SchedFlags string     // the argument of ipvsadm -b
	OnePacket  bool       // ops=yes on a udp service

	CheckType        CheckType
	Every            int    // connects between two negotiates, if Combined
	Service          string // what negotiate speaks; from the port if not given
	CheckPort        uint16 // checkport=; 0 is unset. Real.CheckPort is the effective one
	CheckCommand     string // default /bin/true
	CheckTimeout     time.Duration
	NegotiateTimeout time.Duration
	CheckInterval    time.Duration
	CheckCount       int
	FailureCount     int

	Request        string // with its leading slash; default "/"
	Receive        string // Perl regular expression; empty is anything
	HTTPMethod     string // "GET" or "HEAD"
	VirtualHost    string
	HasVirtualHost bool // virtualhost= was given; it may be empty
	Login          string
	Password       string
	Database       string
	Secret         string

	Quiescent   bool
	CleanStop   bool
	MonitorFile string
	ServiceName string
	Comment     string
	Email       Email

	// Options is what ldirectord.cf has no words for. Parse leaves it empty, which is what the
	// original does; see [Config.Extend].
	Options systolecf.Options

	places map[string]diag.Pos // see Place
}

// Place is where a directive of the section has its last good value. given is false if the section does not
// have it; then it is the virtual line.
func (v *Virtual) Place(directive string) (at diag.Pos, given bool) {
	if at, given = v.places[directive]; !given {
		at = v.Pos
	}
	return at, given
}

// Real is one real server of a section.
type Real struct {
	Pos     diag.Pos       // of the real line; equal for all addresses of a range
	Addr    netip.AddrPort // port 0 if none was given
	Forward ipvs.Forward   // Route, Masq or Tunnel
	Weight  int32          // default 1
	Upper   uint32         // u:N, 0 is none
	Lower   uint32         // l:N, 0 is none

	OwnPair bool   // the line has its own request and receive, and they count
	Request string // effective, with its leading slash
	Receive string // effective
	URL     string // what an http, https or http_proxy check asks for; empty for other services

	CheckPort uint16 // where checks go; 0 if nothing says
	pair      string // the request of the line's own pair, whether it counts or not

	// ID is the original's identity of a checked server (spec/ldirectord.md 3.1): servers of
	// equal ID in several virtuals are one.
	ID string
}

// Fallback is a server that stands in while no real server is up. Its weight is always 1.
type Fallback struct {
	Pos     diag.Pos
	Addr    netip.AddrPort // in Global, port 0 means the port of each virtual
	Forward ipvs.Forward
}

// Timeout is how long one check of this service may take, all attempts together: checktimeout
// or negotiatetimeout, whichever the original applies to the kind of check.
func (v *Virtual) Timeout() time.Duration {
	switch v.CheckedAs() {
	case "ping":
		return v.CheckTimeout * time.Duration(max(v.CheckCount, 1))
	case "connect", "external", "external-perl", "ldap", "ldaps", "radius":
		return v.CheckTimeout
	}
	return v.NegotiateTimeout
}

// Jitter is how late a check may be at most.
func (v *Virtual) Jitter() time.Duration {
	return v.CheckInterval * time.Duration(v.Options.Jitter) / 100
}
