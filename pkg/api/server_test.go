package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// service is a server with its broker and a loop, as the daemon has it, without an engine: what
// clients send to the cluster comes back to this node.
type service struct {
	*testing.T
	path   string
	server *api.Server
	broker *broker.Broker
	inputs chan broker.Input
	calls  chan func()
	stop   func()

	mu   sync.Mutex
	logs []string
}

func serve(t *testing.T) *service {
	s := &service{T: t, path: filepath.Join(t.TempDir(), "register"), inputs: make(chan broker.Input, 16), calls: make(chan func())}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	s.broker = broker.New(broker.Config{
		Node: "hba", UID: uid, Keepalive: time.Second, Deadtime: 10 * time.Second, Version: "3.0.6", Facility: 128, MaxConns: 500,
		Access: broker.Access{"anon": {UIDs: []uint32{uid}}, "x": {GIDs: []uint32{gid}}, "y": {GIDs: []uint32{gid}}},
		Param:  func(string) (string, bool) { return "", false },
		Status: func() cluster.Status {
			st := cluster.Status{Node: "hba", Stable: true, Held: cluster.All}
			for i := range 100 {
				st.Nodes = append(st.Nodes, cluster.NodeStatus{Name: fmt.Sprintf("node%02d", i), Status: "active"})
			}
			return st
		},
		Exists: func(int) bool { return true },
	})
	ctx, cancel := context.WithCancel(t.Context())
	server, err := api.Listen(s.path, "", func(in broker.Input) {
		select {
		case s.inputs <- in:
		case <-ctx.Done():
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server = server
	var wg sync.WaitGroup
	wg.Go(func() { server.Run(ctx) })
	wg.Go(func() {
		for {
			select {
			case in := <-s.inputs:
				s.step(in)
			case f := <-s.calls:
				f()
			case <-ctx.Done():
				return
			}
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(s.stop)
	return s
}

func (s *service) step(in broker.Input) {
	for _, a := range s.broker.Step(time.Now(), in) {
		switch a := a.(type) {
		case broker.Write:
			if err := s.server.Write(a.Conn, a.Body); err != nil {
				s.step(broker.Gone{Conn: a.Conn, Reason: err.Error()})
			}
		case broker.Next:
			s.server.Next(a.Conn)
		case broker.Close:
			s.server.Close(a.Conn, a.Drop)
		case broker.Queue:
			s.server.SetQueue(a.Conn, a.Length)
		case broker.Send:
			s.mu.Lock()
			s.logs = append(s.logs, "cluster: "+a.Msg.Type()+" "+a.Msg.Get(hamsg.FStatus)+" "+a.Msg.Get(hamsg.FComment))
			s.mu.Unlock()
			if to := a.Msg.Get(hamsg.FTo); to == "" || to == "hba" {
				s.step(broker.Delivered{Kind: cluster.Kept, Msg: a.Msg})
			}
		case broker.Log:
			s.mu.Lock()
			s.logs = append(s.logs, a.Level.String()+": "+a.Text)
			s.mu.Unlock()
		}
	}
}

// deliver has the engine deliver a message.
func (s *service) deliver(m *hamsg.Msg) {
	done := make(chan struct{})
	s.calls <- func() { s.step(broker.Delivered{Kind: cluster.Kept, Msg: m}); close(done) }
	<-done
}

// logged waits for a line.
func (s *service) logged(text string) {
	s.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		all := strings.Join(s.logs, "\n")
		s.mu.Unlock()
		if strings.Contains(all, text) {
			return
		}
		if time.Since(begun) > 10*time.Second {
			s.Fatalf("never logged %q, but\n%s", text, all)
		}
	}
}

// caller is a client that knows frames and no more.
type caller struct {
	*testing.T
	net.Conn
	who string
}

func (s *service) dial() *caller {
	s.Helper()
	c, err := net.Dial("unix", s.path)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { c.Close() })
	return &caller{T: s.T, Conn: c, who: fmt.Sprint(os.Getpid())}
}

func (c *caller) say(words string) {
	c.Helper()
	m := new(hamsg.Msg)
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		m.Add(name, value)
	}
	text, err := m.AppendText(nil)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := c.Write(frame.Append(nil, append(text, 0))); err != nil {
		c.Fatal(err)
	}
}

func (c *caller) ask(words string) {
	c.Helper()
	c.say("t=hbapi-req dest=hba from_id=" + c.who + " reqtype=" + words)
}

// signOn signs on as a client of that name; "" is none.
func (c *caller) signOn(name string) {
	c.Helper()
	if name != "" {
		c.who = name
	}
	c.ask(fmt.Sprintf("signon pid=%d uid=%d gid=%d", os.Getpid(), os.Geteuid(), os.Getegid()))
}

// hear is the next message.
func (c *caller) hear() *hamsg.Msg {
	c.Helper()
	m, err := c.next()
	if err != nil {
		c.Fatal(err)
	}
	return m
}

func (c *caller) next() (*hamsg.Msg, error) {
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	body, err := frame.Read(c.Conn)
	if err != nil {
		return nil, err
	}
	p, err := hamsg.Decode(body)
	if err != nil {
		return nil, err
	}
	return &p.Msg, nil
}

func (c *caller) wants(field, value string) {
	c.Helper()
	if m := c.hear(); m.Get(field) != value {
		c.Fatalf("%s is %q in %v, want %q", field, m.Get(field), m.Fields(), value)
	}
}

func TestServer(t *testing.T) {
	s := serve(t)
	if st, err := os.Stat(s.path); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("socket: %v %v", st.Mode(), err)
	}
	c := s.dial()
	c.signOn("")
	c.wants("result", "OK")
	c.ask("getrsc")
	c.wants("rsc_hold", "all")
	// Many answers at once, to a client that reads them late.
	c.ask("nodelist")
	for i := range 100 {
		c.wants("node", fmt.Sprintf("node%02d", i))
	}
	named := s.dial()
	named.signOn("x")
	named.wants("st", "join")
	named.wants("result", "OK")
	named.say("t=hello text=y")
	named.wants("text", "y")
	named.ask("signoff")
	named.wants("st", "leave")
	if m, err := named.next(); err != io.EOF {
		t.Errorf("after the sign-off: %v %v", m, err)
	}
	c.Close()
	s.dial().Close()
	s.stop()
	if _, err := net.Dial("unix", s.path); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a stopped server: %v, want a refusal", err)
	}
	again, err := api.Listen(s.path, "", func(broker.Input) {})
	if err != nil {
		t.Fatalf("a socket that is left keeps the next from being made: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	again.Run(ctx)
}

func TestRefusedClientIsTold(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.signOn("bogus")
	c.wants("info", "no default client auth")
	c.wants("st", "leave")
	if m, err := c.next(); err != io.EOF {
		t.Errorf("then: %v %v, want the end", m, err)
	}
}

// Frames that come in pieces or in one go are told apart, and what is no frame ends the connection.
func TestBadFrames(t *testing.T) {
	s := serve(t)
	good := s.dial()
	good.signOn("")
	good.wants("result", "OK")

	text := ">>>\nt=hbapi-req\nreqtype=numnodes\nfrom_id=" + good.who + "\n<<<\n"
	one := frame.Append(nil, []byte(text))
	for _, b := range one {
		if _, err := good.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	good.wants("numnodes", "100")
	if _, err := good.Write(append(append([]byte(nil), one...), one...)); err != nil {
		t.Fatal(err)
	}
	good.wants("numnodes", "100")
	good.wants("numnodes", "100")

	bad := s.dial()
	if _, err := bad.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := bad.next(); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("no frame: %v, want the end", err)
	}
	half := s.dial()
	half.signOn("x")
	half.wants("st", "join")
	half.wants("result", "OK")
	if _, err := half.Write(one[:len(one)/2]); err != nil {
		t.Fatal(err)
	}
	half.Close()
	s.logged("cluster: hbapi-clstat leave EOF")
	good.ask("numnodes")
	good.wants("numnodes", "100")
}

// A client that does not read is dropped, with the original's reason, when 64 messages wait beyond what
// the kernel takes; with a longer queue the bytes are the limit. Others hear all.
func TestSlowClient(t *testing.T) {
	for _, c := range []struct {
		name, queue, reason string
	}{
		{"original", "", "sendq length=64(max is 64)"},
		{"longer", "60000", "(max is 60000)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t)
			slow, good := s.dial(), s.dial()
			slow.signOn("x")
			slow.wants("st", "join")
			slow.wants("result", "OK")
			if c.queue != "" {
				slow.ask("set_sendqlen sendqlen=" + c.queue)
				s.logged("the send queue length from heartbeat to client x is set to " + c.queue)
			}
			good.signOn("y")
			good.wants("st", "join")
			good.wants("result", "OK")
			for i := range 3000 {
				s.deliver(hamsg.New("news").Add("n", fmt.Sprint(i)).Add("text", strings.Repeat("x", 1000)))
				good.wants("n", fmt.Sprint(i))
			}
			s.logged("cluster: hbapi-clstat leave send failed,farside_pid=")
			s.logged(c.reason)
		})
	}
}

// When there are too many connections, those make room that have not signed on.
func TestOpenToAll(t *testing.T) {
	s := serve(t)
	if st, err := os.Stat(s.path); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("the socket: %v, %v", st.Mode(), err)
	}
	precious, link := filepath.Join(t.TempDir(), "precious"), filepath.Join(t.TempDir(), "register")
	if err := errors.Join(os.WriteFile(precious, nil, 0o600), os.Symlink(precious, link)); err != nil {
		t.Fatal(err)
	}
	if err := api.OpenToAll(link); err == nil {
		t.Error("a link is taken for a socket")
	}
	if st, err := os.Stat(precious); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("what a link leads to: %v, %v", st.Mode(), err)
	}
}

// TestServerEnds: the daemon's end, which may be a restart with the resources in hand, does not wait for a
// client that has signed off and does not read.
func TestServerEnds(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.signOn("x")
	c.ask("set_sendqlen sendqlen=5000")
	for range 30 {
		c.ask("nodelist")
	}
	c.ask("signoff")
	s.logged("cluster: hbapi-clstat leave signoff")
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestManyConnections(t *testing.T) {
	s := serve(t)
	c := s.dial()
	c.signOn("")
	c.wants("result", "OK")
	for range 600 {
		s.dial()
	}
	c.ask("numnodes")
	c.wants("numnodes", "100")
	last := s.dial()
	last.signOn("x")
	last.wants("st", "join")
	s.logged("WARN: too many API clients")
}
