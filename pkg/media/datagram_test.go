package media

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestSockaddr(t *testing.T) {
	for _, text := range []string{"192.0.2.7:694", "[2001:db8::1]:65535", "[fe80::1%eth0]:694"} {
		a := netip.MustParseAddrPort(text)
		var scope uint32
		if a.Addr().Zone() != "" {
			scope = 3
		}
		if s := sockaddrOf(a, scope); s.addrPort("eth0") != a {
			t.Errorf("%s comes back as %s", a, s.addrPort("eth0"))
		}
	}
}

// Packets of honest nodes are read as they come, those of a crowd are left to pile up, until it is over.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(inbox)
		come := func(n int, every time.Duration) (rests int) {
			for range n {
				time.Sleep(every)
				b.count++
				if b.crowded() {
					rests++
				}
			}
			return rests
		}
		for _, c := range []struct {
			what     string
			n        int
			every    time.Duration
			min, max int
		}{
			{"heartbeats", 100, 100 * time.Millisecond, 0, 0},
			{"a burst", crowd - 1, 10 * time.Microsecond, 0, 0},
			{"heartbeats after it", 100, 10 * time.Millisecond, 0, 0},
			{"5,000 packets a second", 5000, 200 * time.Microsecond, 0, 0},
			{"100,000 packets a second", 100_000, 10 * time.Microsecond, 100_000/crowd - 1, 100_000 / crowd},
			{"heartbeats afterwards", 100, 10 * time.Millisecond, 0, 0},
		} {
			if got := come(c.n, c.every); got < c.min || got > c.max {
				t.Errorf("%s: %d rests, want %d to %d", c.what, got, c.min, c.max)
			}
		}
	})
}
