package netif

import (
	"context"
	"net"
	"net/netip"
)

// Link is a network interface.
type Link struct {
	Index    int
	Name     string
	Hardware net.HardwareAddr // empty on links without one, lo included
	MTU      int
	Up       bool // administratively
	Running  bool // has carrier
	Loopback bool
}

// Addr is an address on an interface.
type Addr struct {
	Link      string       // the interface's name, never an alias
	Prefix    netip.Prefix // the address with its prefix length, not masked
	Broadcast netip.Addr   // IPv4 only; invalid: none
	Label     string       // IPv4 only, e.g. eth0:0; empty: the interface's name
	Scope     Scope
	Secondary bool // the kernel's word on an IPv4 address whose subnet has another one already; ignored by AddAddr
	Tentative bool // IPv6: duplicate address detection is not done yet; ignored by AddAddr
}

// Scope is the kernel's scope of an address or route.
type Scope uint8

// The scopes (RT_SCOPE_…).
const (
	Universe Scope = 0
	Site     Scope = 200
	OnLink   Scope = 253
	OnHost   Scope = 254
)

// Route is an entry of a routing table.
type Route struct {
	Link   string       // outgoing interface; empty for blackhole and the like
	Dst    netip.Prefix // 0.0.0.0/0 or ::/0 for the default route
	Src    netip.Addr   // preferred source; invalid: none
	Via    netip.Addr   // gateway; invalid: directly connected
	Metric int
	Scope  Scope
}

// Table is a routing table.
type Table uint8

// The tables that are of interest.
const (
	MainTable  Table = 254
	LocalTable Table = 255
)

// Event says that an address or a link changed. Exactly one of Addr and Link is set.
type Event struct {
	Addr    *Addr
	Link    *Link
	Removed bool // the address or the link is gone
}

// Host is what can be asked and changed about addresses. Methods may be called at the same time.
// Errors have the kernel's errno within reach of errors.Is: EEXIST for an address that is there,
// EADDRNOTAVAIL for one that is not, ENODEV for an unknown interface, ESRCH for an unknown route.
type Host interface {
	// Links lists interfaces by index.
	Links() ([]Link, error)
	// Addrs lists addresses, IPv4 first, in the kernel's order.
	Addrs() ([]Addr, error)
	// Routes lists a table's routes of one family, in the kernel's order.
	Routes(t Table, v6 bool) ([]Route, error)
	// AddAddr adds an address. IPv6 addresses are usable at once (no duplicate detection). An empty
	// Broadcast means none: it is never computed here.
	AddAddr(a Addr) error
	// DelAddr removes the address with this prefix from this link, whatever its label.
	DelAddr(link string, p netip.Prefix) error
	// DelRoute removes the route to dst through link from the table main.
	DelRoute(link string, dst netip.Prefix) error
	// DelNeighbor forgets where on a link another host with this address is; ENOENT when that is not
	// known.
	DelNeighbor(link string, ip netip.Addr) error
	// SetUp brings a link up.
	SetUp(link string) error
	// Watch calls f with each change from now on, one call at a time, until ctx ends. It returns
	// when ctx has ended (nil) or the kernel's notices cannot be had any more. Linux tells of a new
	// IPv6 address from a work queue, after AddAddr has returned: of one that is deleted before
	// that, only the removal is told.
	Watch(ctx context.Context, f func(Event)) error
}
