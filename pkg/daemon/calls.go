package daemon

import (
	"context"
	"sync"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/resource"
)

// worker carries out the engine's calls, one at a time, in a goroutine of its own: scripts take as
// long as they take, and heartbeats go on meanwhile.
type worker struct {
	manager *resource.Manager
	jobs    chan cluster.Run
	done    func(cluster.Done)
	lines   *lines
}

// newWorker makes a worker; the engine has one call under way at a time, so one place suffices.
func newWorker(m *resource.Manager, l *lines, done func(cluster.Done)) *worker {
	return &worker{manager: m, lines: l, jobs: make(chan cluster.Run, 1), done: done}
}

func (w *worker) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { defer wg.Done(); w.manager.Run(ctx) }()
	defer wg.Wait()
	for {
		select {
		case job := <-w.jobs:
			d := w.do(ctx, job.Call)
			d.ID = job.ID
			w.done(d)
		case <-ctx.Done():
			return
		}
	}
}

// do makes one call. What leaves haresources is known until its call is over.
func (w *worker) do(ctx context.Context, c cluster.Call) cluster.Done {
	switch c.Verb {
	case cluster.KeepGroup:
		w.lines.given(c.Arg)
		return cluster.Done{}
	case cluster.GiveGroup, cluster.DropGroup:
		w.lines.give(c.Arg)
		defer w.lines.given(c.Arg)
	}
	return w.manager.Do(ctx, c)
}
