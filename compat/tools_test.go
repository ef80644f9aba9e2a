package compat

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// toolHost is a host with the originals' tools and ours in /usr/lib/ours, under the same names.
func toolHost(t *testing.T, names ...string) (*lab.Network, *lab.Node) {
	n := lab.Net(t)
	d, err := n.AddNode(lab.NodeSpec{
		Name: "ha-master", Gateway: netip.MustParseAddr("172.16.60.1"),
		Links: []lab.Link{{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("172.16.60.206/24")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFile("/usr/lib/ours/systole", text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := d.Symlink("systole", filepath.Join("/usr/lib/ours", name)); err != nil {
			t.Fatal(err)
		}
	}
	return n, d
}

// both runs a command line with the original in its place, and with ours.
func both(t *testing.T, d *lab.Node, dir, command string) (original, ours lab.Result) {
	t.Helper()
	for _, r := range []struct {
		dir string
		res *lab.Result
	}{{dir, &original}, {"/usr/lib/ours", &ours}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var err error
		if *r.res, err = d.Exec(ctx, "sh", "-c", strings.ReplaceAll(command, "DIR", r.dir)); err != nil {
			t.Fatal(err)
		}
		cancel()
		r.res.Stderr = strings.ReplaceAll(r.res.Stderr, r.dir, "DIR")
	}
	return original, ours
}

// The first line of an error counts; the usage behind it is in our own words.
var usageText = regexp.MustCompile(`(?s)\n?(DIR/findif version|Usage: DIR/findif|send_arp: sends out).*`)

// TestFindif holds findif against the original: same answers, errors and exit statuses.
func TestFindif(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/usr/libexec/heartbeat/findif")
	_, d := toolHost(t, "findif")
	for _, env := range []string{
		"", "ip=172.16.60.112", "ip=172.16.60.112 cidr_netmask=25", "ip=172.16.60.112 cidr_netmask=255.255.255.128 nic=eth0", "ip=172.16.60.112 nic=eth9",
		"ip=172.16.60.112 broadcast=172.16.60.199", "ip=10.1.2.3", "ip=10.1.2.3 cidr_netmask=24", "ip=nonsense", "ip=172.16.60.112 cidr_netmask=99",
		"ip=172.16.60.112 cidr_netmask=x", "ip=127.0.0.5", "ip=172.16.60.112 broadcast=x", "ip=172.16.60.112 cidr_netmask=32", // nic alone: DEVIATIONS
	} {
		for _, option := range []string{"", " -C", " -x", " 172.16.60.112"} {
			command := "DIR/findif" + option
			for f := range strings.FieldsSeq(env) {
				command = "OCF_RESKEY_" + f + " " + command
			}
			original, ours := both(t, d, "/usr/libexec/heartbeat", command)
			for _, r := range []*lab.Result{&original, &ours} {
				r.Stderr = strings.TrimSpace(usageText.ReplaceAllString(r.Stderr, ""))
			}
			if diff := cmp.Diff(original, ours); diff != "" {
				t.Errorf("%s (-original +ours)\n%s", command, diff)
			}
		}
	}
}

// TestSendARP holds send_arp against the original: the frames, when they leave, what is said.
func TestSendARP(t *testing.T) {
	t.Parallel()
	lab.NeedPrograms(t, "/usr/libexec/heartbeat/send_arp")
	n, d := toolHost(t, "send_arp")
	frames, err := n.Capture("")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	// arps are the ARP frames about the address since the last call, each with its distance from the one before.
	arps := func() (all [][]byte, gaps []time.Duration) {
		var last time.Time
		list := frames.Frames()
		for _, f := range list[seen:] {
			if len(f.Data) < 42 || binary.BigEndian.Uint16(f.Data[12:]) != 0x0806 || !bytes.Equal(f.Data[28:32], []byte{172, 16, 60, 112}) {
				continue
			}
			if !last.IsZero() {
				gaps = append(gaps, f.Time.Sub(last))
			}
			last = f.Time
			all = append(all, f.Data[:42])
		}
		seen = len(list)
		return all, gaps
	}
	run := func(dir, args string) (res lab.Result, all [][]byte, gaps []time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		res, err := d.Exec(ctx, "sh", "-c", dir+"/send_arp "+args)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // the bridge's copy of the last frame
		all, gaps = arps()
		return res, all, gaps
	}
	for _, args := range []string{
		"-i 200 -r 3 eth0 172.16.60.112 auto not_used not_used", "-i 20 -r 1 eth0 172.16.60.112 020304050607 not_used not_used",
		"-i 100 -r 2 -p /tmp/send_arp.pid eth0 172.16.60.112 auto x y; ls /tmp/send_arp.pid", "-i 20 -r 1 lo 172.16.60.112 auto x y",
		"-i 20 -r 1 eth9 172.16.60.112 auto x y", "-x", "", "eth0 172.16.60.112",
	} {
		original, want, wantGaps := run("/usr/libexec/heartbeat", args)
		ours, got, gotGaps := run("/usr/lib/ours", args)
		if original.Code != ours.Code || original.Stdout != ours.Stdout {
			t.Errorf("%s: original %+v\nours %+v", args, original, ours)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: frames (-original +ours)\n%s", args, diff)
		}
		for i, g := range gotGaps {
			// Those of a tenth of a second and more: the others are not more than what a busy machine adds.
			if i < len(wantGaps) && wantGaps[i] >= 100*time.Millisecond && (g < wantGaps[i]/3 || g > wantGaps[i]*3) {
				t.Errorf("%s: gap %d is %v, the original's %v", args, i, g, wantGaps[i])
			}
		}
	}
	// The pid file is there while it sends, and a second one ends the first.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first := d.Command(ctx, "/usr/lib/ours/send_arp", "-i", "10000", "-r", "100", "-p", "/tmp/send_arp.pid", "eth0", "172.16.60.112", "auto", "x", "y")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, "pid file", func() bool { b, err := d.ReadFile("/tmp/send_arp.pid"); return err == nil && len(b) > 0 })
	res, _, _ := run("/usr/lib/ours", "-i 20 -r 1 -p /tmp/send_arp.pid eth0 172.16.60.112 auto x y")
	if err := first.Wait(); fmt.Sprint(err) != "signal: killed" {
		t.Errorf("the first send_arp: %v", err)
	}
	if res.Code != 0 || !strings.Contains(res.Stderr, "info: Killed old send_arp process [") {
		t.Errorf("%+v", res)
	}
}
