package compat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs/userspace"
	"github.com/systole-ha/systole/pkg/lab"
)

// Ways in which a real server goes bad. Each gets a client's connection, whose request it has read.
var badManners = map[string]func(net.Conn){
	"never answers": func(c net.Conn) { untilClosed(c) },
	"answers a byte a second": func(c net.Conn) {
		drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nTest HA Page")
	},
	"answers a byte of its page a second": func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
		drip(c, "Test HA Page")
	},
	"sends 1 GB": func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
		flood(c, strings.Repeat("another page\n", 1<<12))
	},
	"sends 1 GB before its page": func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nX-Long: ")
		flood(c, strings.Repeat("x", 1<<16))
	},
}

func untilClosed(c net.Conn) {
	_, _ = c.Read(make([]byte, 1)) // the client hangs up
}

func drip(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte(text[i : i+1])); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func flood(c net.Conn, block string) {
	for sent := 0; sent < 1<<30; sent += len(block) {
		if _, err := c.Write([]byte(block)); err != nil {
			return
		}
	}
}

// TestBadServers has real servers go bad: each is out after one check, which takes checktimeout at
// most, costs no memory to speak of, and the other servers' checks go on as before.
func TestBadServers(t *testing.T) {
	const (
		each     = 4 // servers of each manner
		interval = time.Second
		timeout  = time.Second
		slack    = 200 * time.Millisecond
		watched  = 4 * time.Second // how long after the turn
		perBad   = 1 << 10         // KiB of memory
	)
	lag := newLag()
	defer lag.stop()
	farm := &farm{}
	defer farm.group.Wait() // after the listeners are closed
	kinds := slices.Sorted(func(yield func(string) bool) {
		for k := range badManners {
			if !yield(k) {
				return
			}
		}
	})
	var conf strings.Builder
	fmt.Fprintf(&conf, "checktimeout=1\ncheckinterval=1\nquiescent=no\nlogfile=\"/var/log/ldirectord.log\"\nvirtual=%s:80\n", lab.VIP)
	for i := range (len(kinds) + 1) * each {
		s := &shakyServer{addr: netip.MustParseAddrPort(fmt.Sprintf("172.16.60.204:%d", 8000+i))}
		if i < len(kinds)*each {
			s.kind = kinds[i%len(kinds)]
		}
		farm.servers = append(farm.servers, s)
		fmt.Fprintf(&conf, "\treal=%s masq\n", s.addr)
	}
	conf.WriteString("\tservice=http\n\tscheduler=rr\n\tprotocol=tcp\n\tchecktype=negotiate\n\trequest=\"lvs_testpage.html\"\n\treceive=\"Test HA Page\"\n")
	h := tutorial(t, lab.HostsOptions{
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, Userspace: true, Log: func(string, ...any) {},
		MasterConfig: map[string]string{
			"/etc/ha.d/ha.cf":         fastTimers.Replace(lab.TutorialConfig(true)["/etc/ha.d/ha.cf"]),
			"/etc/ha.d/ldirectord.cf": conf.String(),
			"/etc/ha.d/haresources":   fmt.Sprintf("ha-master IPaddr::%s ldirectord\n", lab.VIP),
		},
	})
	for _, s := range farm.servers {
		l, err := h.Real[0].Listen("tcp4", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		farm.group.Go(func() { s.serve(l) })
		defer l.Close()
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := h.Master.ReadFile("/var/log/ldirectord.log") // there may be none
			t.Logf("ha-log ends:\n%s\nldirectord.log ends:\n%s", lastLines(h.Master.Log(), 30), lastLines(string(log), 30))
		}
	})
	if r, err := h.Master.Start(t.Context()); err != nil || r.Code != 0 {
		t.Fatalf("start: %+v %v", r, err)
	}
	pid := 0
	waitFor(t, time.Minute, "a daemon", func() bool {
		procs, err := h.Master.Processes()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range procs {
			if strings.HasPrefix(p.Args, "heartbeat: master") {
				pid = p.HostPID
			}
		}
		return pid != 0
	})
	view := forwarder{t: t, path: fmt.Sprintf("/proc/%d/root/run/systole-ipvs.sock", pid)}
	waitFor(t, time.Minute, "all real servers in the table", func() bool { return len(view.servers()) == len(farm.servers) })
	farm.settle(t)

	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil { // VmHWM begins anew
		t.Fatal(err)
	}
	before, err := memory(pid, "VmHWM")
	if err != nil {
		t.Fatal(err)
	}
	turned := time.Now()
	lag.reset()
	farm.turn()
	out := map[netip.AddrPort]time.Time{}
	var last map[netip.AddrPort]bool
	for time.Since(turned) < watched {
		last = view.servers()
		for _, s := range farm.servers {
			if s.kind != "" && !last[s.addr] && out[s.addr].IsZero() {
				out[s.addr] = time.Now()
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	late := lag.most() // of this machine: it counts for nobody
	after, err := memory(pid, "VmHWM")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range farm.servers {
		s.mu.Lock()
		checks := slices.DeleteFunc(slices.Clone(s.checks), func(c time.Time) bool { return c.Before(turned) })
		s.mu.Unlock()
		if s.kind == "" {
			if !last[s.addr] {
				t.Errorf("%s is well, and not in the table", s.addr)
			}
			for i := 1; i < len(checks); i++ {
				if gap := checks[i].Sub(checks[i-1]); gap > interval+interval/2+late {
					t.Errorf("%s, which is well, was not checked for %v", s.addr, gap)
				}
			}
			if want := int(watched/interval) - 2; len(checks) < want {
				t.Errorf("%s, which is well, was checked %d times in %v (want %d)", s.addr, len(checks), watched, want)
			}
			continue
		}
		switch took := out[s.addr].Sub(turned); {
		case out[s.addr].IsZero():
			t.Errorf("%s %s, and is in the table", s.addr, s.kind)
		case took > interval+timeout+slack+late:
			t.Errorf("%s %s, and was out after %v (the machine was late by up to %v)", s.addr, s.kind, took, late)
		}
		if len(checks) < 2 {
			t.Errorf("%s %s, and was not checked again", s.addr, s.kind)
		}
	}
	grown := after - before
	bad := len(kinds) * each
	t.Logf("memory at its most: %d KiB more than before, %d for each bad server; the machine was late by up to %v", grown, grown/bad, late)
	if grown > bad*perBad {
		t.Errorf("memory grew by %d KiB for %d bad servers", grown, bad)
	}
}

// farm is all the real servers.
type farm struct {
	servers []*shakyServer
	group   sync.WaitGroup
}

// turn makes those bad that are meant to be.
func (f *farm) turn() {
	for _, s := range f.servers {
		s.mu.Lock()
		s.bad = s.kind != ""
		s.mu.Unlock()
	}
}

// settle waits until every server was checked three times.
func (f *farm) settle(t *testing.T) {
	t.Helper()
	waitFor(t, time.Minute, "three checks of each server", func() bool {
		return !slices.ContainsFunc(f.servers, func(s *shakyServer) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.checks) < 3
		})
	})
}

// shakyServer is a web server that goes bad in its way; one without a way does not.
type shakyServer struct {
	addr netip.AddrPort
	kind string

	mu     sync.Mutex
	bad    bool
	checks []time.Time // when connections came
}

// serve answers until the listener is closed.
func (s *shakyServer) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.checks = append(s.checks, time.Now())
		bad := s.bad
		s.mu.Unlock()
		go func() { // ends when the client hangs up
			defer c.Close()
			for in := bufio.NewReader(c); ; {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == "\r\n" {
					break
				}
			}
			if bad {
				badManners[s.kind](c)
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nTest HA Page")
		}()
	}
}

// forwarder looks at a daemon's userspace table from outside of its node.
type forwarder struct {
	t    *testing.T
	path string
}

// servers are the real servers in the table; none while there is no table.
func (f forwarder) servers() map[netip.AddrPort]bool {
	r, err := userspace.Dial(f.t.Context(), f.path)
	if err != nil {
		return nil
	}
	defer r.Close()
	entries, err := r.Snapshot(f.t.Context())
	if err != nil && !errors.Is(err, context.Canceled) {
		f.t.Fatal(err)
	}
	list := map[netip.AddrPort]bool{}
	for _, e := range entries {
		for _, d := range e.Dests {
			list[d.Addr] = true
		}
	}
	return list
}

// lag measures how late this machine lets a sleeper wake.
type lag struct {
	mu   sync.Mutex
	max  time.Duration
	done chan struct{}
	gone chan struct{}
}

func newLag() *lag {
	l := &lag{done: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(l.gone)
		const nap = 10 * time.Millisecond
		for {
			begin := time.Now()
			select {
			case <-l.done:
				return
			case <-time.After(nap):
			}
			l.mu.Lock()
			l.max = max(l.max, time.Since(begin)-nap)
			l.mu.Unlock()
		}
	}()
	return l
}

func (l *lag) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = 0
}

func (l *lag) most() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.max
}

func (l *lag) stop() {
	close(l.done)
	<-l.gone
}
