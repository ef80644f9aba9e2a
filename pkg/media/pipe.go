package media

import (
	"context"
	"sync/atomic"
)

// PipeEnd is one end of a medium within this process, for tests. It needs no sockets and no
// privileges and works in a bubble of testing/synctest.
type PipeEnd struct {
	spec    Spec
	in      chan Frame
	far     *PipeEnd
	cut     atomic.Bool
	sent    atomic.Uint64
	got     atomic.Uint64
	dropped atomic.Uint64
}

var _ Medium = (*PipeEnd)(nil)

// Pipe makes a medium of two ends, each with the Spec that it is to show. What is sent into one
// end comes out of the other, in order; when 256 packets wait there, further ones are lost.
func Pipe(a, b Spec) (*PipeEnd, *PipeEnd) {
	x := &PipeEnd{spec: a, in: make(chan Frame, queueLen)}
	y := &PipeEnd{spec: b, in: make(chan Frame, queueLen)}
	x.far, y.far = y, x
	return x, y
}

// Cut makes the end lose what it sends, or stops it from doing so: one direction of a pulled cable.
func (p *PipeEnd) Cut(yes bool) { p.cut.Store(yes) }

// Spec is what Pipe was given.
func (p *PipeEnd) Spec() Spec { return p.spec }

// Send hands a copy of the packet to the far end.
func (p *PipeEnd) Send(packet []byte) {
	p.sent.Add(1)
	if p.cut.Load() {
		return
	}
	select {
	case p.far.in <- Frame{Bytes: append([]byte(nil), packet...)}:
	default:
		p.dropped.Add(1)
	}
}

// Run delivers what the far end has sent until ctx ends.
func (p *PipeEnd) Run(ctx context.Context, deliver func(Frame)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-p.in:
			p.got.Add(1)
			deliver(f)
		}
	}
}

// Close does nothing: a pipe holds nothing.
func (p *PipeEnd) Close() error { return nil }

// Stats are the counts so far.
func (p *PipeEnd) Stats() Stats {
	return Stats{Up: true, Sent: p.sent.Load(), Received: p.got.Load(), Dropped: p.dropped.Load()}
}
