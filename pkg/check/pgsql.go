package check

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/systole-ha/systole/pkg/config/systolecf"
)

func init() { checkers["pgsql"] = sqlCheck(pgsqlLogin) }

// pgsqlLogin uses TLS where the server offers it, and does without if that is what it wants, as
// the original's library does.
func pgsqlLogin(s *session) (driver.Conn, error) {
	db, err := s.pgsqlLogin(true)
	var refused *pq.Error
	if s.stream != s.conn && s.spec.Verify == systolecf.VerifyNothing && errors.As(err, &refused) && refused.Code == pqerror.InvalidAuthorizationSpecification {
		s.trace.received(refused.Message)
		return s.pgsqlLogin(false)
	}
	return db, err
}

func (s *session) pgsqlLogin(secure bool) (driver.Conn, error) {
	if err := s.connect(); err != nil {
		return nil, err
	}
	if secure {
		if err := s.pgsqlTLS(); err != nil {
			return nil, err
		}
	}
	s.step = "login"
	s.trace.sent("login " + s.spec.Login + ", database " + s.spec.Database)
	c, err := pq.NewConnectorConfig(pq.Config{
		Host: s.spec.Addr.Addr().String(), Port: s.spec.Addr.Port(), User: s.spec.Login, Password: s.spec.Password,
		Database: s.spec.Database, ApplicationName: "ldirectord", SSLMode: pq.SSLModeDisable, MinProtocolVersion: "3.0", MaxProtocolVersion: "3.0",
	})
	if err != nil {
		return nil, err
	}
	c.Dialer(dialed{s.framed(5, pgsqlSize, pgsqlAllow)})
	return c.Connect(context.Background())
}

// pgsqlTLS asks for TLS.
func (s *session) pgsqlTLS() error {
	const askTLS = 80877103
	s.step = "TLS"
	var request, answer [8]byte
	binary.BigEndian.PutUint32(request[:], uint32(len(request)))
	binary.BigEndian.PutUint32(request[4:], askTLS)
	if _, err := s.stream.Write(request[:]); err != nil {
		return err
	}
	// One byte, and no more: the next ones are TLS.
	if _, err := s.conn.Read(answer[:1]); err != nil {
		return err
	}
	switch answer[0] {
	case 'S':
		return s.secure(s.tlsName())
	case 'N':
		if s.spec.Verify != systolecf.VerifyNothing {
			return wrong("not offered, so there is nothing to verify")
		}
		return nil
	}
	return wrong("not a PostgreSQL server")
}

// pgsqlSize is the length of a message's contents.
func pgsqlSize(head []byte) int { return int(int32(binary.BigEndian.Uint32(head[1:]))) - 4 }

// pgsqlAllow refuses a description of more columns than there is room for in it.
func pgsqlAllow(head []byte, size int, begin [2]byte) bool {
	const column = 19 // bytes at least
	return head[0] != 'T' || int(binary.BigEndian.Uint16(begin[:]))*column <= size
}

// dialed is a connection that a driver is to use.
type dialed struct{ net.Conn }

// Dial is for pq.
func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

// DialTimeout is for pq.
func (d dialed) DialTimeout(string, string, time.Duration) (net.Conn, error) { return d.Conn, nil }
