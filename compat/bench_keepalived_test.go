package compat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// The checks of a thousand services are too many for an emulated processor if they come each second.
const keepalivedInterval = 10

const keepalivedHow = "1,000 virtual services of 3 real servers, a TCP connect each every 10 s, over the kernel's IPVS in an emulated machine"

// TestBenchKeepalived has ours and keepalived check the same 3,000 real servers and keep the same table.
func TestBenchKeepalived(t *testing.T) {
	if !benchInVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 15*time.Minute, 2048 }) {
		return
	}
	lab.NeedPrograms(t, "/usr/sbin/keepalived", "/usr/sbin/ipvsadm")
	for range min(*benchRuns, 3) {
		for _, who := range []contender{byOurs, byKeepalived} {
			benchKeepalived(t, who)
		}
	}
}

func benchKeepalived(t *testing.T, who contender) {
	n, err := lab.New(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	farm := newScaleFarm(t, n)
	defer farm.close()
	d := newScaleDirector(t, n, strings.Replace(scaleConfig(), "checkinterval=1\n", fmt.Sprintf("checkinterval=%d\n", keepalivedInterval), 1))
	d.env = nil // the kernel's table
	if err := d.node.WriteFile("/etc/keepalived/keepalived.conf", []byte(keepalivedConfig()), 0o644); err != nil {
		t.Fatal(err)
	}
	var pids []int
	if who == byOurs {
		d.ldirectord("start")
		pids = []int{d.pid()}
	} else {
		if r, err := d.node.Exec(t.Context(), "/usr/sbin/keepalived", "-C"); err != nil || r.Code != 0 {
			t.Fatalf("keepalived: %+v %v", r, err)
		}
		waitFor(t, time.Minute, "keepalived and its checker", func() bool {
			pids = nil
			procs, err := d.node.Processes()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range procs {
				if strings.Contains(p.Args, "keepalived") {
					pids = append(pids, p.HostPID)
				}
			}
			return len(pids) == 2
		})
	}
	waitFor(t, 3*time.Minute, "3,000 real servers in the table", func() bool {
		r, err := d.node.Exec(t.Context(), "sh", "-c", "ipvsadm -Sn | grep -c ^-a")
		return err == nil && strings.TrimSpace(r.Stdout) == fmt.Sprint(scaleVirtuals*scaleReals)
	})
	time.Sleep(keepalivedInterval * time.Second)
	computed := func() (sum time.Duration) {
		for _, pid := range pids {
			sum += cpuOf(t, pid)
		}
		return sum
	}
	farm.record()
	before := computed()
	time.Sleep(3 * keepalivedInterval * time.Second)
	used := computed() - before
	checks := 0
	farm.mu.Lock()
	for _, times := range farm.seen {
		checks += len(times)
	}
	farm.mu.Unlock()
	bench.add("CPU of a TCP check and what belongs to it, 3,000 real servers", "ms", keepalivedHow, who, used.Seconds()*1000/float64(checks))
	kib := 0
	for _, pid := range pids {
		m, err := memory(pid, "VmRSS")
		if err != nil {
			t.Fatal(err)
		}
		kib += m
	}
	bench.add("memory, 3,000 real servers, IPVS of the kernel", "MB", keepalivedHow+"; resident, all processes", who, float64(kib)/1024)
}

// keepalivedConfig is scaleConfig in keepalived's words.
func keepalivedConfig() string {
	var b strings.Builder
	b.WriteString("global_defs {\n}\n")
	for i := range scaleVirtuals {
		fmt.Fprintf(&b, "virtual_server 10.61.%d.%d 80 {\n delay_loop %d\n lb_algo wlc\n lb_kind NAT\n protocol TCP\n", i/250, i%250+1, keepalivedInterval)
		for k := range scaleReals {
			n := i*scaleReals + k
			fmt.Fprintf(&b, " real_server 10.60.0.%d %d {\n  weight 1\n  TCP_CHECK {\n   connect_timeout 3\n  }\n }\n", n%scaleHosts+1, 8000+n/scaleHosts)
		}
		b.WriteString("}\n")
	}
	return b.String()
}
