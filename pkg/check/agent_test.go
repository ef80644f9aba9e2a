package check

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestAgent(t *testing.T) {
	tests := []struct{ name, says, agent, warning string }{
		{"line", "75% up\n", "75% up", ""},
		{"CR", "drain\rjunk", "drain", ""},
		{"no end", "down # disk full", "down # disk full", ""},
		{"unprintable", "up\x1b[2J\n", `up\x1b[2J`, ""},
		{"nothing", "", "", "agent: answer: connection closed"},
		{"empty line", "\n", "", ""},
		{"flood", strings.Repeat("up ", 1<<16), "", "agent: answer: answer is too long"},
		{"hangs", "-", "", "agent: answer: timed out"},
	}
	health := serve(t, "127.0.0.1", func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			agent := serve(t, "127.0.0.1", func(c net.Conn) {
				if tt.says == "-" {
					io.Copy(io.Discard, c)
				}
				io.WriteString(c, tt.says)
			})
			limit := 5 * time.Second
			if tt.says == "-" {
				limit = 300 * time.Millisecond
			}
			r := run(t, Spec{Service: "connect", Addr: health, AgentPort: agent.Port()}, limit)
			if !r.Up || r.Agent != tt.agent || r.Warning != tt.warning {
				t.Errorf("%+v", r)
			}
		})
	}
	r := run(t, Spec{Service: "connect", Addr: health, AgentPort: 1}, 5*time.Second)
	if !r.Up || r.Agent != "" || r.Warning != "agent: connect: connection refused" {
		t.Errorf("%+v", r)
	}
	// A server that is down is not asked.
	r = run(t, Spec{Service: "off", Addr: health, AgentPort: 1}, 5*time.Second)
	if r.Up || r.Warning != "" {
		t.Errorf("%+v", r)
	}
}
