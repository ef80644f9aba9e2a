package check

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
)

func TestConnect(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr := serve(t, host, func(c net.Conn) { io.Copy(io.Discard, c) })
		if r := run(t, Spec{Service: "connect", Addr: addr}, 5*time.Second); !r.Up {
			t.Errorf("%s: %+v", host, r)
		}
	}
	r := run(t, Spec{Service: "connect", Addr: netip.MustParseAddrPort("127.0.0.1:0")}, time.Second)
	if r.Up || r.Reason != "no port to connect to" {
		t.Errorf("port 0: %+v", r)
	}
}

// TestConnectUnanswered connects to a listener whose backlog is full, so that the kernel
// ignores the SYN.
func TestConnectUnanswered(t *testing.T) {
	const limit = 300 * time.Millisecond
	s := Spec{Service: "connect", Addr: fullListener(t)}
	began := time.Now()
	if r := run(t, s, limit); r.Up || r.Reason != "connect: timed out" || time.Since(began) < limit {
		t.Errorf("%+v", r)
	}
	s.Service, s.URL = "http", "http://"+s.Addr.String()+"/"
	if r := run(t, s, limit); r.Up || r.Monitor != "500 Timeout Alarm" {
		t.Errorf("%+v", r)
	}
}

func TestPing(t *testing.T) {
	needsRoot(t)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		s := Spec{Service: "ping", Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0), Attempts: 2}
		done := make(chan Result)
		const parallel = 20
		for range parallel {
			go func() { done <- run(t, s, 5*time.Second) }()
		}
		for range parallel {
			if r := <-done; !r.Up {
				t.Errorf("%s: %+v", addr, r)
			}
		}
	}
}

func TestPingUnanswered(t *testing.T) {
	needsRoot(t)
	inDeafNetwork(t)
	s := Spec{Service: "ping", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Attempts: 3}
	const limit = 300 * time.Millisecond
	began := time.Now()
	r := run(t, s, limit)
	if r.Up || !strings.Contains(r.Reason, "timed out (3 of 3 attempts)") || len(r.Trace) < 3 || time.Since(began) < limit {
		t.Errorf("%+v", r)
	}
	s.Addr = netip.MustParseAddrPort("192.0.2.1:0")
	if r := run(t, s, limit); r.Up || !strings.Contains(r.Reason, "unreachable") {
		t.Errorf("no route: %+v", r)
	}
}

func TestFixed(t *testing.T) {
	for service, up := range map[string]bool{"on": true, "none": true, "off": false} {
		if r := run(t, Spec{Service: service}, time.Second); r.Up != up {
			t.Errorf("%s: %+v", service, r)
		}
	}
}

type panics struct{}

func (panics) Check(context.Context, Spec) Result { panic("here") }

func TestPanicIsADownServer(t *testing.T) {
	r := guarded{panics{}}.Check(t.Context(), Spec{Service: "x"})
	if r.Up || !strings.Contains(r.Reason, "here") || !strings.Contains(r.Stack, "check_test.go") {
		t.Errorf("%+v", r)
	}
}

// TestDeadlineOfItsOwn gives a check no deadline in its context.
func TestDeadlineOfItsOwn(t *testing.T) {
	s := httpSpec(serve(t, "127.0.0.1", func(c net.Conn) { io.Copy(io.Discard, c) }), "")
	s.Timeout = 100 * time.Millisecond
	checker, _ := For("http")
	if r := checker.Check(context.Background(), s); r.Up || r.Took > s.Timeout+tolerance {
		t.Errorf("%+v", r)
	}
}

func TestSpecOf(t *testing.T) {
	const text = `checktimeout=3
virtual=10.0.0.1:80
	real=10.0.0.2:8080 gate 1
	real=10.0.0.2 gate 1 "a.html", "b"
	virtualhost=www.x.y
	negotiatetimeout=7
	httpmethod=head
virtual=10.0.0.1:53
	real=10.0.0.2:53 masq
	checktype=connect
	checkcount=4
virtual=10.0.0.1:25
	real=10.0.0.2:25 masq
virtual=10.0.0.1:5060
	real=10.0.0.2:5060 masq
	protocol=udp
virtual=3
	real=10.0.0.2 gate
	checktype=external
	checkcommand=/x
virtual=10.0.0.1:443
	real=10.0.0.2:443 gate
	checktype=5
virtual=10.0.0.1:8080
	real=10.0.0.2:8080 gate
`
	cfg, problems := ldirectordcf.Parse("cf", []byte(text), ldirectordcf.Options{})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	spec := func(v, r int) Spec { return SpecOf(&cfg.Virtuals[v], &cfg.Virtuals[v].Reals[r]) }
	first := spec(0, 0)
	want := Spec{
		Service: "http", Addr: netip.MustParseAddrPort("10.0.0.2:8080"), Proto: "tcp", VirtualHost: "www.x.y", HasVirtualHost: true,
		Method: "HEAD", Request: "/", URL: "http://10.0.0.2:8080/", Command: "/bin/true", Timeout: 7 * time.Second, Attempts: 1,
		Virtual: netip.MustParseAddrPort("10.0.0.1:80"), Real: netip.MustParseAddrPort("10.0.0.2:8080"),
	}
	if first != want {
		t.Errorf("got  %+v\nwant %+v", first, want)
	}
	if s := spec(0, 1); s.Addr.Port() != 80 || s.URL != "http://10.0.0.2:80/a.html" || s.Receive != "b" || s.Real.Port() != 0 {
		t.Errorf("own pair: %+v", s)
	}
	if s := spec(1, 0); s.Service != "ping" || s.Timeout != 12*time.Second || s.Attempts != 4 {
		t.Errorf("udp connect: %+v", s)
	}
	for i, service := range map[int]string{2: "smtp", 3: "sip", 4: "external", 5: "https", 6: "none"} {
		if s := spec(i, 0); s.Service != service {
			t.Errorf("virtual %d is checked by %s", i, s.Service)
		}
	}
	if s := spec(4, 0); s.FWMark != 3 || s.Virtual.IsValid() || s.Command != "/x" {
		t.Errorf("mark: %+v", s)
	}
	if s := spec(5, 0).AsConnect(&cfg.Virtuals[5]); s.Service != "connect" || s.Timeout != 3*time.Second {
		t.Errorf("combined: %+v", s)
	}
}
