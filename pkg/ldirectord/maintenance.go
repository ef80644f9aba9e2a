package ldirectord

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long the listing of maintenancedir, and a host's name, are good for; how long a new listing is
// waited for, which is of a check's time; and how many names are looked up at a time.
const (
	listingAge   = 50 * time.Millisecond
	hostnameAge  = time.Minute
	listingLimit = 100 * time.Millisecond
	lookups      = 16
)

// maintenance looks for files that take servers out (maintenancedir). It is used by checks, which
// run at the same time; names are looked up behind their backs, and so is the directory where it does
// not answer: until then what was in it last counts.
type maintenance struct {
	dir    string
	lookup func(ctx context.Context, addr string) ([]string, error)
	ctx    context.Context
	group  *sync.WaitGroup
	slots  chan struct{}

	mu      sync.Mutex
	listing listing
	listed  time.Time     // when it was asked for last
	reading chan struct{} // closed when it is there; nil if it is not being read
	hosts   map[netip.Addr]*hostName
}

// listing is what is in the directory.
type listing struct {
	files  map[string]bool
	byName bool // there are files that are named after no address
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
	if len(m.listing.files) == 0 {
		return ""
	}
	port := real.String()[strings.LastIndexByte(real.String(), ':'):]
	names := []string{strings.TrimSuffix(real.String(), port)}
	if m.listing.byName {
		if h := m.host(real.Addr()); h.fqdn != "" {
			names = append(names, h.fqdn)
			if h.short != "" {
				names = append(names, h.short)
			}
		}
	}
	for _, name := range names {
		for _, file := range []string{name + port, name} {
			if m.listing.files[file] {
				return filepath.Join(m.dir, file)
			}
		}
	}
	return ""
}

// list has the directory read unless that was done just now, and waits for it, but not for long. The
// lock is held, but for the waiting.
func (m *maintenance) list() {
	if m.reading == nil && time.Since(m.listed) >= listingAge {
		m.listed, m.reading = time.Now(), make(chan struct{})
		go m.read() // nobody waits for its end: the kernel may keep it for ever
	}
	left := listingLimit - time.Since(m.listed)
	if m.reading == nil || left <= 0 {
		return
	}
	reading := m.reading
	m.mu.Unlock()
	defer m.mu.Lock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-reading:
	case <-timer.C:
	}
}

// read reads the directory. If that fails, what is known of it still counts.
func (m *maintenance) read() {
	l, err := readListing(m.dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.listing = l
	}
	close(m.reading)
	m.reading = nil
}

// readListing lists a directory. Nobody is in maintenance if there is none, as with the original.
func readListing(dir string) (l listing, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	l.files = make(map[string]bool, len(entries))
	for _, e := range entries {
		n := e.Name()
		if e.Type()&fs.ModeSymlink != 0 {
			if _, err := os.Stat(filepath.Join(dir, n)); err != nil {
				continue // it leads nowhere
			}
		}
		l.files[n] = true
		bare := strings.TrimSuffix(strings.TrimPrefix(n, "["), "]")
		_, errAddr := netip.ParseAddr(bare)
		_, errPort := netip.ParseAddrPort(n)
		l.byName = l.byName || errAddr != nil && errPort != nil
	}
	return l, nil
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
