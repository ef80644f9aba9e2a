package kernel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	library "github.com/cloudflare/ipvs"
	"github.com/cloudflare/ipvs/netmask"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// fakeLibrary is a library whose kernel holds what it is given.
type fakeLibrary struct {
	library.Client // panics for what no test expects
	services       []library.ServiceExtended
	dests          map[uint16][]library.DestinationExtended // by the service's port
	errs           []error                                  // of the next requests
	requests       int
	closed         int
	unloaded       bool
}

func (f *fakeLibrary) Info() (library.Info, error) {
	if f.unloaded {
		return library.Info{}, fs.ErrNotExist
	}
	return library.Info{}, nil
}

func (f *fakeLibrary) Close() error { f.closed++; return nil }

func (f *fakeLibrary) next() error {
	f.requests++
	if len(f.errs) == 0 {
		return nil
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

func (f *fakeLibrary) Services() ([]library.ServiceExtended, error) {
	if err := f.next(); err != nil {
		return nil, err
	}
	if len(f.services) == 0 {
		return nil, fs.ErrNotExist
	}
	return f.services, nil
}

func (f *fakeLibrary) Destinations(s library.Service) ([]library.DestinationExtended, error) {
	if d := f.dests[s.Port]; len(d) > 0 {
		return d, nil
	}
	return nil, fs.ErrNotExist
}

func (f *fakeLibrary) CreateDestination(library.Service, library.Destination) error { return f.next() }

func (f *fakeLibrary) RemoveDestination(library.Service, library.Destination) error { return f.next() }

func (f *fakeLibrary) RemoveService(library.Service) error { return f.next() }

// sent is a request of our own connection.
type sent struct {
	command uint8
	data    []byte
}

// newTable makes a table with a fake kernel, which answers our own requests in turn: with an
// errno, or with messages.
func newTable(lib *fakeLibrary, answers ...any) (*Table, *[]sent) {
	var requests []sent
	conn := genltest.Dial(func(m genetlink.Message, _ netlink.Message) ([]genetlink.Message, error) {
		requests = append(requests, sent{m.Header.Command, m.Data})
		if len(answers) == 0 {
			return []genetlink.Message{{}}, nil
		}
		answer := answers[0]
		answers = answers[1:]
		switch answer := answer.(type) {
		case syscall.Errno:
			return nil, genltest.Error(int(answer))
		case []genetlink.Message:
			if len(answer) > 0 {
				return answer, nil
			}
		}
		return nil, io.EOF
	})
	return &Table{lib: lib, libCloser: lib, own: conn, family: 1}, &requests
}

var (
	web = ipvs.Service{
		VIP:       ipvs.VIP{Protocol: ipvs.TCP, Family: ipvs.IPv4, Addr: netip.MustParseAddrPort("10.0.0.1:80")},
		Scheduler: "wlc", Persistent: 600, Netmask: 24, SchedFlags: ipvs.SchedFlag1 | ipvs.SchedFlag3, PE: "sip",
	}
	mark = ipvs.Service{VIP: ipvs.VIP{FWMark: 5, Family: ipvs.IPv6}, Scheduler: "rr", OnePacket: true}
	rs   = ipvs.Dest{Addr: netip.MustParseAddrPort("10.0.0.2:80"), Weight: 1}
)

// attributes lists the attributes nested in the first of a message.
func attributes(t *testing.T, data []byte) map[uint16][]byte {
	t.Helper()
	dec, err := netlink.NewAttributeDecoder(data)
	if err != nil || !dec.Next() {
		t.Fatalf("%x: %v", data, err)
	}
	attrs := map[uint16][]byte{}
	dec.Nested(func(dec *netlink.AttributeDecoder) error {
		for dec.Next() {
			attrs[dec.Type()] = dec.Bytes()
		}
		return nil
	})
	if err := dec.Err(); err != nil {
		t.Fatal(err)
	}
	return attrs
}

func TestRequests(t *testing.T) {
	table, requests := newTable(&fakeLibrary{})
	for _, op := range []ipvs.Op{
		{Kind: ipvs.Flush},
		{Kind: ipvs.Zero},
		{Kind: ipvs.Zero, Service: web},
		{Kind: ipvs.AddService, Service: web},
		{Kind: ipvs.EditService, Service: mark},
	} {
		if err := table.Do(t.Context(), op); err != nil {
			t.Errorf("%v: %v", op, err)
		}
	}
	var commands []uint8
	for _, r := range *requests {
		commands = append(commands, r.command)
	}
	if want := []uint8{cmdFlush, cmdZero, cmdZero, cmdNewService, cmdSetService}; !reflect.DeepEqual(commands, want) {
		t.Fatalf("commands %v, want %v", commands, want)
	}
	if len((*requests)[0].data) > 0 || len((*requests)[1].data) > 0 {
		t.Errorf("flush and zero of all carry data")
	}
	identity := map[uint16][]byte{svcFamily: {2, 0}, svcProtocol: {6, 0}, svcAddr: {10, 0, 0, 1}, svcPort: {0, 80}}
	whole := map[uint16][]byte{
		svcFamily: {2, 0}, svcProtocol: {6, 0}, svcAddr: {10, 0, 0, 1}, svcPort: {0, 80}, svcScheduler: []byte("wlc\x00"),
		svcFlags: {0x29, 0, 0, 0, 255, 255, 255, 255}, svcTimeout: {88, 2, 0, 0}, svcNetmask: {255, 255, 255, 0}, svcEngine: []byte("sip\x00"),
	}
	ofMark := map[uint16][]byte{
		svcFamily: {10, 0}, svcMark: {5, 0, 0, 0}, svcScheduler: []byte("rr\x00"),
		svcFlags: {4, 0, 0, 0, 255, 255, 255, 255}, svcTimeout: {0, 0, 0, 0}, svcNetmask: {128, 0, 0, 0},
	}
	for i, want := range map[int]map[uint16][]byte{2: identity, 3: whole, 4: ofMark} {
		if got := attributes(t, (*requests)[i].data); !reflect.DeepEqual(got, want) {
			t.Errorf("request %d: %v, want %v", i, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		kind   ipvs.OpKind
		errno  syscall.Errno
		reason error
	}{
		{ipvs.AddService, syscall.EEXIST, ipvs.ErrExists},
		{ipvs.AddService, syscall.ENOENT, ipvs.ErrNoScheduler},
		{ipvs.EditService, syscall.ESRCH, ipvs.ErrNoService},
		{ipvs.EditService, syscall.ENOENT, ipvs.ErrNoScheduler},
		{ipvs.Zero, syscall.ESRCH, ipvs.ErrNoService},
		{ipvs.AddService, syscall.EINVAL, nil},
	} {
		table, _ := newTable(&fakeLibrary{}, test.errno)
		err := table.Do(t.Context(), ipvs.Op{Kind: test.kind, Service: web})
		var refusal *ipvs.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != test.reason || !errors.Is(err, test.errno) {
			t.Errorf("%v: %v", test, err)
		}
	}
	for _, kind := range []ipvs.OpKind{ipvs.DelDest, ipvs.AddDest, ipvs.DelService} {
		reason := map[ipvs.OpKind]error{ipvs.DelDest: ipvs.ErrNoDest, ipvs.AddDest: nil, ipvs.DelService: nil}[kind]
		table, _ := newTable(&fakeLibrary{errs: []error{&netlink.OpError{Op: "receive", Err: syscall.ENOENT}}})
		err := table.Do(t.Context(), ipvs.Op{Kind: kind, Service: web, Dest: rs})
		var refusal *ipvs.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != reason || !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%v: %v", kind, err)
		}
	}
}

// What was interrupted is tried again; that it was done the first time is no error then.
func TestRetry(t *testing.T) {
	table, requests := newTable(&fakeLibrary{}, syscall.EINTR, syscall.ENOBUFS, syscall.EEXIST)
	if err := table.Do(t.Context(), ipvs.Op{Kind: ipvs.AddService, Service: web}); err != nil || len(*requests) != 3 {
		t.Errorf("add: %v after %d requests", err, len(*requests))
	}
	lib := &fakeLibrary{errs: []error{syscall.EINTR, syscall.ENOENT}}
	table, _ = newTable(lib)
	if err := table.Do(t.Context(), ipvs.Op{Kind: ipvs.DelDest, Service: web, Dest: rs}); err != nil || lib.requests != 2 {
		t.Errorf("delete: %v after %d requests", err, lib.requests)
	}
	lib = &fakeLibrary{errs: []error{syscall.EINTR, syscall.EINTR, syscall.EINTR, syscall.EINTR, syscall.EINTR, nil}}
	table, _ = newTable(lib)
	if err := table.Do(t.Context(), ipvs.Op{Kind: ipvs.DelService, Service: web}); !errors.Is(err, syscall.EINTR) || lib.requests != attempts {
		t.Errorf("for ever: %v after %d requests", err, lib.requests)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := table.Do(ctx, ipvs.Op{Kind: ipvs.Flush}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// answer makes a message of nested attributes.
func answer(t *testing.T, content attribute) genetlink.Message {
	t.Helper()
	enc := netlink.NewAttributeEncoder()
	content(enc)
	b, err := enc.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return genetlink.Message{Data: b}
}

func TestSnapshot(t *testing.T) {
	lib := &fakeLibrary{
		services: []library.ServiceExtended{
			{
				Service: library.Service{
					Address: netip.MustParseAddr("10.0.0.1"), Port: 80, Family: library.INET, Protocol: library.TCP, Scheduler: "wlc", Timeout: 600,
					Flags:   library.ServicePersistent | library.ServiceHashed | library.ServiceSchedulerOpt1 | library.ServiceSchedulerOpt3,
					Netmask: netmask.MaskFrom4([4]byte{255, 255, 255, 0}),
				},
				Stats: library.Stats{Connections: 1}, Stats64: library.Stats{Connections: 2, IncomingByteRate: 3},
			},
			{Service: library.Service{FWMark: 5, Family: library.INET6, Scheduler: "rr", Flags: library.ServiceOnePacket, Netmask: netmask.MaskFrom(128, 128)}},
		},
		dests: map[uint16][]library.DestinationExtended{80: {{
			Destination: library.Destination{Address: netip.MustParseAddr("10.0.0.2"), Port: 80, Family: library.INET, FwdMethod: 0x100 | library.DirectRoute, Weight: 3},
			Stats:       library.Stats{IncomingBytes: 9}, ActiveConnections: 1, InactiveConnections: 2, PersistentConnections: 3,
		}}},
	}
	table, _ := newTable(lib,
		[]genetlink.Message{answer(t, serviceAttribute(web, true)), answer(t, serviceAttribute(mark, true))})
	got, err := table.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	six := mark
	six.Netmask = 128
	want := []ipvs.Entry{
		{
			Service: web, Stats: ipvs.Stats{Conns: 2, InBPS: 3},
			Dests: []ipvs.DestEntry{{
				Dest:        ipvs.Dest{Addr: rs.Addr, Forward: ipvs.Route, Weight: 3},
				ActiveConns: 1, InactConns: 2, PersistConns: 3, Stats: ipvs.Stats{InBytes: 9},
			}},
		},
		{Service: six},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}

	table, _ = newTable(&fakeLibrary{}, []genetlink.Message{})
	if got, err := table.Snapshot(t.Context()); err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty: %v, %v", got, err)
	}
	table, _ = newTable(&fakeLibrary{errs: []error{&netlink.OpError{Op: "receive", Err: syscall.EPERM}}}, []genetlink.Message{})
	if _, err := table.Snapshot(t.Context()); !errors.Is(err, syscall.EPERM) || err.Error() != "list IPVS table: operation not permitted" {
		t.Errorf("not allowed: %v", err)
	}
}

func TestSyncDaemons(t *testing.T) {
	master := ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "lo", SyncID: 7, MaxLen: 1000, Group: netip.MustParseAddr("224.0.0.99"), Port: 99, TTL: 3}
	backup := ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "eth0", Group: netip.MustParseAddr("ff02::81")}
	table, requests := newTable(&fakeLibrary{},
		[]genetlink.Message{answer(t, daemonAttribute(backup)), answer(t, daemonAttribute(master))},
		[]genetlink.Message{{}}, syscall.EEXIST, syscall.ESRCH, syscall.ENODEV)
	got, err := table.SyncDaemons(t.Context())
	if want := []ipvs.SyncDaemon{master, backup}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if err := table.StartSync(t.Context(), master); err != nil {
		t.Error(err)
	}
	if err := table.StartSync(t.Context(), master); !errors.Is(err, ipvs.ErrExists) || !errors.Is(err, syscall.EEXIST) {
		t.Errorf("start: %v", err)
	}
	if err := table.StopSync(t.Context(), master); !errors.Is(err, ipvs.ErrNoDaemon) || !errors.Is(err, syscall.ESRCH) {
		t.Errorf("stop: %v", err)
	}
	if err := table.StartSync(t.Context(), backup); !errors.Is(err, syscall.ENODEV) || err.Error() != "start sync daemon: no such device" {
		t.Errorf("start: %v", err)
	}
	if r := *requests; r[0].command != cmdGetDaemon || r[1].command != cmdNewDaemon || r[3].command != cmdDelDaemon ||
		!bytes.Equal(attributes(t, r[1].data)[daemonPort], []byte{99, 0}) {
		t.Errorf("requests: %+v", r)
	}
}

func TestUnavailable(t *testing.T) {
	for _, test := range []struct {
		err  Unavailable
		want string
	}{
		{Unavailable{Cause: syscall.ENOENT}, "open IPVS: the kernel has no ip_vs, and it could not be loaded"},
		{Unavailable{Cause: syscall.ENOENT, Modprobe: "modprobe: not\n  found\n"}, "open IPVS: the kernel has no ip_vs, and it could not be loaded (modprobe: not found)"},
		{Unavailable{Cause: syscall.EPERM}, "open IPVS: permission denied (root only)"},
		{Unavailable{Cause: syscall.EMFILE}, "open IPVS: too many open files"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
	// Whatever this machine has, the answer is a table or the reason.
	table, err := Open(t.Context())
	var missing *Unavailable
	switch {
	case err == nil:
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	case !errors.As(err, &missing) || !strings.HasPrefix(err.Error(), "open IPVS: "):
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	lib := &fakeLibrary{}
	table, _ := newTable(lib)
	if err := table.Close(); err != nil || lib.closed != 1 {
		t.Errorf("%v, closed %d times", err, lib.closed)
	}
}

// TestUnloaded tells an empty table from a kernel that has no ip_vs any more.
func TestUnloaded(t *testing.T) {
	lib := &fakeLibrary{}
	table, _ := newTable(lib, []genetlink.Message{}, []genetlink.Message{})
	if entries, err := table.Snapshot(t.Context()); err != nil || entries == nil || len(entries) != 0 {
		t.Errorf("empty: %v %v", entries, err)
	}
	lib.unloaded = true
	if entries, err := table.Snapshot(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "list IPVS table: ip_vs was unloaded: ") {
		t.Errorf("unloaded: %v %v", entries, err)
	}
}
