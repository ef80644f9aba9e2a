package authkeys

import (
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
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
		ring, problems := Parse("authkeys", []byte(tc.text))
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
		_, problems := Parse("authkeys", []byte(text))
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("got\n%s\nwant\n%s", s, want)
		}
	}
}

// A key is a secret: what we say of a line must not hold it.
func TestKeysAreNotShown(t *testing.T) {
	for _, text := range []string{"auth 1\nx md5 hush\n", "auth 1\n99 md5 hush\n", "auth 1\n1 foo hush\n", "auth 1\n1 crc hush\n", "auto md5 hush"} {
		_, problems := Parse("authkeys", []byte(text))
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
	_, problems := Parse("authkeys", []byte(strings.Repeat("x\n", 32<<10)))
	if n := len(problems); n != maxProblems+1 {
		t.Errorf("%d problems", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("auth 3\n3 md5 Hello!\n1 crc\n2 sha1 x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		if got := alloc.Bytes(func() { Parse("authkeys", text) }); got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		ring, problems := Parse("authkeys", text)
		if (ring == nil) != (problems.Err() != nil) {
			t.Errorf("ring %v with problems %v", ring != nil, problems)
		}
		if len(problems) > maxProblems+1 {
			t.Errorf("%d problems", len(problems))
		}
	})
}
