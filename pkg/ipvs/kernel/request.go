package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Numbers of the kernel's interface (linux/ip_vs.h).
const (
	protocolVersion = 1

	cmdNewService = 1
	cmdSetService = 2
	cmdGetService = 4
	cmdNewDaemon  = 9
	cmdDelDaemon  = 10
	cmdGetDaemon  = 11
	cmdZero       = 16
	cmdFlush      = 17

	attrService = 1
	attrDaemon  = 3

	svcFamily    = 1
	svcProtocol  = 2
	svcAddr      = 3
	svcPort      = 4
	svcMark      = 5
	svcScheduler = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcEngine    = 11

	daemonState  = 1
	daemonIface  = 2
	daemonSyncID = 3
	daemonMaxLen = 4
	daemonGroup  = 5
	daemonGroup6 = 6
	daemonPort   = 7
	daemonTTL    = 8

	flagPersistent = 0x0001
	flagOnePacket  = 0x0004

	forwardMask = 0x0007 // IP_VS_CONN_F_FWD_MASK
)

// schedulerFlags are the kernel's bits (IP_VS_SVC_F_SCHED*) for ours.
var schedulerFlags = map[uint32]uint32{ipvs.SchedFlag1: 0x0008, ipvs.SchedFlag2: 0x0010, ipvs.SchedFlag3: 0x0020}

// attempts is how often an interrupted or overrun request is made.
const attempts = 5

// try makes a request.
func (t *Table) try(ctx context.Context, request func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return again(ctx, func() error {
		err := request()
		if interrupted(err) {
			t.renew()
		}
		return err
	})
}

// renew makes new connections: on the old ones the answer to what failed may still come, and would be
// taken for that to the next request. If none can be made, the old ones have to do.
func (t *Table) renew() {
	if t.dial == nil {
		return
	}
	fresh, err := t.dial()
	if err != nil {
		return
	}
	_ = t.Close() // nothing is expected of them any more
	t.lib, t.libCloser, t.own, t.family = fresh.lib, fresh.libCloser, fresh.own, fresh.family
}

func interrupted(err error) bool {
	return errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.ENOBUFS)
}

// again makes a request, again if it failed for no fault of its own: a signal, a receive buffer
// that was too small.
func again(ctx context.Context, request func() error) error {
	var err error
	for range attempts {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return ctxErr
		}
		if err = request(); !interrupted(err) {
			return err
		}
	}
	return err
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

// request sends a command that the library does not have, and waits for the kernel's answer.
func (t *Table) request(command uint8, content attribute) error {
	_, err := t.execute(command, netlink.Request|netlink.Acknowledge, content)
	return err
}

func (t *Table) execute(command uint8, flags netlink.HeaderFlags, content attribute) ([]genetlink.Message, error) {
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
	return t.own.Execute(m, t.family, flags)
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
	var flags uint32
	if s.Persistent != 0 {
		flags |= flagPersistent
	}
	if s.OnePacket {
		flags |= flagOnePacket
	}
	for bit, flag := range schedulerFlags {
		if s.SchedFlags&bit != 0 {
			flags |= flag
		}
	}
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, flags), ^uint32(0))
}

// engines asks which services have a persistence engine.
func (t *Table) engines() (map[ipvs.VIP]string, error) {
	messages, err := t.execute(cmdGetService, netlink.Request|netlink.Dump, nil)
	if err != nil {
		return nil, notEmpty(err)
	}
	engines := map[ipvs.VIP]string{}
	for _, m := range messages {
		err := nested(m.Data, attrService, func(dec *netlink.AttributeDecoder) {
			vip, engine := decodeEngine(dec)
			if engine != "" {
				engines[vip] = engine
			}
		})
		if err != nil {
			return nil, fmt.Errorf("service: %w", err)
		}
	}
	return engines, nil
}

func decodeEngine(dec *netlink.AttributeDecoder) (vip ipvs.VIP, engine string) {
	var addr []byte
	var port uint16
	vip.Family = ipvs.IPv4
	for dec.Next() {
		switch dec.Type() {
		case svcFamily:
			if dec.Uint16() == syscall.AF_INET6 {
				vip.Family = ipvs.IPv6
			}
		case svcProtocol:
			vip.Protocol = ipvs.Protocol(dec.Uint16())
		case svcAddr:
			addr = dec.Bytes()
		case svcPort:
			port = bigEndian16(dec.Bytes())
		case svcMark:
			vip.FWMark = dec.Uint32()
		case svcEngine:
			engine = dec.String()
		}
	}
	if vip.FWMark != 0 {
		return vip, engine
	}
	if vip.Family == ipvs.IPv4 && len(addr) > 4 {
		addr = addr[:4]
	}
	if a, ok := netip.AddrFromSlice(addr); ok {
		vip.Addr = netip.AddrPortFrom(a, port)
	}
	return vip, engine
}

func bigEndian16(b []byte) uint16 {
	if len(b) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// nested calls f for each attribute of the type in a message.
func nested(data []byte, kind uint16, f func(*netlink.AttributeDecoder)) error {
	dec, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	for dec.Next() {
		if dec.Type() == kind {
			dec.Nested(func(dec *netlink.AttributeDecoder) error {
				f(dec)
				return nil
			})
		}
	}
	return dec.Err()
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
