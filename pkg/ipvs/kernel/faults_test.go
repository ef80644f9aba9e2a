package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// faultyKernel is a kernel with a table, whose sockets fail at chosen calls.
type faultyKernel struct {
	t       *testing.T
	entries []ipvs.Entry
	calls   int                        // sendings and receivings so far
	fault   func(call int) error       // of that call; nil: none
	flags   func() netlink.HeaderFlags // of the next list's parts
	dials   int
	refused int // so many attempts at new connections fail
}

func (k *faultyKernel) table() *Table {
	k.dials++
	return &Table{conn: genetlink.NewConn(netlink.NewConn(&faultySocket{kernel: k}, 7)), family: 1, dial: func() (*Table, error) {
		if k.refused > 0 {
			k.refused--
			return nil, syscall.EINTR
		}
		return k.table(), nil
	}}
}

func (k *faultyKernel) call() error {
	k.calls++
	if k.fault == nil {
		return nil
	}
	return k.fault(k.calls)
}

// faultySocket is a netlink socket. What could not be received stays in it.
type faultySocket struct {
	kernel *faultyKernel
	queue  [][]netlink.Message
	closed bool
}

func (s *faultySocket) SetDeadline(time.Time) error      { return nil }
func (s *faultySocket) SetReadDeadline(time.Time) error  { return nil }
func (s *faultySocket) SetWriteDeadline(time.Time) error { return nil }
func (s *faultySocket) Close() error                     { s.closed = true; return nil }

func (s *faultySocket) SendMessages([]netlink.Message) error { return syscall.EOPNOTSUPP }

func (s *faultySocket) Send(m netlink.Message) error {
	if s.closed {
		return os.ErrClosed
	}
	if err := s.kernel.call(); err != nil {
		return err
	}
	s.queue = append(s.queue, s.kernel.answer(m)...)
	return nil
}

func (s *faultySocket) Receive() ([]netlink.Message, error) {
	if s.closed {
		return nil, os.ErrClosed
	}
	if err := s.kernel.call(); err != nil {
		return nil, err
	}
	if len(s.queue) == 0 {
		return nil, os.ErrDeadlineExceeded // as nothing will come
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	return m, nil
}

func (s *faultySocket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		messages, err := s.Receive()
		if err != nil {
			yield(netlink.Message{}, err)
			return
		}
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// answer carries a request out. A list comes in parts of one entry each.
func (k *faultyKernel) answer(m netlink.Message) (parts [][]netlink.Message) {
	var request genetlink.Message
	if err := request.UnmarshalBinary(m.Data); err != nil {
		k.t.Fatal(err)
	}
	reply := func(kind netlink.HeaderType, flags netlink.HeaderFlags, data []byte) {
		header := netlink.Header{Type: kind, Flags: flags, Sequence: m.Header.Sequence, PID: m.Header.PID}
		parts = append(parts, []netlink.Message{{Header: header, Data: data}})
	}
	var s ipvs.Entry
	var d ipvs.DestEntry
	if len(request.Data) > 0 {
		err := decode([]genetlink.Message{request}, func(dec *netlink.AttributeDecoder) {
			for dec.Next() {
				dec.Nested(func(in *netlink.AttributeDecoder) error {
					if dec.Type() == attrService {
						s = decodeService(in)
					} else {
						d = decodeDest(in, ipvs.IPv4)
					}
					return nil
				})
			}
		})
		if err != nil {
			k.t.Fatal(err)
		}
	}
	item := func(content attribute) {
		flags := netlink.Multi
		if k.flags != nil {
			flags |= k.flags()
		}
		reply(netlink.HeaderType(1), flags, append([]byte{1, 1, 0, 0}, answer(k.t, content).Data...))
	}
	at := slices.IndexFunc(k.entries, func(e ipvs.Entry) bool { return e.VIP == s.VIP })
	switch request.Header.Command {
	case cmdGetService:
		for _, e := range k.entries {
			item(serviceAttribute(e.Service, true))
		}
	case cmdGetDest:
		if at >= 0 {
			for _, d := range k.entries[at].Dests {
				item(destAttribute(d.Dest))
			}
		}
	default:
		var errno syscall.Errno
		switch {
		case request.Header.Command == cmdNewService && at >= 0:
			errno = syscall.EEXIST
		case request.Header.Command == cmdNewService:
			k.entries = append(k.entries, s)
		case at < 0:
			errno = syscall.ESRCH
		case request.Header.Command == cmdDelService:
			k.entries = slices.Delete(k.entries, at, at+1)
		default:
			errno = k.changeDest(&k.entries[at], request.Header.Command, d)
		}
		reply(netlink.Error, 0, append(binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno))), make([]byte, 16)...))
		return parts
	}
	reply(netlink.Done, netlink.Multi, make([]byte, 4))
	return parts
}

func (k *faultyKernel) changeDest(e *ipvs.Entry, command uint8, d ipvs.DestEntry) syscall.Errno {
	at := slices.IndexFunc(e.Dests, func(o ipvs.DestEntry) bool { return o.Addr == d.Addr })
	switch {
	case command == cmdNewDest && at >= 0:
		return syscall.EEXIST
	case command == cmdNewDest:
		e.Dests = append(e.Dests, d)
	case at < 0:
		return syscall.ENOENT
	case command == cmdDelDest:
		e.Dests = slices.Delete(e.Dests, at, at+1)
	default:
		e.Dests[at] = d
	}
	return 0
}

// work is a director's: it fills the table, changes it, and reads it.
func work(table *Table, t *testing.T) ([]ipvs.Entry, error) {
	second := rs
	second.Addr = addrPort([]byte{10, 0, 0, 3}, 80, ipvs.IPv4)
	heavy := rs
	heavy.Weight = 9
	for _, op := range []ipvs.Op{
		{Kind: ipvs.AddService, Service: web},
		{Kind: ipvs.AddDest, Service: web, Dest: rs},
		{Kind: ipvs.AddDest, Service: web, Dest: second},
		{Kind: ipvs.AddService, Service: mark},
		{Kind: ipvs.EditDest, Service: web, Dest: heavy},
		{Kind: ipvs.DelDest, Service: web, Dest: second},
		{Kind: ipvs.AddDest, Service: mark, Dest: second},
		{Kind: ipvs.DelService, Service: mark},
		{Kind: ipvs.AddService, Service: mark},
	} {
		if err := table.Do(t.Context(), op); err != nil {
			return nil, fmt.Errorf("%v: %w", op.Kind, err)
		}
	}
	return table.Snapshot(t.Context())
}

// TestFaults has every single call of a director's work fail in each way, and every so many of them. All
// comes out as it would have without.
func TestFaults(t *testing.T) {
	smooth := &faultyKernel{t: t}
	want, err := work(smooth.table(), t)
	if err != nil || len(want) != 2 || len(want[0].Dests) != 1 || want[0].Dests[0].Weight != 9 || smooth.dials != 1 {
		t.Fatalf("%+v %v", want, err)
	}
	for name, fault := range map[string]error{
		"EINTR":               os.NewSyscallError("recvmsg", syscall.EINTR),
		"ENOBUFS":             os.NewSyscallError("recvmsg", syscall.ENOBUFS),
		"an answer gets lost": os.ErrDeadlineExceeded, // as if recvmsg had waited for ever
	} {
		for first := 1; first <= smooth.calls; first++ {
			for _, every := range []int{0, 23, 11} { // 0: only once
				k := &faultyKernel{t: t, fault: func(call int) error {
					if call == first || every > 0 && call > first && (call-first)%every == 0 {
						return fault
					}
					return nil
				}}
				got, err := work(k.table(), t)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s at call %d and then each %d: %v\n%+v", name, first, every, err, got)
				}
				if k.dials < 2 {
					t.Errorf("%s at call %d: the connection is used again", name, first)
				}
			}
		}
	}
	// A refusal that is none of these is told at once, and does no harm.
	for first := 1; first <= smooth.calls; first++ {
		k := &faultyKernel{t: t, fault: func(call int) error {
			if call == first {
				return syscall.ENOMEM
			}
			return nil
		}}
		if _, err := work(k.table(), t); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("ENOMEM at call %d: %v", first, err)
		}
	}
}

// While no new connection can be had, the old one, on which the answer to what failed is still to come, is
// not used: the end of a list would be taken for an empty one.
func TestStale(t *testing.T) {
	smooth := &faultyKernel{t: t}
	want, err := work(smooth.table(), t)
	if err != nil {
		t.Fatal(err)
	}
	for first := 1; first <= smooth.calls; first++ {
		k := &faultyKernel{t: t, refused: 2}
		k.fault = func(call int) error {
			if call == first {
				return os.ErrDeadlineExceeded
			}
			return nil
		}
		if got, err := work(k.table(), t); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("at call %d: %v\n%+v", first, err, got)
		}
		k = &faultyKernel{t: t, refused: attempts}
		k.fault = func(call int) error {
			if call == first {
				return os.ErrDeadlineExceeded
			}
			return nil
		}
		if got, err := work(k.table(), t); !errors.Is(err, syscall.EINTR) {
			t.Errorf("at call %d, and no connection: %v\n%+v", first, err, got)
		}
	}
}

// A list that the kernel calls interrupted is read again, as long as there is hope.
func TestDumpInterrupted(t *testing.T) {
	k := &faultyKernel{t: t}
	table := k.table()
	want, err := work(table, t)
	if err != nil {
		t.Fatal(err)
	}
	items := 0
	for first := 1; first <= 5; first++ { // two services, a destination, two services
		items = 0
		k.flags = func() netlink.HeaderFlags {
			if items++; items == first {
				return netlink.DumpInterrupted
			}
			return 0
		}
		if got, err := table.Snapshot(t.Context()); err != nil || !reflect.DeepEqual(got, want) || items <= 5 {
			t.Errorf("part %d: %v after %d parts\n%+v", first, err, items, got)
		}
	}
	k.flags = func() netlink.HeaderFlags { return netlink.DumpInterrupted }
	if got, err := table.Snapshot(t.Context()); err == nil || !strings.HasSuffix(err.Error(), ": the list changes while it is read") || got != nil {
		t.Errorf("always: %+v %v", got, err)
	}
}

// A socket on which no answer comes says so in time, in a way that is known as that.
func TestNoAnswer(t *testing.T) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Receive(); !interrupted(err) {
		t.Error(err)
	}
}
