package media

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/systole-ha/systole/pkg/halog"
	"golang.org/x/sys/unix"
)

// rig is a link on a driver and sockets that do as the test says.
type rig struct {
	link    *link
	mu      sync.Mutex // for all below: what happens by the clock is ordered by nothing else
	lines   []string
	got     []string // delivered
	sent    []string
	opened  int
	openErr error
	sendErr error
	check1  error         // answer of the sockets' check
	block   time.Duration // how long a send takes
	in      chan string   // what the sockets receive; "!" is a failure of reading
}

func newRig() *rig {
	r := new(rig)
	r.link = &link{
		spec: Spec{Kind: "bcast", Name: "eth0"}, driver: r,
		opts: Options{WriteTimeout: 2 * time.Second, Report: func(e Event) {
			r.set(func() { r.lines = append(r.lines, e.Prio.String()+": "+e.Text) })
		}},
	}
	return r
}

func (r *rig) open(_ context.Context, _ bool, log logFunc) (conn, error) {
	r.mu.Lock()
	r.opened++
	err := r.openErr
	r.mu.Unlock()
	if err != nil {
		log(halog.Error, err, "cannot open")
		return nil, err
	}
	log(halog.Info, nil, "opened")
	return &rigConn{rig: r, closed: make(chan struct{})}, nil
}

func (r *rig) writeFailed(log logFunc, packet []byte, err error) {
	log(halog.Error, err, "cannot send %s: %s", packet, strerror(err))
}

func (r *rig) readFailed(log logFunc, err error) { log(halog.Error, err, "cannot read: %s", err) }

type rigConn struct {
	*rig
	closed chan struct{}
}

func (c *rigConn) send(packet []byte, deadline time.Time) error {
	c.mu.Lock()
	block := c.block
	c.mu.Unlock()
	if block > 0 {
		time.Sleep(min(block, time.Until(deadline)))
		if time.Now().Equal(deadline) {
			return os.ErrDeadlineExceeded
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sendErr == nil {
		c.sent = append(c.sent, string(packet))
	}
	return c.sendErr
}

func (c *rigConn) receive() (Frame, bool, error) {
	select {
	case <-c.closed:
		return Frame{}, false, errors.New("closed")
	case s := <-c.in:
		if s == "!" {
			return Frame{}, false, errors.New("broken")
		}
		return Frame{Bytes: []byte(s)}, s != "foreign", nil
	}
}

func (c *rigConn) check(logFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.check1
}

func (c *rigConn) close() error {
	close(c.closed)
	return nil
}

// run runs the link while do acts, in a bubble where time costs nothing.
func (r *rig) run(t *testing.T, do func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r.in, r.link.queue = make(chan string), make(chan []byte, queueLen) // of this bubble
		ctx, cancel := context.WithCancel(t.Context())
		c, err := r.open(ctx, true, func(halog.Prio, error, string, ...any) {})
		if err != nil {
			t.Fatal(err)
		}
		r.link.conn = c
		done := make(chan error)
		go func() {
			done <- r.link.Run(ctx, func(f Frame) { r.got = append(r.got, string(f.Bytes)) })
		}()
		do()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (r *rig) send(n int) {
	for i := range n {
		r.link.Send(fmt.Appendf(nil, "p%d", i))
	}
	synctest.Wait()
}

// set changes what the driver and the sockets do.
func (r *rig) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *rig) takeLines() (lines []string) {
	r.set(func() { lines, r.lines = r.lines, nil })
	return lines
}

func TestLinkSendsAndDelivers(t *testing.T) {
	r := newRig()
	r.run(t, func() {
		r.send(3)
		r.in <- "a"
		r.in <- "foreign"
		r.in <- "b"
		synctest.Wait()
		if got, want := r.link.Stats(), (Stats{Sent: 3, Received: 2}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
	if want := []string{"p0", "p1", "p2"}; !reflect.DeepEqual(r.sent, want) {
		t.Errorf("sent %q, want %q", r.sent, want)
	}
	if want := []string{"a", "b"}; !reflect.DeepEqual(r.got, want) {
		t.Errorf("delivered %q, want %q", r.got, want)
	}
	if len(r.lines) > 0 {
		t.Errorf("logged %q", r.lines)
	}
}

func TestLinkReportsFailedWritesAsTheOriginal(t *testing.T) {
	r := newRig()
	r.sendErr = unix.ENETUNREACH
	pair := []string{"ERROR: cannot send p0: Network is unreachable", "ERROR: write_child: write failure on bcast eth0.: Network is unreachable"}
	r.run(t, func() {
		for i := 1; i <= 2100; i++ {
			r.send(1)
			want := pair
			switch n := (i-1)%1000 + 1; {
			case n == 11:
				want = append(pair[:2:2], "WARN: Temporarily Suppressing write error messages", "WARN: Is a cable unplugged on bcast eth0?")
			case n > 11:
				want = nil
			}
			if got := r.takeLines(); !reflect.DeepEqual(got, want) {
				t.Fatalf("failure %d: logged %q, want %q", i, got, want)
			}
		}
		r.set(func() { r.sendErr = nil })
		r.send(2)
		if got, want := r.takeLines(), []string{"WARN: write_child: 89 bcast eth0 messages discarded while suppressed."}; !reflect.DeepEqual(got, want) {
			t.Errorf("after recovery: logged %q, want %q", got, want)
		}
		r.set(func() { r.sendErr = unix.ENETUNREACH })
		if r.send(1); !reflect.DeepEqual(r.takeLines(), pair) {
			t.Error("a failure after a success is not reported")
		}
	})
	if got, want := r.link.Stats().Failed, uint64(2101); got != want {
		t.Errorf("%d failed writes counted, want %d", got, want)
	}
}

func TestLinkGivesUpWhatABlockedWriteHolds(t *testing.T) {
	r := newRig()
	r.block = time.Hour
	r.run(t, func() {
		r.send(5)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want := []string{"ERROR: Write timeout on bcast eth0.: Interrupted system call", "WARN: 4 messages discarded due to write errors on bcast eth0"}
		if got := r.takeLines(); !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		r.set(func() { r.block = 0 })
		if r.send(1); !reflect.DeepEqual(r.sent, []string{"p0"}) {
			t.Errorf("sent %q afterwards", r.sent)
		}
	})
	if got, want := r.link.Stats(), (Stats{Sent: 1, Failed: 1, Dropped: 4}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestLinkTellsOfALongQueue(t *testing.T) {
	r := newRig()
	r.block = time.Second
	r.run(t, func() {
		r.send(1)
		r.send(queueLen + 7)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, want := r.takeLines(), []string{"WARN: 7 messages discarded due to write errors on bcast eth0"}; !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		r.set(func() { r.block = 0 })
	})
	if got := r.link.Stats(); got.Sent != queueLen+1 || got.Dropped != 7 {
		t.Errorf("stats %+v", got)
	}
}

func TestLinkSendsItsLastPackets(t *testing.T) {
	r := newRig()
	r.run(t, func() {
		for i := range 3 {
			r.link.Send(fmt.Appendf(nil, "p%d", i)) // Run may not have seen them when it is told to end
		}
	})
	if len(r.sent) != 3 || r.link.Stats().Up {
		t.Errorf("sent %q, stats %+v", r.sent, r.link.Stats())
	}
	r = newRig()
	began := time.Now()
	r.run(t, func() {
		r.set(func() { r.block = time.Hour })
		r.send(100)
	})
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the end took %s", took)
	}
}

func TestLinkOpensAnewWhenTheInterfaceIsBack(t *testing.T) {
	r := newRig()
	r.run(t, func() {
		gone := fmt.Errorf("interface eth0: %w", unix.ENODEV)
		r.set(func() { r.check1, r.openErr = gone, gone })
		time.Sleep(10500 * time.Millisecond)
		synctest.Wait()
		if got, want := r.takeLines(), []string{"WARN: bcast eth0: interface eth0: no such device; opening it anew."}; !reflect.DeepEqual(got, want) {
			t.Errorf("gone: logged %q, want %q", got, want)
		}
		if r.opened != 11 || r.link.Stats().Up {
			t.Errorf("tried to open %d times, stats %+v", r.opened, r.link.Stats())
		}
		r.send(1)
		if got, want := r.takeLines(), []string{"ERROR: cannot send p0: No such device", "ERROR: write_child: write failure on bcast eth0.: No such device"}; !reflect.DeepEqual(got, want) {
			t.Errorf("send while gone: logged %q, want %q", got, want)
		}
		r.set(func() { r.check1, r.openErr = nil, nil })
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := r.takeLines(), []string{"info: opened"}; !reflect.DeepEqual(got, want) {
			t.Errorf("back: logged %q, want %q", got, want)
		}
		r.in <- "a"
		r.send(1)
	})
	if !reflect.DeepEqual(r.got, []string{"a"}) || !reflect.DeepEqual(r.sent, []string{"p0"}) {
		t.Errorf("delivered %q, sent %q", r.got, r.sent)
	}
}

func TestLinkSendsOnNewSocketsAtOnce(t *testing.T) {
	r := newRig()
	r.run(t, func() {
		r.set(func() { r.sendErr, r.check1, r.openErr = unix.ENODEV, unix.ENODEV, unix.ENODEV })
		r.send(1)
		r.takeLines()
		r.set(func() { r.sendErr, r.check1, r.openErr = nil, nil, nil })
		r.send(1)
		if got, want := r.takeLines(), []string{"info: opened"}; !reflect.DeepEqual(got, want) || len(r.sent) != 1 {
			t.Errorf("logged %q, want %q; sent %q", got, want, r.sent)
		}
	})
}

func TestLinkSurvivesFailedReads(t *testing.T) {
	r := newRig()
	r.run(t, func() {
		for range 3 {
			r.in <- "!"
			synctest.Wait()
			if got := r.takeLines(); len(got) != 1 || !strings.HasPrefix(got[0], "ERROR: cannot read: broken") {
				t.Errorf("logged %q", got)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			r.takeLines()
			r.in <- "a"
		}
	})
	if len(r.got) != 3 {
		t.Errorf("delivered %q", r.got)
	}
}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(Spec{Kind: "bcast", Name: "eth0"}, Spec{Kind: "bcast", Name: "eth1"})
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		done := make(chan error)
		go func() { done <- b.Run(ctx, func(f Frame) { got = append(got, string(f.Bytes)) }) }()
		packet := []byte("one")
		a.Send(packet)
		synctest.Wait()
		packet[0] = 'O'
		a.Cut(true)
		a.Send([]byte("two"))
		a.Cut(false)
		a.Send([]byte("three"))
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for range queueLen + 2 {
			a.Send(packet)
		}
		if want := []string{"one", "three"}; !reflect.DeepEqual(got, want) {
			t.Errorf("delivered %q, want %q", got, want)
		}
		if s := a.Stats(); s.Sent != queueLen+5 || s.Dropped != 2 || b.Stats().Received != 2 || b.Spec().Name != "eth1" {
			t.Errorf("stats %+v and %+v", s, b.Stats())
		}
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}
