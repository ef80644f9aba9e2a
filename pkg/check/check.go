// Package check probes real servers: one Checker per service, each under one deadline.
package check

import (
	"context"
	"net/netip"
	"time"

	"github.com/systole-ha/systole/pkg/config/systolecf"
)

// Spec is everything a checker needs to know about one probe of one real server. [SpecOf]
// makes it from a configuration.
type Spec struct {
	Service        string         // http, https, connect, ping, external, ...
	Addr           netip.AddrPort // address and port that are probed (checkport applied)
	Proto          string         // tcp, udp or fwm
	VirtualHost    string
	HasVirtualHost bool   // VirtualHost was given, perhaps empty
	Method         string // HTTP method, "GET" or "HEAD"
	Request        string // as in the file, with its leading slash
	URL            string // what http, https and http_proxy ask for
	Receive        string // Perl regular expression; empty matches anything that succeeds
	Command        string // checkcommand of external checks
	Login          string
	Password       string
	Database       string
	Secret         string
	// What a TLS server is asked and asked for, beyond the original.
	ServerName string           // for SNI and Verify; empty is VirtualHost
	Verify     systolecf.Verify // of the server's certificate
	CAFile     string           // authorities for Verify; empty is the system's
	CertWarn   time.Duration    // warn of a certificate that has less to live; 0 is never
	AgentPort  uint16           // of the real server's agent; 0 is none
	Timeout    time.Duration    // of the whole check: what the caller should give ctx
	Attempts   int              // of a ping, each with its share of Timeout
	// External checks get the virtual's and the real's address and port as arguments.
	Virtual netip.AddrPort
	FWMark  uint32
	Real    netip.AddrPort
}

// Result is a verdict with its reason. No password is in it.
type Result struct {
	Up      bool
	Reason  string        // "connection refused", "receive not found in 812 bytes"
	Monitor string        // the original's text for the monitorfile; empty means "-"
	Took    time.Duration // wall time of the probe
	Agent   string        // what the server's agent says, if it was asked and answered
	Warning string        // what is wrong although it may be up, for the log
	Log     string        // a line that the original logs whenever this happens; else empty
	Trace   []string      // transcript of a failed probe, for status --verbose
	Stack   string        // of a checker that panicked, for the log; else empty
}

// Checker probes one kind of service. Check returns by ctx's deadline whatever the server does,
// holds at most 1 MB meanwhile, and never panics out.
type Checker interface {
	Check(ctx context.Context, s Spec) Result
}
