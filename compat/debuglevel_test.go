package compat

import (
	"strings"
	"sync"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestDebugLevel has the debug level of heartbeat -d, raised by SIGUSR1, reach the programs that heartbeat starts, of ours and of the
// original. It takes 20 s.
func TestDebugLevel(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, impl := range []lab.Impl{lab.Ours, lab.Original} {
		beside(t, &all, impl.String(), func(t *testing.T) {
			fast := strings.NewReplacer("keepalive 2", "keepalive 500ms", "respawn root", "#respawn root")
			s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
				Master: impl, Slave: lab.Ours, Env: []string{"SYSTOLE_NO_REBOOT=1"},
				Config: map[string]string{
					"/etc/ha.d/haresources":      "ha-master level\n",
					"/etc/ha.d/resource.d/level": "#!/bin/sh\necho \"$1 $HA_debug\" >>/var/log/level\ncase $1 in start) touch /run/level;; stop) rm -f /run/level;; status) [ ! -e /run/level ] || echo running;; esac\n",
				},
				MasterConfig: map[string]string{"/etc/ha.d/ha.cf": fast.Replace(lab.TutorialConfig(true)["/etc/ha.d/ha.cf"])},
				SlaveConfig:  map[string]string{"/etc/ha.d/ha.cf": fast.Replace(lab.TutorialConfig(false)["/etc/ha.d/ha.cf"])},
				Log:          func(string, ...any) {},
			})}
			levels := func() string {
				text, err := s.Master.ReadFile("/var/log/level")
				if err != nil {
					return ""
				}
				return string(text)
			}
			run := func(name string, arg ...string) {
				if r, err := s.Master.Exec(t.Context(), name, arg...); err != nil || r.Code != 0 {
					t.Fatalf("%s %q: %+v %v", name, arg, r, err)
				}
			}
			run("mkdir", "-p", "/run/heartbeat") // the original leaves that to its init script
			run("/usr/libexec/heartbeat/heartbeat", "-d")
			// An original that is alone has two children that write to its FIFO at once, and loses one's word at times.
			s.do("start ha-slave", s.Slave.Start)
			if !s.seen(limit, func() bool { return strings.Contains(levels(), "start 1\n") }) {
				t.Fatalf("not started with level 1: %q\n%s", levels(), s.Master.Log())
			}
			run("sh", "-c", "kill -USR1 $(cat /run/heartbeat.pid /var/run/heartbeat.pid 2>/dev/null | head -1)")
			debug := func() string {
				text, _ := s.Master.ReadFile("/var/log/ha-debug")
				return s.Master.Log() + string(text)
			}
			if !s.seen(limit, func() bool { return strings.Contains(debug(), "debug now set to 2 [pid ") }) {
				t.Fatalf("level not raised:\n%s", debug())
			}
			run("/usr/libexec/heartbeat/heartbeat", "-k")
			if !strings.HasSuffix(levels(), "stop 2\n") {
				t.Errorf("not stopped with level 2: %q", levels())
			}
		})
	}
	all.Wait()
}
