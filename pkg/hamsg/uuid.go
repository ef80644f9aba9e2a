package hamsg

import (
	"encoding/hex"
	"fmt"
)

// UUID names a node for good; /var/lib/heartbeat/hb_uuid holds its 16 bytes.
type UUID [16]byte

// IsZero tells whether the uuid is the all-zero one that stands for "not known".
func (u UUID) IsZero() bool { return u == UUID{} }

// String is the usual 8-4-4-4-12 form in lower case.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseUUID reads the form that String writes, in either case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("parse uuid %q: want 8-4-4-4-12 hexadecimal digits", s)
	}
	if _, err := hex.Decode(u[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err != nil {
		return UUID{}, fmt.Errorf("parse uuid %q: %w", s, err)
	}
	return u, nil
}
