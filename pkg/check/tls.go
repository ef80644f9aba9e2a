package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/config/systolecf"
)

// weakSuites is every cipher suite there is: a check asks whether the service answers, not
// whether its cryptography is good.
var weakSuites = func() (ids []uint16) {
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, s := range list {
			ids = append(ids, s.ID)
		}
	}
	return ids
}()

// tlsKey is what a TLS configuration depends on.
type tlsKey struct {
	name   string // for SNI
	verify systolecf.Verify
	as     string         // whom the certificate is to be for, if verify says so
	roots  *x509.CertPool // nil is the system's
}

// tlsConfigs keeps the configurations in use.
var tlsConfigs = struct {
	mu   sync.Mutex
	made map[tlsKey]*tls.Config
}{made: map[tlsKey]*tls.Config{}}

// maxTLSConfigs bounds tlsConfigs; reloads with ever new names start it anew.
const maxTLSConfigs = 4096

func tlsConfig(key tlsKey) *tls.Config {
	tlsConfigs.mu.Lock()
	defer tlsConfigs.mu.Unlock()
	c := tlsConfigs.made[key]
	if c == nil {
		if len(tlsConfigs.made) >= maxTLSConfigs {
			clear(tlsConfigs.made)
		}
		c = newTLSConfig(key)
		tlsConfigs.made[key] = c
	}
	return c
}

// newTLSConfig verifies nothing unless it is asked to: an address is being tested, not an identity.
// What Go refuses even then and OpenSSL does not, go.mod's godebug settings allow.
func newTLSConfig(key tlsKey) *tls.Config {
	c := &tls.Config{
		ServerName:         key.name,
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       weakSuites,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
	if key.verify != systolecf.VerifyNothing {
		c.VerifyConnection = key.check
	}
	return c
}

// check verifies the certificates that a server has shown.
func (k tlsKey) check(state tls.ConnectionState) error {
	o := x509.VerifyOptions{Roots: k.roots, Intermediates: x509.NewCertPool()}
	if k.verify == systolecf.VerifyName {
		o.DNSName = k.as
	}
	for _, c := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(o)
	return err
}

// authorities is what was read of the files of authorities.
var authorities = struct {
	mu   sync.Mutex
	read map[string]authorityFile
}{read: map[string]authorityFile{}}

type authorityFile struct {
	pool *x509.CertPool
	at   time.Time // of the file
	size int64
}

// maxAuthorities bounds authorities.
const maxAuthorities = 256

// Authorities reads a PEM file of certificates, for a Spec's CAFile, and says what is wrong with it.
// It is read again when it has changed.
func Authorities(path string) error {
	_, err := readPool(path)
	return err
}

// pool is the authorities of a file; nil, the system's, if path is empty. As long as a file is away, or being
// written, those that it had before count: the servers cannot help it.
func pool(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	p, err := readPool(path)
	if err != nil {
		authorities.mu.Lock()
		defer authorities.mu.Unlock()
		if f := authorities.read[path]; f.pool != nil {
			return f.pool, nil
		}
	}
	return p, err
}

func readPool(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	authorities.mu.Lock()
	defer authorities.mu.Unlock()
	f := authorities.read[path]
	if f.pool != nil && f.at.Equal(info.ModTime()) && f.size == info.Size() {
		return f.pool, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f = authorityFile{pool: x509.NewCertPool(), at: info.ModTime(), size: info.Size()}
	if !f.pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in " + path)
	}
	if len(authorities.read) >= maxAuthorities {
		clear(authorities.read)
	}
	authorities.read[path] = f
	return f.pool, nil
}

// secure puts TLS on the connection. name is for SNI, if it is one, and verified if the Spec says
// so; without a name, or if it is an address, the address is verified.
func (s *session) secure(name string) error {
	s.step = "TLS"
	roots, err := pool(s.spec.CAFile)
	if err != nil {
		return wrong(err.Error())
	}
	key := tlsKey{name: serverName(name), verify: s.spec.Verify, roots: roots}
	if key.verify == systolecf.VerifyName {
		if key.as = key.name; key.as == "" {
			key.as = s.conn.remote.Addr().String()
		}
	}
	s.conn.noDelay()
	c := tls.Client(s.conn, tlsConfig(key))
	if err := c.Handshake(); err != nil {
		return err
	}
	state := c.ConnectionState()
	s.trace.note('*', tls.VersionName(state.Version)+" "+tls.CipherSuiteName(state.CipherSuite))
	s.lookAtAge(state.PeerCertificates)
	s.setStream(c)
	return nil
}

// lookAtAge warns of a certificate that ends soon.
func (s *session) lookAtAge(shown []*x509.Certificate) {
	if s.spec.CertWarn <= 0 {
		return
	}
	for _, c := range shown {
		left := time.Until(c.NotAfter)
		if left >= s.spec.CertWarn {
			continue
		}
		const day = 24 * time.Hour
		when := fmt.Sprintf("ends in %d days", left/day)
		if left < 0 {
			when = fmt.Sprintf("ended %d days ago", -left/day)
		}
		s.warning = printable(clip(fmt.Sprintf("certificate of %s %s, on %s", c.Subject.CommonName, when, c.NotAfter.UTC().Format(time.DateOnly))))
		return
	}
}

// serverName is the name that SNI tells the server: host without its port, if it is a name.
func serverName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSpace(host)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ""
	}
	return host
}

// overTLS is a script whose connection is made secure before anything is said.
func overTLS(f func(*session) error) func(*session) error {
	return func(s *session) error {
		s.tls = true
		return f(s)
	}
}
