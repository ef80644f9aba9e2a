package compat

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestVMConnections moves the resources to the other director and back under a thousand open TCP
// connections in DR mode. With LVSSyncDaemonSwap in haresources none of them ends. At first the director
// that haresources prefers starts when the other has them already: with failbacksync in systole.cf it gets
// the resources when it knows the connections, and not before.
func TestVMConnections(t *testing.T) {
	if !lab.InVM(t, lab.WithSystole(t), func(s *lab.Spec) { s.Limit, s.Memory = 8*time.Minute, 2048 }) {
		return
	}
	h := tutorial(t, lab.HostsOptions{Env: []string{"SYSTOLE_NO_REBOOT=1"}, MasterConfig: map[string]string{
		"/etc/ha.d/ha.cf": patient(true),
	}, SlaveConfig: map[string]string{
		"/etc/ha.d/ha.cf": patient(false),
	}, Config: map[string]string{
		"/etc/ha.d/systole.cf":  "failbacksync 300\n",
		"/etc/ha.d/haresources": "ha-master ldirectord LVSSyncDaemonSwap::master IPaddr::172.16.60.111\n",
		"/etc/ha.d/ldirectord.cf": "checktimeout=3\ncheckinterval=2\nquiescent=no\nvirtual=172.16.60.111:7000\n" +
			"\treal=172.16.60.204:7000 gate\n\treal=172.16.60.205:7000 gate\n\tservice=none\n\tcheckport=80\n\tchecktype=connect\n\tscheduler=rr\n",
	}})
	for _, rs := range h.Real {
		l, err := rs.Listen("tcp4", ":7000")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go echoAll(l)
	}
	start := func(d *lab.Director) {
		if r, err := d.Start(t.Context()); err != nil || r.Code != 0 {
			t.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	daemon := func(d *lab.Director) string {
		r, err := d.Exec(t.Context(), "ipvsadm", "-L", "--daemon")
		if err != nil {
			t.Fatal(err)
		}
		return r.Stdout
	}
	owns := func(d, other *lab.Director) func() bool {
		return func() bool {
			return d.HoldsVIP() && !other.HoldsVIP() && strings.Count(table(t.Context(), d), ":7000") == 3 &&
				strings.HasPrefix(daemon(d), "master sync daemon") && strings.HasPrefix(daemon(other), "backup sync daemon")
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ha-master:\n%s\nha-slave:\n%s", h.Master.Log(), h.Slave.Log())
		}
	})
	start(h.Slave)
	waitFor(t, 2*time.Minute, "ha-slave owns", func() bool {
		return h.Slave.HoldsVIP() && strings.Count(table(t.Context(), h.Slave), ":7000") == 3 && strings.HasPrefix(daemon(h.Slave), "master sync daemon")
	})

	const many = 1000
	conns := make([]net.Conn, many)
	for i := range conns {
		c, err := h.Client.Dial(t.Context(), "tcp4", "172.16.60.111:7000")
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		conns[i] = c
	}
	said(t, conns, "at first")
	start(h.Master)
	const waits = "Auto failback waits at most 5m0s for the other node's connection table."
	waitFor(t, time.Minute, "ha-slave waits", func() bool { return strings.Contains(h.Slave.Log(), waits) })
	threshold := func() string {
		r, err := h.Slave.Exec(t.Context(), "sysctl", "-n", "net.ipv4.vs.sync_threshold")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(strings.Fields(r.Stdout), " ")
	}
	waitFor(t, time.Minute, "ha-master is the backup, ha-slave hurries", func() bool {
		return strings.HasPrefix(daemon(h.Master), "backup sync daemon") && threshold() == "0 1"
	})
	said(t, conns[:many/2], "while ha-slave waits")
	waitFor(t, time.Minute, "ha-slave says how far ha-master is", func() bool { return strings.Contains(h.Slave.Log(), " of 200 connections") })
	if h.Master.HoldsVIP() {
		t.Fatal("ha-master has the resources, and knows half of the connections")
	}
	said(t, conns[many/2:], "while ha-slave waits")
	waitFor(t, time.Minute, "ha-master owns, ha-slave is the backup", owns(h.Master, h.Slave))
	said(t, conns, "after the fail-back")
	if got := threshold(); got != "3 50" {
		t.Errorf("sync_threshold stays %q", got)
	}

	for _, move := range []struct {
		from, to *lab.Director
		command  []string
	}{
		{h.Master, h.Slave, []string{"/usr/share/heartbeat/hb_standby"}},
		{h.Slave, h.Master, []string{"/usr/share/heartbeat/hb_standby", "foreign"}},
	} {
		what := fmt.Sprintf("%s to %s", move.from.Name(), move.to.Name())
		began := time.Now()
		if r, err := move.from.Exec(t.Context(), move.command[0], move.command[1:]...); err != nil || r.Code != 0 {
			t.Fatalf("%s: %+v %v", what, r, err)
		}
		said(t, conns, "during "+what)
		waitFor(t, 30*time.Second, what, owns(move.to, move.from))
		said(t, conns, "after "+what)
		t.Logf("%s: %v with two questions on each of %d connections", what, time.Since(began).Round(time.Millisecond), many)
	}

	// A node that is killed while it waits leaves the kernel's threshold changed, until it is started again.
	if r, err := h.Master.Stop(t.Context()); err != nil || r.Code != 0 {
		t.Fatalf("stop ha-master: %+v %v", r, err)
	}
	waitFor(t, time.Minute, "ha-slave owns again", h.Slave.HoldsVIP)
	start(h.Master)
	waitFor(t, time.Minute, "ha-slave waits again", func() bool { return threshold() == "0 1" })
	if _, err := h.Slave.Crash(); err != nil {
		t.Fatal(err)
	}
	if got := threshold(); got != "0 1" {
		t.Errorf("sync_threshold is %q after the crash: nothing is to be put back", got)
	}
	start(h.Slave)
	waitFor(t, time.Minute, "sync_threshold is put back", func() bool { return threshold() == "3 50" })

	if log := h.Master.Log() + h.Slave.Log(); strings.Contains(log, "LVSSyncDaemonSwap") && strings.Contains(log, "ERROR: LVSSync") {
		t.Errorf("ha-log has errors of the sync daemons:\n%s", log)
	}
}

// echoAll answers every connection with what it says, until the listener is closed.
func echoAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // ends with the connection
		}()
	}
}

// said has every connection carry a word there and back.
func said(t *testing.T, conns []net.Conn, when string) {
	t.Helper()
	var mu sync.Mutex
	var lost []string
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() {
			word := fmt.Sprintf("%04d", i)
			answer := make([]byte, len(word))
			err := c.SetDeadline(time.Now().Add(time.Minute))
			if err == nil {
				_, err = io.WriteString(c, word)
			}
			if err == nil {
				_, err = io.ReadFull(c, answer)
			}
			if err == nil && string(answer) != word {
				err = fmt.Errorf("answer %q to %q", answer, word)
			}
			if err != nil {
				mu.Lock()
				lost = append(lost, err.Error())
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(lost) > 0 {
		t.Fatalf("%s: %d of %d connections are lost: %s ...", when, len(lost), len(conns), lost[0])
	}
}
