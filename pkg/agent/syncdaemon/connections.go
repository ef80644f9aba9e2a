package syncdaemon

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// The kernel tells the backup of a connection with some of its packets only (sync_threshold: the third
// of fifty), and a backup that has just started has missed what was told before. So before a returned
// director gets its resources back, it is asked for a sample of the connections.

// Hurry has the master daemon tell of a connection with each of its packets, until calm is called. It
// is an error if none runs.
func (a *Agent) Hurry(ctx context.Context) (calm func() error, err error) {
	calm = func() error { return a.Calm(context.WithoutCancel(ctx)) }
	err = a.with(func(t ipvs.SyncTable) error {
		have, err := t.SyncDaemons(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(have, func(d ipvs.SyncDaemon) bool { return d.Role == ipvs.SyncMaster }) {
			return errors.New("no master sync daemon runs here (" + Name + " in haresources starts one)")
		}
		h, ok := t.(ipvs.SyncHurrier)
		if !ok {
			return nil
		}
		before, err := h.SyncThreshold(ctx)
		if err != nil || before == ipvs.EveryPacket {
			return err
		}
		// The note first: whoever finds it puts the threshold back, even if this process is killed.
		if err := os.WriteFile(a.o.Note, []byte(before+"\n"), 0o600); err != nil {
			return err
		}
		return h.SetSyncThreshold(ctx, ipvs.EveryPacket)
	})
	return calm, err
}

// Calm puts back the threshold that Hurry has changed, in this process or in one that was killed since,
// unless somebody else has changed it meanwhile. Nothing happens if there is nothing to put back.
func (a *Agent) Calm(ctx context.Context) error {
	if _, err := os.Stat(a.o.Note); err != nil {
		return nil
	}
	return a.with(func(t ipvs.SyncTable) error { return a.calm(ctx, t) })
}

func (a *Agent) calm(ctx context.Context, t ipvs.SyncTable) error {
	h, ok := t.(ipvs.SyncHurrier)
	if !ok {
		return nil
	}
	before, err := os.ReadFile(a.o.Note)
	if err != nil {
		return nil // there is none
	}
	now, err := h.SyncThreshold(ctx)
	if err == nil && now == ipvs.EveryPacket {
		err = h.SetSyncThreshold(ctx, strings.TrimSpace(string(before)))
	}
	if err != nil {
		return err
	}
	return os.Remove(a.o.Note)
}

// established is the state of connections that are open. Others are on their way out, or come too
// rarely for the backup to hear of.
const established = "ESTABLISHED"

// Sample is at most n of the open connections, chosen at random, by their hashes.
func (a *Agent) Sample(ctx context.Context, n int) ([]uint32, error) {
	conns, err := a.connections(ctx)
	if err != nil {
		return nil, err
	}
	conns = slices.DeleteFunc(conns, func(c ipvs.Conn) bool { return c.State != established })
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	sample := make([]uint32, min(n, len(conns)))
	for i := range sample {
		sample[i] = hash(conns[i])
	}
	return sample, nil
}

// Known is how many of a sample this director knows, in whatever state.
func (a *Agent) Known(ctx context.Context, sample []uint32) (n int, err error) {
	conns, err := a.connections(ctx)
	if err != nil {
		return 0, err
	}
	have := make(map[uint32]bool, len(conns))
	for _, c := range conns {
		have[hash(c)] = true
	}
	for _, h := range sample {
		if have[h] {
			n++
		}
	}
	return n, nil
}

// hash is what connections are compared by. Two directors agree on it.
func hash(c ipvs.Conn) uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s %s %s %s", c.Protocol, c.Client, c.Virtual, c.Dest)
	return h.Sum32()
}

func (a *Agent) connections(ctx context.Context) (conns []ipvs.Conn, err error) {
	table, err := a.o.OpenTable()
	if err != nil {
		return nil, err
	}
	defer table.Close()
	t, ok := table.(ipvs.ConnTable)
	if !ok {
		return nil, fmt.Errorf("the %s table: %w", table.Caps().Name, errNoSync)
	}
	return t.Connections(ctx)
}
