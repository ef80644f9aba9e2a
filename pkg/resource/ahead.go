package resource

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/config/haresources"
)

// How long a group's address waits for what surrounds it: until it is started, which is quick unless
// a name server does not answer, and then until it serves. Packets for the address wait meanwhile, or
// are sent again; neither a name server nor a hung real server must keep it down.
const (
	aheadLimit  = 500 * time.Millisecond
	settleLimit = 50 * time.Millisecond
)

// isAddress reports whether a resource is an address.
func isAddress(r haresources.Resource) bool {
	return slices.Contains([]string{"IPaddr", "IPaddr2", "IPv6addr"}, r.Script)
}

// surrounds reports whether the agent chosen is an [agent.Surrounder] that does.
func surrounds(ch choice) bool {
	a, ok := ch.agent.(agent.Surrounder)
	return ok && a.Surrounds()
}

// ahead are members of a group that are started before their turn. A nil one has none.
type ahead struct {
	starts []*earlyStart
	done   chan struct{} // closed when all have ended
}

type earlyStart struct {
	place  int // in the group
	choice choice
	log    *heldLog
	done   chan struct{}
	result agent.Result
	err    error
}

// startAhead starts the members from place from on that surround the address before them, in their
// order, and gives them a moment to serve. What they log waits for their turn.
func (j *job) startAhead(s script, g haresources.Group, from int) *ahead {
	a := &ahead{done: make(chan struct{})}
	for i, r := range g.Resources[from:] {
		if ch, ok := j.choose(s, r.Script); ok && surrounds(ch) {
			a.starts = append(a.starts, &earlyStart{place: from + i, choice: ch, log: &heldLog{Log: j.o.Log}, done: make(chan struct{})})
		}
	}
	if len(a.starts) == 0 {
		close(a.done)
		return a
	}
	settled := make(chan struct{})
	go func() { // ends with a.done or, settling, soon after
		defer close(settled)
		for _, e := range a.starts {
			c := j.call(e.choice, g.Resources[e.place], agent.Start)
			c.Log = e.log
			e.result, e.err = j.runCall(e.choice, g.Resources[e.place], c)
			close(e.done)
		}
		close(a.done)
		settling, stop := context.WithTimeout(j.ctx, settleLimit)
		defer stop()
		for _, e := range a.starts {
			if e.err == nil {
				j.settle(settling, e.choice, g.Resources[e.place])
			}
		}
	}()
	limit := time.NewTimer(aheadLimit + settleLimit)
	defer limit.Stop()
	select {
	case <-settled:
	case <-limit.C:
	case <-j.ctx.Done():
	}
	return a
}

func (j *job) settle(ctx context.Context, ch choice, r haresources.Resource) {
	defer func() {
		if p := recover(); p != nil {
			j.panicked(r.Word, p)
		}
	}()
	ch.agent.(agent.Surrounder).Settle(ctx, j.call(ch, r, agent.Start))
}

// has reports whether the member at a place was started ahead.
func (a *ahead) has(place int) bool { return a.at(place) != nil }

func (a *ahead) at(place int) *earlyStart {
	if a == nil {
		return nil
	}
	for _, e := range a.starts {
		if e.place == place {
			return e
		}
	}
	return nil
}

// wait waits until all have ended.
func (a *ahead) wait() {
	if a != nil {
		<-a.done
	}
}

// startedAhead is the turn of a member that was started ahead.
func (j *job) startedAhead(s script, a *ahead, g haresources.Group, place int) int {
	e := a.at(place)
	o := j.begin(s, g.Resources[place], agent.Start)
	e.log.release()
	<-e.done
	return j.ended(s, o, e.result, e.err)
}

// heldLog keeps lines back until it is released.
type heldLog struct {
	agent.Log
	mu       sync.Mutex
	held     []func()
	released bool
}

func (l *heldLog) keep(line func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		line()
		return
	}
	l.held = append(l.held, line)
}

func (l *heldLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	for _, line := range l.held {
		line()
	}
	l.held = nil
}

// Script is [agent.Log].
func (l *heldLog) Script(tag, text string) { l.keep(func() { l.Log.Script(tag, text) }) }

// Print is [agent.Log].
func (l *heldLog) Print(text string) { l.keep(func() { l.Log.Print(text) }) }
