package kernel

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Table is the kernel's table. It may be used from several goroutines at once.
type Table struct {
	mu     sync.Mutex // one request at a time, so that a snapshot is not mixed with changes of ours
	conn   *genetlink.Conn
	family uint16                 // its number of IPVS
	dial   func() (*Table, error) // makes a new connection; nil: this is all there will be
	stale  bool                   // a new one is needed: see renew
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

// Close ends the connection.
func (t *Table) Close() error { return t.conn.Close() }

// Info asks for the version and the size of the connection table.
func (t *Table) Info(ctx context.Context) (info ipvs.Info, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err = t.info(ctx)
	return info, errnoOf("read IPVS version", err)
}

func (t *Table) info(ctx context.Context) (info ipvs.Info, err error) {
	messages, err := t.execute(ctx, cmdGetInfo, netlink.Request, nil)
	if err == nil && len(messages) == 0 {
		err = syscall.ENOENT
	}
	if err == nil {
		err = decode(messages, func(dec *netlink.AttributeDecoder) { info = decodeInfo(dec) })
	}
	return info, err
}

// Timeouts asks for the idle times.
func (t *Table) Timeouts(ctx context.Context) (to ipvs.Timeouts, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	messages, err := t.execute(ctx, cmdGetConfig, netlink.Request, nil)
	if err == nil {
		err = decode(messages, func(dec *netlink.AttributeDecoder) { to = decodeTimeouts(dec) })
	}
	return to, errnoOf("read IPVS timeouts", err)
}

// SetTimeouts sets the idle times that are not 0.
func (t *Table) SetTimeouts(ctx context.Context, to ipvs.Timeouts) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.retry(ctx, func() error {
		return t.request(cmdSetConfig, func(enc *netlink.AttributeEncoder) {
			enc.Uint32(attrTimeoutTCP, to.TCP)
			enc.Uint32(attrTimeoutTCPFin, to.TCPFin)
			enc.Uint32(attrTimeoutUDP, to.UDP)
		})
	})
	return errnoOf("set IPVS timeouts", err)
}

// Do carries out one operation.
func (t *Table) Do(ctx context.Context, op ipvs.Op) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	again := false
	err := t.retry(ctx, func() error {
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

// commands are the kernel's for the operations.
var commands = map[ipvs.OpKind]uint8{
	ipvs.AddService: cmdNewService, ipvs.EditService: cmdSetService, ipvs.DelService: cmdDelService,
	ipvs.AddDest: cmdNewDest, ipvs.EditDest: cmdSetDest, ipvs.DelDest: cmdDelDest,
	ipvs.Flush: cmdFlush, ipvs.Zero: cmdZero,
}

func (t *Table) do(op ipvs.Op) error {
	command, ok := commands[op.Kind]
	if !ok {
		return syscall.EINVAL
	}
	switch op.Kind {
	case ipvs.AddService, ipvs.EditService:
		return t.request(command, serviceAttribute(op.Service, true))
	case ipvs.AddDest, ipvs.EditDest, ipvs.DelDest:
		return t.request(command, func(enc *netlink.AttributeEncoder) {
			serviceAttribute(op.Service, false)(enc)
			destAttribute(op.Dest)(enc)
		})
	case ipvs.Flush:
		return t.request(command, nil)
	}
	if op.Kind == ipvs.Zero && op.Service.VIP == (ipvs.VIP{}) {
		return t.request(command, nil)
	}
	return t.request(command, serviceAttribute(op.Service, false))
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

// Snapshot lists the table. What other programs change in an entry meanwhile may be in it or not.
//
// The kernel gives a long list in several parts, and finds where it was by counting services, those of
// other network namespaces too: if one of them changes between two parts, a service is given
// twice or not at all, and Linux 6.1 does not tell (NLM_F_DUMP_INTR). Therefore a list counts only if
// nothing is in it twice and a second one names the same services.
func (t *Table) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries, err := t.snapshot(ctx)
	for n := 1; n < attempts && errors.Is(err, errDoubtful); n++ {
		entries, err = t.snapshot(ctx)
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// snapshot reads the table once.
func (t *Table) snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	const doing = "list IPVS table"
	entries, err := t.services(ctx)
	if err != nil {
		return nil, errnoOf(doing, err)
	}
	if len(entries) == 0 {
		// An empty table and a kernel whose ip_vs was unloaded say the same.
		_, err = t.info(ctx)
		return entries, errnoOf(doing+": ip_vs was unloaded", err)
	}
	for i := range entries {
		if entries[i].Dests, err = t.dests(ctx, entries[i].Service); err != nil {
			return nil, errnoOf(doing, err)
		}
	}
	again, err := t.services(ctx)
	if err == nil && !slices.EqualFunc(entries, again, sameVIP) {
		err = errDoubtful
	}
	return entries, errnoOf(doing, err)
}

func sameVIP(a, b ipvs.Entry) bool { return a.VIP == b.VIP }

// services lists the services without their destinations.
func (t *Table) services(ctx context.Context) ([]ipvs.Entry, error) {
	entries := []ipvs.Entry{}
	seen := map[ipvs.VIP]bool{}
	err := t.list(ctx, cmdGetService, nil, attrService, func(dec *netlink.AttributeDecoder) {
		e := decodeService(dec)
		entries, seen[e.VIP] = append(entries, e), true
	})
	if err == nil && len(seen) < len(entries) {
		err = errDoubtful
	}
	return entries, err
}

// dests lists the destinations of a service.
func (t *Table) dests(ctx context.Context, of ipvs.Service) (dests []ipvs.DestEntry, err error) {
	seen := map[netip.AddrPort]bool{}
	err = t.list(ctx, cmdGetDest, serviceAttribute(of, false), attrDest, func(dec *netlink.AttributeDecoder) {
		d := decodeDest(dec, of.Family)
		dests, seen[d.Addr] = append(dests, d), true
	})
	if err == nil && len(seen) < len(dests) {
		err = errDoubtful
	}
	return dests, err
}

// notEmpty drops the kernel's error for a list without entries.
func notEmpty(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
