package resource

import (
	"slices"
	"testing"

	"github.com/systole-ha/systole/pkg/halog"
)

// The environment of the init script counts where ha.cf says nothing; what systemd tells the daemon is not for children.
func TestEnvironmentOfInitScript(t *testing.T) {
	t.Setenv("HA_STOPRETRYMAX", "2")
	t.Setenv("HA_RESOURCEDIR", "/etc/ha.d/other.d")
	t.Setenv("NOTIFY_SOCKET", "/run/notify")
	m := New(Options{Log: halog.New(halog.Config{})})
	if m.o.StopRetries != 2 || m.o.Paths.ResourceD != "/etc/ha.d/other.d" {
		t.Errorf("%d retries, scripts in %s", m.o.StopRetries, m.o.Paths.ResourceD)
	}
	env := m.environ(nil)
	for _, want := range []string{"HA_FIFO=/var/lib/heartbeat/fifo", "HA_RCDIR=/etc/ha.d/rc.d", "HA_RESOURCEDIR=/etc/ha.d/other.d", "HA_STOPRETRYMAX=2"} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
	if lookup(env, "NOTIFY_SOCKET") != "" {
		t.Error("children could speak for the daemon")
	}
	t.Setenv("HA_STOPRETRYMAX", "0")
	if m := New(Options{Log: halog.New(halog.Config{})}); m.o.StopRetries != -1 {
		t.Errorf("0 is for ever, not %d", m.o.StopRetries)
	}
}

// Children get the debug level of the moment, whatever it was at the start.
func TestEnvironmentDebug(t *testing.T) {
	log := halog.New(halog.Config{DebugLevel: 2}) // heartbeat -dd
	m := New(Options{Log: log, Env: []string{"HA_debug=0"}})
	for _, want := range []string{"2", "1"} {
		if got := lookup(m.environ(nil), "HA_debug"); got != want {
			t.Errorf("HA_debug=%s, want %s", got, want)
		}
		log.SetDebugLevel(log.DebugLevel() - 1)
	}
}
