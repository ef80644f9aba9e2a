package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// The report is made by the loop, which does not wait for a disk that hangs, nor for who does.
func TestReportWithoutDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "haresources")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	log, _ := newLog(t)
	d := &service{core: log, lines: newLines(path, &Files{HA: &hacf.Config{}, Groups: []haresources.Group{{
		Node: "alpha", Resources: []haresources.Resource{haresources.Split("10.0.0.1")},
	}}})}
	d.Files = &Files{HA: &hacf.Config{}}
	d.loop = &loop{history: newHistory(time.Now()), engine: cluster.New(cluster.Config{
		Node: "alpha", Nodes: []string{"alpha"}, Ring: oneKey(t, hbauth.CRC, ""), Keepalive: time.Second, Deadtime: 10 * time.Second,
	}, time.Now())}
	reading := make(chan struct{})
	go func() { defer close(reading); d.lines.now() }() // as a script's call does
	text := make(chan string, 1)
	go func() { text <- d.reportText() }()
	select {
	case got := <-text:
		if !strings.Contains(got, `"preferred":"alpha"`) {
			t.Error(got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the loop waits")
	}
	for done := false; !done; { // lets all go on that read it
		if w, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			w.Close()
		}
		select {
		case <-reading:
			done = true
		case <-time.After(time.Millisecond):
		}
	}
}
