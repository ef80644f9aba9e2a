package daemon

import (
	"context"
	"sync"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/media"
)

// links are the open media. Sending never blocks; receiving is a goroutine for each.
type links struct {
	all []media.Medium
}

// openLinks opens all media in the order of ha.cf. One that cannot be opened is an error, as in the
// original: a typo in an interface name must not start a node that hears nobody. (Once open, a
// medium survives the loss of its interface.)
func openLinks(ctx context.Context, specs []media.Spec, o media.Options, log *halog.Logger) (*links, error) {
	o.Report = func(e media.Event) { log.Log(e.Prio, e.Text) }
	l := &links{}
	for _, s := range specs {
		m, err := media.Open(ctx, s, o)
		if err != nil {
			log.Logf(halog.Error, "make_io_childpair: cannot open %s", s)
			for _, open := range l.all {
				open.Close()
			}
			return nil, err
		}
		l.all = append(l.all, m)
	}
	return l, nil
}

// send puts a packet on the media that it is for.
func (l *links) send(s cluster.Send) {
	for _, m := range l.all {
		spec := m.Spec()
		if s.Media == "" && !spec.Ping() || s.Media != "" && spec.Ping() && spec.Name == s.Media {
			m.Send(s.Bytes)
		}
	}
}

// run receives on all media until ctx ends; what was sent before is on its way when it returns.
func (l *links) run(ctx context.Context, deliver func(cluster.Received), log *halog.Logger) {
	var wg sync.WaitGroup
	for _, m := range l.all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			name := m.Spec().Name
			err := m.Run(ctx, func(f media.Frame) {
				deliver(cluster.Received{Link: name, From: f.From, Bytes: f.Bytes})
			})
			if err != nil {
				log.Logf(halog.Error, "%s: %v", m.Spec(), err)
			}
		}()
	}
	wg.Wait()
}
