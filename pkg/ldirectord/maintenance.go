package ldirectord

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// How long the listing of maintenancedir, and a host's name, are good for; and how many names
// are looked up at a time.
const (
	listingAge  = 50 * time.Millisecond
	hostnameAge = time.Minute
	lookups     = 16
)

// maintenance looks for files that take servers out (maintenancedir). It is used by checks, which
// run at the same time; names are looked up behind their backs.
type maintenance struct {
	dir    string
	lookup func(ctx context.Context, addr string) ([]string, error)
	ctx    context.Context
	group  *sync.WaitGroup
	slots  chan struct{}

	mu     sync.Mutex
	files  map[string]bool
	byName bool // there are files that are named after no address
	listed time.Time
	hosts  map[netip.Addr]*hostName
}

type hostName struct {
	fqdn, short string
	at          time.Time // of the last lookup that ended
	busy        bool
}

// newMaintenance returns nil, which finds nothing, without a directory.
func newMaintenance(ctx context.Context, group *sync.WaitGroup, dir string, resolver *net.Resolver) *maintenance {
	if dir == "" {
		return nil
	}
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	return &maintenance{
		dir: dir, lookup: resolver.LookupAddr, ctx: ctx, group: group, slots: make(chan struct{}, lookups),
		hosts: map[netip.Addr]*hostName{},
	}
}

// file returns the path of the file that takes the server out, or "": ADDR:PORT, ADDR, and the same
// for the host's name and its short form.
func (m *maintenance) file(real netip.AddrPort) string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list()
	if len(m.files) == 0 {
		return ""
	}
	port := real.String()[strings.LastIndexByte(real.String(), ':'):]
	names := []string{strings.TrimSuffix(real.String(), port)}
	if m.byName {
		if h := m.host(real.Addr()); h.fqdn != "" {
			names = append(names, h.fqdn)
			if h.short != "" {
				names = append(names, h.short)
			}
		}
	}
	for _, name := range names {
		for _, file := range []string{name + port, name} {
			if !m.files[file] {
				continue
			}
			path := filepath.Join(m.dir, file)
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return ""
}

// list reads the directory unless it was read just now.
func (m *maintenance) list() {
	if time.Since(m.listed) < listingAge {
		return
	}
	m.listed = time.Now()
	m.files, m.byName = nil, false
	f, err := os.Open(m.dir)
	if err != nil {
		return // nobody is in maintenance then, as with the original
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // what can be read counts
	m.files = make(map[string]bool, len(names))
	for _, n := range names {
		m.files[n] = true
		bare := strings.TrimSuffix(strings.TrimPrefix(n, "["), "]")
		_, errAddr := netip.ParseAddr(bare)
		_, errPort := netip.ParseAddrPort(n)
		m.byName = m.byName || errAddr != nil && errPort != nil
	}
}

// host is what is known of a server's name. It is asked for in the background.
func (m *maintenance) host(a netip.Addr) *hostName {
	h := m.hosts[a]
	if h == nil {
		h = &hostName{}
		m.hosts[a] = h
	}
	if h.busy || time.Since(h.at) < hostnameAge {
		return h
	}
	h.busy = true
	m.group.Go(func() {
		fqdn := ""
		select {
		case m.slots <- struct{}{}:
			ctx, cancel := context.WithTimeout(m.ctx, lookupLimit)
			if names, err := m.lookup(ctx, a.String()); err == nil && len(names) > 0 {
				fqdn = strings.TrimSuffix(names[0], ".")
			}
			cancel()
			<-m.slots
		case <-m.ctx.Done():
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		h.fqdn, h.short, h.at, h.busy = fqdn, shortName(fqdn), time.Now(), false
	})
	return h
}

// shortName is a name up to its first dot, if that is of lower-case letters, digits and dashes.
func shortName(fqdn string) string {
	short, _, _ := strings.Cut(fqdn, ".")
	if strings.Trim(short, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	return short
}
