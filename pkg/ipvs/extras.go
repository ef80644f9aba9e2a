package ipvs

import (
	"context"
	"net/netip"
)

// What follows is for tables that can tell more than a Table must; the ipvsadm program asks for
// it by type assertion.

// Info is what `ipvsadm -L` prints in its first line.
type Info struct {
	Version  [3]uint8 // of the IPVS protocol: 1.2.1
	ConnSize uint32   // slots of the connection hash table
}

// Informer is a Table that knows its version.
type Informer interface {
	Info(ctx context.Context) (Info, error)
}

// Conn is one connection entry, as a line of /proc/net/ip_vs_conn has it.
type Conn struct {
	Protocol string // TCP, UDP, SCTP, IP for a template of a firewall mark
	Client   netip.AddrPort
	Virtual  netip.AddrPort // 0.0.0.MARK for a template of a firewall mark
	Dest     netip.AddrPort
	State    string
	Expires  uint32 // seconds
	PE       string // persistence engine; empty for none
	PEData   string
}

// ConnTable is a Table that can list its connections.
type ConnTable interface {
	Connections(ctx context.Context) ([]Conn, error)
}

// SyncRole is which half of connection synchronisation a daemon does.
type SyncRole uint8

// Roles of a sync daemon, numbered as the kernel does (IP_VS_STATE_*).
const (
	SyncMaster SyncRole = 1
	SyncBackup SyncRole = 2
)

// SyncDaemon is a kernel thread that sends or receives connection entries
// (ipvsadm --start-daemon). Zero fields but Role are the kernel's defaults.
type SyncDaemon struct {
	Role   SyncRole
	Iface  string
	SyncID uint8
	MaxLen uint16     // bytes of a message
	Group  netip.Addr // multicast group
	Port   uint16
	TTL    uint8
}

// SyncTable is a Table with connection synchronisation.
type SyncTable interface {
	// SyncDaemons lists those that run, the master first.
	SyncDaemons(ctx context.Context) ([]SyncDaemon, error)
	// StartSync starts one; ErrExists if the role is taken.
	StartSync(ctx context.Context, d SyncDaemon) error
	// StopSync ends one; ErrNoDaemon if none runs.
	StopSync(ctx context.Context, d SyncDaemon) error
}

// EveryPacket is the threshold with which the master daemon tells of a connection with each of its packets.
const EveryPacket = "0 1"

// SyncHurrier is a SyncTable whose master daemon has a threshold: with how many of its packets it tells of
// a connection (sysctl net.ipv4.vs.sync_threshold).
type SyncHurrier interface {
	// SyncThreshold is "THRESHOLD PERIOD": it tells of a connection with its packet number THRESHOLD, and
	// again with every PERIODth (Documentation/networking/ipvs-sysctl.rst).
	SyncThreshold(ctx context.Context) (string, error)
	// SetSyncThreshold changes it.
	SetSyncThreshold(ctx context.Context, threshold string) error
}
