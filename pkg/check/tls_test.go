package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/config/systolecf"
)

// issue makes a certificate. Without an issuer it is an authority's.
func issue(t *testing.T, name string, from, to time.Time, by *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := c, any(key)
	if by == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	month := 30 * 24 * time.Hour
	authority := issue(t, "authority", now.Add(-month), now.Add(12*month), nil)
	good := issue(t, "www.x.y", now.Add(-month), now.Add(month), &authority)
	old := issue(t, "www.x.y", now.Add(-2*month), now.Add(-month+time.Hour), &authority)
	self := issue(t, "www.x.y", now.Add(-month), now.Add(month), nil)
	cafile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cafile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	const days = 24 * time.Hour
	tests := []struct {
		name            string
		shown           tls.Certificate
		edit            func(*Spec)
		up              bool
		reason, warning string
	}{
		{"nothing", self, func(*Spec) {}, true, "", ""},
		{"nothing, ended", old, func(*Spec) {}, true, "", ""},
		{"chain", good, func(s *Spec) { s.Verify, s.CAFile = systolecf.VerifyChain, cafile }, true, "", ""},
		{"chain, of the system", good, func(s *Spec) { s.Verify = systolecf.VerifyChain }, false, "unknown authority", ""},
		{"chain, self-signed", self, func(s *Spec) { s.Verify, s.CAFile = systolecf.VerifyChain, cafile }, false, "unknown authority", ""},
		{"chain, ended", old, func(s *Spec) { s.Verify, s.CAFile = systolecf.VerifyChain, cafile }, false, "expired", ""},
		{"chain, another name", good, func(s *Spec) { s.Verify, s.CAFile, s.ServerName = systolecf.VerifyChain, cafile, "other.x.y" }, true, "", ""},
		{"name", good, func(s *Spec) { s.Verify, s.CAFile, s.ServerName = systolecf.VerifyName, cafile, "www.x.y" }, true, "", ""},
		{"name of the virtual host", good, func(s *Spec) {
			s.Verify, s.CAFile, s.VirtualHost, s.HasVirtualHost = systolecf.VerifyName, cafile, "www.x.y:443", true
		}, true, "", ""},
		{"name, another", good, func(s *Spec) { s.Verify, s.CAFile, s.ServerName = systolecf.VerifyName, cafile, "other.x.y" }, false, "not other.x.y", ""},
		{"address", good, func(s *Spec) { s.Verify, s.CAFile = systolecf.VerifyName, cafile }, true, "", ""},
		{"no authorities", good, func(s *Spec) { s.Verify, s.CAFile = systolecf.VerifyName, cafile+"x" }, false, "no such file", ""},
		{"ends later", good, func(s *Spec) { s.CertWarn = 14 * days }, true, "", ""},
		{"ends soon", good, func(s *Spec) { s.CertWarn = 60 * days }, true, "", "certificate of www.x.y ends in 29 days, on "},
		{"has ended", old, func(s *Spec) { s.CertWarn = 60 * days }, true, "", "certificate of www.x.y ended 29 days ago, on "},
	}
	for _, service := range []string{"https", "imaps"} {
		for _, tt := range tests {
			t.Run(service+"/"+tt.name, func(t *testing.T) {
				asked := make(chan string, 1)
				config := &tls.Config{
					Certificates: []tls.Certificate{tt.shown},
					GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
						asked <- h.ServerName
						return nil, nil
					},
				}
				addr := serve(t, "127.0.0.1", func(c net.Conn) {
					secure := tls.Server(c, config)
					if secure.Handshake() == nil {
						if service == "https" {
							readRequest(secure)
							io.WriteString(secure, page("200 OK", "x"))
						} else {
							io.WriteString(secure, "* OK\r\n")
						}
					}
				})
				s := Spec{Service: service, Addr: addr, Real: addr, Method: "GET", URL: "https://" + addr.String() + "/"}
				tt.edit(&s)
				r := run(t, s, 5*time.Second)
				if r.Up != tt.up || !strings.Contains(r.Reason, tt.reason) || !strings.HasPrefix(r.Warning, tt.warning) || tt.warning == "" && r.Warning != "" {
					t.Errorf("%+v", r)
				}
				want := s.ServerName
				if want == "" && s.HasVirtualHost {
					want = "www.x.y"
				}
				select {
				case got := <-asked:
					if got != want {
						t.Errorf("asked for %q, not %q", got, want)
					}
				default:
					if s.CAFile != cafile+"x" {
						t.Error("not asked")
					}
				}
			})
		}
	}
	if err := Authorities("/dev/null"); err == nil {
		t.Error("/dev/null has authorities")
	}
}

// TestAuthoritiesReplaced: a file that is being written anew takes no server out.
func TestAuthoritiesReplaced(t *testing.T) {
	now := time.Now()
	path := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := func(name string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issue(t, name, now, now.Add(time.Hour), nil).Certificate[0]})
	}
	write(text("one"))
	before, err := pool(path)
	if err != nil {
		t.Fatal(err)
	}
	write(nil)
	if got, err := pool(path); got != before || err != nil {
		t.Errorf("empty: %v", err)
	}
	if err := Authorities(path); err == nil {
		t.Error("an empty file has authorities")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := pool(path); got != before || err != nil {
		t.Errorf("gone: %v", err)
	}
	write(text("the other"))
	if got, err := pool(path); got == before || err != nil {
		t.Errorf("replaced: %v, the same: %v", err, got == before)
	}
}
