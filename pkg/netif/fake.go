package netif

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Fake is a Host in memory for tests. It refuses what the kernel refuses and keeps the routes that
// the kernel makes for addresses: of a link that is up, the connected ones and the local ones.
type Fake struct {
	// Fail, if set, is asked before each change; an error makes the change fail. op is "add",
	// "delete", "route" or "up"; what is the address, prefix or link.
	Fail func(op, what string) error

	mu        sync.Mutex
	links     []Link
	addrs     []Addr
	routes    []Route                        // added by AddRoute only
	neighbors map[string]map[netip.Addr]bool // by link
	watchers  map[int]func(Event)
	next      int
}

// NewFake makes a host with lo (127.0.0.1/8) and the named interfaces, all up.
func NewFake(names ...string) *Fake {
	f := &Fake{watchers: map[int]func(Event){}, neighbors: map[string]map[netip.Addr]bool{}}
	f.links = append(f.links, Link{Index: 1, Name: "lo", MTU: 65536, Up: true, Running: true, Loopback: true})
	for i, n := range names {
		f.links = append(f.links, Link{
			Index: i + 2, Name: n, MTU: 1500, Up: true, Running: true, Hardware: net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 2)},
		})
	}
	f.addrs = append(f.addrs, Addr{Link: "lo", Prefix: netip.MustParsePrefix("127.0.0.1/8"), Scope: OnHost, Label: "lo"})
	return f
}

// AddRoute adds a route to the table main.
func (f *Fake) AddRoute(r Route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes = append(f.routes, r)
}

// SetDown takes a link down: its routes go, its IPv6 addresses too, as in the kernel.
func (f *Fake) SetDown(link string) {
	f.mu.Lock()
	var events []Event
	for i := range f.links {
		if l := &f.links[i]; l.Name == link {
			l.Up, l.Running = false, false
			c := *l
			events = append(events, Event{Link: &c})
		}
	}
	f.routes = slices.DeleteFunc(f.routes, func(r Route) bool { return r.Link == link })
	f.addrs = slices.DeleteFunc(f.addrs, func(a Addr) bool {
		gone := a.Link == link && a.Prefix.Addr().Is6()
		if gone {
			events = append(events, Event{Addr: &a, Removed: true})
		}
		return gone
	})
	f.tell(events)
}

// tell releases f.mu and then calls the watchers.
func (f *Fake) tell(events []Event) {
	var to []func(Event)
	for i := range f.next {
		if w, ok := f.watchers[i]; ok {
			to = append(to, w)
		}
	}
	f.mu.Unlock()
	for _, e := range events {
		for _, w := range to {
			w(e)
		}
	}
}

func (f *Fake) link(name string) *Link {
	for i := range f.links {
		if f.links[i].Name == name {
			return &f.links[i]
		}
	}
	return nil
}

func (f *Fake) refuse(op, what string) error {
	if f.Fail == nil {
		return nil
	}
	return f.Fail(op, what)
}

// Links is Host.
func (f *Fake) Links() ([]Link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.links), nil
}

// Addrs is Host.
func (f *Fake) Addrs() ([]Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.addrs)
	slices.SortStableFunc(out, func(a, b Addr) int {
		if d := a.Prefix.Addr().BitLen() - b.Prefix.Addr().BitLen(); d != 0 {
			return d
		}
		return f.link(a.Link).Index - f.link(b.Link).Index
	})
	return out, nil
}

// Routes is Host.
func (f *Fake) Routes(t Table, v6 bool) ([]Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Route
	defer func() { // the kernel's order: by network, longer prefixes first
		slices.SortStableFunc(out, func(a, b Route) int {
			return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), b.Dst.Bits()-a.Dst.Bits())
		})
	}()
	if t == MainTable {
		for _, r := range f.routes {
			if r.Dst.Addr().Is6() == v6 {
				out = append(out, r)
			}
		}
	}
	for _, a := range f.addrs {
		l, ip := f.link(a.Link), a.Prefix.Addr()
		if ip.Is6() != v6 || !l.Up {
			continue
		}
		var src netip.Addr
		if !v6 {
			src = ip
		}
		switch {
		case t == LocalTable:
			if l.Loopback && !a.Secondary && !a.Prefix.IsSingleIP() {
				out = append(out, Route{Link: a.Link, Dst: a.Prefix.Masked(), Src: src, Scope: OnHost})
			}
			out = append(out, Route{Link: a.Link, Dst: netip.PrefixFrom(ip, ip.BitLen()), Src: src, Scope: OnHost})
		case !l.Loopback && !a.Secondary && !a.Prefix.IsSingleIP():
			scope := OnLink
			if v6 {
				scope = Universe
			}
			out = append(out, Route{Link: a.Link, Dst: a.Prefix.Masked(), Src: src, Scope: scope})
		}
	}
	return out, nil
}

// AddAddr is Host.
func (f *Fake) AddAddr(a Addr) error {
	if err := checkLabel(a); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("add address %s to %s: %w", a.Prefix, a.Link, err) }
	f.mu.Lock()
	if err := f.refuse("add", a.Prefix.String()); err != nil {
		f.mu.Unlock()
		return fail(err)
	}
	l := f.link(a.Link)
	if l == nil {
		f.mu.Unlock()
		return fail(unix.ENODEV)
	}
	a.Secondary = false
	for _, b := range f.addrs {
		if b.Link != a.Link {
			continue
		}
		if b.Prefix == a.Prefix || a.Prefix.Addr().Is6() && b.Prefix.Addr() == a.Prefix.Addr() {
			f.mu.Unlock()
			return fail(unix.EEXIST)
		}
		if a.Prefix.Addr().Is4() && !b.Secondary && b.Prefix.Masked() == a.Prefix.Masked() {
			a.Secondary = true
		}
	}
	if a.Prefix.Addr().Is4() {
		if a.Label == "" {
			a.Label = a.Link
		}
	} else {
		a.Label, a.Broadcast = "", netip.Addr{}
	}
	f.addrs = append(f.addrs, a)
	f.tell([]Event{{Addr: &a}})
	return nil
}

// DelAddr is Host. As in the kernel (promote_secondaries off), the secondary addresses of a primary
// one go with it.
func (f *Fake) DelAddr(link string, p netip.Prefix) error {
	fail := func(err error) error { return fmt.Errorf("delete address %s from %s: %w", p, link, err) }
	f.mu.Lock()
	if err := f.refuse("delete", p.String()); err != nil {
		f.mu.Unlock()
		return fail(err)
	}
	if f.link(link) == nil {
		f.mu.Unlock()
		return fail(unix.ENODEV)
	}
	i := slices.IndexFunc(f.addrs, func(a Addr) bool { return a.Link == link && a.Prefix == p })
	if i < 0 {
		f.mu.Unlock()
		return fail(unix.EADDRNOTAVAIL)
	}
	gone := f.addrs[i]
	events := []Event{{Addr: &gone, Removed: true}}
	f.addrs = slices.DeleteFunc(f.addrs, func(a Addr) bool {
		if a.Link != link {
			return false
		}
		with := !gone.Secondary && a.Secondary && a.Prefix.Masked() == p.Masked()
		if with {
			events = append(events, Event{Addr: &a, Removed: true})
		}
		return with || a.Prefix == p
	})
	f.tell(events)
	return nil
}

// AddNeighbor makes a host known on a link.
func (f *Fake) AddNeighbor(link string, ip netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.neighbors[link] == nil {
		f.neighbors[link] = map[netip.Addr]bool{}
	}
	f.neighbors[link][ip] = true
}

// DelNeighbor is Host.
func (f *Fake) DelNeighbor(link string, ip netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := error(unix.ENOENT)
	switch {
	case f.link(link) == nil:
		err = unix.ENODEV
	case f.neighbors[link][ip]:
		delete(f.neighbors[link], ip)
		return nil
	}
	return fmt.Errorf("delete neighbour %s from %s: %w", ip, link, err)
}

// DelRoute is Host.
func (f *Fake) DelRoute(link string, dst netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.refuse("route", dst.String())
	if err == nil {
		n := len(f.routes)
		f.routes = slices.DeleteFunc(f.routes, func(r Route) bool { return r.Link == link && r.Dst == dst })
		if len(f.routes) < n {
			return nil
		}
		err = unix.ESRCH
	}
	return fmt.Errorf("delete route to %s through %s: %w", dst, link, err)
}

// SetUp is Host.
func (f *Fake) SetUp(link string) error {
	f.mu.Lock()
	err := f.refuse("up", link)
	l := f.link(link)
	if err == nil && l == nil {
		err = unix.ENODEV
	}
	if err != nil {
		f.mu.Unlock()
		return fmt.Errorf("set %s up: %w", link, err)
	}
	var events []Event
	if !l.Up {
		l.Up, l.Running = true, true
		c := *l
		events = []Event{{Link: &c}}
	}
	f.tell(events)
	return nil
}

// Watch is Host.
func (f *Fake) Watch(ctx context.Context, tell func(Event)) error {
	var one sync.Mutex
	f.mu.Lock()
	n := f.next
	f.next++
	f.watchers[n] = func(e Event) {
		one.Lock()
		defer one.Unlock()
		tell(e)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	delete(f.watchers, n)
	f.mu.Unlock()
	return nil
}

// String lists the addresses as `ip -brief addr` does, for test output.
func (f *Fake) String() string {
	addrs, _ := f.Addrs() // never fails
	var b strings.Builder
	for _, a := range addrs {
		name := a.Label
		if name == "" {
			name = a.Link
		}
		fmt.Fprintf(&b, "%s %s", name, a.Prefix)
		if a.Broadcast.IsValid() {
			fmt.Fprintf(&b, " brd %s", a.Broadcast)
		}
		if a.Secondary {
			b.WriteString(" secondary")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
