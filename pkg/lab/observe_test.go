package lab_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

func TestCapture(t *testing.T) {
	t.Parallel()
	n, a, b := pair(t)
	c, err := n.Capture("")
	if err != nil {
		t.Fatal(err)
	}
	if !reaches(t, a, b) {
		t.Fatal("b does not hear a")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begin := time.Now().Add(-time.Minute)
	f, err := c.Wait(ctx, func(f lab.Frame) bool { return udp(f, 'x') })
	if err != nil || f.Time.Before(begin) || f.Time.After(time.Now()) {
		t.Fatalf("%v %v", f.Time, err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("no tcpdump to read the file")
	}
	var file bytes.Buffer
	if err := c.WritePcap(&file); err != nil {
		t.Fatal(err)
	}
	dump := exec.CommandContext(ctx, "tcpdump", "-nr", "-")
	dump.Stdin = &file
	out, err := dump.CombinedOutput()
	if strings.Contains(string(out), "Couldn't change to") {
		t.Skip("tcpdump wants to be another user, and there is none in a user namespace")
	}
	if err != nil || !strings.Contains(string(out), "UDP, length 1") {
		t.Errorf("%v: %s", err, out)
	}
}

// udp tells whether the frame is a UDP datagram with that one byte.
func udp(f lab.Frame, b byte) bool {
	return len(f.Data) >= 43 && f.Data[12] == 8 && f.Data[13] == 0 && f.Data[23] == 17 && f.Data[42] == b
}

func TestWatchAddrs(t *testing.T) {
	t.Parallel()
	_, a, _ := pair(t)
	w, err := a.WatchAddrs()
	if err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParsePrefix("10.7.0.99/24")
	for _, verb := range []string{"add", "del"} {
		if r, err := a.Exec(t.Context(), "ip", "addr", verb, vip.String(), "dev", "eth0"); err != nil || r.Code != 0 {
			t.Fatalf("%+v %v", r, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := w.Wait(ctx, func(e lab.AddrEvent) bool { return e.Addr == vip && e.Added == (verb == "add") })
		cancel()
		if err != nil {
			t.Errorf("%s: %v; seen: %v", verb, err, w.Events())
		}
	}
}

// TestWatchAddrsInOrder moves an address between two nodes many times, as fast as it goes: a removal is
// always seen before the addition that follows it on the other node.
func TestWatchAddrsInOrder(t *testing.T) {
	t.Parallel()
	n, a, b := pair(t)
	w, err := n.WatchAddrs(a, b)
	if err != nil {
		t.Fatal(err)
	}
	const moves = 50
	for range moves {
		for _, node := range []*lab.Node{a, b} {
			for _, verb := range []string{"add", "del"} {
				if r, err := node.Exec(t.Context(), "ip", "addr", verb, "10.7.0.99/24", "dev", "eth0"); err != nil || r.Code != 0 {
					t.Fatalf("%+v %v", r, err)
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen := 0
	if _, err := w.Wait(ctx, func(lab.AddrEvent) bool { seen++; return seen == 4*moves }); err != nil {
		t.Fatalf("%v: %d of %d notices", err, seen, 4*moves)
	}
	for i, e := range w.Events() {
		if want := []*lab.Node{a, b}[i/2%2]; e.Node != want || e.Added != (i%2 == 0) || e.Addr != netip.MustParsePrefix("10.7.0.99/24") {
			t.Fatalf("notice %d: %s %v added %v", i, e.Node.Name(), e.Addr, e.Added)
		}
	}
}

func TestCountForks(t *testing.T) {
	t.Parallel()
	_, a, b := pair(t)
	shell := a.Command(t.Context(), "sh", "-c", "read go; for i in 1 2 3; do sh -c '/bin/true; /bin/true; exit'; done; echo done; read end")
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	count, err := a.CountForks()
	if err != nil {
		t.Skip(err)
	}
	other, err := b.CountForks()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	forks, err := count.Stop()
	if err != nil || forks.Processes != 9 { // three shells, two programs each
		t.Errorf("%+v %v", forks, err)
	}
	if forks, err := other.Stop(); err != nil || forks.Processes != 0 {
		t.Errorf("on the other node: %+v %v", forks, err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	_, a, b := pair(t)
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\nworld\n") })
	site, err := b.Serve(":80", hello)
	if err != nil {
		t.Fatal(err)
	}
	web, err := a.ProbeHTTP(netip.MustParseAddrPort("10.7.0.2:80"), 2*time.Millisecond, netip.MustParseAddr("10.7.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	echo, err := a.ProbeICMP(netip.MustParseAddr("10.7.0.2"), 2*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	answers := func(p *lab.Probe) (ok, failed int) {
		by, failed := p.Answers(time.Time{}, time.Now())
		return by["hello"] + by[""], failed
	}
	wait(t, "answers", func() bool {
		h, _ := answers(web)
		e, _ := answers(echo)
		return h >= 20 && e >= 20
	})
	out := time.Now()
	if err := site.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Unplug("eth0"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // the length of the outage is what is measured
	if _, err := b.Serve(":80", hello); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if err := b.Plug("eth0"); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*lab.Probe{"http": web, "icmp": echo} {
		wait(t, name+" answers again", func() bool {
			by, _ := p.Answers(back, time.Now())
			return len(by) > 0
		})
		p.Stop()
		if g := p.Longest(time.Time{}, time.Time{}); g.Duration() < 290*time.Millisecond || g.Begin.After(back) || g.End.Before(back) {
			t.Errorf("%s: gap %v from %v to %v; out %v back %v", name, g.Duration(), g.Begin, g.End, out, back)
		}
		if g := p.Longest(time.Time{}, out.Add(-50*time.Millisecond)); g.Begin.After(out) {
			t.Errorf("%s: the outage counts before it began: %+v", name, g)
		}
	}
}
