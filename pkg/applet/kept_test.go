package applet

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/daemon"
)

// TestKept hands a configuration over, one too long for the environment.
func TestKept(t *testing.T) {
	long := bytes.Repeat([]byte("alpha 10.0.0.1\n"), 20000)
	fd, err := keep(&daemon.Kept{Node: "alpha", Texts: map[string]daemon.Text{"/etc/ha.d//haresources": {Text: long, Stamp: time.Unix(1, 5)}}})
	if err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("flags %#x, %v: it would not be there after an exec", flags, err)
	}
	k := launch{Kept: fd}.kept()
	if k == nil || k.Node != "alpha" {
		t.Fatalf("kept %+v", k)
	}
	if got := k.Texts["/etc/ha.d//haresources"]; !bytes.Equal(got.Text, long) || !got.Stamp.Equal(time.Unix(1, 5)) {
		t.Errorf("kept %d bytes of %v", len(got.Text), got.Stamp)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		t.Error("it stays open, for all children to read the keys")
	}
	if k := (launch{}).kept(); k != nil {
		t.Errorf("a first start has %+v", k)
	}
}
