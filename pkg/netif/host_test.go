package netif

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs the calling test once more in a process with a network namespace of its own and
// reports whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "NETIF_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: run as root, or `make lab`")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), mark+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

func TestFake(t *testing.T) {
	f := NewFake("eth0", "eth1")
	conform(t, f, func() { f.SetDown("eth0") }, func(ip netip.Addr) { f.AddNeighbor("eth0", ip) })
}

func TestKernel(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth1"}))
	k, err := Open()
	must(err)
	defer k.Close()
	for _, l := range []string{"lo", "eth1"} {
		must(k.SetUp(l))
	}
	conform(t, k, func() {
		l, err := netlink.LinkByName("eth0")
		must(err)
		must(netlink.LinkSetDown(l))
	}, func(ip netip.Addr) {
		l, err := netlink.LinkByName("eth0")
		must(err)
		must(netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip.AsSlice(), State: netlink.NUD_STALE, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}))
	})
}

// conform holds a Host with lo and eth0 (which down takes down, and on which meet makes a neighbour
// known) against what Host promises.
func conform(t *testing.T, h Host, down func(), meet func(netip.Addr)) {
	p := netip.MustParsePrefix
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
	}
	find := func(q netip.Prefix) (Addr, bool) {
		t.Helper()
		list, err := h.Addrs()
		must(err)
		i := slices.IndexFunc(list, func(a Addr) bool { return a.Prefix == q })
		if i < 0 {
			return Addr{}, false
		}
		return list[i], true
	}
	connected := func(table Table, v6 bool, q netip.Prefix) (Route, bool) {
		t.Helper()
		list, err := h.Routes(table, v6)
		must(err)
		i := slices.IndexFunc(list, func(r Route) bool { return r.Dst == q && !r.Via.IsValid() })
		if i < 0 {
			return Route{}, false
		}
		return list[i], true
	}

	// Every change must be told, in order.
	ctx, cancel := context.WithCancel(t.Context())
	type change struct {
		prefix  netip.Prefix
		removed bool
	}
	var mu sync.Mutex
	var seen []change
	told := make(chan struct{}, 1)
	soFar := func() []change {
		mu.Lock()
		defer mu.Unlock()
		return slices.DeleteFunc(slices.Clone(seen), func(c change) bool { return c.prefix == p("192.0.2.1/32") })
	}
	watching := make(chan error, 1)
	wait := func(until func() bool) {
		t.Helper()
		for !until() {
			select {
			case <-told:
			case err := <-watching:
				t.Fatalf("Watch ended: %v", err)
			case <-time.After(30 * time.Second):
				t.Fatalf("told of no more than %v", soFar())
			}
		}
	}
	go func() {
		watching <- h.Watch(ctx, func(e Event) {
			if e.Addr == nil || e.Addr.Link != "eth0" || e.Addr.Prefix.Addr().IsLinkLocalUnicast() {
				return
			}
			mu.Lock()
			seen = append(seen, change{e.Addr.Prefix, e.Removed})
			mu.Unlock()
			select {
			case told <- struct{}{}:
			default: // one notice says that there is news
			}
		})
	}()
	// The watcher is there once it tells of an address that comes and goes.
	for probe, there := p("192.0.2.1/32"), false; !there; {
		must(h.AddAddr(Addr{Link: "eth0", Prefix: probe}))
		must(h.DelAddr("eth0", probe))
		select {
		case <-told:
			there = true
		case err := <-watching:
			t.Fatalf("Watch ended: %v", err)
		case <-time.After(time.Millisecond):
		}
	}

	must(h.SetUp("eth0"))
	main := p("172.16.60.206/24")
	must(h.AddAddr(Addr{Link: "eth0", Prefix: main, Broadcast: netip.MustParseAddr("172.16.60.255")}))
	if a, ok := find(main); !ok || a.Link != "eth0" || a.Label != "eth0" || a.Broadcast.String() != "172.16.60.255" || a.Secondary || a.Scope != Universe {
		t.Errorf("first address: %+v, %v", a, ok)
	}
	if r, ok := connected(MainTable, false, p("172.16.60.0/24")); !ok || r.Link != "eth0" || r.Scope != OnLink || r.Src != main.Addr() {
		t.Errorf("connected route: %+v, %v", r, ok)
	}
	if r, ok := connected(LocalTable, false, p("172.16.60.206/32")); !ok || r.Scope != OnHost {
		t.Errorf("local route: %+v, %v", r, ok)
	}
	refused("same address again", h.AddAddr(Addr{Link: "eth0", Prefix: main}), unix.EEXIST)
	refused("unknown link", h.AddAddr(Addr{Link: "eth9", Prefix: main}), unix.ENODEV)
	refused("label of another link", h.AddAddr(Addr{Link: "eth0", Prefix: p("172.16.60.1/24"), Label: "eth1:0"}), unix.EINVAL)
	refused("long label", h.AddAddr(Addr{Link: "eth0", Prefix: p("172.16.60.1/24"), Label: "eth0:0123456789ab"}), unix.ERANGE)
	refused("unknown address", h.DelAddr("eth0", p("172.16.60.1/24")), unix.EADDRNOTAVAIL)
	refused("same address, other length", h.DelAddr("eth0", p("172.16.60.206/25")), unix.EADDRNOTAVAIL)
	refused("delete on unknown link", h.DelAddr("eth9", main), unix.ENODEV)
	refused("up of unknown link", h.SetUp("eth9"), unix.ENODEV)
	refused("unknown route", h.DelRoute("eth0", p("198.51.100.0/24")), unix.ESRCH)

	for _, ip := range []string{"172.16.60.9", "fd00:1::9"} {
		ip := netip.MustParseAddr(ip)
		meet(ip)
		must(h.DelNeighbor("eth0", ip))
		refused("unknown neighbour", h.DelNeighbor("eth0", ip), unix.ENOENT)
		refused("neighbour on unknown link", h.DelNeighbor("eth9", ip), unix.ENODEV)
	}

	vip := p("172.16.60.111/24")
	must(h.AddAddr(Addr{Link: "eth0", Prefix: vip, Label: "eth0:0"}))
	if a, ok := find(vip); !ok || a.Label != "eth0:0" || !a.Secondary || a.Broadcast.IsValid() {
		t.Errorf("second address: %+v, %v", a, ok)
	}
	must(h.DelAddr("eth0", vip)) // whatever its label
	if _, ok := find(vip); ok {
		t.Error("the second address is still there")
	}
	must(h.AddAddr(Addr{Link: "eth0", Prefix: vip}))
	must(h.DelAddr("eth0", main))
	if _, ok := find(vip); ok {
		t.Error("the secondary address outlived its primary one")
	}

	six := p("fd00:1::111/64")
	must(h.AddAddr(Addr{Link: "eth0", Prefix: six}))
	if a, ok := find(six); !ok || a.Tentative {
		t.Errorf("IPv6 address: %+v, %v", a, ok)
	}
	if _, ok := connected(MainTable, true, p("fd00:1::/64")); !ok {
		t.Error("no connected IPv6 route")
	}
	refused("same IPv6 address again", h.AddAddr(Addr{Link: "eth0", Prefix: six}), unix.EEXIST)
	// Until it has told of it, the kernel would tell of its removal only.
	wait(func() bool { return slices.Contains(soFar(), change{six, false}) })
	must(h.DelAddr("eth0", six))

	must(h.AddAddr(Addr{Link: "eth0", Prefix: main}))
	down()
	if _, ok := connected(MainTable, false, p("172.16.60.0/24")); ok {
		t.Error("the route outlived the link's being up")
	}
	if _, ok := find(main); !ok {
		t.Error("the IPv4 address went with the link's being up")
	}
	must(h.DelAddr("eth0", main)) // also while it is down

	want := []change{{main, false}, {vip, false}, {vip, true}, {vip, false}, {main, true}, {vip, true}, {six, false}, {six, true}, {main, false}, {main, true}}
	wait(func() bool { return len(soFar()) >= len(want) })
	got := soFar()
	slices.SortStableFunc(got[4:6], byPrefix[change](func(c change) netip.Prefix { return c.prefix }))
	slices.SortStableFunc(want[4:6], byPrefix[change](func(c change) netip.Prefix { return c.prefix }))
	if !slices.Equal(got, want) {
		t.Errorf("told\n%v, want\n%v", got, want)
	}
	cancel()
	must(<-watching)
	links, err := h.Links()
	must(err)
	if len(links) < 2 || !links[0].Loopback || links[0].Name != "lo" || len(links[1].Hardware) != 6 {
		t.Errorf("links: %+v", links)
	}
}

// byPrefix orders what the kernel removes together in an order of its own.
func byPrefix[T any](of func(T) netip.Prefix) func(a, b T) int {
	return func(a, b T) int { return of(a).Addr().Compare(of(b).Addr()) }
}
