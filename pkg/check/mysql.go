package check

import (
	"context"
	"database/sql/driver"
	"net"

	"github.com/go-sql-driver/mysql"
)

func init() { checkers["mysql"] = sqlCheck(mysqlLogin) }

func mysqlLogin(s *session) (driver.Conn, error) {
	if err := s.connect(); err != nil {
		return nil, err
	}
	s.step = "login"
	s.trace.sent("login " + s.spec.Login + ", database " + s.spec.Database)
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = s.spec.Login, s.spec.Password, s.spec.Database
	c.Net, c.Addr = "tcp", s.spec.Addr.String()
	c.Logger = &mysql.NopLogger{}
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		return s.framed(4, mysqlSize, mysqlAllow), nil
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return connector.Connect(context.Background())
}

// mysqlSize is the length of a packet.
func mysqlSize(head []byte) int { return int(head[0]) | int(head[1])<<8 | int(head[2])<<16 }

// mysqlAllow refuses a result of more than 250 columns, for which the driver would reserve memory
// before they have come. Their number is then a packet of its own, of 3, 4 or 9 bytes, of which
// the first says which; no other packet looks like that.
func mysqlAllow(_ []byte, size int, begin [2]byte) bool {
	return !(size == 3 && begin[0] == 0xfc || size == 4 && begin[0] == 0xfd || size == 9 && begin[0] == 0xfe)
}
