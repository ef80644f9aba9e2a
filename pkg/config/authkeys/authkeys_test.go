package authkeys

import "testing"

// What the original accepts, refuses, and logs (spec/heartbeat-config.md, 9; golden S9-*).
func TestParse(t *testing.T) {
	for _, tc := range []struct {
		text string
		key  int    // of the ring; -1: refused
		wire string // the original's first line when refused
	}{
		{"auth 3\n#1 crc\n3 md5 Hello!\n", 3, ""},
		{"auth1\n1 crc\n", 1, ""},
		{"auth   1 junk\n1 sha1 HI! more words\n", 1, ""},
		{"auth 1\n1 crc\nauth 2\n", 1, ""}, // a later auth without its key changes nothing
		{"auth 1\n1 crc\n1 md5 x\n", 1, ""},
		{"auth 1\n1 crc\nauth 2\n2 md5 k\n", 2, ""},
		{"1 crc\nauth 1\n", -1, "Auth Key [1] not found in keyfile [authkeys]"},
		{"1 crc\n", -1, "Missing auth directive in keyfile [authkeys]"},
		{"auth 3\n1 crc\n", -1, "Auth Key [3] not found in keyfile [authkeys]"},
		{"auth 1\n1 crc key\n", -1, "info: Auth method [crc] doesn't use a key"},
		{"auth 1\n1 md5\n", -1, "Auth method [md5] requires a key"},
		{"auth 1\n1 sha256 x\n", -1, "Invalid authtype [sha256]"},
		{"auth 16\n16 crc\n", -1, "Invalid authnum [16] in authkeys"},
		{"autk 1\n1 crc\n", -1, "Invalid auth line [autk 1\n] in authkeys"},
		{"auth 1\nx md5 y\n1 crc\n", -1, "Auth line [x md5 y\n] is invalid."},
		{"", -1, "Missing auth directive in keyfile [authkeys]"},
		{"auth 1\r\n1 md5 k\r\n", 1, ""},
	} {
		ring, problems := Parse("authkeys", []byte(tc.text))
		if tc.key < 0 {
			if ring != nil || problems.Err() == nil {
				t.Errorf("%q: accepted", tc.text)
				continue
			}
			if problems[0].Wire != tc.wire {
				t.Errorf("%q: %q, want %q", tc.text, problems[0].Wire, tc.wire)
			}
			continue
		}
		if ring == nil {
			t.Errorf("%q: refused: %v", tc.text, problems.Err())
			continue
		}
		if n, _ := ring.Selected(); n != tc.key {
			t.Errorf("%q: signs with %d, want %d", tc.text, n, tc.key)
		}
	}
}

func TestAllProblems(t *testing.T) {
	_, problems := Parse("authkeys", []byte("auth 9\n 1 foo\n2 md5\n"))
	want := `authkeys:2:2: no method "foo" (want crc, md5 or sha1)
authkeys:3:1: md5: no key given (want a key after the method)
authkeys:1:1: auth: no key 9 below (want key line N after "auth N")`
	if got := problems.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMode(t *testing.T) {
	for mode, ok := range map[uint32]bool{0o600: true, 0o400: true, 0o620: true, 0o602: true, 0o700: true, 0o610: true, 0: true, 0o644: false, 0o640: false, 0o604: false} {
		if got := CheckMode("authkeys", mode).Err() == nil; got != ok {
			t.Errorf("mode %03o: accepted %v, want %v", mode, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("auth 3\n3 md5 Hello!\n1 crc\n2 sha1 x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		ring, problems := Parse("authkeys", text)
		if (ring == nil) != (problems.Err() != nil) {
			t.Errorf("ring %v with problems %v", ring != nil, problems)
		}
	})
}
