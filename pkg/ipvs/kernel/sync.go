package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// SyncDaemons lists the sync daemons that run.
func (t *Table) SyncDaemons(ctx context.Context) ([]ipvs.SyncDaemon, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var daemons []ipvs.SyncDaemon
	err := t.list(ctx, cmdGetDaemon, nil, attrDaemon, func(dec *netlink.AttributeDecoder) {
		daemons = append(daemons, decodeDaemon(dec))
	})
	if err != nil {
		return nil, errnoOf("list sync daemons", err)
	}
	slices.SortStableFunc(daemons, func(a, b ipvs.SyncDaemon) int { return cmp.Compare(a.Role, b.Role) })
	return daemons, nil
}

func decodeDaemon(dec *netlink.AttributeDecoder) (d ipvs.SyncDaemon) {
	for dec.Next() {
		switch dec.Type() {
		case daemonState:
			d.Role = ipvs.SyncRole(dec.Uint32())
		case daemonIface:
			d.Iface = dec.String()
		case daemonSyncID:
			d.SyncID = uint8(dec.Uint32())
		case daemonMaxLen:
			d.MaxLen = dec.Uint16()
		case daemonGroup, daemonGroup6:
			if a, ok := netip.AddrFromSlice(dec.Bytes()); ok {
				d.Group = a
			}
		case daemonPort:
			d.Port = dec.Uint16()
		case daemonTTL:
			d.TTL = dec.Uint8()
		}
	}
	return d
}

// StartSync starts a sync daemon.
func (t *Table) StartSync(ctx context.Context, d ipvs.SyncDaemon) error {
	return t.sync(ctx, cmdNewDaemon, "start", d)
}

// StopSync ends the sync daemon of d's role.
func (t *Table) StopSync(ctx context.Context, d ipvs.SyncDaemon) error {
	return t.sync(ctx, cmdDelDaemon, "stop", d)
}

func (t *Table) sync(ctx context.Context, command uint8, verb string, d ipvs.SyncDaemon) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	again := false
	err := t.retry(ctx, func() error {
		err := t.request(command, daemonAttribute(d))
		if again && (command == cmdNewDaemon && errors.Is(err, syscall.EEXIST) || command == cmdDelDaemon && errors.Is(err, syscall.ESRCH)) {
			err = nil // done the time before, whose answer was lost
		}
		again = true
		return err
	})
	var reason error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EEXIST):
		reason = ipvs.ErrExists
	case errors.Is(err, syscall.ESRCH):
		reason = ipvs.ErrNoDaemon
	}
	if err = errnoOf(verb+" sync daemon", err); reason != nil {
		return fmt.Errorf("%w: %w", err, reason)
	}
	return err
}

func daemonAttribute(d ipvs.SyncDaemon) attribute {
	return func(enc *netlink.AttributeEncoder) {
		enc.Nested(attrDaemon, func(enc *netlink.AttributeEncoder) error {
			enc.Uint32(daemonState, uint32(d.Role))
			enc.String(daemonIface, d.Iface)
			enc.Uint32(daemonSyncID, uint32(d.SyncID))
			if d.MaxLen != 0 {
				enc.Uint16(daemonMaxLen, d.MaxLen)
			}
			switch {
			case d.Group.Is4():
				enc.Bytes(daemonGroup, d.Group.AsSlice())
			case d.Group.Is6():
				enc.Bytes(daemonGroup6, d.Group.AsSlice())
			}
			if d.Port != 0 {
				enc.Uint16(daemonPort, d.Port)
			}
			if d.TTL != 0 {
				enc.Uint8(daemonTTL, d.TTL)
			}
			return nil
		})
	}
}

const syncThreshold = "/proc/sys/net/ipv4/vs/sync_threshold"

// SyncThreshold is that of the calling thread's network namespace, which has to be the table's.
func (t *Table) SyncThreshold(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	text, err := os.ReadFile(syncThreshold)
	if err != nil {
		return "", fmt.Errorf("threshold of the sync daemon: %w", err)
	}
	return strings.Join(strings.Fields(string(text)), " "), nil
}

// SetSyncThreshold changes it.
func (t *Table) SetSyncThreshold(ctx context.Context, threshold string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.WriteFile(syncThreshold, []byte(threshold), 0); err != nil {
		return fmt.Errorf("threshold of the sync daemon: %w", err)
	}
	return nil
}
