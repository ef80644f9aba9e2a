package ipaddr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/announce"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// TestRefusedByKernel looks at what is said and left when the kernel refuses a change.
func TestRefusedByKernel(t *testing.T) {
	const done = "rc=0\nout: INFO:  Success\n"
	for _, c := range []struct {
		d                halog.Dialect
		op, words, addrs string
		want             string
	}{
		{halog.C6, "add", "172.16.60.111 start", "", `rc=1
out: ERROR:  Generic error
log: IPaddr(IPaddr_172.16.60.111): INFO: Adding inet address 172.16.60.111/24 with broadcast address 172.16.60.255 to device eth0
log: IPaddr(IPaddr_172.16.60.111): ERROR: RTNETLINK answers: Operation not permitted
log: IPaddr(IPaddr_172.16.60.111): ERROR:  failed.
log: /usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111): ERROR:  Generic error
`},
		{halog.C6, "delete", "172.16.60.111 stop", "172.16.60.111/24", `rc=1
out: ERROR:  Generic error
log: IPaddr(IPaddr_172.16.60.111): INFO: IP status = ok, IP_CIP=
log: IPaddr(IPaddr_172.16.60.111): ERROR: RTNETLINK answers: Operation not permitted
log: /usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111): ERROR:  Generic error
addr: eth0 inet 172.16.60.111/24 scope global secondary eth0
`},
		{halog.D12, "add", "172.16.60.111 start", "", `rc=1
out: ERROR:  Generic error
log: IPaddr(IPaddr_172.16.60.111): INFO: Using calculated netmask for 172.16.60.111: 255.255.255.0
log: IPaddr(IPaddr_172.16.60.111): INFO: eval ifconfig eth0:0 172.16.60.111 netmask 255.255.255.0 broadcast 172.16.60.255
log: IPaddr(IPaddr_172.16.60.111): ERROR: Could not add 172.16.60.111 to eth0:0: operation not permitted
log: /usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111): ERROR:  Generic error
`},
		{halog.D12, "delete", "172.16.60.111 stop", "172.16.60.111/24 eth0:0", `rc=1
out: ERROR:  Generic error
log: IPaddr(IPaddr_172.16.60.111): INFO: ifconfig eth0:0 down
log: IPaddr(IPaddr_172.16.60.111): WARNING: IP Address 172.16.60.111 NOT released: rc=1
log: /usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111): ERROR:  Generic error
addr: eth0 inet 172.16.60.111/24 scope global secondary eth0:0
`},
	} {
		b := newBench(t, c.d)
		if prefix, label, _ := strings.Cut(c.addrs, " "); prefix != "" {
			b.add(t, "eth0", prefix, "", label)
		}
		b.host.Fail = func(op, _ string) error {
			if op == c.op {
				return syscall.EPERM
			}
			return nil
		}
		if diff := cmp.Diff(c.want, b.do(t, "IPaddr", strings.Fields(c.words)...)); diff != "" {
			t.Errorf("%v %s (-want +got):\n%s", c.d, c.words, diff)
		}
		if len(b.ann.on) > 0 {
			t.Errorf("%v %s: an address that is not there is announced", c.d, c.words)
		}
		// When the obstacle is gone a second attempt must succeed.
		b.host.Fail = nil
		if got := b.do(t, "IPaddr", strings.Fields(c.words)...); !strings.HasPrefix(got, done) {
			t.Errorf("%v %s, second attempt: %s", c.d, c.words, got)
		}
	}
}

// TestVanished stops an address that somebody else removed between look and deed.
func TestVanished(t *testing.T) {
	b := newBench(t, halog.C6)
	b.do(t, "IPaddr", "172.16.60.111", "start")
	b.host.Fail = func(op, what string) error {
		b.host.Fail = nil
		return syscall.EADDRNOTAVAIL
	}
	if got := b.do(t, "IPaddr", "172.16.60.111", "stop"); !strings.HasPrefix(got, "rc=0\n") {
		t.Error(got)
	}
}

// TestRemovedByHand: what somebody else has removed is not announced any more when it has been stopped; the
// other node may have it.
func TestRemovedByHand(t *testing.T) {
	for name, d := range map[string]halog.Dialect{"centos6": halog.C6, "debian12": halog.D12} {
		b := newBench(t, d)
		for resource, at := range map[string]string{"IPaddr": "172.16.60.111/24", "IPaddr2": "172.16.60.112/24", "IPv6addr": "fd00:1::111/64"} {
			arg, nic := at, ""
			if resource == "IPv6addr" {
				arg, nic = "fd00:1:0:0:0:0:0:111/64", "/eth0"
			}
			b.do(t, resource, arg+nic, "start")
			if err := b.host.DelAddr("eth0", netip.MustParsePrefix(at)); err != nil {
				t.Fatalf("%s: %v", resource, err)
			}
			if got := b.do(t, resource, arg+nic, "stop"); !strings.HasPrefix(got, "rc=0\n") || len(b.ann.on) > 0 {
				t.Errorf("%s, %s: announced still: %v; %s", name, resource, b.ann.on, got)
			}
			clear(b.ann.on)
		}
	}
}

// TestRemovedAfterRestart: an address goes with its stop also when the daemon was restarted in place since its
// start, and the route by which it was placed is gone. One that is elsewhere is somebody else's.
func TestRemovedAfterRestart(t *testing.T) {
	b := newBench(t, halog.C6)
	b.do(t, "IPaddr", "172.16.60.111/32", "start")
	b.add(t, "peer0", "172.16.60.112/32", "", "")
	b.a = New(b.a.o)
	b.a.Resume("172.16.60.111/32")
	b.a.Resume("172.16.60.112/32")
	if got := b.do(t, "IPaddr", "172.16.60.112/32", "stop"); !strings.Contains(got, "addr: peer0 inet 172.16.60.112/32") {
		t.Error(got)
	}
	if err := b.host.DelAddr("eth0", netip.MustParsePrefix("172.16.60.206/24")); err != nil {
		t.Fatal(err)
	}
	if got := b.do(t, "IPaddr", "172.16.60.111/32", "stop"); !strings.HasPrefix(got, "rc=0\n") || strings.Contains(got, "addr: eth0") {
		t.Error(got)
	}
}

func TestRenew(t *testing.T) {
	for name, d := range map[string]halog.Dialect{"centos6": halog.C6, "debian12": halog.D12} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, d)
			for _, r := range []string{"IPaddr 172.16.60.111", "IPaddr2 172.16.60.112", "IPv6addr fd00:1:0:0:0:0:0:111/64/eth0"} {
				words := append(strings.Fields(r), "start")
				b.do(t, words[0], words[1:]...)
				clear(b.ann.on)
				b.log.lines = nil
				c := agent.Call{Op: agent.Start, Name: words[0], Args: words[1:2], Log: b.log}
				if err := b.a.Renew(t.Context(), c); err != nil || len(b.ann.on) != 1 || len(b.log.lines) > 0 {
					t.Errorf("%s: error %v, announced %v, logged %v", r, err, b.ann.on, b.log.lines)
				}
			}
			if err := b.a.Renew(t.Context(), agent.Call{Name: "IPaddr", Log: b.log}); err == nil {
				t.Error("no error without an argument")
			}
		})
	}
}

// TestAnnouncementFailed wants the original's line when frames could not be sent.
func TestAnnouncementFailed(t *testing.T) {
	b := newBench(t, halog.C6)
	b.do(t, "IPaddr", "172.16.60.111", "start")
	b.log.lines = nil
	done := b.ann.on["eth0 172.16.60.111"]
	done(nil)
	done(errors.New("network is down"))
	if got := fmt.Sprint(b.log.lines); got != "[IPaddr(IPaddr_172.16.60.111): ERROR: Could not send gratuitous arps]" {
		t.Error(got)
	}
}

// TestTags wants two numbers for each operation, the wrapper's the lower one.
func TestTags(t *testing.T) {
	b := newBench(t, halog.C6)
	l := &tags{}
	for _, op := range []agent.Op{agent.Start, agent.Stop} {
		if _, err := b.a.Run(t.Context(), agent.Call{Op: op, Name: "IPaddr", Args: []string{"172.16.60.111"}, Log: l}); err != nil {
			t.Fatal(err)
		}
	}
	want := "IPaddr(IPaddr_172.16.60.111)[102] IPaddr(IPaddr_172.16.60.111)[102] IPaddr(IPaddr_172.16.60.111)[102] " +
		"/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[101] " +
		"IPaddr(IPaddr_172.16.60.111)[104] /usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[103]"
	if got := strings.Join(l.list, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

type tags struct {
	list []string
	pid  int
}

func (l *tags) Script(tag, _ string) { l.list = append(l.list, tag) }
func (l *tags) Print(string)         {}
func (l *tags) NextPID() int         { l.pid++; return 100 + l.pid }

// TestKernel takes and gives up an address on a real interface.
func TestKernel(t *testing.T) {
	const mark = "IPADDR_TEST_NAMESPACE"
	if os.Getenv(mark) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root: run as root, or `make lab`")
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKernel$", "-test.v")
		cmd.Env = append(os.Environ(), mark+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("in a namespace: %v\n%s", err, out)
		}
		return
	}
	if out, err := exec.Command("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "peer0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k, err := netif.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for _, l := range []string{"lo", "eth0", "peer0"} {
		if err := k.SetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	own := netif.Addr{Link: "eth0", Prefix: netip.MustParsePrefix("172.16.60.206/24"), Broadcast: netip.MustParseAddr("172.16.60.255")}
	if err := k.AddAddr(own); err != nil {
		t.Fatal(err)
	}
	show := func() string {
		t.Helper()
		out, err := exec.Command("ip", "-o", "-4", "addr", "show", "dev", "eth0").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for d, want := range map[halog.Dialect]string{
		halog.C6:  "inet 172.16.60.111/24 brd 172.16.60.255 scope global secondary eth0\\",
		halog.D12: "inet 172.16.60.111/24 brd 172.16.60.255 scope global secondary eth0:0\\",
	} {
		ann := announce.New(announce.Options{ARP: announce.Schedule{Frames: 4, Every: time.Millisecond}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { ann.Run(ctx); close(ended) }()
		a := New(Options{Host: k, Announcer: ann, Dialect: d, StateDir: t.TempDir()})
		log := &record{}
		for _, op := range []agent.Op{agent.Start, agent.Start, agent.Status, agent.Stop, agent.Stop, agent.Status} {
			begin := time.Now()
			r, err := a.Run(t.Context(), agent.Call{Op: op, Name: "IPaddr", Args: []string{"172.16.60.111"}, Log: log})
			t.Logf("%v %s took %v", d, op, time.Since(begin))
			if err != nil {
				t.Errorf("%v %s: %+v, %v", d, op, r, err)
			}
			if there := strings.Contains(show(), want); there != (op == agent.Start || op == agent.Status && r.State == agent.Running) {
				t.Errorf("%v after %s: %s", d, op, show())
			}
		}
		cancel()
		<-ended
	}
}
