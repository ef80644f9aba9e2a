package compat

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestReloadKeepsResources: a changed ha.cf restarts the daemon in place, as the original does; the
// address stays, the table is filled again, and real servers go on being checked.
func TestReloadKeepsResources(t *testing.T) {
	lab.NeedRoot(t)
	t.Parallel()
	ctx := t.Context()
	h, err := lab.NewHosts(ctx, lab.HostsOptions{Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	p := &pair{t: t, ctx: ctx, h: h}
	p.start(h.Master)
	p.start(h.Slave)
	p.settled("the start")
	watch, err := h.Master.WatchAddrs()
	if err != nil {
		t.Fatal(err)
	}
	text, err := h.Master.ReadFile("/etc/ha.d/ha.cf")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Master.WriteFile("/etc/ha.d/ha.cf", append(text, "# changed\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := h.Master.Exec(ctx, "/usr/libexec/heartbeat/heartbeat", "-r"); err != nil || r.Code != 0 {
		t.Fatalf("reload: %d %s %v", r.Code, r.Stderr, err)
	}
	waitFor(t, 60*time.Second, "the daemon starts again in place", func() bool {
		return strings.Count(h.Master.Log(), "heartbeat: version") == 2 && strings.Count(h.Master.Log(), "Local status now set to: 'active'") == 2
	})
	p.settled("the restart in place")
	for _, e := range watch.Events() {
		if e.Addr.Addr() == lab.VIP && !e.Added {
			t.Errorf("the address went down at %v", e.Time)
		}
	}
	if err := h.Real[0].StopWeb(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 15*time.Second, "a dead real server leaves the table", func() bool {
		return !strings.Contains(table(ctx, h.Master), "172.16.60.204:80")
	})
}
