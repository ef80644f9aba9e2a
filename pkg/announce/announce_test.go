package announce

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/packet"
	"github.com/systole-ha/systole/pkg/netif"
)

// recorder is a Sender that notes what was sent when.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	log   []string
	fail  error
}

func (r *recorder) note(what, link string, ip netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf("%v %s %s %s", time.Since(r.start), what, link, ip))
	return r.fail
}

func (r *recorder) ARP(link string, ip netip.Addr, reply bool) error {
	if reply {
		return r.note("reply", link, ip)
	}
	return r.note("request", link, ip)
}

func (r *recorder) Advertise(link string, ip netip.Addr) error { return r.note("na", link, ip) }

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.log
	r.log = nil
	return out
}

var (
	vip  = netip.MustParseAddr("172.16.60.111")
	vip6 = netip.MustParseAddr("fd00:1::111")
)

// withAnnouncer runs f in a bubble with a running Announcer.
func withAnnouncer(t *testing.T, f func(a *Announcer, r *recorder)) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{start: time.Now()}
		a := New(Options{Sender: r})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Run(ctx); close(ended) }()
		f(a, r)
		cancel()
		<-ended
	})
}

func TestSchedule(t *testing.T) {
	withAnnouncer(t, func(a *Announcer, r *recorder) {
		var finished []error
		a.Announce("eth0", vip, func(err error) { finished = append(finished, err) })
		time.Sleep(time.Minute)
		synctest.Wait()
		var want []string
		for i := range 20 {
			what, at := "request", time.Duration(max(i-1, 0))*250*time.Millisecond
			if i%2 == 1 {
				what = "reply"
			}
			want = append(want, fmt.Sprintf("%v %s eth0 172.16.60.111", at, what))
		}
		if got := r.take(); !slices.Equal(got, want) {
			t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if !slices.Equal(finished, []error{nil}) || !a.Idle() {
			t.Errorf("finished: %v, idle %v", finished, a.Idle())
		}
	})
}

func TestAdvertisements(t *testing.T) {
	withAnnouncer(t, func(a *Announcer, r *recorder) {
		a.Announce("eth0", vip6, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := strings.Join(r.take(), ","); got != "0s na eth0 fd00:1::111,1s na eth0 fd00:1::111,2s na eth0 fd00:1::111,3s na eth0 fd00:1::111,4s na eth0 fd00:1::111" {
			t.Error(got)
		}
	})
}

func TestCancel(t *testing.T) {
	withAnnouncer(t, func(a *Announcer, r *recorder) {
		other := netip.MustParseAddr("172.16.60.112")
		a.Announce("eth0", vip, func(error) { t.Error("a cancelled announcement was finished") })
		a.Announce("eth0", other, nil)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if !a.Cancel("eth0", vip) || a.Cancel("eth0", vip) || a.Cancel("eth1", other) {
			t.Error("Cancel's answer")
		}
		r.take()
		time.Sleep(time.Minute)
		synctest.Wait()
		got := r.take()
		if len(got) != 17 { // 20 less two at once and one after 250 ms
			t.Errorf("%d frames after the other's cancellation", len(got))
		}
		for _, l := range got {
			if strings.HasSuffix(l, vip.String()) {
				t.Errorf("sent after Cancel: %s", l)
			}
		}
	})
}

func TestAgain(t *testing.T) {
	withAnnouncer(t, func(a *Announcer, r *recorder) {
		r.fail = errors.New("no carrier")
		ends := 0
		for range 2 {
			a.Announce("eth0", vip, func(err error) {
				ends++
				if !errors.Is(err, r.fail) {
					t.Errorf("error %v", err)
				}
			})
			time.Sleep(900 * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.take(); len(got) != 5+20 || ends != 1 { // 0, 0, .25, .5, .75 | a new burst
			t.Errorf("%d frames, %d ends", len(got), ends)
		}
	})
}

// The original's frames for the VIP on ha-master (golden record S2).
const (
	request = "ffffffffffff0200ac103cce080600010800060400010200ac103cceac103c6f000000000000ac103c6f"
	reply   = "ffffffffffff0200ac103cce080600010800060400020200ac103cceac103c6f0200ac103cceac103c6f"
)

func TestFrame(t *testing.T) {
	hw, err := net.ParseMAC("02:00:ac:10:3c:ce")
	if err != nil {
		t.Fatal(err)
	}
	for want, isReply := range map[string]bool{request: false, reply: true} {
		if got := hex.EncodeToString(frame(hw, vip, isReply)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestWire captures what leaves an interface.
func TestWire(t *testing.T) {
	const mark = "ANNOUNCE_TEST_NAMESPACE"
	if os.Getenv(mark) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root: run as root, or `make lab`")
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestWire$", "-test.v")
		cmd.Env = append(os.Environ(), mark+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("in a namespace: %v\n%s", err, out)
		}
		return
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(exec.Command("ip", "link", "add", "eth0", "address", "02:00:ac:10:3c:ce", "type", "veth", "peer", "name", "peer0").Run())
	k, err := netif.Open()
	must(err)
	defer k.Close()
	for _, l := range []string{"lo", "eth0", "peer0"} {
		must(k.SetUp(l))
	}
	must(k.AddAddr(netif.Addr{Link: "eth0", Prefix: netip.PrefixFrom(vip6, 64)}))
	peer, err := net.InterfaceByName("peer0")
	must(err)
	listen := func(protocol int) *packet.Conn {
		c, err := packet.Listen(peer, packet.Raw, protocol, nil)
		must(err)
		must(c.SetReadDeadline(time.Now().Add(20 * time.Second)))
		return c
	}
	arp, v6 := listen(0x0806), listen(0x86dd)
	defer arp.Close()
	defer v6.Close()

	const every = 20 * time.Millisecond
	a := New(Options{ARP: Schedule{20, every}, NA: Schedule{3, every}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go a.Run(ctx)
	failed := make(chan error, 4)
	start := time.Now()
	for _, l := range []string{"lo", "eth0"} { // nothing leaves through lo
		a.Announce(l, vip, func(err error) { failed <- err })
	}
	a.Announce("eth0", vip6, func(err error) { failed <- err })

	buf := make([]byte, 1500)
	for i := range 20 {
		n, _, err := arp.ReadFrom(buf)
		must(err)
		want := []string{request, reply}[i%2]
		if got := hex.EncodeToString(buf[:n]); got != want {
			t.Errorf("frame %d: %s\nwant %s", i, got, want)
		}
		if at := time.Since(start); i > 1 && at < time.Duration(i-1)*every {
			t.Errorf("frame %d came after %v: too early", i, at)
		}
	}
	for seen := 0; seen < 3; {
		n, _, err := v6.ReadFrom(buf)
		must(err)
		f := buf[:n]
		if len(f) < 78 || f[20] != 58 || f[54] != 136 || hex.EncodeToString(f[62:78]) != "fd000001000000000000000000000111" {
			continue // another one of the kernel's own
		}
		seen++
		if got, want := hex.EncodeToString(f[:14]), "3333000000010200ac103cce86dd"; got != want {
			t.Errorf("Ethernet header %s, want %s", got, want)
		}
		if f[21] != 255 {
			t.Errorf("hop limit %d", f[21])
		}
		if got, want := hex.EncodeToString(f[58:62])+" "+hex.EncodeToString(f[78:]), "20000000 02010200ac103cce"; got != want {
			t.Errorf("flags and options %s, want %s", got, want)
		}
	}
	for range 3 {
		must(<-failed)
	}
	if err := newNetwork().ARP("eth9", vip, false); err == nil {
		t.Error("no error for an unknown interface")
	}

	must(Once("eth0", vip))
	// arping fills in the target hardware address of the request, as CentOS's send_arp does.
	once := strings.Replace(request, "000000000000", "ffffffffffff", 1)
	for _, want := range []string{once, reply} {
		n, _, err := arp.ReadFrom(buf)
		must(err)
		if got := hex.EncodeToString(buf[:n]); got != want {
			t.Errorf("Once: %s\nwant %s", got, want)
		}
	}
	must(Once("eth0", vip6))
}
