//go:build !oracle

package check

import "database/sql/driver"

func init() { checkers["oracle"] = sqlCheck(oracleLogin) }

// oracleLogin tells that the driver, which more than doubles the program, is left out. That a
// server can be connected to is found out all the same, for the reason to be of use.
func oracleLogin(s *session) (driver.Conn, error) {
	if err := s.connect(); err != nil {
		return nil, err
	}
	s.step = "login"
	return nil, wrong("this ldirectord is built without Oracle (go build -tags oracle); checktype=connect or an external check would do")
}
