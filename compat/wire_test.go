package compat

import (
	"flag"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

var packDir = flag.String("wire-pack", "", "make testdata/wire/packets.gz from this folder of recorded scenarios")

// TestWire takes every packet that originals were seen to send and demands that it decodes,
// that both of its signatures verify with the sender's keys, that it encodes back to the same
// bytes, and that the message built up anew from its fields is signed to the same bytes.
func TestWire(t *testing.T) {
	if *packDir != "" {
		if err := packWire(*packDir, wireFile); err != nil {
			t.Fatal(err)
		}
	}
	all, err := readWireFile(wireFile)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, s := range all {
		for _, p := range s.packets {
			if err := checkPacket(s, p); err != "" {
				t.Errorf("%s: %s packet of %s: %s\n%q", s.name, p.medium, p.node, err, p.bytes)
			}
			got[s.name] += p.times
		}
	}
	total := 0
	for _, s := range all {
		t.Logf("%-20s %5d packets, %5d different", s.name, got[s.name], len(s.packets))
		total += got[s.name]
	}
	t.Logf("%-20s %5d packets", "all", total)
	names := make([]string, 0, len(recorded))
	for name := range recorded {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if got[name] < recorded[name] {
			t.Errorf("%s: %d packets checked, %d were recorded", name, got[name], recorded[name])
		}
	}
}

// checkPacket returns what is wrong with it, or "".
func checkPacket(s *scenario, p *packet) string {
	m, err := hamsg.Decode(p.bytes)
	if err != nil {
		return err.Error()
	}
	if (m.Format == hamsg.Text) != (p.medium == "serial") {
		return "came as " + m.Format.String()
	}
	signer, err := signerOf(s, p.node, m.Auth)
	if err != nil {
		return err.Error()
	}
	if err := signer.Verify(m); err != nil {
		return err.Error()
	}
	again, err := m.AppendWire(nil)
	if err != nil {
		return err.Error()
	}
	if string(again) != string(p.bytes) {
		return "encodes to other bytes: " + strconv.Quote(string(again))
	}
	built := new(hamsg.Msg)
	for _, f := range m.Fields() {
		if f.Name != hamsg.FAuth {
			built.AddField(f)
		}
	}
	if inner := m.Get(hamsg.FAuth); inner != "" {
		signer, err := signerOf(s, p.node, inner)
		if err != nil {
			return err.Error()
		}
		signer.Stamp(built)
	}
	signed := signer.AppendWire(nil, built)
	if m.Format == hamsg.Text {
		if signed, err = built.AppendText(nil); err != nil {
			return err.Error()
		}
	}
	if string(signed) != string(p.bytes) {
		return "is signed to other bytes: " + strconv.Quote(string(signed))
	}
	return ""
}

// signerOf is the ring of a node that signs with the key that an authenticator names.
func signerOf(s *scenario, node, auth string) (*hbauth.Ring, error) {
	number, _, _ := strings.Cut(auth, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	return hbauth.NewRing(s.keys[node], n)
}

// recorded is how many packets there are of each scenario: none may get lost.
var recorded = map[string]int{
	"C1-cli":             678,
	"M2-takeover-execs":  300,
	"S1-alone-fifo-race": 290,
	"S1-alone":           126,
	"S1":                 274,
	"S10-crc":            430,
	"S10-md5":            428,
	"S10-missing":        414,
	"S10-mixed":          644,
	"S10-sha1":           436,
	"S12-mixed":          356,
	"S12":                352,
	"S13-bcast":          264,
	"S13-mcast":          263,
	"S13-serial":         265,
	"S13-ucast":          243,
	"S14-reload":         1150,
	"S2":                 332,
	"S3":                 488,
	"S4-kill9-restart":   726,
	"S4-kill9":           432,
	"S4-poweroff-fast":   3308,
	"S4-poweroff-return": 598,
	"S4-poweroff":        292,
	"S6-variants":        1290,
	"S6":                 550,
	"S8-10-ucast":        1045,
	"S8-10":              1110,
	"S8-30-ucast":        1514,
	"S8-30":              1438,
	"S9":                 400,
}

// TestScreenOnRecords wants a screen to let every packet pass that an original was seen to send.
func TestScreenOnRecords(t *testing.T) {
	all, err := readWireFile(wireFile)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, s := range all {
		screens := map[string]*cluster.Screen{}
		now := time.Unix(1_000_000, 0)
		for _, p := range s.packets {
			m, err := hamsg.Decode(p.bytes)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := signerOf(s, p.node, m.Auth)
			if err != nil {
				t.Fatal(err)
			}
			number, _ := signer.Selected()
			link := fmt.Sprint(p.node, p.medium, number)
			if screens[link] == nil {
				screens[link] = cluster.NewScreen(cluster.ScreenConfig{Link: link, Ring: signer}, func(l cluster.Log) { t.Errorf("%s: %s: %s", s.name, link, l.Text) })
			}
			now = now.Add(20 * time.Millisecond)
			if screens[link].Admit(now, netip.AddrPort{}, p.bytes) == nil {
				t.Errorf("%s: %s packet of %s is kept out: %+v\n%q", s.name, p.medium, p.node, screens[link].Bad(), p.bytes)
				continue
			}
			passed++
		}
	}
	t.Logf("%d packets", passed)
}
