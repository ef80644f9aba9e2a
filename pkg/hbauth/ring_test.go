package hbauth_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// keys of the captured examples in spec/heartbeat-wire.md section 11.
var exampleKeys = map[int]hbauth.Key{
	1: {Method: hbauth.SHA1, Text: "secretkey"},
	2: {Method: hbauth.MD5, Text: "md5key"},
	3: {Method: hbauth.CRC},
}

func ring(t *testing.T, keys map[int]hbauth.Key, selected int) *hbauth.Ring {
	t.Helper()
	r, err := hbauth.NewRing(keys, selected)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// alphaUUID is the uuid of node alpha in the examples.
var alphaUUID = func() (u hamsg.UUID) {
	if _, err := hex.Decode(u[:], []byte("c6f9efb8bc014925aef1e4bcc309c53d")); err != nil {
		panic(err)
	}
	return u
}()

// examples are messages that an original daemon sent, with the signatures that it makes.
var examples = []struct {
	name    string
	msg     func() *hamsg.Msg
	classic bool
	key     int
	inner   string
	outer   string
	length  int
}{
	{"status", status, true, 1, "3a0784cd324ffa3940907662bdfb55be503cd743", "9917b50cd15cdaaede1e043d3009eff038684bd7", 306},
	{"status", status, true, 2, "cd035b37badabd1c1265d8e3cd7c6ca3", "115999483dde6e33cf5d6a62e4e90f18", 290},
	{"status", status, true, 3, "8f3e8ba7", "c3d75233", 242},
	{"status under msgfmt netstring", status, false, 1, "", "f44f98c2397e92ec54ac9b08c10aaabaac3cb1ba", 252},
	{"status under msgfmt netstring", status, false, 2, "", "9599522ddd00e9c237e8ba479b583bbe", 244},
	{"status under msgfmt netstring", status, false, 3, "", "6a569fe0", 220},
	{"ack", ack, true, 1, "55b6d8353d885412ded76c84d6e3c513bef79278", "f4654ab7097b0441a74bb8ae96908818ffa485b2", 284},
	{"ack", ack, true, 2, "a3eb8c74341be4afa370c10f2c483c65", "97c07a4f903740aec19d2f93af687198", 268},
	{"ack, crc of seven digits", ack, true, 3, "9a4142cf", "aa6464e", 218},
	{"standby", standby, true, 1, "61244fbb13f934d0ac5ef9135df9f222a7d405f8", "bcfc38ae1633f7ffb0289e41331f00388397497f", 307},
	{"standby", standby, true, 2, "48e74a69dd99d3e32122863f98c8ba85", "024b95584e34dc101017ad8813327dc9", 291},
	{"standby", standby, true, 3, "867971ac", "f8a879d1", 243},
	{"ping", ping, true, 1, "5a99bee3672fe64d2c9af889ce1a9aa8c87d8935", "14a200338fa052820ddb8fe032f6119e214c4d3e", 192},
	{"ping", ping, true, 2, "a9fa0474a14e5c344612876a70af9e58", "06a68e0341cf2247049d1a9d85b5cf2e", 176},
	{"ping", ping, true, 3, "e964147b", "cc5bf596", 128},
}

func status() *hamsg.Msg {
	return hamsg.New("status").Add("st", "init").Add("dt", "1f40").Add("protocol", "1").Add("src", "alpha").
		SetUUID("srcuuid", alphaUUID).Add("seq", "1").Add("hg", "6b02e647").Add("ts", "6b02e646").
		Add("ld", "1.20 0.64 0.30 4/125 22").Add("ttl", "3")
}

func ack() *hamsg.Msg {
	return hamsg.New("NS_ackmsg").Add("dest", "alpha").Add("ackseq", "a").SetUUID("destuuid", alphaUUID).Add("src", "alpha").
		SetUUID("srcuuid", alphaUUID).Add("hg", "6b02e647").Add("ts", "6b02e64c").Add("ttl", "3")
}

func standby() *hamsg.Msg {
	return hamsg.New("ask_resources").Add("rsc_hold", "foreign").Add("info", "me").Add("src", "alpha").
		SetUUID("srcuuid", alphaUUID).Add("seq", "24").Add("hg", "6b02e647").Add("ts", "6b02e65c").
		Add("ld", "1.19 0.68 0.32 1/133 270").Add("ttl", "3")
}

func ping() *hamsg.Msg {
	return hamsg.New("NS_st").Add("st", "ping").Add("info", "ping").Add("src", "10.77.0.254").Add("ts", "6b02ef10")
}

func TestSignsAsTheOriginal(t *testing.T) {
	for _, e := range examples {
		r, m := ring(t, exampleKeys, e.key), e.msg()
		if e.classic {
			r.Stamp(m)
		}
		wire := r.AppendWire(nil, m)
		if len(wire) != e.length {
			t.Errorf("%s, key %d: %d bytes, want %d", e.name, e.key, len(wire), e.length)
		}
		if _, inner, _ := strings.Cut(m.Get("auth"), " "); inner != e.inner {
			t.Errorf("%s, key %d: inner MAC %s, want %s", e.name, e.key, inner, e.inner)
		}
		p, err := hamsg.Decode(wire)
		if err != nil {
			t.Fatal(err)
		}
		if _, outer, _ := strings.Cut(p.Auth, " "); outer != e.outer {
			t.Errorf("%s, key %d: outer MAC %s, want %s", e.name, e.key, outer, e.outer)
		}
		if err := r.Verify(p); err != nil {
			t.Errorf("%s, key %d: %v", e.name, e.key, err)
		}
	}
}

func reason(t *testing.T, err error) hbauth.Reason {
	t.Helper()
	var e *hbauth.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want an *hbauth.Error", err)
	}
	return e.Reason
}

// signed is the message as a datagram of a node whose ring this is.
func signed(t *testing.T, r *hbauth.Ring, m *hamsg.Msg) *hamsg.Packet {
	t.Helper()
	p, err := hamsg.Decode(r.AppendWire(nil, m))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asText is the message as a serial line carries it.
func asText(t *testing.T, r *hbauth.Ring, m *hamsg.Msg) *hamsg.Packet {
	t.Helper()
	r.Stamp(m)
	text, err := m.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := hamsg.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEachKeyVerifiesInBothForms(t *testing.T) {
	for key := range exampleKeys {
		r := ring(t, exampleKeys, key)
		for _, p := range []*hamsg.Packet{signed(t, r, status()), asText(t, r, status())} {
			if err := r.Verify(p); err != nil {
				t.Errorf("key %d, %s: %v", key, p.Format, err)
			}
			for selected := range exampleKeys {
				if err := ring(t, exampleKeys, selected).Verify(p); err != nil {
					t.Errorf("key %d, %s, at a node that signs with %d: %v", key, p.Format, selected, err)
				}
			}
		}
	}
}

// An original that selects key 1 takes a netstring packet that names key 2 only if key 2's
// method made it with key 1's text, so some peers may have been set up that way.
func TestOriginalsRule(t *testing.T) {
	ours := ring(t, exampleKeys, 1)
	theirs := map[int]hbauth.Key{2: {Method: hbauth.MD5, Text: "secretkey"}}
	if err := ours.Verify(signed(t, ring(t, theirs, 2), status())); err != nil {
		t.Errorf("named method with the selected key's text: %v", err)
	}
	if err := ours.Verify(asText(t, ring(t, theirs, 2), status())); err == nil {
		t.Error("in text form the original takes the named key, and so must we")
	}
	theirs[2] = hbauth.Key{Method: hbauth.MD5, Text: "other"}
	if err := ours.Verify(signed(t, ring(t, theirs, 2), status())); reason(t, err) != hbauth.Mismatch {
		t.Errorf("a text of neither key: %v", err)
	}
}

// With hmac-sha256 in it there is no original whose rule could matter.
func TestSHA256(t *testing.T) {
	keys := map[int]hbauth.Key{1: {Method: hbauth.SHA1, Text: "secretkey"}, 4: {Method: hbauth.SHA256, Text: "longsecret"}}
	old, both := ring(t, exampleKeys, 1), ring(t, keys, 4)
	if both.Numbered() != true || old.Numbered() {
		t.Error("numbered")
	}
	p := signed(t, both, status())
	if m, ok := both.Signed(p.Signed, []byte(p.Auth)); !ok || m != hbauth.SHA256 || both.Verify(p) != nil || both.Named(p.Auth) != hbauth.SHA256 {
		t.Errorf("%s: method %v, %t, %v", p.Auth, m, ok, both.Verify(p))
	}
	if _, mac, _ := strings.Cut(p.Auth, " "); len(mac) != 64 {
		t.Errorf("MAC %s", mac)
	}
	if err := old.Verify(p); reason(t, err) != hbauth.UnknownKey {
		t.Errorf("without the key: %v", err)
	}
	// The first of two nodes has changed over: they understand each other.
	if err := both.Verify(signed(t, old, status())); err != nil {
		t.Errorf("the old key, which is still there: %v", err)
	}
	for _, forged := range []string{"1 " + string(hbauth.Key{Method: hbauth.SHA1, Text: "longsecret"}.AppendMAC(nil, p.Signed)), "4 " + string(hbauth.Key{Method: hbauth.SHA256, Text: "secretkey"}.AppendMAC(nil, p.Signed))} {
		q := *p
		q.Auth = forged
		if err := both.Verify(&q); reason(t, err) != hbauth.Mismatch {
			t.Errorf("%s: %v", forged, err)
		}
	}
	text := asText(t, both, status())
	if err := both.Verify(text); err != nil {
		t.Errorf("in text form: %v", err)
	}
	// RFC 4231, test cases 2 and 6.
	for _, c := range []struct{ key, data, mac string }{
		{"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{strings.Repeat("\xaa", 131), "Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	} {
		if got := (hbauth.Key{Method: hbauth.SHA256, Text: c.key}).AppendMAC(nil, []byte(c.data)); string(got) != c.mac {
			t.Errorf("%q: %s", c.data, got)
		}
	}
}

func TestSelectedCRCLendsNoText(t *testing.T) {
	p := signed(t, ring(t, exampleKeys, 2), status())
	empty := hbauth.Key{Method: hbauth.MD5}
	p.Auth = "2 " + string(empty.AppendMAC(nil, p.Signed))
	if err := ring(t, exampleKeys, 3).Verify(p); reason(t, err) != hbauth.Mismatch {
		t.Errorf("HMAC with an empty text: %v", err)
	}
}

func TestAnyChangeIsNoticed(t *testing.T) {
	r := ring(t, exampleKeys, 1)
	wire := r.AppendWire(nil, status())
	for i := range wire {
		for _, bit := range []byte{1, 0x20} {
			changed := append([]byte(nil), wire...)
			changed[i] ^= bit
			p, err := hamsg.Decode(changed)
			if err == nil && r.Verify(p) == nil {
				t.Errorf("byte %d changed from %q to %q: still verifies", i, wire[i], changed[i])
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	r := ring(t, exampleKeys, 3)
	good := signed(t, r, ack()) // its MAC is 3 aa6464e… of fewer than eight digits
	_, mac, _ := strings.Cut(good.Auth, " ")
	for auth, want := range map[string]hbauth.Reason{
		"":                             hbauth.Unsigned,
		"3":                            hbauth.Unsigned,
		"3 ":                           hbauth.Unsigned,
		" ":                            hbauth.Unsigned,
		"x " + mac:                     hbauth.Unsigned,
		"99999999999999999999 " + mac:  hbauth.Unsigned,
		"4 " + mac:                     hbauth.UnknownKey,
		"16 " + mac:                    hbauth.UnknownKey,
		"-1 " + mac:                    hbauth.UnknownKey,
		"3 0" + mac:                    hbauth.Mismatch,
		"3 " + strings.ToUpper(mac):    hbauth.Mismatch,
		"3 " + mac[1:]:                 hbauth.Mismatch,
		"3 " + mac + "0":               hbauth.Mismatch,
		"1 " + mac:                     hbauth.Mismatch,
		"3 " + strings.Repeat("a", 99): hbauth.Mismatch,
	} {
		p := *good
		p.Auth = auth
		err := r.Verify(&p)
		if got := reason(t, err); got != want {
			t.Errorf("auth %q: reason %d, want %d", auth, got, want)
		}
		if strings.Contains(err.Error(), mac) {
			t.Errorf("auth %q: the error tells the right MAC: %v", auth, err)
		}
	}
	for _, auth := range []string{"3 " + mac, " 3\t" + mac + " junk", "03 " + mac, "+3 " + mac} {
		p := *good
		p.Auth = auth
		if err := r.Verify(&p); err != nil {
			t.Errorf("auth %q: %v", auth, err)
		}
	}
}

// The original logs the MAC that it got and the one that it made, which is with the selected
// key's text: S9 of the recorded runs, where ha-slave signs with "World!".
func TestMismatchTellsBothMACs(t *testing.T) {
	p := signed(t, ring(t, map[int]hbauth.Key{3: {Method: hbauth.MD5, Text: "World!"}}, 3), status())
	ours := hbauth.Key{Method: hbauth.MD5, Text: "Hello!"}
	err := ring(t, map[int]hbauth.Key{3: ours}, 3).Verify(p)
	var e *hbauth.Error
	if !errors.As(err, &e) || e.Key != 3 || "3 "+e.Got != p.Auth || e.Want != string(ours.AppendMAC(nil, p.Signed)) {
		t.Errorf("got %+v", e)
	}
}

func TestStampReplacesInPlace(t *testing.T) {
	r := ring(t, exampleKeys, 2)
	m := status()
	r.Stamp(m)
	first := m.Get("auth")
	m.Set("seq", "2")
	if r.Stamp(m); m.Get("auth") == first || m.Len() != status().Len()+1 {
		t.Errorf("auth was %q, is %q", first, m.Get("auth"))
	}
}

func TestNewRingRefuses(t *testing.T) {
	crc := hbauth.Key{Method: hbauth.CRC}
	for name, c := range map[string]struct {
		keys     map[int]hbauth.Key
		selected int
	}{
		"no key":           {nil, 1},
		"selected unknown": {map[int]hbauth.Key{1: crc}, 2},
		"selected too big": {map[int]hbauth.Key{1: crc}, 16},
		"selected below 0": {map[int]hbauth.Key{1: crc}, -1},
		"number too big":   {map[int]hbauth.Key{1: crc, 16: crc}, 1},
		"number below 0":   {map[int]hbauth.Key{1: crc, -1: crc}, 1},
		"no text":          {map[int]hbauth.Key{1: {Method: hbauth.SHA1}}, 1},
		"no such method":   {map[int]hbauth.Key{1: {Method: 9, Text: "x"}}, 1},
	} {
		if r, err := hbauth.NewRing(c.keys, c.selected); err == nil {
			t.Errorf("%s: made %+v", name, r)
		}
	}
	r := ring(t, exampleKeys, 2)
	if n, k := r.Selected(); n != 2 || k != exampleKeys[2] {
		t.Errorf("selected is %d, %+v", n, k)
	}
	for _, n := range []int{-1, 0, 16} {
		if k, ok := r.Key(n); ok {
			t.Errorf("key %d is %+v", n, k)
		}
	}
}

func TestSigningNeedsNoMemory(t *testing.T) {
	for key := range exampleKeys {
		r, m, out := ring(t, exampleKeys, key), status(), make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() { out = r.AppendWire(out[:0], m) }); n != 0 {
			t.Errorf("AppendWire with key %d: %v allocations", key, n)
		}
		p := signed(t, r, m)
		if n := testing.AllocsPerRun(100, func() {
			if err := r.Verify(p); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("Verify with key %d: %v allocations", key, n)
		}
		good, forged := []byte(p.Auth), append([]byte(p.Auth), 'x')
		if n := testing.AllocsPerRun(100, func() {
			_, ok := r.Signed(p.Signed, good)
			_, bad := r.Signed(p.Signed, forged)
			_, cut := r.Signed(p.Signed[1:], good)
			if !ok || bad || cut {
				t.Error("wrong")
			}
		}); n != 0 {
			t.Errorf("Signed with key %d: %v allocations", key, n)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for key := range exampleKeys {
		r, err := hbauth.NewRing(exampleKeys, key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.AppendWire(nil, status()))
	}
	f.Add([]byte(">>>\nt=x\nauth=1 0\n<<<\n"))
	f.Add([]byte("###\n%%%\n8:1 1 1 1 ,"))
	r, err := hbauth.NewRing(exampleKeys, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := alloc.Bytes(func() {
			if p, err := hamsg.Decode(b); err == nil {
				_ = r.Verify(p)
			}
		}); len(b) <= 1<<16 && got > alloc.Packet {
			t.Errorf("%d bytes allocated for %d", got, len(b))
		}
		p, err := hamsg.Decode(b)
		if err != nil {
			return
		}
		if p.Format == hamsg.Netstring {
			if _, ok := r.Signed(p.Signed, []byte(p.Auth)); ok != (r.Verify(p) == nil) {
				t.Errorf("%q: Signed and Verify differ", b)
			}
		}
		if r.Verify(p) != nil && p.Format == hamsg.Netstring {
			// Whatever it was, once signed by us it verifies.
			q, err := hamsg.Decode(r.AppendWire(nil, &p.Msg))
			if err != nil || r.Verify(q) != nil {
				t.Errorf("%q does not verify after signing: %v", b, err)
			}
		}
	})
}

func BenchmarkDecodeVerify(b *testing.B) {
	for key, k := range exampleKeys {
		b.Run(k.Method.String(), func(b *testing.B) {
			r, err := hbauth.NewRing(exampleKeys, key)
			if err != nil {
				b.Fatal(err)
			}
			m := status()
			r.Stamp(m)
			wire := r.AppendWire(nil, m)
			b.ReportAllocs()
			for b.Loop() {
				p, err := hamsg.Decode(wire)
				if err != nil || r.Verify(p) != nil {
					b.Fatal("packet refused")
				}
			}
		})
	}
}

func BenchmarkStampEncode(b *testing.B) {
	for key, k := range exampleKeys {
		b.Run(k.Method.String(), func(b *testing.B) {
			r, err := hbauth.NewRing(exampleKeys, key)
			if err != nil {
				b.Fatal(err)
			}
			m := status()
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				r.Stamp(m)
				out = r.AppendWire(out[:0], m)
			}
		})
	}
}
