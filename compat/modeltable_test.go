package compat

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/userspace"
)

// serveTable has a table answer on the socket where programs with SYSTOLE_IPVS=userspace look for the
// forwarder: with a model several programs have one table without a kernel.
func serveTable(t *testing.T, path string, table ipvs.Table) {
	l, err := userspace.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerFor(table, c)
		}
	}()
}

// answerFor speaks the forwarder's protocol.
func answerFor(table ipvs.Table, c net.Conn) {
	defer c.Close()
	ctx := context.Background()
	in, out := bufio.NewScanner(c), json.NewEncoder(c)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var q struct {
			Do       *ipvs.Op
			Timeouts *ipvs.Timeouts
		}
		var a struct {
			Entries  []ipvs.Entry
			Timeouts ipvs.Timeouts
			Error    string
			Refusal  string
			Errno    syscall.Errno
		}
		err := json.Unmarshal(in.Bytes(), &q)
		switch {
		case err != nil:
		case q.Do != nil:
			err = table.Do(ctx, *q.Do)
		case q.Timeouts != nil:
			err = table.SetTimeouts(ctx, *q.Timeouts)
		default:
			a.Entries, err = table.Snapshot(ctx)
		}
		if err != nil {
			a.Error = err.Error()
			errors.As(err, &a.Errno)
			for name, sentinel := range map[string]error{
				"exists": ipvs.ErrExists, "service": ipvs.ErrNoService, "dest": ipvs.ErrNoDest, "scheduler": ipvs.ErrNoScheduler,
			} {
				if errors.Is(err, sentinel) {
					a.Refusal = name
				}
			}
		}
		if out.Encode(a) != nil {
			return
		}
	}
}
