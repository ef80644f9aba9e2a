package check

import (
	"bufio"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/lab"
)

// TestOldServers asks servers whose certificates or signatures Go refuses unless it is told
// otherwise, and OpenSSL, which the original uses, does not.
func TestOldServers(t *testing.T) {
	lab.NeedPrograms(t, "openssl")
	tests := []struct {
		name   string
		cert   []string // arguments of openssl req
		server []string // and of s_server
	}{
		{"negative serial number", []string{"-newkey", "rsa:2048", "-set_serial", "-5"}, nil},
		{"signature with SHA-1", []string{"-newkey", "rsa:2048"}, []string{"-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", "ECDHE:@SECLEVEL=0"}},
		{"key of 8200 bits", []string{"-newkey", "rsa:8200", "-pkeyopt", "rsa_keygen_primes:5"}, nil}, // of five primes: those are found soon
		{"key of 512 bits", []string{"-newkey", "rsa:512"}, []string{"-tls1_2", "-cipher", "ECDHE:@SECLEVEL=0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
			args := append([]string{"req", "-x509", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", cert}, tt.cert...)
			if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			addr := sServer(t, append([]string{"-cert", cert, "-key", key, "-www"}, tt.server...))
			s := Spec{Service: "https", Addr: addr, Real: addr, Method: "GET", URL: "https://" + addr.String() + "/"}
			if r := run(t, s, 10*time.Second); !r.Up {
				t.Errorf("%+v", r)
			}
			s.Verify = systolecf.VerifyChain
			if r := run(t, s, 10*time.Second); r.Up || !strings.Contains(r.Reason, "certificate") {
				t.Errorf("verified: %+v", r)
			}
		})
	}
}

// sServer starts openssl s_server on a port of its choice.
func sServer(t *testing.T, args []string) netip.AddrPort {
	t.Helper()
	c := exec.CommandContext(t.Context(), "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if at, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			addr, err := netip.ParseAddrPort(at)
			if err != nil {
				t.Fatal(err)
			}
			return addr
		}
		said.WriteString(lines.Text() + "\n")
	}
	t.Fatalf("openssl s_server says no port:\n%s", said.String())
	return netip.AddrPort{}
}
