package daemon

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/apphb"
)

// An apphbd that comes late, is restarted, and then stays: it is registered with each time, and told of
// every beat. (With the original's: compat's TestLogdAndApphbd.)
func TestApphbd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "apphb.comm")
	log, book := newLog(t)
	a := newApphbd(socket, 5*time.Second, 3*time.Second, log)
	a.retry = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() { // until cancel
		a.run(ctx)
		close(ended)
	}()
	for !strings.Contains(book.String(), "ERROR: Unable to register with apphbd.: No such file or directory") {
		time.Sleep(time.Millisecond)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accept := func() (next func() apphb.Message, hangUp func()) {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return func() apphb.Message {
			body, err := frame.Read(conn)
			if err != nil {
				t.Fatal(err)
			}
			m, err := apphb.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			if m.Kind != apphb.Beat {
				if _, err := conn.Write(frame.Append(nil, make([]byte, 4))); err != nil {
					t.Fatal(err)
				}
			}
			return m
		}, func() { conn.Close() }
	}
	for run := range 2 {
		next, hangUp := accept()
		if m := next(); m.Kind != apphb.Register || m.Name != "heartbeat" || m.Instance != "master_control_process" {
			t.Fatalf("%+v", m)
		}
		if i, w := next(), next(); i.Kind != apphb.SetInterval || i.Time != 5*time.Second || w.Kind != apphb.SetWarn || w.Time != 3*time.Second {
			t.Fatalf("%+v %+v", i, w)
		}
		for range 3 {
			a.beat()
			if m := next(); m.Kind != apphb.Beat {
				t.Fatalf("%+v", m)
			}
		}
		if run == 0 {
			hangUp()
			for !strings.Contains(book.String(), "ERROR: apphb_hb() failed.: Broken pipe") {
				a.beat()
				time.Sleep(time.Millisecond)
			}
			continue
		}
		cancel()
		if m := next(); m.Kind != apphb.Unregister {
			t.Fatalf("%+v", m)
		}
	}
	<-ended
	if n := strings.Count(book.String(), "Registered with apphbd as heartbeat/master_control_process."); n != 2 {
		t.Errorf("registered %d times:\n%s", n, book)
	}
}
