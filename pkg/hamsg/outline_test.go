package hamsg_test

import (
	"testing"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// outlineAgrees holds the outline of a packet against what Decode makes of it.
func outlineAgrees(t *testing.T, b []byte) {
	t.Helper()
	o, ok := hamsg.Outlined(b)
	p, err := hamsg.Decode(b)
	if err != nil || p.Format != hamsg.Netstring {
		return // an outline of it may do
	}
	if !ok {
		t.Fatalf("%q decodes and has no outline", b)
	}
	if string(o.Signed) != string(p.Signed) || string(o.Auth) != p.Auth {
		t.Errorf("%q: signed %q, auth %q; decoded %q, %q", b, o.Signed, o.Auth, p.Signed, p.Auth)
	}
	for name, got := range map[string][]byte{
		hamsg.FType: o.Type, hamsg.FOrig: o.Orig, hamsg.FSeq: o.Seq, hamsg.FGeneration: o.Generation, hamsg.FTime: o.Time,
		hamsg.FRun: o.Run, hamsg.FPacket: o.Packet, hamsg.FEcho: o.Echo,
	} {
		// A field of the name that is not text comes first: the outline sees the text behind it.
		if f, has := p.Lookup(name); has && f.Kind == hamsg.String && string(got) != f.Value || !has && got != nil {
			t.Errorf("%q: %s is %q", b, name, got)
		}
	}
}

func TestOutline(t *testing.T) {
	for _, b := range []string{
		"###\n11:(0)t=status,9:(0)src=me,8:(0)seq=a,8:(0)hg=6b,8:(0)ts=1c,%%%\n4:1 ab,",
		"###\n11:(0)t=status,9:(0)src=me,%%%\n",
		"###\n11:(0)t=status,11:(0)t=second,10:(1)seq=\x00,\n%%,%%%\n4:1 ab,junk",
		"###\n9:(0)run=ab,8:(0)pkt=c,12:(0)echo=a=b ,9:(0)echox=,%%%\n4:1 ab,",
		"###\n%%%\n",
		"###\n8:(0)seq=a,8:(1)src=x,9:(0)src=me,%%%\n4:1 ab",
	} {
		outlineAgrees(t, []byte(b))
	}
	for _, b := range []string{
		"", "###", "###\n", "###\n%%%", "%%%\n", ">>>\nt=x\n<<<\n", "###\n11:(0)t=status", "###\n12:(0)t=status,%%%\n",
		"###\n99999999999:(0)t=status,%%%\n", "###\n:,%%%\n", "###\n-1:,%%%\n",
	} {
		if o, ok := hamsg.Outlined([]byte(b)); ok {
			t.Errorf("%q has outline %q", b, o)
		}
	}
	long := make([]byte, hamsg.MaxMessage)
	copy(long, "###\n%%%\n")
	if _, ok := hamsg.Outlined(long); ok {
		t.Error("a packet of the greatest length has an outline")
	}
	packet := []byte("###\n11:(0)t=status,9:(0)src=me,8:(0)seq=a,8:(0)hg=6b,8:(0)ts=1c,%%%\n4:1 ab,")
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := hamsg.Outlined(packet); !ok {
			t.Error("no outline")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzOutline(f *testing.F) {
	f.Add([]byte("###\n11:(0)t=status,9:(0)src=me,8:(0)seq=a,8:(0)hg=6b,8:(0)ts=1c,%%%\n4:1 ab,"))
	f.Add([]byte("###\n20:(2)x=###\n5:(0)a=,%%%\n,%%%\n4:1 ab,"))
	f.Fuzz(outlineAgrees)
}

func BenchmarkOutline(b *testing.B) {
	packet := []byte("###\n11:(0)t=status,10:(0)st=init,10:(0)dt=1f40,13:(0)protocol=1,12:(0)src=alpha,27:(1)srcuuid=0123456789abcdef,8:(0)seq=1," +
		"14:(0)hg=6b02e647,14:(0)ts=6b02e646,29:(0)ld=1.20 0.64 0.30 4/125 22,8:(0)ttl=3,50:(0)auth=1 3a0784cd324ffa3940907662bdfb55be503cd743,%%%\n42:1 9917b50cd15cdaaede1e043d3009eff038684bd7,")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := hamsg.Outlined(packet); !ok {
			b.Fatal("no outline")
		}
	}
}
