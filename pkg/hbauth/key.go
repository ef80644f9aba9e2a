package hbauth

import (
	"encoding/hex"
	"strconv"
)

// Method is how a key makes a MAC.
type Method uint8

// The methods of authkeys.
const (
	CRC    Method = iota // guards against damage only; has no key text
	MD5                  // HMAC-MD5
	SHA1                 // HMAC-SHA1
	SHA256               // HMAC-SHA256, which the original does not know; its packets are numbered
)

var methodNames = [...]string{CRC: "crc", MD5: "md5", SHA1: "sha1", SHA256: "hmac-sha256"}

// String is the method's name in authkeys.
func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return "Method(" + strconv.Itoa(int(m)) + ")"
}

// ParseMethod is the method of that name, case-sensitive as in authkeys.
func ParseMethod(name string) (Method, bool) {
	for m, n := range methodNames {
		if n == name {
			return Method(m), true
		}
	}
	return 0, false
}

// NeedsText tells whether keys of the method have a text; crc has none.
func (m Method) NeedsText() bool { return m != CRC }

// Numbered tells whether packets that are signed with the method carry a number of their own, by which
// copies are known (cluster.Screen).
func (m Method) Numbered() bool { return m == SHA256 }

// Key is one key of authkeys.
type Key struct {
	Method Method
	Text   string // the shared secret; empty for crc
}

// AppendMAC appends the MAC that the key makes over data, as it is written on the wire: lower
// case hexadecimal, for crc without leading zeros.
func (k Key) AppendMAC(dst, data []byte) []byte {
	switch k.Method {
	case MD5:
		sum := hmacMD5(k.Text, data)
		return hex.AppendEncode(dst, sum[:])
	case SHA1:
		sum := hmacSHA1(k.Text, data)
		return hex.AppendEncode(dst, sum[:])
	case SHA256:
		sum := hmacSHA256(k.Text, data)
		return hex.AppendEncode(dst, sum[:])
	default:
		return strconv.AppendUint(dst, uint64(crc(data)), 16)
	}
}
