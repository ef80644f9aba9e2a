package userspace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/ipvs"
)

func servers(weights ...int32) []*dest {
	var ds []*dest
	for i, w := range weights {
		ds = append(ds, &dest{cfg: ipvs.Dest{
			Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 80),
			Weight: w,
		}})
	}
	return ds
}

// picks returns the last octets of n choices; each connection stays open when hold is set.
func picks(s *scheduler, name string, ds []*dest, n int, hold bool) string {
	var out []string
	vip := netip.MustParseAddrPort("10.9.9.9:80")
	for i := range n {
		client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, byte(i / 250), byte(i % 250)}), 4000)
		d := s.pick(name, ds, client, vip)
		if d == nil {
			out = append(out, "-")
			continue
		}
		if hold {
			d.active++
			d.updateOverload()
		}
		out = append(out, fmt.Sprint(d.cfg.Addr.Addr().As4()[3]))
	}
	return strings.Join(out, "")
}

func TestSchedulers(t *testing.T) {
	for _, tc := range []struct {
		sched   string
		weights []int32
		hold    bool
		want    string
	}{
		{"rr", []int32{1, 1, 1}, true, "123123123"},
		{"rr", []int32{1, 0, 1}, true, "131313131"},
		{"wrr", []int32{1, 1}, true, "121212121"},
		{"wrr", []int32{3, 1, 2}, true, "113123113"},
		{"wrr", []int32{0, 0}, true, "---------"},
		{"lc", []int32{1, 5}, true, "121212121"},
		{"wlc", []int32{1, 2}, true, "122122122"},
		{"wlc", []int32{1, 1}, false, "111111111"},
		{"sed", []int32{1, 2}, true, "212212212"},
		{"nq", []int32{1, 4}, true, "122222221"},
		{"fo", []int32{1, 9, 3}, true, "222222222"},
		{"ovf", []int32{2, 5}, true, "222222111"},
		{"dh", []int32{1, 1}, true, strings.Repeat("1", 9)},
		{"unheard-of", []int32{1, 1}, true, "121212121"},
	} {
		got := picks(&scheduler{last: -1}, tc.sched, servers(tc.weights...), 9, tc.hold)
		if tc.sched == "dh" {
			if strings.Trim(got, got[:1]) != "" {
				t.Errorf("dh: one address went to several servers: %s", got)
			}
			continue
		}
		if got != tc.want {
			t.Errorf("%s %v: picked %s, want %s", tc.sched, tc.weights, got, tc.want)
		}
	}
}

// A source hash keeps a client at its server, and moves only the clients of a lost one (mh).
func TestHashesAreStable(t *testing.T) {
	for _, name := range []string{"sh", "mh"} {
		ds := servers(1, 1, 1, 1)
		s := &scheduler{last: -1}
		before := picks(s, name, ds, 1000, false)
		if again := picks(s, name, ds, 1000, false); again != before {
			t.Errorf("%s: the same clients went elsewhere", name)
		}
		for _, d := range "1234" {
			if n := strings.Count(before, string(d)); n < 150 || n > 350 {
				t.Errorf("%s: server %c got %d of 1000 clients", name, d, n)
			}
		}
		ds[2].cfg.Weight = 0
		after := picks(s, name, ds, 1000, false)
		for i := range before {
			if before[i] != '3' && after[i] != before[i] && name == "mh" {
				t.Fatalf("%s: client %d moved from %c to %c although server 3 was lost", name, i, before[i], after[i])
			}
			if after[i] == '3' {
				t.Fatalf("%s: a client went to weight 0", name)
			}
		}
	}
}

func TestThresholds(t *testing.T) {
	ds := servers(1)
	ds[0].cfg.UpperThreshold, ds[0].cfg.LowerThreshold = 4, 2
	s := &scheduler{last: -1}
	if got := picks(s, "rr", ds, 6, true); got != "1111--" {
		t.Fatalf("picked %s with an upper threshold of 4", got)
	}
	for want, left := range map[string]uint32{"-": 2, "1": 1} {
		ds[0].active = left
		ds[0].updateOverload()
		if got := picks(s, "rr", ds, 1, false); got != want {
			t.Errorf("%d connections left: picked %s, want %s (lower threshold 2)", left, got, want)
		}
		ds[0].overloaded = true
	}
	ds[0].cfg.LowerThreshold, ds[0].active = 0, 3
	ds[0].updateOverload()
	if !ds[0].overloaded {
		t.Error("without a lower threshold three of four connections still overload")
	}
	ds[0].active = 2
	ds[0].updateOverload()
	if ds[0].overloaded {
		t.Error("below three quarters the server is free again")
	}
}
