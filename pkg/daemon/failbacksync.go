package daemon

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Connections is what an automatic failback that waits for the other node's connection table
// (failbacksync in systole.cf) has to know of the own table.
type Connections interface {
	// Hurry has the kernel tell the other node more of the connections than usual, until calm is
	// called. It is an error if it does not tell it anything.
	Hurry(ctx context.Context) (calm func() error, err error)
	// Sample is at most n of the open connections, as hashes that mean the same on all nodes.
	Sample(ctx context.Context, n int) ([]uint32, error)
	// Known is how many of another node's sample are known here.
	Known(ctx context.Context, sample []uint32) (int, error)
}

const (
	// sampleSize is how many connections are asked for at a time: a packet of 2 KB.
	sampleSize = 200
	// inSync is how many percent of them the other node has to know.
	inSync = 99
	// inRow is how many questions in a row have to be answered so: what was said while the first was on its way
	// is still to be told of.
	inRow = 2
	// askEvery is the time between two questions. A question is as old when it is sent, since the
	// kernel takes up to 2 s to tell of a connection.
	askEvery = 2 * time.Second
	// sayEvery is the least time between two log lines about the progress.
	sayEvery = 10 * time.Second
)

// failbackSync finds out when the other node knows our connections, and tells another one which of its
// connections we know. The loop calls it; what takes time is done by goroutines, which wait waits for.
type failbackSync struct {
	conns Connections // nil if there is no table
	node  string
	log   *halog.Logger
	post  func(cluster.Input) // not for the loop's own goroutine
	ctx   context.Context
	wg    sync.WaitGroup

	stop   context.CancelFunc // ends the wait
	said   time.Time          // when the progress was logged
	row    int                // answers in a row that say that enough are known
	answer chan struct{}      // has room while no question is being answered
}

func newFailbackSync(ctx context.Context, conns Connections, node string, log *halog.Logger, post func(cluster.Input)) *failbackSync {
	return &failbackSync{conns: conns, node: node, log: log, post: post, ctx: ctx, stop: func() {}, answer: make(chan struct{}, 1)}
}

func (f *failbackSync) wait() { f.wg.Wait() }

// await begins or ends the wait.
func (f *failbackSync) await(on bool) {
	f.stop()
	if !on {
		f.stop = func() {}
		return
	}
	f.said, f.row = time.Now(), 0
	ctx, cancel := context.WithCancel(f.ctx)
	f.stop = cancel
	f.wg.Go(func() {
		defer cancel()
		if err := f.ask(ctx); err != nil && ctx.Err() == nil {
			f.log.Logf(halog.Warn, "failbacksync: %v: nothing is waited for", err)
			f.post(cluster.Synced{})
		}
	})
}

// ask asks the other node again and again, until ctx ends.
func (f *failbackSync) ask(ctx context.Context) error {
	if f.conns == nil {
		return fmt.Errorf("there is no connection table")
	}
	calm, err := f.conns.Hurry(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := calm(); err != nil {
			f.log.Logf(halog.Error, "failbacksync: %v", err)
		}
	}()
	for {
		sample, err := f.conns.Sample(ctx, sampleSize)
		if err != nil {
			return err
		}
		if len(sample) == 0 {
			f.log.Log(halog.Info, "failbacksync: there are no connections")
			f.post(cluster.Synced{})
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(askEvery):
		}
		f.say(hamsg.New(hamsg.TConnections).Add(hamsg.FConns, encodeSample(sample)))
	}
}

func (f *failbackSync) say(m *hamsg.Msg) {
	text, err := m.AppendText(nil)
	if err != nil {
		f.log.Logf(halog.Error, "failbacksync: %v", err)
		return
	}
	f.post(cluster.Said{Text: text})
}

// heard takes a message of [hamsg.TConnections]. It tells whether that ends the wait.
func (f *failbackSync) heard(m *hamsg.Msg) (synced bool) {
	from := m.Get(hamsg.FOrig)
	switch {
	case from == f.node || f.conns == nil:
	case m.Has(hamsg.FConns):
		f.tell(m.Get(hamsg.FConns))
	case m.Has(hamsg.FKnown):
		var known, of int
		if _, err := fmt.Sscanf(m.Get(hamsg.FKnown), "%d/%d", &known, &of); err != nil || known < 0 || known > of || of > sampleSize {
			return false
		}
		if f.row++; of == 0 || known*100 < of*inSync {
			f.row = 0
		}
		synced = f.row >= inRow
		if synced || time.Since(f.said) >= sayEvery {
			f.said = time.Now()
			f.log.Logf(halog.Info, "failbacksync: %s knows %d of %d connections", from, known, of)
		}
	}
	return synced
}

// tell answers a question. One that comes while another is being answered is dropped: there will
// be more.
func (f *failbackSync) tell(text string) {
	sample, ok := decodeSample(text)
	if !ok {
		return
	}
	select {
	case f.answer <- struct{}{}:
	default:
		return
	}
	f.wg.Go(func() {
		defer func() { <-f.answer }()
		if known, err := f.conns.Known(f.ctx, sample); err == nil {
			f.say(hamsg.New(hamsg.TConnections).Add(hamsg.FKnown, fmt.Sprintf("%d/%d", known, len(sample))))
		}
	})
}

func encodeSample(sample []uint32) string {
	var b []byte
	for _, h := range sample {
		b = binary.BigEndian.AppendUint32(b, h)
	}
	return hex.EncodeToString(b)
}

func decodeSample(text string) (sample []uint32, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) == 0 || len(b)%4 != 0 || len(b) > 4*sampleSize {
		return nil, false
	}
	for ; len(b) > 0; b = b[4:] {
		sample = append(sample, binary.BigEndian.Uint32(b))
	}
	return sample, true
}
