package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	library "github.com/cloudflare/ipvs"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Numbers of the kernel's interface (linux/ip_vs.h).
const (
	protocolVersion = 1

	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3
	cmdGetService = 4
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7
	cmdGetDest    = 8
	cmdNewDaemon  = 9
	cmdDelDaemon  = 10
	cmdGetDaemon  = 11
	cmdSetConfig  = 12
	cmdGetConfig  = 13
	cmdGetInfo    = 15
	cmdZero       = 16
	cmdFlush      = 17

	attrService       = 1
	attrDest          = 2
	attrDaemon        = 3
	attrTimeoutTCP    = 4
	attrTimeoutTCPFin = 5
	attrTimeoutUDP    = 6

	infoVersion  = 1
	infoConnSize = 2

	svcFamily    = 1
	svcProtocol  = 2
	svcAddr      = 3
	svcPort      = 4
	svcMark      = 5
	svcScheduler = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcStats     = 10
	svcEngine    = 11
	svcStats64   = 12

	destAddr       = 1
	destPort       = 2
	destForward    = 3
	destWeight     = 4
	destUpper      = 5
	destLower      = 6
	destActive     = 7
	destInactive   = 8
	destPersistent = 9
	destStats      = 10
	destFamily     = 11
	destStats64    = 12
	destTunType    = 13
	destTunPort    = 14
	destTunFlags   = 15

	daemonState  = 1
	daemonIface  = 2
	daemonSyncID = 3
	daemonMaxLen = 4
	daemonGroup  = 5
	daemonGroup6 = 6
	daemonPort   = 7
	daemonTTL    = 8

	forwardMask = 0x0007 // IP_VS_CONN_F_FWD_MASK
)

// schedulerFlags are the kernel's bits (IP_VS_SVC_F_SCHED*) for ours.
var schedulerFlags = map[uint32]library.Flags{
	ipvs.SchedFlag1: library.ServiceSchedulerOpt1,
	ipvs.SchedFlag2: library.ServiceSchedulerOpt2,
	ipvs.SchedFlag3: library.ServiceSchedulerOpt3,
}

// attempts is how often an interrupted or overrun request is made, and a doubtful list read.
const attempts = 5

// answerLimit is how long an answer may take after the request was sent. The kernel has it by then; but the
// socket library takes EINTR for "nothing there yet", and may wait for a wake-up that has been.
const answerLimit = 2 * time.Second

// errDoubtful is that a list may lack something or have something that is not there.
var errDoubtful = errors.New("the list changes while it is read")

// retry makes a request, again if it failed for no fault of its own: a signal, a receive buffer that was
// too small, a lost answer.
func (t *Table) retry(ctx context.Context, request func() error) error {
	var err error
	for range attempts {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		if err = t.renew(); err == nil {
			err = request()
		}
		if !interrupted(err) {
			return err
		}
		t.stale = t.dial != nil
	}
	return err
}

// renew makes a new connection after a request that failed: on the old one the answer to that may still
// come, and would be taken for the answer to the next: the end of a list, for an empty one.
func (t *Table) renew() error {
	if !t.stale {
		return nil
	}
	fresh, err := t.dial()
	if err != nil {
		return fmt.Errorf("connect anew: %w", err)
	}
	_ = t.Close() // nothing is expected of it any more
	t.conn, t.family, t.stale = fresh.conn, fresh.family, false
	return nil
}

// interrupted tells whether a request may do better the next time. A wrong sequence number is the
// answer to an earlier request.
func interrupted(err error) bool {
	var op *netlink.OpError
	return errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &op) && op.Op == "validate"
}

// errnoOf names what failed and leaves the errno of the netlink library's nested errors.
func errnoOf(doing string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("%s: %w", doing, err)
}

type attribute = func(*netlink.AttributeEncoder)

// request sends a command and waits for the kernel's answer.
func (t *Table) request(command uint8, content attribute) error {
	_, err := t.ask(command, netlink.Request|netlink.Acknowledge, content)
	return err
}

// execute asks for something, as often as it takes.
func (t *Table) execute(ctx context.Context, command uint8, flags netlink.HeaderFlags, content attribute) (messages []genetlink.Message, err error) {
	err = t.retry(ctx, func() (err error) {
		messages, err = t.ask(command, flags, content)
		return err
	})
	return messages, err
}

// ask sends a command and takes the answer.
func (t *Table) ask(command uint8, flags netlink.HeaderFlags, content attribute) ([]genetlink.Message, error) {
	m := genetlink.Message{Header: genetlink.Header{Command: command, Version: protocolVersion}}
	if content != nil {
		enc := netlink.NewAttributeEncoder()
		content(enc)
		data, err := enc.Encode()
		if err != nil {
			return nil, err
		}
		m.Data = data
	}
	_ = t.conn.SetDeadline(time.Now().Add(answerLimit)) // a connection that cannot will not send either
	request, err := t.conn.Send(m, t.family, flags)
	if err != nil {
		return nil, err
	}
	_ = t.conn.SetDeadline(time.Now().Add(answerLimit)) // anew: the kernel may have loaded a module
	messages, raw, err := t.conn.Receive()
	if err != nil {
		return nil, err
	}
	for _, m := range raw {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, errDoubtful
		}
	}
	return messages, netlink.Validate(request, raw)
}

// list has the kernel list things, and calls f for the attribute of each; none is no error.
func (t *Table) list(ctx context.Context, command uint8, content attribute, kind uint16, f func(*netlink.AttributeDecoder)) error {
	messages, err := t.execute(ctx, command, netlink.Request|netlink.Dump, content)
	if err != nil {
		return notEmpty(err)
	}
	return decode(messages, func(dec *netlink.AttributeDecoder) {
		for dec.Next() {
			if dec.Type() == kind {
				dec.Nested(func(dec *netlink.AttributeDecoder) error {
					f(dec)
					return nil
				})
			}
		}
	})
}

// decode calls f with the attributes of each message.
func decode(messages []genetlink.Message, f func(*netlink.AttributeDecoder)) error {
	for _, m := range messages {
		dec, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		f(dec)
		if err := dec.Err(); err != nil {
			return err
		}
	}
	return nil
}

func family(f ipvs.Family) library.AddressFamily {
	if f == ipvs.IPv6 {
		return library.INET6
	}
	return library.INET
}

// serviceAttribute encodes a service: its identity, or all of it.
func serviceAttribute(s ipvs.Service, whole bool) attribute {
	return func(enc *netlink.AttributeEncoder) {
		enc.Nested(attrService, func(enc *netlink.AttributeEncoder) error {
			enc.Uint16(svcFamily, uint16(family(s.Family)))
			if s.FWMark != 0 {
				enc.Uint32(svcMark, s.FWMark)
			} else {
				enc.Uint16(svcProtocol, uint16(s.Protocol))
				enc.Bytes(svcAddr, s.Addr.Addr().AsSlice())
				enc.Bytes(svcPort, binary.BigEndian.AppendUint16(nil, s.Addr.Port()))
			}
			if !whole {
				return nil
			}
			enc.String(svcScheduler, s.Scheduler)
			enc.Bytes(svcFlags, serviceFlags(s))
			enc.Uint32(svcTimeout, s.Persistent)
			if s.Family == ipvs.IPv6 {
				enc.Uint32(svcNetmask, uint32(s.Mask()))
			} else {
				mask := s.Mask4()
				enc.Bytes(svcNetmask, mask[:])
			}
			if s.PE != "" {
				enc.String(svcEngine, s.PE)
			}
			return nil
		})
	}
}

// serviceFlags are the flags and the mask of those that are meant: all.
func serviceFlags(s ipvs.Service) []byte {
	var flags library.Flags
	if s.Persistent != 0 {
		flags |= library.ServicePersistent
	}
	if s.OnePacket {
		flags |= library.ServiceOnePacket
	}
	for bit, flag := range schedulerFlags {
		if s.SchedFlags&bit != 0 {
			flags |= flag
		}
	}
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, uint32(flags)), ^uint32(0))
}

// destAttribute encodes a destination.
func destAttribute(d ipvs.Dest) attribute {
	return func(enc *netlink.AttributeEncoder) {
		enc.Nested(attrDest, func(enc *netlink.AttributeEncoder) error {
			if d.Addr.Addr().Is6() {
				enc.Uint16(destFamily, uint16(library.INET6))
			} else {
				enc.Uint16(destFamily, uint16(library.INET))
			}
			enc.Bytes(destAddr, d.Addr.Addr().AsSlice())
			enc.Bytes(destPort, binary.BigEndian.AppendUint16(nil, d.Addr.Port()))
			enc.Uint32(destForward, uint32(library.ForwardType(d.Forward)))
			enc.Uint32(destWeight, uint32(d.Weight))
			enc.Uint32(destUpper, d.UpperThreshold)
			enc.Uint32(destLower, d.LowerThreshold)
			enc.Uint8(destTunType, uint8(d.TunType))
			enc.Bytes(destTunPort, binary.BigEndian.AppendUint16(nil, d.TunPort))
			enc.Uint16(destTunFlags, d.TunFlags)
			return nil
		})
	}
}

// Connections reads the connection entries of the calling thread's network namespace, which has
// to be the table's.
func (t *Table) Connections(ctx context.Context) ([]ipvs.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	text, err := os.ReadFile("/proc/thread-self/net/ip_vs_conn")
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return ipvs.ParseConns(text), nil
}
