package halog

import (
	"errors"
	"net"
	"os"
	"strconv"
	"time"
)

const syslogLimit = 100 * time.Millisecond

// syslogd is the local syslog daemon, spoken to as syslog(3) does.
type syslogd struct {
	address string
	conn    net.Conn
	stuck   time.Time // until then nothing is sent
}

// syslogLine puts priority and date before the text of f.
func syslogLine(facility Facility, f Formatter) Formatter {
	return func(dst []byte, r Record) []byte {
		dst = append(dst, '<')
		dst = strconv.AppendInt(dst, int64(facility)|int64(r.Prio), 10)
		dst = append(dst, '>')
		dst = r.Time.AppendFormat(dst, syslogDate)
		return f(append(dst, ' '), r)
	}
}

// Write is io.Writer for one message. It never fails and never waits long: with no daemon there,
// or one that does not read, the message is lost.
func (s *syslogd) Write(p []byte) (int, error) {
	if time.Now().Before(s.stuck) {
		return len(p), nil
	}
	for range 2 { // the second time after the daemon was restarted
		if s.conn == nil {
			conn, err := net.DialTimeout("unixgram", s.address, syslogLimit)
			if err != nil {
				conn, err = net.DialTimeout("unix", s.address, syslogLimit)
			}
			if err != nil {
				break
			}
			s.conn = conn
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(syslogLimit))
		_, err := s.conn.Write(p)
		if err == nil {
			break
		}
		s.close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.stuck = time.Now().Add(stuckPause)
			break
		}
	}
	return len(p), nil
}

func (s *syslogd) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}
