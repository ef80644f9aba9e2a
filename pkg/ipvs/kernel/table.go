package kernel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"sync"
	"syscall"

	library "github.com/cloudflare/ipvs"
	"github.com/cloudflare/ipvs/netmask"
	"github.com/mdlayher/genetlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Table is the kernel's table. It may be used from several goroutines at once.
type Table struct {
	mu        sync.Mutex // one request at a time, so that a snapshot is not mixed with changes of ours
	lib       library.Client
	libCloser io.Closer
	own       *genetlink.Conn
	family    uint16
	dial      func() (*Table, error) // makes new connections; nil: these are all there will be
}

var (
	_ ipvs.Table     = (*Table)(nil)
	_ ipvs.Informer  = (*Table)(nil)
	_ ipvs.ConnTable = (*Table)(nil)
	_ ipvs.SyncTable = (*Table)(nil)
)

// Caps says that the kernel does everything, with the schedulers that it can load.
func (t *Table) Caps() ipvs.Caps {
	return ipvs.Caps{
		Name:      "kernel",
		Forwards:  []ipvs.Forward{ipvs.Masq, ipvs.Local, ipvs.Tunnel, ipvs.Route, ipvs.Bypass},
		SCTP:      true,
		FWMark:    true,
		OnePacket: true,
	}
}

// Close ends both connections.
func (t *Table) Close() error { return errors.Join(t.libCloser.Close(), t.own.Close()) }

// Info asks for the version and the size of the connection table.
func (t *Table) Info(ctx context.Context) (ipvs.Info, error) {
	var info library.Info
	err := t.try(ctx, func() (err error) {
		info, err = t.lib.Info()
		return err
	})
	if err != nil {
		return ipvs.Info{}, errnoOf("read IPVS version", err)
	}
	return ipvs.Info{
		Version:  [3]uint8{uint8(info.Version[0]), uint8(info.Version[1]), uint8(info.Version[2])},
		ConnSize: info.ConnectionTableSize,
	}, nil
}

// Timeouts asks for the idle times.
func (t *Table) Timeouts(ctx context.Context) (ipvs.Timeouts, error) {
	var c library.Config
	err := t.try(ctx, func() (err error) {
		c, err = t.lib.Config()
		return err
	})
	if err != nil {
		return ipvs.Timeouts{}, errnoOf("read IPVS timeouts", err)
	}
	return ipvs.Timeouts{TCP: c.TCPTimeout, TCPFin: c.TCPFinTimeout, UDP: c.UDPTimeout}, nil
}

// SetTimeouts sets the idle times that are not 0.
func (t *Table) SetTimeouts(ctx context.Context, to ipvs.Timeouts) error {
	err := t.try(ctx, func() error {
		return t.lib.SetConfig(library.Config{TCPTimeout: to.TCP, TCPFinTimeout: to.TCPFin, UDPTimeout: to.UDP})
	})
	return errnoOf("set IPVS timeouts", err)
}

// Do carries out one operation.
func (t *Table) Do(ctx context.Context, op ipvs.Op) error {
	again := false
	err := t.try(ctx, func() error {
		err := t.do(op)
		if again && alreadyDone(op.Kind, err) {
			err = nil
		}
		again = true
		return err
	})
	if err == nil {
		return nil
	}
	r := &ipvs.Refusal{Op: op, Cause: err}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Reason, r.Cause = reason(op.Kind, errno), errno
	}
	return r
}

func (t *Table) do(op ipvs.Op) error {
	s, d := identity(op.Service.VIP), destination(op.Dest)
	switch op.Kind {
	case ipvs.AddService:
		return t.request(cmdNewService, serviceAttribute(op.Service, true))
	case ipvs.EditService:
		return t.request(cmdSetService, serviceAttribute(op.Service, true))
	case ipvs.DelService:
		return t.lib.RemoveService(s)
	case ipvs.AddDest:
		return t.lib.CreateDestination(s, d)
	case ipvs.EditDest:
		return t.lib.UpdateDestination(s, d)
	case ipvs.DelDest:
		return t.lib.RemoveDestination(s, d)
	case ipvs.Flush:
		return t.request(cmdFlush, nil)
	case ipvs.Zero:
		if op.Service.VIP == (ipvs.VIP{}) {
			return t.request(cmdZero, nil)
		}
		return t.request(cmdZero, serviceAttribute(op.Service, false))
	}
	return syscall.EINVAL
}

// alreadyDone tells whether an error only says that the attempt before, whose answer was lost,
// had done it.
func alreadyDone(kind ipvs.OpKind, err error) bool {
	switch kind {
	case ipvs.AddService, ipvs.AddDest:
		return errors.Is(err, syscall.EEXIST)
	case ipvs.DelService:
		return errors.Is(err, syscall.ESRCH)
	case ipvs.DelDest:
		return errors.Is(err, syscall.ENOENT)
	}
	return false
}

// reason is the sentinel for an errno; the same errno means different things to services and to
// destinations.
func reason(kind ipvs.OpKind, errno syscall.Errno) error {
	switch errno {
	case syscall.EEXIST:
		return ipvs.ErrExists
	case syscall.ESRCH:
		return ipvs.ErrNoService
	case syscall.ENOENT:
		switch kind {
		case ipvs.AddService, ipvs.EditService:
			return ipvs.ErrNoScheduler
		case ipvs.EditDest, ipvs.DelDest:
			return ipvs.ErrNoDest
		}
	}
	return nil
}

// Snapshot lists the table. What other programs change meanwhile may be in it or not.
func (t *Table) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	entries := []ipvs.Entry{}
	unloaded := false
	err := t.try(ctx, func() error {
		entries, unloaded = entries[:0], false
		engines, err := t.engines()
		if err != nil {
			return err
		}
		services, err := t.lib.Services()
		if notEmpty(err) != nil {
			return err
		}
		if err != nil {
			// An empty table and a kernel whose ip_vs was unloaded say the same.
			_, err = t.lib.Info()
			unloaded = err != nil
			return err
		}
		for _, s := range services {
			e := ipvs.Entry{Service: service(s.Service), Stats: stats(s.Stats, s.Stats64)}
			e.PE = engines[e.VIP]
			dests, err := t.lib.Destinations(s.Service)
			if err != nil && notEmpty(err) != nil {
				return err
			}
			for _, d := range dests {
				e.Dests = append(e.Dests, destEntry(d))
			}
			entries = append(entries, e)
		}
		return nil
	})
	switch {
	case unloaded:
		return nil, errnoOf("list IPVS table: ip_vs was unloaded", err)
	case err != nil:
		return nil, errnoOf("list IPVS table", err)
	}
	return entries, nil
}

// notEmpty drops the library's error for a list without entries.
func notEmpty(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func family(f ipvs.Family) library.AddressFamily {
	if f == ipvs.IPv6 {
		return library.INET6
	}
	return library.INET
}

// identity is what the library needs to find a service.
func identity(v ipvs.VIP) library.Service {
	return library.Service{
		Address: v.Addr.Addr(), Port: v.Addr.Port(), Protocol: library.Protocol(v.Protocol),
		FWMark: v.FWMark, Family: family(v.Family),
	}
}

func destination(d ipvs.Dest) library.Destination {
	out := library.Destination{
		Address: d.Addr.Addr(), Port: d.Addr.Port(), Family: library.INET,
		FwdMethod: library.ForwardType(d.Forward), Weight: uint32(d.Weight),
		UpperThreshold: d.UpperThreshold, LowerThreshold: d.LowerThreshold,
		TunnelType: library.TunnelType(d.TunType), TunnelPort: d.TunPort, TunnelFlags: library.TunnelFlags(d.TunFlags),
	}
	if d.Addr.Addr().Is6() {
		out.Family = library.INET6
	}
	return out
}

func service(s library.Service) ipvs.Service {
	out := ipvs.Service{
		VIP:       ipvs.VIP{Protocol: ipvs.Protocol(s.Protocol), FWMark: s.FWMark, Family: ipvs.IPv4},
		Scheduler: s.Scheduler,
		OnePacket: s.Flags&library.ServiceOnePacket != 0,
	}
	if s.Family == library.INET6 {
		out.Family = ipvs.IPv6
	}
	if s.FWMark == 0 {
		out.Addr = netip.AddrPortFrom(s.Address, s.Port)
	}
	if s.Flags&library.ServicePersistent != 0 {
		out.Persistent = s.Timeout
	}
	for bit, flag := range schedulerFlags {
		if uint32(s.Flags)&flag != 0 {
			out.SchedFlags |= bit
		}
	}
	setMask(&out, s.Netmask)
	return out
}

func setMask(s *ipvs.Service, m netmask.Mask) {
	switch {
	case m.Is4():
		s.SetMask4([4]byte(m.AsSlice()))
	case m.Is6() && m.Bits() > 0:
		s.Netmask = uint8(m.Bits())
	}
}

func destEntry(d library.DestinationExtended) ipvs.DestEntry {
	return ipvs.DestEntry{
		Dest: ipvs.Dest{
			Addr:           netip.AddrPortFrom(d.Address, d.Port),
			Forward:        ipvs.Forward(d.FwdMethod & forwardMask),
			Weight:         int32(d.Weight),
			UpperThreshold: d.UpperThreshold,
			LowerThreshold: d.LowerThreshold,
			TunType:        ipvs.TunnelType(d.TunnelType),
			TunPort:        d.TunnelPort,
			TunFlags:       uint16(d.TunnelFlags),
		},
		ActiveConns:  d.ActiveConnections,
		InactConns:   d.InactiveConnections,
		PersistConns: d.PersistentConnections,
		Stats:        stats(d.Stats, d.Stats64),
	}
}

// stats prefers the 64-bit counters, which kernels before 4.1 do not have.
func stats(short, long library.Stats) ipvs.Stats {
	s := long
	if s == (library.Stats{}) {
		s = short
	}
	return ipvs.Stats{
		Conns: s.Connections, InPkts: s.IncomingPackets, OutPkts: s.OutgoingPackets,
		InBytes: s.IncomingBytes, OutBytes: s.OutgoingBytes,
		CPS: s.ConnectionRate, InPPS: s.IncomingPacketRate, OutPPS: s.OutgoingPacketRate,
		InBPS: s.IncomingByteRate, OutBPS: s.OutgoingByteRate,
	}
}
