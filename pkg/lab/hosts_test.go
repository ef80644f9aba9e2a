package lab_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestTutorialWithOriginals shows that the hosts are good enough for the originals: start, VIP,
// table, crash of one director.
func TestTutorialWithOriginals(t *testing.T) {
	t.Parallel()
	fast := strings.NewReplacer("keepalive 2", "keepalive 100ms", "deadtime 5", "deadtime 1", "warntime 3", "warntime 500ms", "initdead 10", "initdead 3")
	h := lab.Tutorial(t, lab.HostsOptions{
		Master: lab.Original, Slave: lab.Original,
		MasterConfig: map[string]string{"/etc/ha.d/ha.cf": fast.Replace(lab.TutorialConfig(true)["/etc/ha.d/ha.cf"])},
		SlaveConfig:  map[string]string{"/etc/ha.d/ha.cf": fast.Replace(lab.TutorialConfig(false)["/etc/ha.d/ha.cf"])},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if r, err := d.Start(ctx); err != nil || r.Code != 0 {
			t.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	waitFor(t, ctx, "the master's table", func() bool {
		r, err := h.Master.Exec(ctx, "ipvsadm", "-Ln")
		return err == nil && h.Master.HoldsVIP() && strings.Count(r.Stdout, "-> 172.16.60.20") == 2
	})
	if h.Slave.HoldsVIP() {
		t.Error("both hold the VIP")
	}
	if err := h.Real[0].StopWeb(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ctx, "rs-204 out of the table", func() bool {
		r, err := h.Master.Exec(ctx, "ipvsadm", "-Ln")
		return err == nil && strings.Contains(r.Stdout, "-> 172.16.60.205:80") && !strings.Contains(r.Stdout, "-> 172.16.60.204:80")
	})
	addrs, err := h.Slave.WatchAddrs()
	if err != nil {
		t.Fatal(err)
	}
	probe, err := h.Client.ProbeICMP(lab.VIP, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	out := time.Now()
	if err := h.Master.PowerOff(); err != nil {
		t.Fatal(err)
	}
	e, err := addrs.Wait(ctx, func(e lab.AddrEvent) bool { return e.Added && e.Addr.Addr() == lab.VIP })
	if err != nil {
		t.Fatalf("%v\n%s", err, h.Slave.Log())
	}
	waitFor(t, ctx, "answers again", func() bool {
		by, _ := probe.Answers(e.Time, time.Now())
		return len(by) > 0
	})
	probe.Stop()
	if gap := probe.Longest(out, time.Time{}).Duration(); gap < 500*time.Millisecond || gap > 15*time.Second {
		t.Errorf("outage %v, deadtime is 1 s", gap)
	}
	if !strings.Contains(h.Slave.Log(), "node ha-master: is dead") {
		t.Errorf("ha-log of the slave:\n%s", h.Slave.Log())
	}
}

func TestTutorialsWebServers(t *testing.T) {
	t.Parallel()
	h := lab.Tutorial(t, lab.HostsOptions{Master: lab.Original, Slave: lab.Original, Nginx: true, SecondLink: true})
	for _, w := range []*lab.WebHost{h.Real[0], h.Real[1], h.Master.WebHost} {
		resp, err := h.Client.HTTPClient().Get("http://" + w.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 200)
		n, _ := resp.Body.Read(body)
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if got := strings.TrimSpace(string(body[:n])); got != w.Page() {
			t.Errorf("%s serves %q, want %q", w.Name(), got, w.Page())
		}
	}
	if err := h.Real[0].StopWeb(); err != nil {
		t.Fatal(err)
	}
	if resp, err := h.Client.HTTPClient().Get("http://172.16.60.204/"); err == nil {
		t.Errorf("a stopped server answers %s", resp.Status)
	}
	if err := h.Real[0].StartWeb(); err != nil {
		t.Fatal(err)
	}
	conn, err := h.Master.Dial(t.Context(), "udp4", netip.AddrPortFrom(netip.MustParseAddr("10.0.11.22"), 9).String())
	if err != nil {
		t.Fatalf("second link: %v", err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().String(); !strings.HasPrefix(got, "10.0.11.21:") {
		t.Errorf("second link's address: %s", got)
	}
}

// waitFor is wait with a time limit of the caller's.
func waitFor(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not seen: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
