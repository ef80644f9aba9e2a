//go:build oracle

package check

import (
	"context"
	"database/sql/driver"
	"net"

	goora "github.com/sijms/go-ora/v2"
)

func init() { checkers["oracle"] = sqlCheck(oracleLogin) }

// oracleLogin logs in; database is the SID.
func oracleLogin(s *session) (driver.Conn, error) {
	if err := s.connect(); err != nil {
		return nil, err
	}
	s.step = "login"
	s.trace.sent("login " + s.spec.Login + ", SID " + s.spec.Database)
	url := goora.BuildUrl(s.spec.Addr.Addr().String(), int(s.spec.Addr.Port()), "", s.spec.Login, s.spec.Password, map[string]string{"SID": s.spec.Database})
	c, ok := goora.NewConnector(url).(*goora.OracleConnector)
	if !ok {
		return nil, wrong("the driver has another connector")
	}
	c.Dialer(dialedContext{s.stream})
	// The connection ends with the check. With a context the driver closes it itself, some times before
	// the deadline is seen.
	return c.Connect(context.WithoutCancel(s.ctx))
}

// dialedContext is a connection that a driver is to use.
type dialedContext struct{ net.Conn }

// DialContext is for the driver.
func (d dialedContext) DialContext(context.Context, string, string) (net.Conn, error) {
	return d.Conn, nil
}
