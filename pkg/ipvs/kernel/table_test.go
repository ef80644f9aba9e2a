package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// sent is a request.
type sent struct {
	command uint8
	data    []byte
}

// newTable makes a table with a fake kernel, which answers requests in turn: with an errno, or with
// messages.
func newTable(answers ...any) (*Table, *[]sent) {
	var requests []sent
	conn := genltest.Dial(func(m genetlink.Message, request netlink.Message) ([]genetlink.Message, error) {
		requests = append(requests, sent{m.Header.Command, m.Data})
		if len(answers) == 0 {
			return []genetlink.Message{{}}, nil
		}
		answer := answers[0]
		answers = answers[1:]
		switch answer := answer.(type) {
		case syscall.Errno:
			if request.Header.Flags&netlink.Dump != 0 {
				return nil, answer // the fake's error message has the request's flags, which mean something else there
			}
			return nil, genltest.Error(int(answer))
		case []genetlink.Message:
			if len(answer) > 0 {
				return answer, nil
			}
		}
		return nil, io.EOF
	})
	return &Table{conn: conn, family: 1}, &requests
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
	table, requests := newTable()
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
		table, _ := newTable(test.errno)
		err := table.Do(t.Context(), ipvs.Op{Kind: test.kind, Service: web})
		var refusal *ipvs.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != test.reason || !errors.Is(err, test.errno) {
			t.Errorf("%v: %v", test, err)
		}
	}
	for _, kind := range []ipvs.OpKind{ipvs.DelDest, ipvs.AddDest, ipvs.DelService} {
		reason := map[ipvs.OpKind]error{ipvs.DelDest: ipvs.ErrNoDest, ipvs.AddDest: nil, ipvs.DelService: nil}[kind]
		table, _ := newTable(syscall.ENOENT)
		err := table.Do(t.Context(), ipvs.Op{Kind: kind, Service: web, Dest: rs})
		var refusal *ipvs.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != reason || !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%v: %v", kind, err)
		}
	}
}

// What was interrupted is tried again; that it was done the first time is no error then.
func TestRetry(t *testing.T) {
	table, requests := newTable(syscall.EINTR, syscall.ENOBUFS, syscall.EEXIST)
	if err := table.Do(t.Context(), ipvs.Op{Kind: ipvs.AddService, Service: web}); err != nil || len(*requests) != 3 {
		t.Errorf("add: %v after %d requests", err, len(*requests))
	}
	table, requests = newTable(syscall.EINTR, syscall.ENOENT)
	if err := table.Do(t.Context(), ipvs.Op{Kind: ipvs.DelDest, Service: web, Dest: rs}); err != nil || len(*requests) != 2 {
		t.Errorf("delete: %v after %d requests", err, len(*requests))
	}
	table, requests = newTable(syscall.EINTR, syscall.EINTR, syscall.EINTR, syscall.EINTR, syscall.EINTR)
	if err := table.Do(t.Context(), ipvs.Op{Kind: ipvs.DelService, Service: web}); !errors.Is(err, syscall.EINTR) || len(*requests) != attempts {
		t.Errorf("for ever: %v after %d requests", err, len(*requests))
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

// counted are attributes of counters, of 32 or 64 bits.
func counted(enc *netlink.AttributeEncoder, kind uint16, conns, rate uint64, wide bool) {
	enc.Nested(kind, func(enc *netlink.AttributeEncoder) error {
		if wide {
			enc.Uint64(1, conns)
			enc.Uint64(9, rate)
			return nil
		}
		enc.Uint32(1, uint32(conns))
		enc.Uint32(9, uint32(rate))
		return nil
	})
}

func TestSnapshot(t *testing.T) {
	room := func(addr string) []byte { // of an IPv6 address
		return append(netip.MustParseAddr(addr).AsSlice(), make([]byte, 12)...)
	}
	services := []genetlink.Message{
		answer(t, func(enc *netlink.AttributeEncoder) {
			enc.Nested(attrService, func(enc *netlink.AttributeEncoder) error {
				enc.Uint16(svcFamily, syscall.AF_INET)
				enc.Uint16(svcProtocol, 6)
				enc.Bytes(svcAddr, room("10.0.0.1"))
				enc.Bytes(svcPort, []byte{0, 80})
				enc.String(svcEngine, "sip")
				enc.String(svcScheduler, "wlc")
				enc.Bytes(svcFlags, binary.NativeEndian.AppendUint64(nil, 0x2b)) // hashed, too
				enc.Uint32(svcTimeout, 600)
				enc.Bytes(svcNetmask, []byte{255, 255, 255, 0})
				counted(enc, svcStats, 1, 0, false)
				counted(enc, svcStats64, 2, 3, true)
				return nil
			})
		}),
		answer(t, serviceAttribute(mark, true)),
	}
	dest := answer(t, func(enc *netlink.AttributeEncoder) {
		enc.Nested(attrDest, func(enc *netlink.AttributeEncoder) error {
			enc.Bytes(destAddr, room("10.0.0.2"))
			enc.Bytes(destPort, []byte{0, 80})
			enc.Uint32(destForward, 0x103)
			enc.Uint32(destWeight, 3)
			enc.Uint32(destUpper, 9)
			enc.Uint32(destLower, 8)
			enc.Uint32(destActive, 1)
			enc.Uint32(destInactive, 2)
			enc.Uint32(destPersistent, 3)
			enc.Uint8(destTunType, 1)
			enc.Bytes(destTunPort, []byte{1, 0})
			enc.Uint16(destTunFlags, 2)
			counted(enc, destStats, 9, 0, false)
			return nil
		})
	})
	table, _ := newTable(services, []genetlink.Message{dest}, []genetlink.Message{}, services)
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
				Dest: ipvs.Dest{
					Addr: rs.Addr, Forward: ipvs.Route, Weight: 3, UpperThreshold: 9, LowerThreshold: 8,
					TunType: ipvs.GUE, TunPort: 256, TunFlags: 2,
				},
				ActiveConns: 1, InactConns: 2, PersistConns: 3, Stats: ipvs.Stats{Conns: 9},
			}},
		},
		{Service: six},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}

	table, _ = newTable([]genetlink.Message{})
	if got, err := table.Snapshot(t.Context()); err != nil || got == nil || len(got) != 0 {
		t.Errorf("empty: %v, %v", got, err)
	}
	table, _ = newTable(syscall.EPERM)
	if _, err := table.Snapshot(t.Context()); !errors.Is(err, syscall.EPERM) || err.Error() != "list IPVS table: operation not permitted" {
		t.Errorf("not allowed: %v", err)
	}
}

// A list in which something is twice, or that is another when it is read again, is read anew.
func TestDoubtful(t *testing.T) {
	one, two := answer(t, serviceAttribute(web, true)), answer(t, serviceAttribute(mark, true))
	dest, none := answer(t, destAttribute(rs)), []genetlink.Message{}
	list := func(m ...genetlink.Message) []genetlink.Message { return m }
	good := []any{list(one, two), list(dest), none, list(one, two)}
	for name, doubtful := range map[string][]any{
		"a service twice":               {list(one, two, two)},
		"a destination twice":           {list(one, two), list(dest, dest)},
		"a service only at first":       {list(one, two), list(dest), none, list(one)},
		"a service only afterwards":     {list(one), list(dest), list(one, two)},
		"nothing but a destination":     {list(one), list(dest), none},
		"a service twice in the second": {list(one, two), list(dest), none, list(one, two, two)},
	} {
		table, requests := newTable(append(slices.Clone(doubtful), good...)...)
		got, err := table.Snapshot(t.Context())
		if err != nil || len(got) != 2 || len(got[0].Dests) != 1 || len(got[1].Dests) != 0 || len(*requests) != len(doubtful)+len(good) {
			t.Errorf("%s: %+v %v after %d requests", name, got, err, len(*requests))
		}
	}
	var always []any
	for range attempts {
		always = append(always, list(two, two))
	}
	table, requests := newTable(always...)
	if got, err := table.Snapshot(t.Context()); err == nil || err.Error() != "list IPVS table: the list changes while it is read" || got != nil || len(*requests) != attempts {
		t.Errorf("always: %+v %v after %d requests", got, err, len(*requests))
	}
}

func TestTimeouts(t *testing.T) {
	reply := answer(t, func(enc *netlink.AttributeEncoder) {
		enc.Uint32(attrTimeoutTCP, 900)
		enc.Uint32(attrTimeoutTCPFin, 120)
		enc.Uint32(attrTimeoutUDP, 300)
	})
	version := answer(t, func(enc *netlink.AttributeEncoder) {
		enc.Uint32(infoVersion, 0x10201)
		enc.Uint32(infoConnSize, 4096)
	})
	table, requests := newTable([]genetlink.Message{reply}, []genetlink.Message{version}, syscall.EINVAL)
	if to, err := table.Timeouts(t.Context()); err != nil || to != (ipvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}) {
		t.Errorf("%+v %v", to, err)
	}
	if info, err := table.Info(t.Context()); err != nil || info != (ipvs.Info{Version: [3]uint8{1, 2, 1}, ConnSize: 4096}) {
		t.Errorf("%+v %v", info, err)
	}
	if err := table.SetTimeouts(t.Context(), ipvs.Timeouts{TCP: 1}); !errors.Is(err, syscall.EINVAL) || (*requests)[2].command != cmdSetConfig {
		t.Errorf("%v", err)
	}
}

func TestSyncDaemons(t *testing.T) {
	master := ipvs.SyncDaemon{Role: ipvs.SyncMaster, Iface: "lo", SyncID: 7, MaxLen: 1000, Group: netip.MustParseAddr("224.0.0.99"), Port: 99, TTL: 3}
	backup := ipvs.SyncDaemon{Role: ipvs.SyncBackup, Iface: "eth0", Group: netip.MustParseAddr("ff02::81")}
	table, requests := newTable(
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

// TestUnloaded tells an empty table from a kernel that has no ip_vs any more.
func TestUnloaded(t *testing.T) {
	table, _ := newTable([]genetlink.Message{})
	if entries, err := table.Snapshot(t.Context()); err != nil || entries == nil || len(entries) != 0 {
		t.Errorf("empty: %v %v", entries, err)
	}
	table, _ = newTable([]genetlink.Message{}, syscall.ENOENT)
	if entries, err := table.Snapshot(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "list IPVS table: ip_vs was unloaded: ") {
		t.Errorf("unloaded: %v %v", entries, err)
	}
}
