package compat

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestIdentity runs the original and ours on one node by turns, with the same files, beside an original:
// the identity stays, each run's number is one higher, whoever wrote the last, and the peer takes each for
// a restart. It takes 45 s.
func TestIdentity(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	conf := func(master bool) map[string]string {
		ha := strings.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"], "respawn root", "#respawn root", 1)
		return map[string]string{"/etc/ha.d/ha.cf": ha, "/etc/ha.d/haresources": "ha-master IPaddr::172.16.60.111\n", "/etc/ha.d/systole.cf": "logdialect debian12\n"}
	}
	s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: lab.Original, Slave: lab.Original, MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	t.Cleanup(func() {
		for _, d := range []*lab.Director{s.Master, s.Slave} {
			if t.Failed() {
				t.Logf("ha-log of %s:\n%s", d.Name(), d.Log())
			}
		}
	})
	const ours = "/usr/local/sbin/systole"
	if err := s.Master.WriteFile(ours, text, 0o755); err != nil {
		t.Fatal(err)
	}
	const left = "ha-old\t00000000-0000-0000-0000-000000000001\t100\t\n" // of a crm of long ago
	if err := s.Master.WriteFile("/var/lib/heartbeat/hostcache", []byte(left), 0o644); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := s.Master.ReadFile("/var/lib/heartbeat/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s.do("start ha-slave", s.Slave.Start)
	uuid, generation := "", 0
	for run, who := range []lab.Impl{lab.Original, lab.Ours, lab.Ours, lab.Original} {
		start, stop := s.Master.Start, s.Master.Stop
		if who == lab.Ours {
			heartbeat := func(option ...string) func(context.Context) (lab.Result, error) {
				return func(ctx context.Context) (lab.Result, error) {
					c := s.Master.Command(ctx, ours, append([]string{"heartbeat"}, option...)...)
					c.Env = append(c.Env, "SYSTOLE_NO_REBOOT=1")
					return c.Result()
				}
			}
			start, stop = heartbeat(), heartbeat("-k")
		}
		s.do(fmt.Sprintf("start %v", who), start)
		s.owner(s.Master, s.Slave)
		g, err := strconv.Atoi(strings.TrimSpace(read("hb_generation")))
		if err != nil {
			t.Fatal(err)
		}
		u := read("hb_uuid")
		if run > 0 && (u != uuid || len(u) != 16) {
			t.Errorf("run %d (%v): the identity is %x, was %x", run, who, u, uuid)
		}
		if run > 0 && g != generation+1 {
			t.Errorf("run %d (%v): generation %d after %d", run, who, g, generation)
		}
		uuid, generation = u, g
		if got := read("hostcache"); got != left {
			t.Errorf("run %d (%v): hostcache is %q", run, who, got)
		}
		if !s.seen(limit, func() bool { return read("delhostcache") == "" }) { // written at each joining, empty
			t.Errorf("run %d (%v): delhostcache is %q", run, who, read("delhostcache"))
		}
		if err := s.Master.Remove("/var/lib/heartbeat/delhostcache"); err != nil {
			t.Fatal(err)
		}
		if run > 0 && !s.seen(limit, func() bool { return strings.Count(s.Slave.Log(), "Heartbeat restart on node ha-master") == run }) {
			t.Errorf("run %d (%v): the peer has not noticed a restart", run, who)
		}
		s.do(fmt.Sprintf("stop %v", who), stop)
		s.owner(s.Slave, s.Master)
	}
	for _, never := range []string{"nodename ha-master uuid changed", "uuid changed"} {
		if strings.Contains(s.Slave.Log(), never) {
			t.Errorf("the peer says %q", never)
		}
	}
}

// bigScript is what a message of the type bigtest runs on every node.
const bigScript = "#!/bin/sh\necho \"$HA_src ${#HA_x0} $HA_x9\" >> /var/log/bigtest\n"

// TestCompressed has long messages go between ours and an original that compress them: by zlib, and the
// original by bz2. Both get each other's, unpacked. It takes 20 s.
func TestCompressed(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, algorithm := range []string{"zlib", "bz2"} {
		all.Go(func() { t.Run(algorithm, func(t *testing.T) { playCompressed(t, algorithm) }) })
	}
	all.Wait()
}

func playCompressed(t *testing.T, algorithm string) {
	conf := func(master bool) map[string]string {
		ha := strings.Replace(lab.TutorialConfig(master)["/etc/ha.d/ha.cf"], "respawn root", "#respawn root", 1)
		return map[string]string{"/etc/ha.d/ha.cf": ha + "compression " + algorithm + "\ncompression_threshold 1\ntraditional_compression yes\n"}
	}
	s := &interop{T: t, Hosts: tutorial(t, lab.HostsOptions{
		Master: lab.Ours, Slave: lab.Original, Env: []string{"SYSTOLE_NO_REBOOT=1"},
		MasterConfig: conf(true), SlaveConfig: conf(false), Log: func(string, ...any) {},
	})}
	nodes := []*lab.Director{s.Master, s.Slave}
	t.Cleanup(func() {
		for _, d := range nodes {
			if t.Failed() {
				t.Logf("ha-log of %s:\n%s", d.Name(), d.Log())
			}
		}
	})
	var message strings.Builder
	message.WriteString(">>>\nt=bigtest\n")
	for i := range 10 {
		fmt.Fprintf(&message, "x%d=%s\n", i, strings.Repeat(fmt.Sprint(i), 300))
	}
	message.WriteString("<<<\n")
	for _, d := range nodes {
		if err := d.WriteFile("/etc/ha.d/rc.d/bigtest", []byte(bigScript), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := d.WriteFile("/etc/bigmessage", []byte(message.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	wire, err := s.Capture(lab.DefaultSegment)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, d := range nodes {
		if r, err := d.Exec(t.Context(), "sh", "-c", "cat /etc/bigmessage > /var/lib/heartbeat/fifo"); err != nil || r.Code != 0 {
			t.Fatal(r, err)
		}
		want = append(want, d.Name()+" 300 "+strings.Repeat("9", 300))
		for _, at := range nodes {
			if !s.seen(limit, func() bool {
				b, _ := at.ReadFile("/var/log/bigtest") // not there before the first
				return strings.TrimSpace(string(b)) == strings.Join(want, "\n")
			}) {
				b, _ := at.ReadFile("/var/log/bigtest")
				t.Fatalf("%s got %q, want %q", at.Name(), b, want)
			}
		}
		used := map[lab.Impl]string{lab.Ours: "zlib", lab.Original: algorithm}[d.Impl]
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := wire.Wait(ctx, func(f lab.Frame) bool {
			return bytes.Contains(f.Data, []byte("_compression_algorithm="+used)) && !bytes.Contains(f.Data, []byte("99999999"))
		})
		if cancel(); err != nil {
			t.Errorf("%s (%v) has sent nothing compressed by %s: %v", d.Name(), d.Impl, used, err)
		}
	}
}
