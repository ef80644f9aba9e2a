package ldirectord

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// brokenTable fails as the test says.
type brokenTable struct {
	ipvs.Table
	snapshot func() error // what Snapshot says first
}

func (t brokenTable) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	if err := t.snapshot(); err != nil {
		return nil, err
	}
	return t.Table.Snapshot(ctx)
}

func (b *bench) breakTable(snapshot func() error) *atomic.Int64 {
	var opened atomic.Int64
	b.change = func(o *Options) {
		o.OpenTable = func() (ipvs.Table, error) {
			opened.Add(1)
			return brokenTable{Table: unclosed{b.table}, snapshot: snapshot}, nil
		}
	}
	return &opened
}

// TestOwnFailure has our own code panic: the service starts again by itself, and the servers
// that have traffic keep it.
func TestOwnFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		var failing atomic.Bool
		b.breakTable(func() error {
			if failing.Swap(false) {
				panic("surprise")
			}
			return nil
		})
		b.start()
		time.Sleep(2500 * time.Millisecond)
		failing.Store(true)
		time.Sleep(5 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
		if b.logged("ERROR: ldirectord failed: surprise") != 1 || b.logged("Deleted real") != 0 {
			t.Errorf("log:\n%s", b.out)
		}
		b.stop()
		b.expect("")
	})
}

func TestTableComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80")
		var gone atomic.Bool
		gone.Store(true)
		opened := b.breakTable(func() error {
			if gone.Load() {
				return errors.New("family IPVS: no such file or directory")
			}
			return nil
		})
		b.start()
		time.Sleep(10 * time.Second)
		gone.Store(false)
		time.Sleep(2 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		if n := b.logged("Failed to read the table: family IPVS: no such file or directory"); n != 1 {
			t.Errorf("said %d times:\n%s", n, b.out)
		}
		if n := opened.Load(); n < 3 {
			t.Errorf("opened %d times", n)
		}
		b.stop()
	})
}

// failing starts a server that serves drainable, fails of itself within 2.5 s, and waits then for its next
// try.
func (b *bench) failing() {
	var failing atomic.Bool
	b.breakTable(func() error {
		if failing.Swap(false) {
			panic("surprise")
		}
		return nil
	})
	b.farm.set(up, "10.0.0.2:80", "10.0.0.2:81", "10.0.0.3:80")
	b.start()
	time.Sleep(1500 * time.Millisecond)
	if _, err := b.server.Drain(b.t.Context(), DrainRequest{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Virtual: "7"}); err != nil {
		b.t.Error(err)
	}
	failing.Store(true)
	time.Sleep(time.Second)
	if b.logged("ERROR: ldirectord failed: surprise") != 1 {
		b.t.Fatalf("it has not failed:\n%s", b.out)
	}
}

// TestCallsBeforeTheNextTry come after a failure of our own, while nothing is in force yet: they lose
// neither a drained server nor the table's cleaning.
func TestCallsBeforeTheNextTry(t *testing.T) {
	const (
		before = "tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1 tcp:10.0.0.1:81 10.0.0.2:81*5 fwm:7 10.0.0.2:80*0"
		after  = "tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*0 tcp:10.0.0.1:81 10.0.0.2:81*5 fwm:7 10.0.0.2:80*0"
	)
	for name, f := range map[string]func(t *testing.T, b *bench){
		"drain": func(t *testing.T, b *bench) {
			if _, err := b.server.Drain(t.Context(), DrainRequest{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.3")}}); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Second)
			b.expect(after)
			text, err := os.ReadFile(b.in.Drained)
			if want := drainedHeader + "fwm:7 10.0.0.2:80\ntcp:10.0.0.1:80 10.0.0.3:80\n"; err != nil || string(text) != want {
				t.Errorf("%q, %v", text, err)
			}
			b.stop()
		},
		"reload": func(t *testing.T, b *bench) {
			b.server.Reload(t.Context())
			time.Sleep(100 * time.Millisecond)
			b.expect(before)
			time.Sleep(5 * time.Second)
			b.expect(before)
			b.stop()
		},
		"stop": func(t *testing.T, b *bench) {
			begin := time.Now()
			b.stop()
			b.expect("")
			if took := time.Since(begin); took > 100*time.Millisecond {
				t.Errorf("the stop took %v", took)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, drainable)
				b.failing()
				b.expect(before)
				f(t, b)
			})
		})
	}
}

// TestStopRightAfterTheStart finds services in the table that a service which was killed has left.
func TestStopRightAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, twoReals)
		b.farm.set(up, "10.0.0.2:80")
		b.start()
		time.Sleep(time.Second)
		b.cancel()
		<-b.ended
		b.start()
		b.stop()
		b.expect("")
	})
}

// TestExecutedOutliveAFailure: what execute= has started is known after a failure of our own.
func TestExecutedOutliveAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &others{}
		b := newBench(t, "execute=a.cf\n"+drainable)
		b.failing()
		b.server.call(t.Context(), func(l *loop) { l.executed.run = o.run })
		b.stop()
		if got := o.take(); !slices.Equal(got, []string{"a.cf stop"}) {
			t.Errorf("%q", got)
		}
	})
}

// undeletable is a table whose code fails at the end.
type undeletable struct{ ipvs.Table }

func (u undeletable) Do(ctx context.Context, op ipvs.Op) error {
	if op.Kind == ipvs.DelService {
		panic("surprise")
	}
	return u.Table.Do(ctx, op)
}

// TestFailureAtTheEnd: what execute= has started is stopped all the same.
func TestFailureAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &others{}
		b := newBench(t, "execute=a.cf\n"+oneReal)
		b.change = func(c *Options) {
			c.OpenTable = func() (ipvs.Table, error) { return undeletable{unclosed{b.table}}, nil }
			c.Execute = func(ctx context.Context, name, action string) int {
				select {
				case <-time.After(2 * time.Second):
					return o.run(ctx, name, action)
				case <-ctx.Done():
					return 1
				}
			}
		}
		b.start()
		time.Sleep(3 * time.Second)
		b.server.Stop(t.Context(), "TERM")
		if err := <-b.ended; err == nil || !strings.Contains(err.Error(), "surprise") {
			t.Errorf("Run: %v", err)
		}
		b.cancel()
		if got := o.take(); !slices.Equal(got, []string{"a.cf start", "a.cf stop"}) {
			t.Errorf("%q", got)
		}
	})
}

// TestStopWithAHungMonitorFile: a monitorfile that cannot be written to, and does not fail, as on a file server
// that is gone, does not hold up the end.
func TestStopWithAHungMonitorFile(t *testing.T) {
	b := newBench(t, "")
	path := filepath.Join(b.dir, "monitor")
	b.write(strings.Replace(twoReals, "    service=http\n", "    service=http\n    monitorfile="+path+"\n", 1))
	b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
	b.running()
	if err := unix.Mkfifo(path+".fifo", 0o644); err != nil { // opening it hangs
		t.Fatal(err)
	}
	if err := os.Rename(path+".fifo", path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			time.Sleep(10 * time.Millisecond) // until it was opened
			f.Close()
		}
	})
	b.farm.set(refused, "10.0.0.2:80")
	b.wait("tcp:10.0.0.1:80 10.0.0.3:80*1")
	b.stopped()
	b.wait("")
}
