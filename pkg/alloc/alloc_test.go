package alloc

import "testing"

var kept []byte

func TestBytes(t *testing.T) {
	for _, n := range []int{0, 1 << 16, 3 << 20} {
		got := Bytes(func() { kept = make([]byte, n) })
		if got < uint64(n) || got > uint64(n)+1<<16 {
			t.Errorf("%d bytes: %d", n, got)
		}
	}
}
