package hamsg_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/hamsg"
	"pgregory.net/rapid"
)

const alphaUUID = "\xc6\xf9\xef\xb8\xbc\x01\x49\x25\xae\xf1\xe4\xbc\xc3\x09\xc5\x3d"

// captured is the first packet of an original daemon (spec/heartbeat-wire.md, example 1).
const captured = "###\n11:(0)t=status,10:(0)st=init,10:(0)dt=1f40,13:(0)protocol=1,12:(0)src=alpha,27:(1)srcuuid=" + alphaUUID +
	",8:(0)seq=1,14:(0)hg=6b02e647,14:(0)ts=6b02e646,29:(0)ld=1.20 0.64 0.30 4/125 22,8:(0)ttl=3," +
	"50:(0)auth=1 3a0784cd324ffa3940907662bdfb55be503cd743,%%%\n42:1 9917b50cd15cdaaede1e043d3009eff038684bd7,"

// capturedText is the same as a serial line carries it.
const capturedText = ">>>\nt=status\nst=init\ndt=1f40\nprotocol=1\nsrc=alpha\n(1)srcuuid=xvnvuLwBSSWu8eS8wwnFPQ==\n" +
	"seq=1\nhg=6b02e647\nts=6b02e646\nld=1.20 0.64 0.30 4/125 22\nttl=3\nauth=1 3a0784cd324ffa3940907662bdfb55be503cd743\n<<<\n"

func decode(t *testing.T, packet string) *hamsg.Packet {
	t.Helper()
	p, err := hamsg.Decode([]byte(packet))
	if err != nil {
		t.Fatalf("decode %q: %v", packet, err)
	}
	return p
}

func TestDecodeNetstring(t *testing.T) {
	p := decode(t, captured)
	if p.Format != hamsg.Netstring || p.Auth != "1 9917b50cd15cdaaede1e043d3009eff038684bd7" || p.Type() != "status" || p.Len() != 12 {
		t.Errorf("got %s, auth %q, %d fields", p.Format, p.Auth, p.Len())
	}
	if want := captured[:strings.Index(captured, "42:1")]; string(p.Signed) != want {
		t.Errorf("signed part %q, want %q", p.Signed, want)
	}
	if u, ok := p.GetUUID("srcuuid"); !ok || string(u[:]) != alphaUUID {
		t.Errorf("uuid %s, %t", u, ok)
	}
	if again, err := p.AppendWire(nil); err != nil || string(again) != captured {
		t.Errorf("encodes to %q, %v", again, err)
	}
}

func TestDecodeText(t *testing.T) {
	for _, packet := range []string{
		capturedText,
		capturedText + "\x00",
		capturedText + "\x00 and more",
		strings.TrimSuffix(capturedText, "\n"),
		strings.ReplaceAll(capturedText, "\nhg=", "\n\n\nhg="),
		capturedText + "further lines\n",
	} {
		p := decode(t, packet)
		if p.Format != hamsg.Text || p.Auth != "1 3a0784cd324ffa3940907662bdfb55be503cd743" || p.Len() != 12 || p.Signed != nil {
			t.Errorf("%q: got %s, auth %q, %d fields", packet, p.Format, p.Auth, p.Len())
		}
		if again, err := p.AppendWire(nil); err != nil || string(again) != capturedText {
			t.Errorf("%q: encodes to %q, %v", packet, again, err)
		}
	}
}

func TestFormsHoldTheSame(t *testing.T) {
	if a, b := decode(t, captured), decode(t, capturedText); !reflect.DeepEqual(a.Fields(), b.Fields()) {
		t.Errorf("netstring %+v\ntext      %+v", a.Fields(), b.Fields())
	}
}

func TestWhatFollowsANetstringMessageIsIgnored(t *testing.T) {
	for _, tail := range []string{"\x00", "\n", "junk", "3:x"} {
		if p := decode(t, captured+tail); p.Auth == "" {
			t.Errorf("with %q behind it the authenticator is lost", tail)
		}
	}
	for _, trailer := range []string{"", "\x00", "x", "9:1 abc,", "5:1 abc", "99999999999999999999:1 abc,"} {
		if p := decode(t, netstring("(0)t=")+trailer); p.Auth != "" {
			t.Errorf("trailer %q gives authenticator %q", trailer, p.Auth)
		}
	}
}

func TestText(t *testing.T) {
	inner := new(hamsg.Msg).Add("x", "1").AddStruct("deep", new(hamsg.Msg).Add("y", "a\nb"))
	for _, c := range []struct {
		name string
		m    *hamsg.Msg
		text string
	}{
		{"no field", new(hamsg.Msg), ">>>\n<<<\n"},
		{"empty value", new(hamsg.Msg).Add("a", ""), ">>>\na=\n<<<\n"},
		{"equals sign in a value", new(hamsg.Msg).Add("a", "b=c"), ">>>\na=b=c\n<<<\n"},
		{"line end in a value", new(hamsg.Msg).Add("a", "b\nc\n"), ">>>\na=b\x13c\x13\n<<<\n"},
		{"list", new(hamsg.Msg).AddList("l", "abc", "", "d,e:f"), ">>>\n(3)l=3:abc,0:,5:d,e:f,\n<<<\n"},
		{"binary", new(hamsg.Msg).AddField(hamsg.Field{Name: "b", Kind: hamsg.Binary, Value: "\x00\n="}), ">>>\n(1)b=AAo9\n<<<\n"},
		{"compressed", new(hamsg.Msg).AddField(hamsg.Field{Name: "c", Kind: hamsg.Compressed, Value: "x"}), ">>>\n(4)c=eA==\n<<<\n"},
		{
			"nested", hamsg.New("n").AddStruct("s", inner),
			">>>\nt=n\n(2)s=>>>\x14x=1\x14(2)deep=>>>\x15y=a\x13b\x15<<<\x15\x14<<<\x14\n<<<\n",
		},
	} {
		got, err := c.m.AppendText(nil)
		if err != nil || string(got) != c.text {
			t.Errorf("%s: encodes to %q, %v, want %q", c.name, got, err, c.text)
		}
		if p := decode(t, c.text); !reflect.DeepEqual(p.Fields(), append([]hamsg.Field{}, c.m.Fields()...)) {
			t.Errorf("%s: decodes to %+v, want %+v", c.name, p.Fields(), c.m.Fields())
		}
	}
}

func TestTextCannotCarry(t *testing.T) {
	deep := new(hamsg.Msg)
	for range hamsg.MaxDepth {
		deep = new(hamsg.Msg).AddStruct("s", deep)
	}
	for name, m := range map[string]*hamsg.Msg{
		"too deep":                        deep,
		"line end in a list":              new(hamsg.Msg).AddList("l", "a\nb"),
		"the nested line end in a nested": new(hamsg.Msg).AddStruct("s", new(hamsg.Msg).Add("a", "\x14")),
	} {
		if b, err := m.AppendText(nil); err == nil {
			t.Errorf("%s: encodes to %q", name, b)
		}
	}
}

func TestListInPieces(t *testing.T) {
	p := decode(t, ">>>\n(3)l=1:a,\nx=\n(3)l=1:b,1:c,\n<<<\n")
	if got, want := p.GetList("l"), []string{"a", "b", "c"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := p.GetList("x"); got != nil {
		t.Errorf("a string field is the list %q", got)
	}
}

func TestAppendSignedLeavesOutAuth(t *testing.T) {
	m := new(hamsg.Msg).Add("auth", "x").Add("a", "1\n2").Add("auth", "y").SetUUID("u", hamsg.UUID{})
	if got, want := string(m.AppendSigned(nil)), "a=1\x132\n(1)u=AAAAAAAAAAAAAAAAAAAAAA==\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// netstring writes a message of these fields, right or wrong.
func netstring(fields ...string) string {
	s := "###\n"
	for _, f := range fields {
		s += fmt.Sprintf("%d:%s,", len(f), f)
	}
	return s + "%%%\n"
}

func TestDecodeRefuses(t *testing.T) {
	for _, packet := range []string{"", "#", "###", "%%%\n", "abcd", "###x", ">>> \n", "\x00\x00\x00\x00"} {
		if _, err := hamsg.Decode([]byte(packet)); !errors.Is(err, hamsg.ErrForeign) {
			t.Errorf("%q: error %v, want ErrForeign", packet, err)
		}
	}
	for packet, reason := range map[string]string{
		"###\n":               "no end mark",
		"###\n5:(0)t=,":       "no end mark",
		"###\n5:(0)t=%%%\n":   "no end mark",
		"###\n6:(0)t=,%%%\n":  "no end mark",
		"###\n4:(0)t=,%%%\n":  "no end mark",
		"###\n:(0)t=,%%%\n":   "no end mark",
		"###\n5 :(0)t=,%%%\n": "no end mark",
		"###\n-5:(0)t=,%%%\n": "no end mark",

		"###\n99999999999999999999999:(0)t=,%%%\n": "no end mark",

		netstring("t=x"):                           "without a type",
		netstring("(6)t="):                         "without a type",
		netstring("(/)t="):                         "without a type",
		netstring("(0"):                            "without a type",
		netstring("(0)tx"):                         "without '='",
		netstring("(0)=x"):                         "bad field name",
		netstring("(0)(=x"):                        "bad field name",
		netstring("(0)a\nb="):                      "bad field name",
		netstring("(0)a\x00b="):                    "bad field name",
		netstring("(0)a=b\x00"):                    "NUL",
		netstring("(3)l=1:a"):                      "bad list",
		netstring("(3)l=:a,"):                      "bad list",
		netstring("(2)s=x"):                        "without start mark",
		netstring("(2)s=###\n"):                    "no end mark",
		netstring("(2)s=" + netstring() + "x"):     "after a nested message",
		netstring("(2)s=###\n0:,%%%\n"):            "without a type",
		netstring("(2)s=###\n9:,"):                 "no end mark",
		">>>\n":                                    "no end mark",
		">>>\na=b":                                 "no end mark",
		">>>\na=b\n":                               "no end mark",
		">>>\na=b\n\x00<<<\n":                      "no end mark",
		">>>\nab\n<<<\n":                           "without '='",
		">>>\n=b\n<<<\n":                           "without '='",
		">>>\n(0)a=b\n<<<\n":                       "bad field type",
		">>>\n(6)a=b\n<<<\n":                       "bad field type",
		">>>\n(1=b\n<<<\n":                         "bad field type",
		">>>\n(1)=b\n<<<\n":                        "bad field name",
		">>>\n(1)a=b\n<<<\n":                       "bad base64",
		">>>\n(3)a=1:b\n<<<\n":                     "bad list",
		">>>\n(2)a=b\n<<<\n":                       "without start mark",
		">>>\n(2)a=>>>\x14<<\x14\n<<<\n":           "without '='",
		"###\n" + strings.Repeat("5:(0)a=,", 4097): "too many fields",
		">>>\n" + strings.Repeat("a=\n", 4097):     "too many fields",
		"###\n" + strings.Repeat("x", 256<<10):     "too long",
	} {
		_, err := hamsg.Decode([]byte(packet))
		var syntax *hamsg.SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%.60q: error %v, want one with %q", packet, err, reason)
		}
	}
}

// nest wraps a message so many times.
func nest(levels int) *hamsg.Msg {
	m := hamsg.New("core")
	for range levels {
		m = new(hamsg.Msg).AddStruct("s", m)
	}
	return m
}

func TestNestingLimit(t *testing.T) {
	p := decode(t, string(nest(hamsg.MaxDepth-1).AppendNetstring(nil)))
	text, err := p.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	if q := decode(t, string(text)); !reflect.DeepEqual(p.Fields(), q.Fields()) {
		t.Error("the deepest nesting is not the same in both forms")
	}
	if _, err := hamsg.Decode(nest(hamsg.MaxDepth).AppendNetstring(nil)); err == nil {
		t.Error("one level too deep is taken")
	}
}

func TestInflate(t *testing.T) {
	inner := decode(t, captured)
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(inner.AppendNetstring(nil)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// ">>>\nt=big\nx=1\n<<<\n" by bzip2 1.0.8
	bz, err := base64.StdEncoding.DecodeString(bzipped)
	if err != nil {
		t.Fatal(err)
	}
	packed := func(algorithm, payload string) *hamsg.Msg {
		return new(hamsg.Msg).AddField(hamsg.Field{Name: hamsg.FCompressedPayload, Kind: hamsg.Binary, Value: payload}).
			Add(hamsg.FCompressionAlgorithm, algorithm)
	}
	m, err := packed("zlib", z.String()).Inflate()
	if err != nil || !reflect.DeepEqual(m.Fields(), inner.Fields()) {
		t.Errorf("zlib: %v, %v", m, err)
	}
	m, err = packed("bz2", string(bz)).Inflate()
	if err != nil || m.Type() != "big" || m.Get("x") != "1" {
		t.Errorf("bz2: %v, %v", m, err)
	}
	if m, err := inner.Inflate(); err != nil || m != &inner.Msg {
		t.Errorf("a message that is not packed: %v, %v", m, err)
	}
	for name, m := range map[string]*hamsg.Msg{
		"unknown algorithm": packed("lzo", z.String()),
		"no zlib":           packed("zlib", "x"),
		"no bz2":            packed("bz2", "x"),
		"cut short":         packed("zlib", z.String()[:z.Len()-8]),
		"no message inside": packed("zlib", deflated(t, "hello, world")),
		"a bomb":            packed("zlib", deflated(t, ">>>\na="+strings.Repeat("a", hamsg.MaxUncompressed)+"\n<<<\n")),
	} {
		if m, err := m.Inflate(); err == nil {
			t.Errorf("%s: inflates to %v", name, m)
		}
	}
}

// TestDeflate packs messages and gets them back.
func TestDeflate(t *testing.T) {
	inner := decode(t, captured)
	packed := inner.Deflate()
	if m, err := packed.Inflate(); err != nil || !reflect.DeepEqual(m.Fields(), inner.Fields()) {
		t.Errorf("%v, %v", m, err)
	}
	if f := packed.Fields(); len(f) != 2 || f[0].Name != hamsg.FCompressedPayload || f[0].Kind != hamsg.Binary || f[1].Value != "zlib" {
		t.Errorf("%+v", f)
	}
	plain := hamsg.New("x")
	if plain.DeflateFields() != plain {
		t.Error("a message without such fields is copied")
	}
	sub := hamsg.New("sub").Add("text", strings.Repeat("z", 5000))
	m := hamsg.New("x").AddField(hamsg.Field{Name: "big", Kind: hamsg.Uncompressed, Sub: sub}).Add("y", "1")
	packed = m.DeflateFields()
	if f, _ := m.Lookup("big"); f.Kind != hamsg.Uncompressed {
		t.Error("the message itself has changed")
	}
	if got := len(packed.AppendNetstring(nil)); got > 200 {
		t.Errorf("%d bytes", got)
	}
	q := decode(t, string(packed.AppendNetstring(nil)))
	if got, err := q.InflateField("big"); err != nil || !reflect.DeepEqual(got.Fields(), sub.Fields()) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := q.InflateField("y"); err == nil {
		t.Error("a text field inflates")
	}
}

func deflated(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// cost is how many bytes decoding b takes in all; an error costs, too.
func cost(b []byte) uint64 {
	return alloc.Bytes(func() { _, _ = hamsg.Decode(b) })
}

func TestMemoryIsBounded(t *testing.T) {
	fill := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (1<<16-len(head)-len(tail))/len(unit)) + tail
	}
	deepText, err := nest(15).AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	big := hamsg.New("core").Add("v", strings.Repeat("v", 1<<16-600))
	for range 15 {
		big = new(hamsg.Msg).AddStruct("s", big)
	}
	bigText, err := big.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, packet := range map[string]string{
		"small fields":         fill("###\n", "5:(0)a=,", "%%%\n"),
		"small fields, text":   fill(">>>\n", "a=\n", "<<<\n"),
		"small binary, text":   fill(">>>\n", "(1)a=AAAA\n", "<<<\n"),
		"small lists, text":    fill(">>>\n", "(3)a=1:x,\n", "<<<\n"),
		"small structs":        fill("###\n", "21:(2)a=###\n5:(0)a=,%%%\n,", "%%%\n"),
		"small structs, text":  fill(">>>\n", "(2)a=>>>\x14a=\x14<<<\x14\n", "<<<\n"),
		"one large field":      fill("###\n65500:(0)a=", "a", ",%%%\n"),
		"4095 fields, text":    fill(">>>\n"+strings.Repeat("a=\n", 4095)+"a=", "a", "\n<<<\n"),
		"deep, text":           string(deepText),
		"large and deep, text": string(bigText),
		"large and deep":       string(big.AppendNetstring(nil)),
		"line ends":            fill(">>>\n", "\n", "<<<\n"),
		"long digits":          fill("###\n", "9", "%%%\n"),
	} {
		if len(packet) > 1<<16+1000 {
			t.Fatalf("%s: the test's packet has %d bytes", name, len(packet))
		}
		if got := cost([]byte(packet)); got > alloc.Packet {
			t.Errorf("%s: %d bytes allocated for %d", name, got, len(packet))
		}
	}
}

// genMsg draws a message that both forms can carry.
func genMsg(t *rapid.T, depth int) *hamsg.Msg {
	m := new(hamsg.Msg)
	for i := range rapid.IntRange(0, 6).Draw(t, "fields") {
		name := rapid.StringMatching(`[a-z_][a-z(),:%<>#]{0,5}`).Draw(t, fmt.Sprintf("name %d", i))
		text := rapid.StringMatching(`[ -~\n]{0,20}`).Draw(t, "value")
		switch kind := rapid.IntRange(0, 4).Draw(t, "kind"); {
		case kind == 1:
			m.AddField(hamsg.Field{Name: name, Kind: hamsg.Binary, Value: string(rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "bytes"))})
		case kind == 2:
			m.AddList(name, rapid.SliceOfN(rapid.StringMatching(`[ -~]{0,9}`), 0, 4).Draw(t, "items")...)
		case kind == 3 && depth < 4:
			m.AddStruct(name, genMsg(t, depth+1))
		default:
			m.Add(name, text)
		}
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genMsg(t, 0)
		text, err := m.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, wire := range [][]byte{m.AppendNetstring(nil), text} {
			p, err := hamsg.Decode(wire)
			if err != nil {
				t.Fatalf("%q: %v", wire, err)
			}
			again, err := p.AppendWire(nil)
			if err != nil || !bytes.Equal(again, wire) {
				t.Fatalf("%q came back as %q, %v", wire, again, err)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		captured, capturedText, captured[:200], ">>>\n(2)s=>>>\x14x=1\x14<<<\x14\n(3)l=1:a,\n<<<\n",
		netstring("(2)s="+netstring("(0)x="), "(3)l=1:a,"), "###\n%%%\n4:1 ab,", "abcd",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		if len(b) <= 1<<16 {
			if got := cost(b); got > alloc.Packet {
				t.Errorf("%d bytes allocated for %d", got, len(b))
			}
		}
		p, err := hamsg.Decode(b)
		if !bytes.Equal(b, given) {
			t.Error("Decode changed the packet")
		}
		if err != nil {
			return
		}
		wire, err := p.AppendWire(nil)
		if err != nil {
			return // a list or nested field of a text message may be one that it cannot give back
		}
		q, err := hamsg.Decode(wire)
		if err != nil {
			t.Fatalf("%q came back as %q: %v", b, wire, err)
		}
		if !reflect.DeepEqual(p.Fields(), q.Fields()) || p.Auth != q.Auth {
			t.Errorf("%q came back as %q", b, wire)
		}
		if _, err := p.Inflate(); err == nil {
			p.Clone()
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	packet := []byte(captured)
	b.ReportAllocs()
	b.SetBytes(int64(len(packet)))
	for b.Loop() {
		if _, err := hamsg.Decode(packet); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendNetstring(b *testing.B) {
	p, err := hamsg.Decode([]byte(captured))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = p.AppendNetstring(out[:0])
	}
}
