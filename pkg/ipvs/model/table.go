// Package model is an [ipvs.Table] in memory. It refuses what the kernel (ip_vs_ctl.c) refuses,
// with the same errno, so that tests may trust it in the kernel's place; pkg/ipvs/ipvstest runs
// one script against both.
package model

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// The kernel's idle times as they are after the module was loaded.
var defaultTimeouts = ipvs.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}

// Table is an IPVS table in memory. It may be used from several goroutines at once.
type Table struct {
	mu       sync.Mutex
	entries  []ipvs.Entry // in the order added; destinations newest first, as the kernel lists them
	timeouts ipvs.Timeouts
	closed   bool
}

var _ ipvs.Table = (*Table)(nil)

// New returns an empty table.
func New() *Table { return &Table{timeouts: defaultTimeouts} }

// Caps says that the model does everything.
func (t *Table) Caps() ipvs.Caps {
	return ipvs.Caps{
		Name:       "model",
		Forwards:   []ipvs.Forward{ipvs.Masq, ipvs.Local, ipvs.Tunnel, ipvs.Route, ipvs.Bypass},
		Schedulers: slices.Clone(ipvs.Schedulers),
		SCTP:       true,
		FWMark:     true,
		OnePacket:  true,
	}
}

// Snapshot returns a copy of the table.
func (t *Table) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(ctx); err != nil {
		return nil, err
	}
	out := make([]ipvs.Entry, 0, len(t.entries))
	for _, e := range t.entries {
		e.Dests = slices.Clone(e.Dests)
		out = append(out, e)
	}
	return out, nil
}

// Do carries out one operation or refuses it with an [*ipvs.Refusal].
func (t *Table) Do(ctx context.Context, op ipvs.Op) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(ctx); err != nil {
		return &ipvs.Refusal{Op: op, Cause: err}
	}
	if errno, reason := t.do(op); errno != 0 {
		return &ipvs.Refusal{Op: op, Reason: reason, Cause: errno}
	}
	return nil
}

// Timeouts returns the idle times.
func (t *Table) Timeouts(ctx context.Context) (ipvs.Timeouts, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.timeouts, t.usable(ctx)
}

// SetTimeouts sets the idle times that are not 0.
func (t *Table) SetTimeouts(ctx context.Context, to ipvs.Timeouts) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(ctx); err != nil {
		return err
	}
	for _, v := range []struct {
		to   *uint32
		from uint32
	}{{&t.timeouts.TCP, to.TCP}, {&t.timeouts.TCPFin, to.TCPFin}, {&t.timeouts.UDP, to.UDP}} {
		if v.from != 0 {
			*v.to = v.from
		}
	}
	return nil
}

// Close makes every later call fail. The entries are gone with it.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.entries = true, nil
	return nil
}

func (t *Table) usable(ctx context.Context) error {
	if t.closed {
		return syscall.EBADF
	}
	return ctx.Err()
}

// do follows ip_vs_genl_set_cmd: the service is looked up first, then the operation's own checks.
func (t *Table) do(op ipvs.Op) (errno syscall.Errno, reason error) {
	if op.Kind == ipvs.Flush {
		t.entries = nil
		return 0, nil
	}
	if op.Kind == ipvs.Zero && op.Service.VIP == (ipvs.VIP{}) {
		for i := range t.entries {
			zero(&t.entries[i])
		}
		return 0, nil
	}
	if errno := checkVIP(op.Service.VIP); errno != 0 {
		return errno, nil
	}
	at := slices.IndexFunc(t.entries, func(e ipvs.Entry) bool { return e.VIP == op.Service.VIP })
	if op.Kind == ipvs.AddService {
		if at >= 0 {
			return syscall.EEXIST, ipvs.ErrExists
		}
		if errno, reason := checkService(op.Service); errno != 0 {
			return errno, reason
		}
		t.entries = append(t.entries, ipvs.Entry{Service: stored(op.Service)})
		return 0, nil
	}
	if at < 0 {
		return syscall.ESRCH, ipvs.ErrNoService
	}
	e := &t.entries[at]
	switch op.Kind {
	case ipvs.EditService:
		if errno, reason := checkService(op.Service); errno != 0 {
			return errno, reason
		}
		e.Service = stored(op.Service)
	case ipvs.DelService:
		t.entries = slices.Delete(t.entries, at, at+1)
	case ipvs.AddDest, ipvs.EditDest, ipvs.DelDest:
		return doDest(e, op.Kind, op.Dest)
	case ipvs.Zero:
		zero(e)
	default:
		return syscall.EINVAL, nil
	}
	return 0, nil
}

func doDest(e *ipvs.Entry, kind ipvs.OpKind, d ipvs.Dest) (errno syscall.Errno, reason error) {
	if !d.Addr.IsValid() {
		return syscall.EINVAL, nil
	}
	if kind != ipvs.DelDest {
		if errno := checkDest(e.Service, d); errno != 0 {
			return errno, nil
		}
	}
	at := slices.IndexFunc(e.Dests, func(have ipvs.DestEntry) bool { return have.Addr == d.Addr })
	switch {
	case kind == ipvs.AddDest && at >= 0:
		return syscall.EEXIST, ipvs.ErrExists
	case kind == ipvs.AddDest:
		if !unicast(d.Addr.Addr()) {
			return syscall.EINVAL, nil
		}
		e.Dests = slices.Insert(e.Dests, 0, ipvs.DestEntry{Dest: d})
	case at < 0:
		return syscall.ENOENT, ipvs.ErrNoDest
	case kind == ipvs.EditDest:
		e.Dests[at].Dest = d
	default:
		e.Dests = slices.Delete(e.Dests, at, at+1)
	}
	return 0, nil
}

func checkVIP(v ipvs.VIP) syscall.Errno {
	switch {
	case v.Family != ipvs.IPv4 && v.Family != ipvs.IPv6:
		return syscall.EAFNOSUPPORT
	case v.FWMark == 0 && !v.Addr.IsValid():
		return syscall.EINVAL
	}
	return 0
}

func checkService(s ipvs.Service) (errno syscall.Errno, reason error) {
	switch {
	case !slices.Contains(ipvs.Schedulers, s.Scheduler) && s.Scheduler != "none", s.PE != "" && s.PE != "sip":
		return syscall.ENOENT, ipvs.ErrNoScheduler
	case s.Mask() > s.Family.Bits():
		return syscall.EINVAL, nil
	}
	return 0, nil
}

func checkDest(s ipvs.Service, d ipvs.Dest) syscall.Errno {
	mixed := (s.Family == ipvs.IPv6) != d.Addr.Addr().Is6()
	switch {
	case mixed && d.Forward != ipvs.Tunnel:
		return syscall.EINVAL
	case d.Weight < 0, d.LowerThreshold > d.UpperThreshold:
		return syscall.ERANGE
	case d.TunType == ipvs.GUE && d.TunPort == 0:
		return syscall.EINVAL
	}
	return 0
}

// unicast is the kernel's rule for a new destination, as far as it can be told without its
// routes: a broadcast address of a connected network is taken here.
func unicast(a netip.Addr) bool {
	if a.Is6() {
		return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
	}
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// stored is a service as the kernel gives it back.
func stored(s ipvs.Service) ipvs.Service {
	s.Netmask = s.Mask()
	return s
}

func zero(e *ipvs.Entry) {
	e.Stats = ipvs.Stats{}
	for i := range e.Dests {
		e.Dests[i].Stats = ipvs.Stats{}
	}
}
