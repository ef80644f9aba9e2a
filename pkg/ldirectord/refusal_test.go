package ldirectord

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// moodyTable fails as its mood says: an errno for each operation, by chance, or for the listing.
type moodyTable struct {
	ipvs.Table
	mood *atomic.Pointer[mood]
}

type mood struct {
	errno   syscall.Errno
	chance  float64 // of an operation
	listing float64
}

func (m moodyTable) Do(ctx context.Context, op ipvs.Op) error {
	if is := m.mood.Load(); rand.Float64() < is.chance {
		return &ipvs.Refusal{Op: op, Cause: is.errno}
	}
	return m.Table.Do(ctx, op)
}

func (m moodyTable) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	if is := m.mood.Load(); rand.Float64() < is.listing {
		return nil, fmt.Errorf("list services: %w", is.errno)
	}
	return m.Table.Snapshot(ctx)
}

// TestTableInMoods: whatever errors the kernel gives, and however often, they are logged once for
// each operation, tried again, and caught up with as soon as it works.
func TestTableInMoods(t *testing.T) {
	const all = "tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1"
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		table := moodyTable{unclosed{b.table}, new(atomic.Pointer[mood])}
		table.mood.Store(&mood{})
		b.change = func(o *Options) { o.OpenTable = func() (ipvs.Table, error) { return table, nil } }
		b.start()
		time.Sleep(2 * time.Second)
		b.expect(all)
		for _, m := range []mood{
			{syscall.ENOBUFS, 1, 0},
			{syscall.ENOBUFS, 0.5, 0.5},
			{syscall.EINTR, 0.5, 0.5},
			{syscall.EINTR, 0, 1},
			{syscall.ENOMEM, 1, 1},
			{syscall.ENOSPC, 1, 0},
			{syscall.EOPNOTSUPP, 1, 1},
		} {
			table.mood.Store(&m)
			before := len(b.lines())
			if err := b.table.Do(t.Context(), ipvs.Op{Kind: ipvs.Flush}); err != nil {
				t.Fatal(err)
			}
			b.farm.set(refused, "10.0.0.3:80")
			time.Sleep(30 * time.Second)
			b.farm.set(up, "10.0.0.3:80")
			time.Sleep(30 * time.Second)
			said := map[string]int{}
			for _, line := range b.lines()[before:] {
				if strings.HasPrefix(line, "Failed to ") {
					said[line]++
				}
			}
			// By chance all may be well for a moment, and then the same may fail anew.
			for line, n := range said {
				if n > 1 && (m.chance == 1 || m.chance == 0) && m.listing != 0.5 {
					t.Errorf("%v: %d times %q", m, n, line)
				}
			}
			if len(said) == 0 {
				t.Errorf("%v: nothing is said", m)
			}
			table.mood.Store(&mood{})
			time.Sleep(2 * time.Second) // twice the interval: a reading, and what is due after it
			b.expect(all)
		}
		b.stop()
	})
}

// TestStopWithADeafTable ends in time.
func TestStopWithADeafTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		table := moodyTable{unclosed{b.table}, new(atomic.Pointer[mood])}
		table.mood.Store(&mood{})
		b.change = func(o *Options) { o.OpenTable = func() (ipvs.Table, error) { return table, nil } }
		b.start()
		time.Sleep(2 * time.Second)
		table.mood.Store(&mood{syscall.ENOBUFS, 1, 1})
		begin := time.Now()
		b.stop()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if b.logged("Failed to delete service tcp:10.0.0.1:80: no buffer space available") != 1 {
			t.Errorf("log:\n%s", b.out)
		}
	})
}
