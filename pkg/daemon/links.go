package daemon

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/media"
)

// links are the open media. Sending never blocks; receiving is a goroutine for each.
type links struct {
	all  []media.Medium
	log  *halog.Logger
	keys atomic.Pointer[hbauth.Ring] // what messages on serial lines are signed with
}

// openLinks opens all media in the order of ha.cf. One that cannot be opened is an error, as in the
// original: a typo in an interface name must not start a node that hears nobody. (Once open, a
// medium survives the loss of its interface.)
func openLinks(ctx context.Context, specs []media.Spec, o media.Options, keys *hbauth.Ring, log *halog.Logger) (*links, error) {
	o.Report = func(e media.Event) { log.Log(e.Prio, e.Text) }
	l := &links{log: log}
	l.keys.Store(keys)
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
					return
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
