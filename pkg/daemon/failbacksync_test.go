package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// conns are the connections of a node.
type conns struct {
	open  []uint32
	known int // of any sample
	err   error
	calls []string
}

func (c *conns) Hurry(context.Context) (func() error, error) {
	c.calls = append(c.calls, "hurry")
	return func() error { c.calls = append(c.calls, "calm"); return nil }, c.err
}

func (c *conns) Sample(_ context.Context, n int) ([]uint32, error) {
	return c.open[:min(n, len(c.open))], nil
}
func (c *conns) Known(context.Context, []uint32) (int, error) { return c.known, nil }

// TestFailbackSync has one node ask another, which knows more and more.
func TestFailbackSync(t *testing.T) {
	for _, tt := range []struct {
		name  string
		conns conns
		known []int // to each question
		after time.Duration
		log   string // is part of the log
	}{
		{"in sync", conns{open: make([]uint32, 1000)}, []int{198, 198}, 4 * time.Second, "info: failbacksync: bob knows 198 of 200 connections"},
		{"later", conns{open: make([]uint32, 1000)}, []int{0, 50, 198, 150, 197, 199, 200}, 14 * time.Second, "bob knows 197 of 200 connections"},
		{"few", conns{open: make([]uint32, 3)}, []int{2, 3, 3}, 6 * time.Second, "bob knows 3 of 3"},
		{"none", conns{}, nil, 0, "info: failbacksync: there are no connections"},
		{"no daemon", conns{err: errors.New("no master")}, nil, 0, "WARN: failbacksync: no master: nothing is waited for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, lines := newLog(t)
				queues := map[string]chan cluster.Input{"alice": make(chan cluster.Input, 9), "bob": make(chan cluster.Input, 9)}
				node := func(name string, c Connections) *failbackSync {
					return newFailbackSync(t.Context(), c, name, log, func(in cluster.Input) { queues[name] <- in })
				}
				bobs := &conns{}
				alice, bob := node("alice", &tt.conns), node("bob", bobs)
				begin, known := time.Now(), tt.known
				alice.await(true)
				for synced := false; !synced; {
					select {
					case in := <-queues["alice"]:
						if _, synced = in.(cluster.Synced); synced {
							break
						}
						m := message(t, in, "alice")
						alice.heard(m) // its own
						bobs.known, known = known[0], known[1:]
						bob.heard(m)
					case in := <-queues["bob"]:
						synced = alice.heard(message(t, in, "bob"))
					}
				}
				if took := time.Since(begin); took != tt.after || len(known) > 0 {
					t.Errorf("in sync after %v", took)
				}
				alice.await(false)
				alice.wait()
				bob.wait()
				if got := strings.Join(tt.conns.calls, " "); got != "hurry calm" && tt.conns.err == nil {
					t.Errorf("calls: %s", got)
				}
				if !strings.Contains(lines.String(), tt.log) {
					t.Errorf("log:\n%s", lines.String())
				}
			})
		})
	}
}

// message is what a node has said, as others get it.
func message(t *testing.T, in cluster.Input, from string) *hamsg.Msg {
	t.Helper()
	p, err := hamsg.Decode(in.(cluster.Said).Text)
	if err != nil {
		t.Fatal(err)
	}
	return p.Msg.Clone().Add(hamsg.FOrig, from)
}

// TestFailbackSyncNonsense: what cannot be meant changes nothing.
func TestFailbackSyncNonsense(t *testing.T) {
	log, lines := newLog(t)
	f := newFailbackSync(t.Context(), &conns{}, "alice", log, func(in cluster.Input) { t.Errorf("posted %v", in) })
	for _, m := range []*hamsg.Msg{
		hamsg.New(hamsg.TConnections), hamsg.New(hamsg.TConnections).Add(hamsg.FKnown, "200"), hamsg.New(hamsg.TConnections).Add(hamsg.FKnown, "0/0"),
		hamsg.New(hamsg.TConnections).Add(hamsg.FKnown, "9/8"), hamsg.New(hamsg.TConnections).Add(hamsg.FKnown, "-1/-1"), hamsg.New(hamsg.TConnections).Add(hamsg.FKnown, "900/900"),
		hamsg.New(hamsg.TConnections).Add(hamsg.FConns, ""), hamsg.New(hamsg.TConnections).Add(hamsg.FConns, "abcdef"), hamsg.New(hamsg.TConnections).Add(hamsg.FConns, "x"),
		hamsg.New(hamsg.TConnections).Add(hamsg.FConns, strings.Repeat("0", 8*sampleSize+8)),
	} {
		if f.heard(m.Add(hamsg.FOrig, "bob")) {
			t.Errorf("in sync by %v", m.Fields())
		}
	}
	f.wait()
	if strings.Contains(lines.String(), "knows 9") {
		t.Errorf("log:\n%s", lines.String())
	}
}
