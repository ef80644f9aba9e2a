package compat

import (
	"context"
	"flag"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/lab"
)

var floodRate = flag.Int("flood-rate", 100_000, "packets a second of TestFlood")

const (
	floodTime = 10 * time.Second
	floodBeat = 200 * time.Millisecond // keepalive; deadtime is 1 s
)

// TestFlood sends 100,000 packets a second to the port of a node that has the resources, or as many as
// this machine can: noise, forged, truncated and oversized messages, and copies of real ones. At a
// deadtime of 1 s nobody is declared dead, no heartbeat is lost or comes late, and the log gets a
// few lines.
func TestFlood(t *testing.T) {
	f := newFlood(t, [2]lab.Impl{lab.Ours, lab.Ours})
	quiet := f.listen(2 * time.Second)
	material := f.material()
	before := len(f.Master.Log())
	var during *beats
	var wg sync.WaitGroup
	wg.Go(func() { during = f.listen(floodTime) })
	sent := f.send(floodTime, *floodRate, material)
	wg.Wait()
	after := f.listen(2 * time.Second)
	t.Logf("%d packets in %v: %d a second; the kernel dropped %d for lack of room", sent, floodTime, sent/int(floodTime/time.Second), f.dropped())
	t.Logf("longest time between two heartbeats of ha-master: %v before, %v in the flood, %v after; of ha-slave %v, %v, %v",
		quiet.gap["ha-master"], during.gap["ha-master"], after.gap["ha-master"], quiet.gap["ha-slave"], during.gap["ha-slave"], after.gap["ha-slave"])
	if sent < *floodRate/10*int(floodTime/time.Second) {
		t.Errorf("only %d packets were sent: that is no flood", sent)
	}
	for _, d := range []*lab.Director{f.Master, f.Slave} {
		for _, bad := range []string{"is dead", "Late heartbeat", "lost packet(s)", "lost a lot"} {
			for line := range strings.Lines(d.Log()) {
				if strings.Contains(line, bad) {
					t.Errorf("%s: %s", d.Name(), line)
				}
			}
		}
		// Half of the deadtime is more than twice the keepalive.
		if gap := during.gap[d.Name()]; gap > 500*time.Millisecond {
			t.Errorf("%s was silent for %v", d.Name(), gap)
		}
	}
	if !f.Master.HoldsVIP() || f.Slave.HoldsVIP() {
		t.Errorf("the virtual address: on ha-master %v, on ha-slave %v", f.Master.HoldsVIP(), f.Slave.HoldsVIP())
	}
	log := f.Master.Log()[before:]
	if n := strings.Count(log, "\n"); n > 100 {
		t.Errorf("ha-master logged %d lines", n)
	}
	// One packet of each kind is told of, whichever comes first: volleys overtake each other on their way
	// over two processors.
	if !strings.Contains(log, "ERROR: Bad packet of ") {
		t.Error("ha-master does not tell of packets that are no messages")
	}
	if !strings.Contains(log, "ERROR: netstring authentication failed, ") && !strings.Contains(log, "WARN: string2msg_ll: node [ha-slave] failed authentication") {
		t.Error("ha-master does not tell of messages that are not signed well")
	}
	if t.Failed() {
		t.Logf("ha-master in the flood:\n%s", log)
	}
}

// flooded is a pair with fast timers, and a stranger on its network.
type flooded struct {
	*testing.T
	*lab.Hosts
}

func newFlood(t *testing.T, impl [2]lab.Impl) *flooded {
	h := tutorial(t, lab.HostsOptions{
		Master: impl[0], Slave: impl[1],
		Env: []string{"SYSTOLE_NO_REBOOT=1"}, Log: func(string, ...any) {},
		MasterConfig: fastConfig(true), SlaveConfig: fastConfig(false),
	})
	f := &flooded{t, h}
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, err := d.Start(ctx)
		cancel()
		if err != nil || r.Code != 0 {
			t.Fatalf("start %s: %+v %v", d.Name(), r, err)
		}
	}
	waitFor(t, limit, "the resources on ha-master", func() bool {
		return h.Master.HoldsVIP() && strings.Contains(h.Slave.Log(), "Initial resource acquisition complete")
	})
	return f
}

// fastConfig is the tutorial's with keepalive 200 ms and deadtime 1 s.
func fastConfig(master bool) map[string]string {
	cf := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
	for _, c := range [][2]string{
		{"keepalive 2", "keepalive " + fmt.Sprint(floodBeat)},
		{"deadtime 5", "deadtime 1"},
		{"warntime 3", "warntime 500ms"},
		{"initdead 10", "initdead 10"},
	} {
		cf = strings.Replace(cf, c[0]+"\n", c[1]+"\n", 1)
	}
	return map[string]string{"/etc/ha.d/ha.cf": cf}
}

// beats is what a listener heard for a while.
type beats struct {
	gap     map[string]time.Duration // longest silence between two statuses of a node
	packets map[string][][]byte
}

// listen hears the broadcast heartbeats of both nodes.
func (f *flooded) listen(d time.Duration) *beats {
	f.Helper()
	c, err := f.Client.ListenPacket("udp4", "0.0.0.0:694")
	if err != nil {
		f.Error(err)
		return &beats{}
	}
	defer c.Close()
	b := &beats{map[string]time.Duration{}, map[string][][]byte{}}
	last := map[string]time.Time{}
	end := time.Now().Add(d)
	if err := c.SetReadDeadline(end); err != nil {
		f.Error(err)
	}
	for buf := make([]byte, 65536); ; {
		n, _, err := c.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			break
		}
		p, err := hamsg.Decode(append([]byte(nil), buf[:n]...))
		if err != nil || p.Type() != hamsg.TStatus {
			continue
		}
		node := p.Get(hamsg.FOrig)
		if at, ok := last[node]; ok {
			b.gap[node] = max(b.gap[node], now.Sub(at))
		}
		last[node] = now
		b.packets[node] = append(b.packets[node], append([]byte(nil), buf[:n]...))
	}
	for _, node := range []string{"ha-master", "ha-slave"} {
		b.gap[node] = max(b.gap[node], end.Sub(last[node]))
		if len(b.packets[node]) == 0 {
			f.Errorf("no heartbeat of %s in %v", node, d)
		}
	}
	return b
}

// material is what the flood consists of: real messages as they are, changed, cut, and others' work.
func (f *flooded) material() [][]byte {
	f.Helper()
	var all [][]byte
	ring, err := hbauth.NewRing(map[int]hbauth.Key{3: {Method: hbauth.MD5, Text: "a guess"}}, 3)
	if err != nil {
		f.Fatal(err)
	}
	real := f.listen(4 * time.Second).packets["ha-slave"]
	if len(real) < 5 {
		f.Fatalf("only %d packets of ha-slave", len(real))
	}
	for _, p := range real {
		all = append(all, p) // a copy
		changed := append([]byte(nil), p...)
		changed[len(changed)/2] ^= 1
		all = append(all, changed, p[:len(p)/2], p[:len(p)-3])
		m, err := hamsg.Decode(p)
		if err != nil {
			f.Fatal(err)
		}
		m.Msg.Set(hamsg.FStatus, "dead").Set(hamsg.FSeq, "ffffff")
		ring.Stamp(&m.Msg)
		all = append(all, ring.AppendWire(nil, &m.Msg), []byte("noise"), nil, []byte(">>>\nt=status\nsrc=ha-slave\nst=dead\n<<<\n"))
	}
	return all
}

// volley is how many packets a sender hands to the kernel at once: one call for each would take as long
// as the packet itself.
const volley = 64

// send sends packets to ha-master's port at a rate, if the machine can, and returns how many.
func (f *flooded) send(d time.Duration, rate int, material [][]byte) int {
	f.Helper()
	oversized := append([]byte("###\n60000:(0)t="), make([]byte, 60_000)...)
	senders := runtime.NumCPU()
	var sent atomic.Int64
	var all sync.WaitGroup
	for range senders {
		c, err := f.Client.Dial(f.Context(), "udp4", net.JoinHostPort(f.Master.Addr().String(), "694"))
		if err != nil {
			f.Fatal(err)
		}
		all.Go(func() {
			defer c.Close()
			batches := ipv4.NewPacketConn(c.(*net.UDPConn))
			messages := make([]ipv4.Message, volley)
			for n, begun := 0, time.Now(); ; {
				passed := time.Since(begun)
				if passed >= d {
					return
				}
				due := int(passed.Seconds() * float64(rate) / float64(senders))
				for n < due && time.Since(begun) < d {
					now := messages[:min(due-n, volley)]
					for i := range now {
						p := material[(n+i)%len(material)]
						if (n+i)%10_000 == 0 {
							p = oversized
						}
						now[i].Buffers = [][]byte{p}
					}
					// What the kernel has no room for is the flood's loss.
					done, _ := batches.WriteBatch(now, 0)
					n += max(done, 1)
					sent.Add(int64(done))
				}
				time.Sleep(200 * time.Microsecond)
			}
		})
	}
	all.Wait()
	return int(sent.Load())
}

// dropped is how many packets ha-master's kernel has thrown away at port 694 because nobody read them in
// time.
func (f *flooded) dropped() (n int) {
	f.Helper()
	r, err := f.Master.Exec(f.Context(), "sh", "-c", `awk '$2 ~ /:02B6$/ {n += $NF} END {print n+0}' /proc/net/udp`)
	if err != nil || r.Code != 0 {
		f.Errorf("%+v %v", r, err)
		return 0
	}
	_, _ = fmt.Sscan(r.Stdout, &n)
	return n
}
