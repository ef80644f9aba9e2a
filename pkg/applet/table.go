package applet

import (
	"context"
	"fmt"
	"sync"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/kernel"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/ipvs/userspace"
)

// ipvsEnv names the table that programs work on: kernel (the default), userspace, or model, which
// is forgotten when the program ends.
const ipvsEnv = "SYSTOLE_IPVS"

// forwarderSocket is where the process that has the userspace forwarder answers the others.
const forwarderSocket = "/var/run/systole-ipvs.sock"

// openTable opens the IPVS table for a program that does its work and ends.
func openTable(getenv func(string) string) (ipvs.Table, error) {
	if getenv(ipvsEnv) == "userspace" {
		t, err := userspace.Dial(context.Background(), forwarderSocket)
		if err != nil {
			return nil, fmt.Errorf("%w (heartbeat or ldirectord has it while they run)", err)
		}
		return t, nil
	}
	return open(getenv(ipvsEnv))
}

func open(kind string) (ipvs.Table, error) {
	switch kind {
	case "", "kernel":
		t, err := kernel.Open(context.Background())
		if err != nil {
			return nil, err
		}
		return t, nil
	case "model":
		return model.New(), nil
	default:
		return nil, fmt.Errorf("%s: unknown table %q (want kernel, userspace or model)", ipvsEnv, kind)
	}
}

// tables opens the table for a daemon, any number of times. A userspace forwarder is one for all of
// them: that of another process if there is one, else it is started here and lives as long as
// this process does.
type tables struct {
	kind string
	mu   sync.Mutex
	own  *userspace.Forwarder
}

func (t *tables) open() (ipvs.Table, error) {
	if t.kind != "userspace" {
		return open(t.kind)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own == nil {
		if r, err := userspace.Dial(context.Background(), forwarderSocket); err == nil {
			return r, nil
		}
		l, err := userspace.Listen(forwarderSocket)
		if err != nil {
			return nil, err
		}
		t.own = userspace.New()
		go t.own.Serve(context.Background(), l) // ends with the process
	}
	return kept{t.own}, nil
}

// kept is a table whose Close leaves it to its other users.
type kept struct{ *userspace.Forwarder }

// Close does nothing.
func (kept) Close() error { return nil }
