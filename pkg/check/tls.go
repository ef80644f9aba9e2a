package check

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
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

// plainTLS verifies nothing: an address is being tested, not an identity.
func plainTLS(name string) *tls.Config {
	return &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: true,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       weakSuites,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
}

// tlsConfigs keeps the configurations of the names in use.
var tlsConfigs = struct {
	mu    sync.Mutex
	named map[string]*tls.Config
}{named: map[string]*tls.Config{}}

// maxTLSConfigs bounds tlsConfigs; reloads with ever new names start it anew.
const maxTLSConfigs = 1024

func tlsConfig(name string) *tls.Config {
	tlsConfigs.mu.Lock()
	defer tlsConfigs.mu.Unlock()
	c := tlsConfigs.named[name]
	if c == nil {
		if len(tlsConfigs.named) >= maxTLSConfigs {
			clear(tlsConfigs.named)
		}
		c = plainTLS(name)
		tlsConfigs.named[name] = c
	}
	return c
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
