// Package ipvs describes an IPVS table: virtual services, their destinations, and the
// operations that turn one table into another. It also reads and writes ipvsadm's rule text
// and listings. It does no I/O: a [Table] does, in one of the packages below this one.
package ipvs

import (
	"context"
	"errors"
	"net/netip"
)

// Schedulers are those of Linux 6.1, in the order of its Kconfig.
var Schedulers = []string{"rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"}

// Protocol is the IP protocol number of a service; zero for a firewall mark.
type Protocol uint8

// The protocols that IPVS balances.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Family tells IPv4 from IPv6.
type Family uint8

// The two address families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// VIP names a service in a table. It is comparable and is the key of a service: either
// protocol, address and port, or a firewall mark and a family.
type VIP struct {
	Protocol Protocol
	Addr     netip.AddrPort // invalid for a firewall mark
	FWMark   uint32         // 0 unless the service is a firewall mark
	Family   Family
}

// Scheduler flags (ipvsadm -b flag-1, flag-2, flag-3 and their per-scheduler names).
const (
	SchedFlag1 uint32 = 1 << iota
	SchedFlag2
	SchedFlag3
)

// Service is a virtual service without its destinations.
type Service struct {
	VIP
	Scheduler  string     // rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh, ...
	Persistent uint32     // seconds; 0 is not persistent
	Netmask    uint8      // prefix length of persistence; 0 means the whole address (32 or 128)
	OddMask    netip.Addr // instead of Netmask: an IPv4 mask that is no prefix of 1 to 32 bits (255.0.255.0, 0.0.0.0)
	OnePacket  bool       // ipvsadm -o
	SchedFlags uint32
	PE         string // persistence engine; "sip" or empty
}

// Forward is the packet forwarding method of a destination.
type Forward uint8

// Forwarding methods, numbered as the kernel does (IP_VS_CONN_F_*).
const (
	Masq   Forward = 0 // ipvsadm -m
	Local  Forward = 1 // the kernel's own choice for a local address
	Tunnel Forward = 2 // ipvsadm -i
	Route  Forward = 3 // ipvsadm -g, direct routing
	Bypass Forward = 4
)

// TunnelType is how a Tunnel destination is encapsulated.
type TunnelType uint8

// Encapsulations.
const (
	IPIP TunnelType = iota
	GUE
	GRE
)

// Tunnel checksum flags (ipvsadm --tun-nocsum, --tun-csum, --tun-remcsum).
const (
	TunNoCsum  uint16 = 0
	TunCsum    uint16 = 1
	TunRemCsum uint16 = 2
)

// Dest is a real server as a service's destination. Its key within the service is Addr.
type Dest struct {
	Addr           netip.AddrPort
	Forward        Forward
	Weight         int32
	UpperThreshold uint32 // ipvsadm -x; 0 is none
	LowerThreshold uint32 // ipvsadm -y; 0 is none
	TunType        TunnelType
	TunPort        uint16
	TunFlags       uint16
}

// Stats are the kernel's counters and rates of a service or destination.
type Stats struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
	CPS, InPPS, OutPPS, InBPS, OutBPS         uint64
}

// DestEntry is a destination with what a table counts for it.
type DestEntry struct {
	Dest
	ActiveConns, InactConns, PersistConns uint32
	Stats                                 Stats
}

// Entry is one service of a table with its destinations.
type Entry struct {
	Service
	Dests []DestEntry
	Stats Stats
}

// OpKind says what an [Op] does.
type OpKind uint8

// The operations of a table, one ipvsadm command each.
const (
	AddService  OpKind = iota // -A
	EditService               // -E
	DelService                // -D
	AddDest                   // -a
	EditDest                  // -e
	DelDest                   // -d
	Flush                     // -C
	Zero                      // -Z; all services when VIP is the zero value
)

// Op is one change of a table. Service's VIP names the service in every kind but Flush; Dest
// is used by the Dest kinds only.
type Op struct {
	Kind    OpKind
	Service Service
	Dest    Dest
}

// Caps is what a table cannot do, or does differently; the conformance suite asks it.
type Caps struct {
	Name       string // "model", "kernel", "userspace"
	Forwards   []Forward
	Schedulers []string // nil means whatever the kernel loads
	SCTP       bool
	FWMark     bool
	OnePacket  bool
}

// Timeouts are the idle times of connection entries in seconds (ipvsadm --set); 0 leaves a value as it is.
type Timeouts struct{ TCP, TCPFin, UDP uint32 }

// Table is an IPVS table. Implementations: model, kernel, userspace.
//
// Do's errors satisfy errors.Is with the sentinels below and, where the kernel refused,
// with its errno.
type Table interface {
	// Snapshot lists all services with destinations and counters; an empty table is an empty slice.
	Snapshot(ctx context.Context) ([]Entry, error)
	// Do carries out one operation.
	Do(ctx context.Context, op Op) error
	Timeouts(ctx context.Context) (Timeouts, error)
	SetTimeouts(ctx context.Context, t Timeouts) error
	Caps() Caps
	Close() error
}

// What a table refuses.
var (
	ErrExists      = errors.New("already exists")
	ErrNoService   = errors.New("no such service")
	ErrNoDest      = errors.New("no such destination")
	ErrNoScheduler = errors.New("no such scheduler or persistence engine")
	ErrNoDaemon    = errors.New("no such sync daemon")
)
