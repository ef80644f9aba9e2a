package compat

import (
	"context"
	"maps"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/lab"
)

const sha256Keys = "auth 2\n1 sha1 HI!\n2 hmac-sha256 a-long-enough-secret\n"

// TestHMAC has a pair of ours sign with hmac-sha256: it takes over and back, changes its key in the run,
// and copies of a dead node's packets do not bring it back. A node with such a key does not start while
// an original may be its peer, and says what is wrong when one is.
func TestHMAC(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for name, play := range map[string]func(*testing.T){"pair": playHMAC, "mixed": playHMACMixed} {
		beside(t, &all, name, play)
	}
	all.Wait()
}

// hmacConfig is the tutorial's with keepalive 500 ms and deadtime 3 s, for nodes of our kind.
func hmacConfig(master bool, keys string) map[string]string {
	cf := fastConfig(master)
	cf["/etc/ha.d/ha.cf"] = strings.NewReplacer("keepalive 200ms\n", "keepalive 500ms\n", "deadtime 1\n", "deadtime 3\n", "warntime 500ms\n", "warntime 2\n").
		Replace(cf["/etc/ha.d/ha.cf"])
	cf["/etc/ha.d/authkeys"] = keys
	cf["/etc/ha.d/systole.cf"] = "peers systole\n"
	return cf
}

func playHMAC(t *testing.T) {
	h := tutorial(t, lab.HostsOptions{
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, Log: func(string, ...any) {},
		MasterConfig: hmacConfig(true, sha256Keys), SlaveConfig: hmacConfig(false, sha256Keys),
	})
	s := &interop{T: t, Hosts: h}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ha-master:\n%s\nha-slave:\n%s", h.Master.Log(), h.Slave.Log())
		}
	})
	f := &flooded{t, h}
	s.do("start ha-master", h.Master.Start)
	s.do("start ha-slave", h.Slave.Start)
	s.owner(h.Master, h.Slave)
	signed := regexp.MustCompile(`^2 [0-9a-f]{64}$`)
	for node, packets := range f.listen(3 * time.Second).packets {
		for _, p := range packets {
			m, err := hamsg.Decode(p)
			if err != nil || !signed.MatchString(m.Auth) || m.Get(hamsg.FRun) == "" || m.Get(hamsg.FPacket) == "" || !strings.Contains(m.Get(hamsg.FEcho), "=") {
				t.Fatalf("%s sends %q: %v", node, p, err)
			}
		}
	}

	// The key changes: first it is on both, then one signs with it, then the other.
	const both = sha256Keys + "3 hmac-sha256 another-long-secret\n"
	for _, step := range []struct {
		d    *lab.Director
		keys string
	}{{h.Master, both}, {h.Slave, both}, {h.Master, "auth 3\n" + both[len("auth 2\n"):]}, {h.Slave, "auth 3\n" + both[len("auth 2\n"):]}} {
		if err := step.d.WriteFile("/etc/ha.d/authkeys", []byte(step.keys), 0o600); err != nil {
			t.Fatal(err)
		}
		s.do("reload", func(ctx context.Context) (lab.Result, error) {
			return step.d.Exec(ctx, "/usr/libexec/heartbeat/heartbeat", "-r")
		})
		f.listen(1500 * time.Millisecond)
	}
	recorded := f.listen(4 * time.Second).packets["ha-master"]
	if len(recorded) == 0 {
		t.FailNow() // listen has said why
	}
	if m, err := hamsg.Decode(recorded[len(recorded)-1]); err != nil || !strings.HasPrefix(m.Auth, "3 ") {
		t.Errorf("after the change ha-master sends %q", recorded[len(recorded)-1])
	}
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if bad := regexp.MustCompile(`.*(is dead|lost packet|authentication failed|Invalid authentication|are refused|not taken).*`).FindString(d.Log()); bad != "" {
			t.Errorf("%s: %s", d.Name(), bad)
		}
	}

	if err := h.Master.PowerOff(); err != nil {
		t.Fatal(err)
	}
	s.owner(h.Slave, h.Master)
	waitFor(t, limit, "ha-slave says that the link is dead, and has nothing more to say of ha-master", func() bool {
		log := h.Slave.Log()
		return strings.Contains(log, "Link Status update: Link ha-master/eth0 now has status dead") &&
			strings.Contains(log, "mach_down takeover complete for node ha-master.")
	})
	dead := h.Slave.Log()
	c, err := h.Client.Dial(t.Context(), "udp4", net.JoinHostPort(h.Slave.Addr().String(), "694"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 30 { // 3 s: as long as a heartbeat lives
		for _, p := range recorded {
			_, _ = c.Write(p) // nobody may listen for a moment
		}
		time.Sleep(100 * time.Millisecond)
	}
	if said := strings.TrimPrefix(h.Slave.Log(), dead); strings.Contains(said, "ha-master") {
		t.Errorf("copies of ha-master's packets make ha-slave say\n%s", said)
	}
	if !h.Slave.HoldsVIP() {
		t.Error("ha-slave has lost the virtual address")
	}
	if err := h.Master.PowerOn(); err != nil {
		t.Fatal(err)
	}
	s.do("start ha-master", h.Master.Start)
	s.owner(h.Master, h.Slave)
	s.do("stop ha-master", h.Master.Stop)
	s.owner(h.Slave, h.Master)
	s.do("stop ha-slave", h.Slave.Stop)
	s.noOwner()
}

func playHMACMixed(t *testing.T) {
	old := hmacConfig(false, "auth 1\n1 sha1 HI!\n")
	ours := hmacConfig(true, "auth 2\n2 hmac-sha256 a-long-enough-secret\n")
	careless := maps.Clone(ours)
	delete(careless, "/etc/ha.d/systole.cf")
	h := tutorial(t, lab.HostsOptions{
		Master: lab.Ours, Slave: lab.Original,
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, Log: func(string, ...any) {},
		MasterConfig: careless, SlaveConfig: old,
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.Master.Exec(ctx, "/usr/libexec/heartbeat/heartbeat")
	want := `authkeys:2:3: hmac-sha256: the other node may run heartbeat 3.0.6, which does not know this method (want "peers systole" in systole.cf once every node runs systole, or another method)`
	if err != nil || r.Code != 6 || !strings.Contains(r.Stderr, want) || !strings.Contains(h.Master.Log(), want) {
		t.Errorf("with an original as a possible peer: %+v %v\n%s", r, err, h.Master.Log())
	}
	if err := h.Master.WriteFile("/etc/ha.d/systole.cf", []byte(ours["/etc/ha.d/systole.cf"]), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		if r, err := d.Start(ctx); err != nil || r.Code != 0 {
			t.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	line := regexp.MustCompile(`ERROR: Packets from 172\.16\.60\.207:\d+ on link eth0 in the name of node ha-slave are refused: this node signs with hmac-sha256 and has no such key\. Does an original heartbeat`)
	waitFor(t, limit, "ha-master to say what is wrong", func() bool { return line.MatchString(h.Master.Log()) })
	waitFor(t, limit, "the original to refuse our packets", func() bool {
		return strings.Contains(h.Slave.Log(), "Invalid authentication [2] in message!")
	})
}
