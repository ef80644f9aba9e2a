package api_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/hamsg"
)

func (s *service) client(name string) *api.Client {
	s.Helper()
	c, err := api.Dial(s.path, name, time.Now().Add(10*time.Second))
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func TestClient(t *testing.T) {
	s := serve(t)
	c := s.client("x")
	if want := (api.Daemon{Node: "hba", Version: "3.0.6", Deadtime: 10 * time.Second, Keepalive: time.Second, Facility: 128}); c.Daemon != want {
		t.Errorf("daemon %+v, want %+v", c.Daemon, want)
	}
	check := func(what string, got any, err error, want string) {
		t.Helper()
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v %v, want %s", what, got, err, want)
		}
	}
	nodes, err := c.Nodes()
	check("nodes", len(nodes), err, "100")
	check("first of the walk", nodes[0], nil, "{node99 normal active}")
	st, err := c.NodeStatus("node07")
	check("status", st, err, "active")
	rsc, err := c.Resources()
	check("resources", rsc, err, "all")
	if _, ok, err := c.Param("nosuch"); ok || err != nil {
		t.Errorf("parameter that is not there: %v %v", ok, err)
	}
	var refused *api.RefusedError
	if _, err := c.NodeStatus("nope"); !errors.As(err, &refused) || refused.Info != "EINVAL" {
		t.Errorf("unknown node: %v", err)
	}
	if _, err := c.Links("node01"); !errors.As(err, &refused) {
		t.Errorf("node without links: %v", err)
	}
	st, err = c.ClientStatus("node99", "x", time.Second)
	if !errors.Is(err, api.ErrNoAnswer) {
		t.Errorf("a node that does not answer: %v %v", st, err)
	}
	check("filter", nil, c.SetFilter(1), "<nil>")
	check("signal", nil, c.SetSignal(0), "<nil>")
	check("send", nil, c.Send(hamsg.New("hello").Add("a", "b")), "<nil>")
	// What came while answers were waited for comes first: the own join.
	for _, want := range []string{"hbapi-clstat", "hello"} {
		m, err := c.Receive(time.Now().Add(10 * time.Second))
		if err != nil || m.Type() != want {
			t.Errorf("received %v %v, want %s", m, err, want)
		}
	}
	if _, err := c.Receive(time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing to receive: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	s.logged("cluster: hbapi-clstat leave signoff")

	c = s.client("")
	c.Wake()
	if _, err := c.Resources(); err != nil {
		t.Errorf("a question is woken: %v", err)
	}
	if _, err := c.Receive(time.Time{}); !errors.Is(err, api.ErrWoken) {
		t.Errorf("woken before: %v", err)
	}
	time.AfterFunc(time.Millisecond, c.Wake)
	if _, err := c.Receive(time.Time{}); !errors.Is(err, api.ErrWoken) {
		t.Errorf("woken: %v", err)
	}
	time.AfterFunc(time.Millisecond, c.Interrupt)
	if _, err := c.Receive(time.Time{}); !errors.Is(err, api.ErrInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	c = s.client("y") // the casual one may not be gone yet
	s.stop()
	for m, err := c.Receive(time.Time{}); err != io.EOF; m, err = c.Receive(time.Time{}) {
		if err != nil || m.Type() != "hbapi-clstat" {
			t.Fatalf("the daemon's end: %v %v", m, err)
		}
	}
	if _, err := c.Resources(); err == nil {
		t.Error("a daemon that is gone answers")
	}
}

func TestClientRefused(t *testing.T) {
	s := serve(t)
	_, err := api.Dial(s.path, "bogus", time.Now().Add(10*time.Second))
	var refused *api.RefusedError
	if !errors.As(err, &refused) || refused.Info != "no default client auth" || refused.Daemon.Deadtime != 10*time.Second {
		t.Errorf("%v %+v", err, refused)
	}
	if _, err := api.Dial(s.path+"x", "", time.Time{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
}
