package compat

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestReleasedAddressWaits: between release and takeover each director may still know the other as the
// address's owner, from the moves before, and both forward. A packet of a client that has not heard of
// the move is not to go to and fro between them until it dies (as it does with the originals): it
// waits on the releasing node, and reaches the new owner with its announcement.
func TestReleasedAddressWaits(t *testing.T) {
	lab.NeedRoot(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h, err := lab.NewHosts(ctx, lab.HostsOptions{
		Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"},
		Config: map[string]string{"/etc/ha.d/haresources": "ha-master IPaddr::172.16.60.111\n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	run := func(n interface {
		Exec(context.Context, string, ...string) (lab.Result, error)
	}, name string, arg ...string,
	) {
		t.Helper()
		if r, err := n.Exec(ctx, name, arg...); err != nil || r.Code != 0 {
			t.Errorf("%s %q: %+v %v", name, arg, r, err)
		}
	}
	const master, slave = "02:00:ac:10:3c:ce", "02:00:ac:10:3c:cf"
	macs := map[string][]byte{master: {2, 0, 172, 16, 60, 206}, slave: {2, 0, 172, 16, 60, 207}}
	run(h.Master, "ip", "addr", "add", "172.16.60.111/24", "dev", "eth0")
	run(h.Master, "ip", "neigh", "replace", "172.16.60.111", "lladdr", slave, "nud", "stale", "dev", "eth0")
	run(h.Slave, "ip", "neigh", "replace", "172.16.60.111", "lladdr", master, "nud", "stale", "dev", "eth0")
	run(h.Client, "ip", "neigh", "replace", "172.16.60.111", "lladdr", master, "nud", "stale", "dev", "eth0")
	wire, err := h.Capture("")
	if err != nil {
		t.Fatal(err)
	}
	letter := []byte("a letter to the virtual address")
	sent := func(to string) func(lab.Frame) bool {
		return func(f lab.Frame) bool {
			return bytes.HasSuffix(f.Data, letter) && bytes.HasPrefix(f.Data, macs[to]) && len(f.Data) == 42+len(letter)
		}
	}
	run(h.Master, "/usr/share/heartbeat/ResourceManager", "givegroup", "IPaddr::172.16.60.111")
	conn, err := h.Client.Dial(ctx, "udp", "172.16.60.111:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(letter); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Wait(ctx, sent(master)); err != nil {
		t.Fatalf("the letter does not come to the old owner: %v", err)
	}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		run(h.Slave, "/usr/share/heartbeat/ResourceManager", "takegroup", "IPaddr::172.16.60.111")
	}()
	if _, err := wire.Wait(ctx, sent(slave)); err != nil {
		t.Errorf("the letter does not come to the new owner: %v", err)
	}
	<-taken
	if err := wire.Stop(); err != nil {
		t.Fatal(err)
	}
	letters := 0
	for _, f := range wire.Frames() {
		if sent(master)(f) || sent(slave)(f) {
			letters++
		}
	}
	if letters != 2 {
		t.Errorf("the letter was on the wire %d times, want 2: to the old owner, and on to the new one", letters)
	}
}
