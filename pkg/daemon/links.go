package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/media"
)

// links are the open media. Sending never blocks; receiving is a goroutine for each.
type links struct {
	all   []media.Medium
	gates []*gate // of each
	log   *halog.Logger
	keys  atomic.Pointer[hbauth.Ring] // what messages on serial lines are signed with
}

// openLinks opens all media in the order of ha.cf. One that cannot be opened is an error, as in the
// original: a typo in an interface name must not start a node that hears nobody. (Once open, a
// medium survives the loss of its interface.)
func openLinks(ctx context.Context, f *Files, run uint64, o media.Options, log *halog.Logger) (*links, error) {
	o.Report = func(e media.Event) { log.Log(e.Prio, e.Text) }
	l := &links{log: log}
	l.keys.Store(f.Ring)
	for _, s := range f.mediaSpecs() {
		m, err := media.Open(ctx, s, o)
		if err != nil {
			log.Logf(halog.Error, "make_io_childpair: cannot open %s", s)
			for _, open := range l.all {
				open.Close()
			}
			return nil, err
		}
		l.all = append(l.all, m)
		l.gates = append(l.gates, newGate(cluster.ScreenConfig{
			Link: s.Name, Node: f.Node, Run: run, Ring: f.Ring, Quiet: !f.HA.LogBadPack, Window: f.Systole.ReplayWindow,
		}, log))
	}
	return l, nil
}

// use takes the keys of another authkeys file.
func (l *links) use(keys *hbauth.Ring, window time.Duration) {
	l.keys.Store(keys)
	for _, g := range l.gates {
		g.use(keys, window)
	}
}

// send puts a packet on the media that it is for.
func (l *links) send(s cluster.Send) {
	var text []byte // made when the first serial line needs it
	for _, m := range l.all {
		switch spec := m.Spec(); {
		case spec.Ping() != (s.Media != "") || spec.Ping() && spec.Name != s.Media:
		case !spec.Text():
			m.Send(s.Bytes)
		default:
			if text == nil {
				var err error
				if text, err = l.text(s.Bytes); err != nil {
					l.log.Logf(halog.Warn, "glib: serial_write(): wirefmt2msg() failed")
					l.log.Logf(halog.Error, "%s: message %s: %v", spec, s.Type, err)
					continue
				}
			}
			m.Send(text)
		}
	}
}

// text is a message as a serial line carries it: in text form, signed anew, with the present key.
func (l *links) text(packet []byte) ([]byte, error) {
	p, err := hamsg.Decode(packet)
	if err != nil {
		return nil, err
	}
	l.keys.Load().Stamp(&p.Msg)
	return p.AppendText(nil)
}

// run receives on all media until ctx ends; what was sent before is on its way when it returns. What a
// gate lets pass is delivered, and deliver may wait.
func (l *links) run(ctx context.Context, deliver func(context.Context, cluster.Input)) {
	var wg sync.WaitGroup
	wg.Go(func() { l.count(ctx) })
	for i, m := range l.all {
		wg.Go(func() {
			err := m.Run(ctx, func(f media.Frame) {
				if in := l.gates[i].admit(f); in != nil {
					deliver(ctx, in)
				}
			})
			if err != nil {
				l.log.Logf(halog.Error, "%s: %v", m.Spec(), err)
			}
		})
	}
	wg.Wait()
}

// countEvery is how often the log tells how many packets were dropped, if there were any.
const countEvery = 10 * time.Minute

// count tells of dropped packets until ctx ends.
func (l *links) count(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for i, m := range l.all {
			if b, more := l.gates[i].bad(); more {
				l.log.Logf(halog.Info, "Packets dropped on %s since the start: %d malformed, %d not signed well, %d incomplete, %d replayed or old, %d copies.",
					m.Spec(), b.Malformed, b.Unsigned, b.Fields, b.Replayed, b.Repeated)
			}
		}
	}
}
