//go:build oracle

package check

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestOracle has the driver meet servers that are none: each is down in time, for a reason. There is
// no Oracle to log in to here.
func TestOracle(t *testing.T) {
	// A listener's refusal of a connect packet: it knows no such SID.
	refusal := "(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=12505)(ERROR_STACK=(ERROR=(CODE=12505)(EMFI=4))))"
	refuse := append([]byte{0, byte(12 + len(refusal)), 0, 0, 4, 0, 0, 0, 34, 0, 0, byte(len(refusal))}, refusal...)
	tests := []struct {
		name   string
		serve  func(net.Conn)
		reason string
	}{
		{"hangs", func(c net.Conn) { io.Copy(io.Discard, c) }, "login: timed out"},
		{"closes", func(c net.Conn) { c.Read(make([]byte, 1024)) }, "login: "},
		{"knows no such database", func(c net.Conn) {
			c.Read(make([]byte, 4096))
			c.Write(refuse)
			io.Copy(io.Discard, c)
		}, "12505"},
		{"floods", sends("\xff\xff\x00\x00\x06\x00\x00\x00", bytes.Repeat([]byte("x"), 1<<16)), "login: "},
		{"no Oracle", func(c net.Conn) { io.WriteString(c, "220 hello\r\n"); io.Copy(io.Discard, c) }, "login: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := Spec{Service: "oracle", Addr: serve(t, "127.0.0.1", tt.serve), Login: "joe", Password: "s3cret", Database: "shop", Request: "/SELECT 1 FROM DUAL"}
			r := run(t, s, 500*time.Millisecond)
			if r.Up || !strings.Contains(r.Reason, tt.reason) || r.Stack != "" || strings.Contains(strings.Join(r.Trace, " "), "s3cret") {
				t.Errorf("%+v", r)
			}
		})
	}
	checker, _ := For("oracle")
	r := checker.Check(context.Background(), Spec{Service: "oracle", Addr: serve(t, "127.0.0.1", func(net.Conn) {})})
	if r.Up || !strings.Contains(r.Reason, "Must specify a login and request string") {
		t.Errorf("%+v", r)
	}
}
