package ldirectord

import (
	"context"
	"time"

	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// tableWorker carries out table operations one after the other, so that a slow table holds up
// nothing else.
type tableWorker struct {
	open  func() (ipvs.Table, error)
	table ipvs.Table // nil after it could not be read
}

// batch is some actions in order, and later the answers to them.
type batch struct {
	actions []director.Action
	answers []director.Input
}

// How long one batch may take; what is left of it then fails and is tried again.
const batchLimit = 30 * time.Second

func (w *tableWorker) run(ctx context.Context, jobs <-chan batch, answers chan<- batch) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-jobs:
			w.carryOut(ctx, &b)
			select {
			case answers <- b:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *tableWorker) carryOut(ctx context.Context, b *batch) {
	ctx, cancel := context.WithTimeout(ctx, batchLimit)
	defer cancel()
	for _, a := range b.actions {
		switch a := a.(type) {
		case director.Change:
			b.answers = append(b.answers, director.Changed{Err: w.change(ctx, a.Op)})
		case director.ReadTable:
			entries, err := w.read(ctx)
			b.answers = append(b.answers, director.TableRead{Entries: entries, Err: err})
		}
	}
}

func (w *tableWorker) change(ctx context.Context, op ipvs.Op) error {
	if err := w.reopen(); err != nil {
		return &ipvs.Refusal{Op: op, Cause: err}
	}
	return w.table.Do(ctx, op)
}

// read lists the table. A table that cannot be read is opened anew the next time: the module
// may have been unloaded and loaded again.
func (w *tableWorker) read(ctx context.Context) ([]ipvs.Entry, error) {
	if err := w.reopen(); err != nil {
		return nil, err
	}
	entries, err := w.table.Snapshot(ctx)
	if err != nil && ctx.Err() == nil {
		w.close()
	}
	return entries, err
}

func (w *tableWorker) reopen() (err error) {
	if w.table == nil {
		w.table, err = w.open()
	}
	return err
}

func (w *tableWorker) close() {
	if w.table != nil {
		_ = w.table.Close() // nothing is lost with it
		w.table = nil
	}
}
