package compat

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/lab"
)

// patientTimers beat fast, but declare nobody dead because the machine is busy.
var patientTimers = strings.NewReplacer("keepalive 2\n", "keepalive 200ms\n", "deadtime 5\n", "deadtime 15\n",
	"warntime 3\n", "warntime 10\n", "initdead 10\n", "initdead 15\n")

// TestBadInput gives a running pair broken files, packets and local messages: nothing changes, the
// log says why, and what is good again is taken.
func TestBadInput(t *testing.T) {
	t.Run("Files", func(t *testing.T) {
		t.Parallel()
		testBadFiles(newVictim(t))
	})
	t.Run("Packets", func(t *testing.T) {
		t.Parallel()
		testBadPackets(newVictim(t))
	})
}

// victim is a running pair, and a client that hears its broadcasts and can send to it.
type victim struct {
	*testing.T
	*lab.Hosts
	sock net.PacketConn // UDP port 694 of the client

	mu     sync.Mutex
	heard  [][]byte       // packets, in order
	signed map[string]int // by name of the node and number of the key
}

func newVictim(t *testing.T) *victim { return newVictimWith(t, "") }

// newVictimWith has more lines in ha.cf.
func newVictimWith(t *testing.T, more string) *victim {
	conf := func(master bool) map[string]string {
		return map[string]string{"/etc/ha.d/ha.cf": patientTimers.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]) + more}
	}
	v := &victim{T: t, signed: map[string]int{}, Hosts: tutorial(t, lab.HostsOptions{
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	sock, err := v.Client.ListenPacket("udp4", ":694")
	if err != nil {
		t.Fatal(err)
	}
	v.sock = sock
	done := make(chan struct{})
	go func() { defer close(done); v.listen() }()
	t.Cleanup(func() { sock.Close(); <-done })
	for _, d := range v.directors() {
		v.run(d, 0, "/usr/libexec/heartbeat/heartbeat")
	}
	v.wait("a pair in service", v.served)
	return v
}

func (v *victim) directors() []*lab.Director { return []*lab.Director{v.Master, v.Slave} }

// listen notes what the pair broadcasts until the socket is closed.
func (v *victim) listen() {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := v.sock.ReadFrom(buf)
		if err != nil {
			return
		}
		b := append([]byte(nil), buf[:n]...)
		v.mu.Lock()
		v.heard = append(v.heard, b)
		if p, err := hamsg.Decode(b); err == nil {
			key, _, _ := strings.Cut(p.Auth, " ")
			v.signed[p.Get(hamsg.FOrig)+" "+key]++
		}
		v.mu.Unlock()
	}
}

// packets is what was heard so far.
func (v *victim) packets() [][]byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.heard[:len(v.heard):len(v.heard)]
}

// beats is how many packets of a node, signed with that key, have come.
func (v *victim) beats(node string, key int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signed[fmt.Sprintf("%s %d", node, key)]
}

// alive waits for some more heartbeats of both nodes, signed with the key.
func (v *victim) alive(key int) {
	v.Helper()
	const some = 5
	before := []int{v.beats("ha-master", key), v.beats("ha-slave", key)}
	v.wait("heartbeats of both nodes", func() bool {
		return v.beats("ha-master", key) >= before[0]+some && v.beats("ha-slave", key) >= before[1]+some
	})
}

// wait waits for what is to come within a minute.
func (v *victim) wait(what string, ok func() bool) {
	v.Helper()
	for begin := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			for _, d := range v.directors() {
				director, _ := d.ReadFile("/var/log/ldirectord.log") // may not be there
				v.Logf("%s's ha-log ends:\n%s\nits ldirectord.log:\n%s", d.Name(), lastLines(d.Log(), 40), lastLines(string(director), 20))
			}
			v.Fatalf("not seen: %s", what)
		}
	}
}

// lastLines is the end of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// run runs a command of a director, which has to exit as told, and returns what it wrote.
func (v *victim) run(d *lab.Director, code int, name string, arg ...string) string {
	v.Helper()
	ctx, cancel := context.WithTimeout(v.Context(), time.Minute)
	defer cancel()
	r, err := d.Exec(ctx, name, arg...)
	if err != nil || r.Code != code {
		v.Fatalf("%s: %s %v: %+v %v, want exit status %d", d.Name(), name, arg, r, err, code)
	}
	return r.Stdout + r.Stderr
}

func (v *victim) write(d *lab.Director, path, text string) {
	v.Helper()
	if err := d.WriteFile(path, []byte(text), lab.ConfigMode(path)); err != nil {
		v.Fatal(err)
	}
}

// served tells whether ha-master alone has the address, and its table both real servers.
func (v *victim) served() bool {
	have := table(v.Context(), v.Master)
	return v.Master.HoldsVIP() && !v.Slave.HoldsVIP() && strings.Contains(have, "172.16.60.204:80") && strings.Contains(have, "172.16.60.205:80")
}

// pid is the process of a director's heartbeat, as the machine counts.
func (v *victim) pid(d *lab.Director) int {
	v.Helper()
	procs, err := d.Processes()
	if err != nil {
		v.Fatal(err)
	}
	for _, p := range procs {
		if strings.HasPrefix(p.Args, "heartbeat: master") {
			return p.HostPID
		}
	}
	v.Fatalf("%s runs no heartbeat", d.Name())
	return 0
}

// unchanged notes how the pair is, and returns a function that holds it against that.
func (v *victim) unchanged() func(what string) {
	v.Helper()
	var pids, logs [2]int
	for i, d := range v.directors() {
		pids[i], logs[i] = v.pid(d), len(d.Log())
	}
	was := table(v.Context(), v.Master)
	return func(what string) {
		v.Helper()
		for i, d := range v.directors() {
			if pid := v.pid(d); pid != pids[i] {
				v.Errorf("%s: %s's daemon is process %d, was %d", what, d.Name(), pid, pids[i])
			}
			for line := range strings.Lines(d.Log()[logs[i]:]) {
				for _, bad := range []string{"is dead", "Restarting", "shutdown", "internal error", "panic", "Releasing", "Acquiring"} {
					if strings.Contains(line, bad) {
						v.Errorf("%s: %s says %s", what, d.Name(), line)
					}
				}
			}
		}
		if !v.served() {
			v.Errorf("%s: addresses or table are not as they were", what)
		}
		if is := table(v.Context(), v.Master); withoutCounts(is) != withoutCounts(was) {
			v.Errorf("%s: the table is\n%swas\n%s", what, is, was)
		}
	}
}

// withoutCounts is an ipvsadm listing without the numbers of connections.
func withoutCounts(list string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		b.WriteString(strings.Join(strings.Fields(line)[:min(4, len(strings.Fields(line)))], " ") + "\n")
	}
	return b.String()
}

// says waits for a text in what was added to a director's file since the function was made.
func (v *victim) says(d *lab.Director, path string) func(text string) {
	from, _ := d.ReadFile(path) // may not be there yet
	return func(text string) {
		v.Helper()
		v.wait(fmt.Sprintf("%q in %s of %s", text, path, d.Name()), func() bool {
			now, err := d.ReadFile(path)
			return err == nil && strings.Contains(string(now[min(len(from), len(now)):]), text)
		})
	}
}

func testBadFiles(v *victim) {
	v.badLdirectordCf()
	v.badKeys()
	v.badHaresources()
	v.badHaCf()
}

// badLdirectordCf: by autoreload and by command.
func (v *victim) badLdirectordCf() {
	const path, log = "/etc/ha.d/ldirectord.cf", "/var/log/ldirectord.log"
	good := lab.TutorialConfig(true)[path]
	same := v.unchanged()
	says := v.says(v.Master, log)
	v.write(v.Master, path, strings.Replace(good, "172.16.60.204:80 gate", "172.16.60.204:80 fence", 1))
	says("has changed on disk")
	says("ldirectord.cf:7:24: ") // the place of "fence"
	says("stays in force")
	if out := v.run(v.Master, 2, "ldirectord", "reload"); !strings.Contains(out, "ldirectord.cf:7:24: ") {
		v.Errorf("ldirectord reload does not say where the file is broken:\n%s", out)
	}
	same("broken ldirectord.cf")
	v.write(v.Master, path, strings.Replace(good, "172.16.60.204:80 gate", "172.16.60.204:80 gate 7", 1))
	v.wait("the new weight", func() bool {
		for line := range strings.Lines(table(v.Context(), v.Master)) {
			if f := strings.Fields(line); len(f) > 3 && f[1] == "172.16.60.204:80" && f[3] == "7" {
				return true
			}
		}
		return false
	})
}

// badKeys: by signal and by command; then both nodes move to a new key, one after the other.
func (v *victim) badKeys() {
	const path, log = "/etc/ha.d/authkeys", "/var/log/ha-log"
	same := v.unchanged()
	for _, bad := range []struct{ text, place string }{
		{"auth 9\n3 md5 Hello!\n", "authkeys:1:1: "},
		{"auth 3\n3 md5 Hello!\n4 rot13 Hello!\n", "authkeys:3:3: "},
	} {
		v.write(v.Master, path, bad.text)
		says := v.says(v.Master, log)
		if err := unix.Kill(v.pid(v.Master), unix.SIGHUP); err != nil {
			v.Fatal(err)
		}
		says(bad.place)
		says("stays in force")
		if out := v.run(v.Master, 1, "/usr/libexec/heartbeat/heartbeat", "-r"); !strings.Contains(out, bad.place) {
			v.Errorf("heartbeat -r does not say %q:\n%s", bad.place, out)
		}
	}
	v.alive(3)
	same("broken authkeys")
	for _, text := range []string{"auth 3\n3 md5 Hello!\n4 sha1 Good bye!\n", "auth 4\n3 md5 Hello!\n4 sha1 Good bye!\n"} {
		for _, d := range v.directors() {
			v.write(d, path, text)
			says := v.says(d, log)
			v.run(d, 0, "/usr/libexec/heartbeat/heartbeat", "-r")
			says("Rereading authentication file.")
		}
	}
	v.alive(4)
	same("new keys")
}

// badHaresources: a daemon does not look at it until it needs it, a command does.
func (v *victim) badHaresources() {
	const path = "/etc/ha.d/haresources"
	same := v.unchanged()
	v.write(v.Master, path, "ha-master IPaddr::172.16.60.111 ipvsadm ldirectord\nha-mister IPaddr::172.16.60.112\n")
	says := v.says(v.Master, "/var/log/ha-log")
	if err := unix.Kill(v.pid(v.Master), unix.SIGHUP); err != nil {
		v.Fatal(err)
	}
	says("haresources:2:1: ")
	if out := v.run(v.Master, 1, "/usr/libexec/heartbeat/heartbeat", "-r"); !strings.Contains(out, "haresources:2:1: ") {
		v.Errorf("heartbeat -r does not say where haresources is broken:\n%s", out)
	}
	v.alive(4)
	same("broken haresources")
	v.write(v.Master, path, lab.TutorialConfig(true)[path])
}

// badHaCf: a good one restarts the daemon in place, with the resources in hand.
func (v *victim) badHaCf() {
	const path, log = "/etc/ha.d/ha.cf", "/var/log/ha-log"
	good := patientTimers.Replace(lab.TutorialConfig(true)[path])
	watch, err := v.Master.WatchAddrs()
	if err != nil {
		v.Fatal(err)
	}
	same := v.unchanged()
	v.write(v.Master, path, strings.Replace(good, "keepalive 200ms", "keepalive soon", 1))
	says := v.says(v.Master, log)
	if err := unix.Kill(v.pid(v.Master), unix.SIGHUP); err != nil {
		v.Fatal(err)
	}
	says("ha.cf:5:11: ")
	says("stays in force")
	if out := v.run(v.Master, 1, "/usr/libexec/heartbeat/heartbeat", "-r"); !strings.Contains(out, "ha.cf:5:11: ") {
		v.Errorf("heartbeat -r does not say where ha.cf is broken:\n%s", out)
	}
	v.alive(4)
	same("broken ha.cf")
	v.write(v.Master, path, strings.Replace(good, "keepalive 200ms", "keepalive 250ms", 1))
	says = v.says(v.Master, log)
	v.run(v.Master, 0, "/usr/libexec/heartbeat/heartbeat", "-r")
	says("Performing heartbeat restart exec.")
	says("info: heartbeat: version ")
	v.alive(4)
	v.wait("the same service after the restart in place", v.served)
	for _, e := range watch.Events() {
		if e.Addr.Addr() == lab.VIP && !e.Added {
			v.Errorf("the restart in place removed the virtual address")
		}
	}
}

// testBadPackets sends what no peer sends. Lines about it are few however many packets there are.
func testBadPackets(v *victim) {
	const most = 60 // lines of one daemon about all of it
	ctx := v.Context()
	// A restart of ha-slave leaves packets of an older run, farewell included, to send again.
	v.run(v.Slave, 0, "/usr/libexec/heartbeat/heartbeat", "-k")
	v.run(v.Slave, 0, "/usr/libexec/heartbeat/heartbeat")
	v.wait("ha-slave is back", func() bool {
		return strings.Count(v.Slave.Log(), "remote resource transition completed") >= 2 || strings.Count(v.Slave.Log(), "local resource transition completed") >= 2
	})
	v.alive(3)
	recorded := v.packets()
	same := v.unchanged()
	lines := map[string]int{}
	for _, d := range v.directors() {
		lines[d.Name()] = strings.Count(d.Log(), "\n")
	}

	wrong, err := hbauth.NewRing(map[int]hbauth.Key{3: {Method: hbauth.MD5, Text: "Hallo!"}}, 3)
	if err != nil {
		v.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var packets [][]byte
	for i, p := range recorded {
		packets = append(packets, p) // again
		flipped := append([]byte(nil), p...)
		flipped[rnd.IntN(len(p))] ^= byte(1 << rnd.IntN(8))
		packets = append(packets, flipped, p[:rnd.IntN(len(p))])
		if m, err := hamsg.Decode(p); err == nil {
			packets = append(packets, wrong.AppendWire(nil, &m.Msg))
		}
		noise := make([]byte, 1+rnd.IntN(1400))
		if i%20 == 0 {
			noise = make([]byte, 65507)
		}
		for j := range noise {
			noise[j] = byte(rnd.Uint32())
		}
		packets = append(packets, noise)
		copy(noise, []string{"###\n", ">>>\n", "###\n99999999:", ">>>\nt="}[i%4])
	}
	for _, d := range v.directors() {
		to := &net.UDPAddr{IP: d.Addr().AsSlice(), Port: 694}
		for range max(1, 20000/len(packets)) {
			for _, p := range packets {
				if _, err := v.sock.WriteTo(p, to); err != nil && !strings.Contains(err.Error(), "buffer") {
					v.Fatal(err)
				}
			}
		}
		junk := strings.Join([]string{
			"head -c 300000 /dev/urandom", "printf '>>>\\nno end\\n>>>\\nt=\\n<<<\\n<<<\\n>>>\\n<<<\\n>>>\\n=\\n=x\\n<<<\\n'",
			"printf '>>>\\n'; head -c 200000 /dev/zero | tr '\\0' x; printf '\\n<<<\\n'",
		}, "; ")
		c := d.Command(ctx, "sh", "-c", "for i in 1 2 3; do "+junk+"; done >/var/lib/heartbeat/fifo")
		if out, err := c.CombinedOutput(); err != nil {
			v.Fatalf("%v: %s", err, out)
		}
	}
	v.alive(3)
	v.alive(3)
	same("bad packets")
	for _, d := range v.directors() {
		if n := strings.Count(d.Log(), "\n") - lines[d.Name()]; n == 0 || n > most {
			v.Errorf("%s wrote %d lines (want some, up to %d):\n%s", d.Name(), n, most, lastLines(d.Log(), min(n, 100)))
		}
	}
}

// memory is a line of a process' status, in KiB.
func memory(pid int, name string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name+":" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("pid %d: no %s", pid, name)
}
