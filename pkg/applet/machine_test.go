package applet

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/halog"
)

// The daemon has an agent for each name that check takes for built in, and that systole.cf may name.
func TestServices(t *testing.T) {
	env := Env{Getenv: func(name string) string { return map[string]string{ipvsEnv: "model"}[name] }}
	s := services(env, &daemon.Files{HA: &hacf.Config{}})(halog.New(halog.Config{}))
	got, want := slices.Sorted(maps.Keys(s.Agents)), slices.Sorted(maps.Keys(builtin(nil, nil, nil, nil)))
	if !slices.Equal(got, want) {
		t.Errorf("agents %v, want %v", got, want)
	}
	if !slices.Equal(systolecf.Agents, want) {
		t.Errorf("systole.cf may name %v, want %v", systolecf.Agents, want)
	}
}

// A port is in use by this test when the test has it, on IPv4 and on IPv6.
func TestUDPPortUser(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		conn, err := net.ListenPacket(network, "")
		if err != nil {
			t.Logf("%s: %v", network, err) // no IPv6 here
			continue
		}
		port := conn.LocalAddr().(*net.UDPAddr).Port
		want := fmt.Sprintf("%s (pid %d)", filepath.Base(os.Args[0]), os.Getpid())
		if got := udpPortUser(port); got != want {
			t.Errorf("%s: port %d is in use by %q, want %q", network, port, got, want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if got := udpPortUser(port); got != "" {
			t.Errorf("%s: port %d is in use by %q after the end", network, port, got)
		}
	}
}
