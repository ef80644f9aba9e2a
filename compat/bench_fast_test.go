package compat

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// fast is a ha.cf that notices a death within 30 ms.
func fast(master bool) map[string]string {
	cf := strings.NewReplacer("keepalive 2\n", "keepalive 10ms\n", "deadtime 5\n", "deadtime 30ms\n", "warntime 3\n", "warntime 20ms\n",
		"initdead 10\n", "initdead 2\n", "ping_group group1 172.16.60.204 172.16.60.205\nrespawn root /usr/lib64/heartbeat/ipfail\n", "").
		Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"])
	return map[string]string{"/etc/ha.d/ha.cf": cf, "/etc/ha.d/haresources": "ha-master 172.16.60.111\n"}
}

// hogs keep every processor busy until the test ends.
func hogs(t *testing.T, n int) {
	t.Helper()
	for range n {
		c := exec.Command("sh", "-c", "while :; do :; done")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill() // it may have ended
			_ = c.Wait()
		})
	}
}

// TestSoakFast runs a pair at keepalive 10 ms and deadtime 30 ms for ten minutes with every processor
// fully loaded: nobody is declared dead.
func TestSoakFast(t *testing.T) {
	fastPair(t, *soakFor)
}

// fastPair lets a fast pair run under full load and counts the dead.
func fastPair(t *testing.T, d time.Duration) {
	t.Helper()
	h := benchPair(t, lab.Ours, fast)
	hogs(t, 4)
	mark := h.Master.Log() + h.Slave.Log()
	time.Sleep(d)
	log := h.Master.Log() + h.Slave.Log()
	dead := strings.Count(log, ": is dead") - strings.Count(mark, ": is dead")
	late := strings.Count(log, "Late heartbeat") - strings.Count(mark, "Late heartbeat")
	t.Logf("%v at keepalive 10 ms, deadtime 30 ms, all processors busy: %d declared dead, %d heartbeats later than 20 ms", d, dead, late)
	if dead > 0 || !h.Master.HoldsVIP() || h.Slave.HoldsVIP() {
		t.Errorf("%d were declared dead; ha-master holds the address: %v, ha-slave: %v", dead, h.Master.HoldsVIP(), h.Slave.HoldsVIP())
		for _, d := range []*lab.Director{h.Master, h.Slave} {
			lines := strings.Split(strings.TrimSpace(d.Log()), "\n")
			t.Logf("%s's ha-log ends:\n%s", d.Name(), strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
}

// TestBenchFast pulls the holder's plug under full load: ours with deadtime 30 ms, and keepalived with
// adverts every 10 ms.
func TestBenchFast(t *testing.T) {
	lab.NeedPrograms(t, "keepalived")
	for range *benchRuns {
		t.Run("ours", func(t *testing.T) {
			h := benchPair(t, lab.Ours, fast)
			crash(t, h, byOurs)
		})
		t.Run("keepalived", func(t *testing.T) {
			h, err := lab.NewHosts(t.Context(), lab.HostsOptions{Systole: program(t)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = h.Close() })
			for i, d := range []*lab.Director{h.Master, h.Slave} {
				conf := fmt.Sprintf("global_defs {\n vrrp_version 3\n vrrp_priority -20\n checker_priority -20\n vrrp_rt_priority 50\n}\n"+
					"vrrp_instance one {\n state %s\n interface eth0\n virtual_router_id 51\n priority %d\n advert_int 0.01\n virtual_ipaddress {\n  172.16.60.111/24\n }\n}\n",
					[]string{"MASTER", "BACKUP"}[i], 200-100*i)
				if err := d.WriteFile("/etc/keepalived/keepalived.conf", []byte(conf), 0o644); err != nil {
					t.Fatal(err)
				}
				c := d.Command(context.WithoutCancel(t.Context()), "keepalived", "-P", "-n", "-D")
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, 20*time.Second, "keepalived's master holds the address", func() bool { return h.Master.HoldsVIP() && !h.Slave.HoldsVIP() })
			crash(t, h, byKeepalived)
		})
	}
}

// crash pulls the plug of ha-master and measures until the kernel's notice of the address on ha-slave.
func crash(t *testing.T, h *lab.Hosts, who contender) {
	t.Helper()
	hogs(t, 4)
	time.Sleep(3 * time.Second)
	watch, err := h.Slave.WatchAddrs()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := h.Master.PowerOff(); err != nil {
		t.Fatal(err)
	}
	up, err := watch.Wait(t.Context(), func(e lab.AddrEvent) bool { return e.Added && e.Addr.Addr() == lab.VIP && e.Time.After(began) })
	if err != nil {
		t.Fatal(err)
	}
	bench.add("crash to address up, fast timers, full load", "ms", "keepalive 10 ms and deadtime 30 ms; adverts every 10 ms; power-off to the kernel's notice",
		who, float64(up.Time.Sub(began).Microseconds())/1000)
}
