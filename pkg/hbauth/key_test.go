package hbauth_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"hash"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/hbauth"
)

func TestHMACAgreesWithTheLibrary(t *testing.T) {
	for method, h := range map[hbauth.Method]func() hash.Hash{hbauth.MD5: md5.New, hbauth.SHA1: sha1.New} {
		for _, keyLen := range []int{1, 63, 64, 65, 100, 300} {
			for _, dataLen := range []int{0, 1, 64, 1983, 1984, 1985, 70_000} {
				key := hbauth.Key{Method: method, Text: strings.Repeat("k", keyLen)}
				data := []byte(strings.Repeat("d", dataLen))
				mac := hmac.New(h, []byte(key.Text))
				mac.Write(data)
				if got, want := string(key.AppendMAC(nil, data)), hex.EncodeToString(mac.Sum(nil)); got != want {
					t.Errorf("%s, key of %d, data of %d bytes: %s, want %s", method, keyLen, dataLen, got, want)
				}
			}
		}
	}
}

// The values are those of POSIX cksum before it appends the length: 0xffffffff for nothing.
func TestCRC(t *testing.T) {
	key := hbauth.Key{Method: hbauth.CRC, Text: "ignored"}
	for data, want := range map[string]string{"": "ffffffff", "123456789": "765e7680", "\x00": "ffffffff"} {
		if got := string(key.AppendMAC(nil, []byte(data))); got != want {
			t.Errorf("crc of %q is %s, want %s", data, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, m := range []hbauth.Method{hbauth.CRC, hbauth.MD5, hbauth.SHA1} {
		if got, ok := hbauth.ParseMethod(m.String()); !ok || got != m {
			t.Errorf("%s parses to %s, %t", m, got, ok)
		}
		if m.NeedsText() != (m != hbauth.CRC) {
			t.Errorf("%s: NeedsText", m)
		}
	}
	for _, name := range []string{"", "SHA1", "sha256", "Method(9)"} {
		if m, ok := hbauth.ParseMethod(name); ok {
			t.Errorf("%q parses to %s", name, m)
		}
	}
	if got := hbauth.Method(9).String(); got != "Method(9)" {
		t.Errorf("unknown method prints as %s", got)
	}
}
