package realserver_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/netif"
	"github.com/systole-ha/systole/pkg/realserver"
)

var (
	vip4  = netip.MustParseAddr("10.0.0.1")
	vip4b = netip.MustParseAddr("10.0.0.2")
	vip6  = netip.MustParseAddr("fd00::1")
)

type machine struct {
	*testing.T
	host *netif.Fake
	s    *realserver.Server
	said []string
}

func newMachine(t *testing.T) *machine {
	m := &machine{T: t, host: netif.NewFake("eth0")}
	dir := t.TempDir()
	m.s = &realserver.Server{Host: m.host, Sys: dir, State: filepath.Join(dir, "state"), Say: func(format string, args ...any) { m.said = append(m.said, fmt.Sprintf(format, args...)) }}
	for name, value := range map[string]string{"all/arp_ignore": "0", "all/arp_announce": "0", "lo/arp_ignore": "3", "lo/arp_announce": "2"} {
		m.set(name, value)
	}
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.s.Sys, "net/ipv4/conf", name) }

func (m *machine) set(name, value string) {
	m.Helper()
	err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755)
	if err == nil {
		err = os.WriteFile(m.path(name), []byte(value+"\n"), 0o644)
	}
	if err != nil {
		m.Fatal(err)
	}
}

// is compares the settings (all's and lo's arp_ignore, arp_announce) and lo's addresses.
func (m *machine) is(settings string, addrs ...string) {
	m.Helper()
	var have []string
	for _, name := range []string{"all/arp_ignore", "all/arp_announce", "lo/arp_ignore", "lo/arp_announce"} {
		b, err := os.ReadFile(m.path(name))
		if err != nil {
			m.Fatal(err)
		}
		have = append(have, strings.TrimSpace(string(b)))
	}
	if got := strings.Join(have, " "); got != settings {
		m.Errorf("settings %s, want %s", got, settings)
	}
	list, err := m.host.Addrs()
	if err != nil {
		m.Fatal(err)
	}
	var got []string
	for _, a := range list {
		if a.Prefix.IsSingleIP() {
			got = append(got, strings.TrimSpace(a.Prefix.String()+" "+a.Label))
		}
	}
	if !slices.Equal(got, addrs) {
		m.Errorf("lo has %q, want %q", got, addrs)
	}
}

func (m *machine) do(err error) {
	m.Helper()
	if err != nil {
		m.Error(err)
	}
}

func TestStartStop(t *testing.T) {
	m := newMachine(t)
	all := []netip.Addr{vip4, vip4b, vip6}
	for range 2 { // the second time there is nothing to do, and nothing of what was before is lost
		m.do(m.s.Start(all))
		m.is("1 2 1 2", "10.0.0.1/32 lo:0", "10.0.0.2/32 lo:1", "fd00::1/128")
		if missing, none, err := m.s.Missing(all); len(missing) > 0 || none || err != nil {
			t.Errorf("%q %v %v", missing, none, err)
		}
	}
	m.do(m.s.Stop([]netip.Addr{vip4})) // another one needs the settings still
	m.is("1 2 1 2", "10.0.0.2/32 lo:1", "fd00::1/128")
	if missing, none, err := m.s.Missing(all); len(missing) != 1 || none || err != nil {
		t.Errorf("%q %v %v", missing, none, err)
	}
	m.do(m.s.Start([]netip.Addr{vip4}))
	for range 2 { // the file may have fewer by now, or others
		m.do(m.s.StopAll([]netip.Addr{vip4}))
		m.is("0 0 3 2")
	}
	if _, err := os.Stat(m.s.State); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state: %v", err)
	}
	if _, none, err := m.s.Missing(all); !none || err != nil {
		t.Errorf("%v %v", none, err)
	}
}

// An address on lo from before is left, unless it is named; IPv6 needs no settings; what somebody else has set since stays.
func TestOthersChanges(t *testing.T) {
	m := newMachine(t)
	m.do(m.host.AddAddr(netif.Addr{Link: "lo", Prefix: netip.PrefixFrom(vip4, 32), Label: "lo:0"}))
	m.do(m.s.Start([]netip.Addr{vip6}))
	m.is("0 0 3 2", "10.0.0.1/32 lo:0", "fd00::1/128")
	m.do(m.s.Start([]netip.Addr{vip4, vip4b}))
	m.set("all/arp_ignore", "8")
	m.do(m.s.StopAll(nil))
	m.is("8 0 3 2", "10.0.0.1/32 lo:0")
	m.do(m.s.Stop([]netip.Addr{vip4}))
	m.is("8 0 3 2")
}

// What fails is told, and the rest is done; without the settings no address is added.
func TestFailures(t *testing.T) {
	m := newMachine(t)
	m.host.Fail = func(op, what string) error {
		if strings.HasPrefix(what, "10.0.0.1/") {
			return unix.EPERM
		}
		return nil
	}
	if err := m.s.Start([]netip.Addr{vip4, vip4b}); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "add 10.0.0.1 to lo: ") {
		t.Error(err)
	}
	m.is("1 2 1 2", "10.0.0.2/32 lo:0")
	m.do(m.s.StopAll(nil))
	m.is("0 0 3 2")
	if err := os.Remove(m.path("lo/arp_announce")); err != nil {
		t.Fatal(err)
	}
	if err := m.s.Start([]netip.Addr{vip4b}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	m.set("lo/arp_announce", "2")
	m.is("0 0 3 2")
	if err := os.WriteFile(m.s.State, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.s.Start([]netip.Addr{vip4b}); err == nil || !strings.Contains(err.Error(), m.s.State) {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	vips, problems := realserver.Parse("f", "# mine\n10.0.0.1 10.0.0.2/32, fd00::1/128\nVIP=\"10.0.0.1\"; # again\n\texport\n")
	if !slices.Equal(vips, []netip.Addr{vip4, vip4b, vip6}) || len(problems) != 1 || problems[0].String() != `f:4:2: bad virtual address "export" (want an address)` {
		t.Errorf("%v %v", vips, problems)
	}
	for _, bad := range []string{"", "10.0.0.1/24", "::", "127.0.0.1", "224.0.0.1", "fe80::1%lo", "x"} {
		if a, err := realserver.ParseAddr(bad); err == nil {
			t.Errorf("%q is %v", bad, a)
		}
	}
}
