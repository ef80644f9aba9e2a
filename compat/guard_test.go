package compat

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestAddressLost takes the address away from the node that holds it: by hand, which is put right
// at once, and by the loss of its interface, on which it is handed over if systole.cf says so.
func TestAddressLost(t *testing.T) {
	lab.NeedRoot(t)
	t.Parallel()
	ctx := t.Context()
	conf := func(master bool) map[string]string {
		cf := fastTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])
		cf = strings.Replace(cf, "bcast eth0\n", "bcast eth0 eth1\n", 1)
		return map[string]string{
			"/etc/ha.d/ha.cf":      strings.Replace(cf, "respawn root /usr/lib64/heartbeat/ipfail\n", "", 1),
			"/etc/ha.d/systole.cf": "addresslost standby\n",
		}
	}
	h, err := lab.NewHosts(ctx, lab.HostsOptions{
		Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"}, SecondLink: true, MasterConfig: conf(true), SlaveConfig: conf(false),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	p := &pair{t: t, ctx: ctx, h: h}
	p.start(h.Master)
	p.start(h.Slave)
	p.settled("the start")

	probe, err := h.Client.ProbeHTTP(netip.AddrPortFrom(lab.VIP, 80), 10*time.Millisecond, h.ClientAddrs...)
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Stop()
	began := time.Now()
	if r, err := h.Master.Exec(ctx, "ip", "addr", "del", lab.VIP.String()+"/24", "dev", "eth0"); err != nil || r.Code != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	const line = "WARN: 172.16.60.111/24 was removed from eth0 by somebody else: put back (1)"
	waitFor(t, 10*time.Second, line, func() bool { return strings.Contains(h.Master.Log(), line) })
	p.settled("the repair")
	t.Logf("removed by hand: client gap %v", probe.Longest(began, time.Now()).Duration().Round(time.Millisecond))
	if strings.Contains(h.Slave.Log(), "wants to go standby") {
		t.Error("a repaired address was handed over")
	}

	began = time.Now()
	if r, err := h.Master.Exec(ctx, "ip", "link", "set", "eth0", "down"); err != nil || r.Code != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	waitFor(t, 30*time.Second, "ha-slave takes over", func() bool { return h.Slave.HoldsVIP() && !h.Master.HoldsVIP() })
	waitFor(t, 30*time.Second, "the table is there", func() bool { return strings.Contains(table(ctx, h.Slave), "172.16.60.205:80") })
	for _, want := range []string{"WARN: eth0 is down: 172.16.60.111 cannot be reached", "going standby"} {
		if !strings.Contains(h.Master.Log(), want) {
			t.Errorf("ha-master's log lacks %q", want)
		}
	}
	waitFor(t, 30*time.Second, "the client is served", func() bool {
		by, _ := probe.Answers(time.Now().Add(-time.Second), time.Now())
		return len(by) > 0
	})
	t.Logf("interface lost: client gap %v", probe.Longest(began, time.Now()).Duration().Round(time.Millisecond))
}
