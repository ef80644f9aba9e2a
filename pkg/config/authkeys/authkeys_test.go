package authkeys

import (
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// What the file says to the ring. What the original accepts, refuses and logs is in
// compat/config_test.go.
func TestParse(t *testing.T) {
	for _, tc := range []struct {
		text  string
		signs int // key number
		key   hbauth.Key
		keys  int // defined ones
	}{
		{"auth 3\n#1 crc\n3 md5 Hello!\n", 3, hbauth.Key{Method: hbauth.MD5, Text: "Hello!"}, 1},
		{"auth 1\n1 sha1 HI! more words\n", 1, hbauth.Key{Method: hbauth.SHA1, Text: "HI!"}, 1},
		{"auth 1\n1 md5 a#b", 1, hbauth.Key{Method: hbauth.MD5, Text: "a#b"}, 1},
		{"auth 1\r\n1 md5 k\r\n", 1, hbauth.Key{Method: hbauth.MD5, Text: "k"}, 1},
		{"auth 1\n1 crc\n1 md5 x\n", 1, hbauth.Key{Method: hbauth.MD5, Text: "x"}, 1},
		{"auth 1\n1 crc\nauth 2\n2 md5 k\n", 2, hbauth.Key{Method: hbauth.MD5, Text: "k"}, 2},
		{"auth 1\n1 crc\nauth 2\n", 1, hbauth.Key{Method: hbauth.CRC}, 1},
		{"auth 15\n0 md5 a\n15 crc\n", 15, hbauth.Key{Method: hbauth.CRC}, 2},
	} {
		ring, problems := Parse("authkeys", []byte(tc.text), Any)
		if ring == nil {
			t.Errorf("%q: %v", tc.text, problems)
			continue
		}
		keys := 0
		for i := range hbauth.MaxKeys {
			if _, ok := ring.Key(i); ok {
				keys++
			}
		}
		if n, k := ring.Selected(); n != tc.signs || k != tc.key || keys != tc.keys {
			t.Errorf("%q: signs with %d %v of %d keys, want %d %v of %d", tc.text, n, k, keys, tc.signs, tc.key, tc.keys)
		}
	}
}

func TestAllProblems(t *testing.T) {
	for text, want := range map[string]string{
		"auth 9\n 1 foo\n2 md5\n": `authkeys:2:4: no method "foo" (want crc, md5 or sha1)
authkeys:3:3: md5: no key given (want a key after the method)
authkeys:1:1: auth: no key 9 below (want key line N after "auth N")`,
		"auth 1\n1 crc\nauth 2\n": `authkeys:3:1: warning: auth: no key 2 below: key 1 signs (want a key line with that number below)`,
	} {
		_, problems := Parse("authkeys", []byte(text), Any)
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("got\n%s\nwant\n%s", s, want)
		}
	}
}

// hmac-sha256 is for those who say that no original is left.
func TestSHA256(t *testing.T) {
	const text = "auth 4\n1 sha1 old\n2 crc\n4 hmac-sha256 sixteen-and-more\n5 hmac-sha256 short\n"
	told := func(peers Peers) string {
		_, problems := Parse("authkeys", []byte(text), peers)
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		return strings.Join(got, "\n")
	}
	want := `authkeys:4:3: hmac-sha256: the other node may run heartbeat 3.0.6, which does not know this method (want "peers systole" in systole.cf once every node runs systole, or another method)
authkeys:5:3: hmac-sha256: the other node may run heartbeat 3.0.6, which does not know this method (want "peers systole" in systole.cf once every node runs systole, or another method)
authkeys:1:1: auth: no key 4 below (want key line N after "auth N")`
	if got := told(Any); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = `authkeys:5:3: warning: hmac-sha256: a short key can be guessed (want at least 16 characters)
authkeys:2:3: warning: sha1: packets that are signed with key 1 are taken as well, and copies of them (want no such key once every node signs with hmac-sha256)
authkeys:3:3: warning: crc: packets that are signed with key 2 are taken as well, and copies of them (want no such key once every node signs with hmac-sha256)`
	if got := told(Systole); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	ring, _ := Parse("authkeys", []byte(text), Systole)
	if n, key := ring.Selected(); n != 4 || key.Method != hbauth.SHA256 || !ring.Numbered() {
		t.Errorf("signs with %d, %+v", n, key)
	}
	if _, problems := Parse("authkeys", []byte("auth 1\n1 sha256 x\n"), Systole); !strings.Contains(problems.Err().Error(), `no method "sha256" (want hmac-sha256, sha1, md5 or crc)`) {
		t.Errorf("%v", problems)
	}
}

// A key is a secret: what we say of a line must not hold it.
func TestKeysAreNotShown(t *testing.T) {
	for _, text := range []string{"auth 1\nx md5 hush\n", "auth 1\n99 md5 hush\n", "auth 1\n1 foo hush\n", "auth 1\n1 crc hush\n", "auto md5 hush"} {
		_, problems := Parse("authkeys", []byte(text), Any)
		for _, p := range problems {
			if strings.Contains(p.String(), "hush") {
				t.Errorf("%q: %s", text, p)
			}
		}
	}
}

func TestMode(t *testing.T) {
	for mode, ok := range map[uint32]bool{0o600: true, 0o400: true, 0o620: true, 0o602: true, 0o700: true, 0o610: true, 0: true, 0o644: false, 0o640: false, 0o604: false} {
		problems := CheckMode("authkeys", mode)
		if got := problems.Err() == nil; got != ok {
			t.Errorf("mode %03o: accepted %v, want %v", mode, got, ok)
		}
		if !ok && problems[0].Wire != "Bad permissions on keyfile [authkeys], 600 recommended." {
			t.Errorf("mode %03o: the original would log %q", mode, problems[0].Wire)
		}
	}
}

func TestManyProblems(t *testing.T) {
	_, problems := Parse("authkeys", []byte(strings.Repeat("x\n", 32<<10)), Any)
	if n := len(problems); n != diag.MaxProblems+1 {
		t.Errorf("%d problems", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("auth 3\n3 md5 Hello!\n1 crc\n2 sha1 x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		if got := alloc.Bytes(func() { Parse("authkeys", text, Any) }); got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		ring, problems := Parse("authkeys", text, Any)
		if (ring == nil) != (problems.Err() != nil) {
			t.Errorf("ring %v with problems %v", ring != nil, problems)
		}
		if len(problems) > diag.MaxProblems+1 {
			t.Errorf("%d problems", len(problems))
		}
	})
}
