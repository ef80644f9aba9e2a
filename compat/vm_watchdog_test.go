package compat

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// watchdogGuest arms a watchdog by our heartbeat in a virtual machine; what follows comes after it.
const watchdogGuest = `
set -e
fail() { echo "FAILED: $*"; cat /var/log/ha-log; exit 1; }
until_() { n=0; until eval "$1"; do n=$((n + 1)); [ $n -lt 600 ] || fail "$1"; sleep 0.05; done; }
mkdir -p /etc/ha.d /var/log
dog=/sys/class/watchdog/watchdog0
heartbeat="PROGRAM heartbeat"
cat >/etc/ha.d/ha.cf <<CONF
logfile /var/log/ha-log
keepalive 500ms
deadtime 4
initdead 10
bcast lo
auto_failback on
node guest other
watchdog /dev/watchdog
rtprio 3
CONF
printf 'auth 1\n1 crc\n' >/etc/ha.d/authkeys
chmod 600 /etc/ha.d/authkeys
echo 'guest 127.0.0.9' >/etc/ha.d/haresources
rm -f /etc/ha.d/systole.cf /etc/ha.d/nodeinfo
test -c /dev/watchdog || fail "no watchdog here"
$heartbeat || fail "start"
until_ "grep -q '^active$' $dog/state"
test "$(cat $dog/timeout)" = 5 || fail "timeout $(cat $dog/timeout)"
pid=$(tr -d ' ' </var/run/heartbeat.pid)
echo armed
sleep 8 # longer than the timeout
test -d /proc/$pid || fail "heartbeat ended"
`

// TestVMWatchdog has a real driver (softdog) watched: heartbeat arms it, feeds it, and disarms it at an orderly stop; when
// heartbeat is killed, or hangs, the machine is reset.
func TestVMWatchdog(t *testing.T) {
	path := program(t)
	run := func(script string) (out string, err error) {
		var buf bytes.Buffer
		s := lab.Spec{
			Command: []string{"/bin/sh", "-c", strings.ReplaceAll(watchdogGuest, "PROGRAM", path) + script},
			Modules: []string{"softdog"}, Stdout: &buf, Stderr: &buf, Limit: lab.Patience * 2 * time.Minute, Dir: "/",
		}
		_, err = lab.RunVM(t.Context(), s)
		return buf.String(), err
	}
	lab.VM(t, lab.Spec{Command: []string{"/bin/true"}, Dir: "/"}) // skips where there are no virtual machines
	out, err := run(`
$heartbeat -k
test "$(cat $dog/state)" = inactive || fail "armed after an orderly stop"
sleep 7
echo "as it should be"
`)
	if err != nil || !strings.Contains(out, "as it should be") {
		t.Errorf("orderly: %v\n%s", err, out)
	}
	for what, script := range map[string]string{"killed": "kill -9 $pid", "hung": "kill -STOP $pid"} {
		out, err := run(script + "\nsleep 60\necho survived\n")
		if err == nil || !strings.Contains(err.Error(), "ended before its job") || !strings.Contains(out, "armed") || strings.Contains(out, "survived") {
			t.Errorf("%s: the machine was not reset: %v\n%s", what, err, out)
		}
	}
}
