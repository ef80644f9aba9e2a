package check

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Databases are asked with the drivers of others, through database/sql's driver interface and
// without its pool: one connection, one query, the end.

// sqlCheck logs in and runs the query in request. It is up if that returns a row.
func sqlCheck(login func(*session) (driver.Conn, error)) script {
	return func(s *session) (err error) {
		query := strings.TrimPrefix(s.spec.Request, "/")
		if s.spec.Login == "" || query == "" {
			// The original's words, which it logs each time.
			return wrong("Error: Must specify a login and request string for MySQL, Oracle and PostgreSQL checks. Not adding " + bareHost(s.spec.Addr.Addr()) + ".")
		}
		defer func() {
			// Drivers trust their servers and may fall over an answer.
			if p := recover(); p != nil {
				err = wrong(fmt.Sprintf("answer makes no sense (%v)", p))
			}
			// They also hide why a connection ended.
			if err != nil && s.frames != nil && s.frames.lost != nil && !errors.Is(s.frames.lost, io.EOF) {
				err = s.frames.lost
			}
		}()
		db, err := login(s)
		if err != nil {
			return err
		}
		s.step = "query"
		s.trace.sent(query)
		err = s.firstRow(db, query)
		s.patience(byeGrace)
		_ = db.Close() // tells the server, for its log's sake
		return err
	}
}

// firstRow runs a query for its first row.
func (s *session) firstRow(db driver.Conn, query string) error {
	asker, ok := db.(driver.QueryerContext)
	if !ok {
		return wrong("the driver cannot query")
	}
	// The connection ends with the check's deadline; a context would make drivers open others.
	rows, err := asker.QueryContext(context.Background(), query, nil)
	if err != nil {
		return err
	}
	row := make([]driver.Value, len(rows.Columns()))
	err = rows.Next(row)
	if errors.Is(err, io.EOF) {
		err = wrong("no rows")
	}
	if err == nil {
		s.trace.received("a row")
		s.patience(byeGrace)
		_ = rows.Close() // reads the rest, if it is not too much
	}
	return err
}

// framed is the connection as a driver is to see it.
func (s *session) framed(head int, size func([]byte) int, allow func([]byte, int, [2]byte) bool) *frames {
	s.frames = &frames{Conn: s.stream, head: head, size: size, allow: allow}
	return s.frames
}
