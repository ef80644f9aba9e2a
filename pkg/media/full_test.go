package media_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/media"
)

// A socket whose packets wait for a neighbour that does not answer has no room for more: a write then
// takes until its limit, not for good, and later ones get through.
func TestFullSocket(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", "10.7.0.1/24"), node(t, n, "b", "10.7.0.2/24")
	// Otherwise the oldest give way before the socket is full.
	r, err := a.Exec(t.Context(), "sh", "-c", "echo 100000000 >/proc/sys/net/ipv4/neigh/eth0/unres_qlen_bytes")
	if err != nil || r.Code != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	m := start(t, a, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.3"}}, media.Options{WriteTimeout: 50 * time.Millisecond})
	const line = "ERROR: Write timeout on ucast eth0.: Interrupted system call"
	var lines []string
	waitFor(t, "a write to take too long", func() bool {
		m.Send(bytes.Repeat([]byte("x"), 1400))
		lines = append(lines, m.takeLines()...)
		return slices.Contains(lines, line)
	})
	other := start(t, b, media.Spec{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.1"}}, media.Options{})
	ip(t, b, "addr add 10.7.0.3/24 dev eth0")
	heard(t, "room again", m, other)
}
