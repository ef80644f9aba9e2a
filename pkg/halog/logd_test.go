package halog

import (
	"encoding/hex"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
)

// The frame is one that the original was seen to send.
func TestLogdFrame(t *testing.T) {
	want := strings.NewReplacer("\n", "", " ", "").Replace(`
79 00 00 00 cd ab 00 00 02 00 00 00 08 00 00 00 06 00 00 00 19 00 00 00 01 00 00 00 fe 05 00 00
68 65 61 72 74 62 65 61 74 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
39 f6 02 6b 00 00 00 00 45 6e 61 62 6c 69 6e 67 20 6c 6f 67 67 69 6e 67 20 64 61 65 6d 6f 6e 20 00`)
	r := Record{Time: time.Unix(0x6b02f639, 0), Prio: Info, Entity: "heartbeat", PID: 0x5fe, Text: "Enabling logging daemon "}
	if got := hex.EncodeToString(frame.Append(nil, logdBody(r, logUser))); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// Lines go to ha_logd while it takes them, and else to the files; it is tried again when its time has come.
func TestLogd(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "ha-log"), filepath.Join(dir, "log_daemon")
	now := noon
	l := New(Config{Node: "ha-master", LogFile: file, Logd: &Logd{Socket: socket, Retry: time.Minute}, Now: func() time.Time { return now }})
	defer l.Close()
	g := l.Logger("heartbeat", 7)
	g.Log(Info, "one")
	g.Log(Info, "two")
	listen := func() net.Listener {
		s, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	daemon := listen()
	g.Log(Info, "three") // too early
	now = now.Add(time.Minute)
	g.Log(Info, "four")
	conn, err := daemon.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.Script("IPaddr(default)[9]", "INFO: five")
	for _, want := range []string{"\x07\x00\x00\x00heartbeat\x00|four\x00", "IPaddr(default)[9]\x00|INFO: five\x00"} {
		body, err := frame.Read(conn)
		if err != nil {
			t.Fatal(err)
		}
		head, text, _ := strings.Cut(want, "|")
		if !strings.Contains(string(body[:96]), head) || string(body[96:]) != text {
			t.Errorf("%q, want %q", body, want)
		}
	}
	conn.Close()
	daemon.Close()
	g.Log(Info, "six")
	daemon = listen()
	defer daemon.Close()
	now = now.Add(time.Minute)
	g.Log(Info, "seven")
	if conn, err = daemon.Accept(); err != nil {
		t.Fatal(err)
	}
	body, err := frame.Read(conn)
	if err != nil && err != io.EOF || string(body[96:]) != "seven\x00" {
		t.Errorf("%q %v", body, err)
	}
	conn.Close()
	var texts []string
	for line := range strings.Lines(read(t, file)) {
		_, text, _ := strings.Cut(line, "]: ")
		texts = append(texts, strings.TrimSpace(text))
	}
	want := "WARN: " + logdDown + "|info: one|info: two|info: three|WARN: " + logdDown + "|info: six"
	if got := strings.Join(texts, "|"); got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
}
