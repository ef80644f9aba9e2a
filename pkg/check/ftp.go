package check

import (
	"errors"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

func init() { checkers["ftp"] = script(ftp) }

// ftp logs in and fetches the file that request names, in passive mode. It is up if receive is
// found in the file. Without receive and request the login is all.
func ftp(s *session) error {
	receive, err := patterns.get(s.spec.Receive)
	if err != nil {
		return wrong(err.Error())
	}
	if err := s.connect(); err != nil {
		return err
	}
	if err := s.greeted("2"); err != nil {
		return err
	}
	if err := s.ftpLogin(); err != nil {
		return err
	}
	if receive == nil && (s.spec.Request == "/" || s.spec.Request == "") {
		s.bye("QUIT")
		return nil
	}
	for _, step := range []string{"CWD /", "TYPE I"} {
		if err := s.ask(step, "2"); err != nil {
			return err
		}
	}
	data, err := s.ftpPassive()
	if err != nil {
		return err
	}
	defer data.Close()
	if err := s.ask("RETR "+oneLine(s.spec.Request), "1"); err != nil {
		return err
	}
	s.step = "file"
	if receive == nil {
		if _, err := io.CopyN(io.Discard, data, maxDrained); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	} else if _, err := s.search(receive, data); err != nil {
		return err
	}
	_ = data.Close() // what more there is of the file is not for us
	s.bye("QUIT")
	return nil
}

func (s *session) ftpLogin() error {
	if err := s.say("USER " + oneLine(s.spec.Login)); err != nil {
		return err
	}
	line, err := s.numbered()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "3") {
		return expected(line, "2")
	}
	if err := s.sayHiding("PASS "+oneLine(s.spec.Password), "PASS "+hidden); err != nil {
		return err
	}
	return s.expect("2")
}

// Where a server says that it waits for a data connection.
var (
	epsvPort = regexp.MustCompile(`\(([!-~])([!-~])([!-~])(\d{1,5})([!-~])\)`)
	pasvPort = regexp.MustCompile(`\d+,\d+,\d+,\d+,(\d{1,3}),(\d{1,3})`)
)

// ftpPassive opens a data connection: to the real server's address, whatever it says about
// itself, as a server behind masq may not know it.
func (s *session) ftpPassive() (*conn, error) {
	if err := s.say("EPSV"); err != nil {
		return nil, err
	}
	line, err := s.numbered()
	if err != nil {
		return nil, err
	}
	port := 0
	if m := epsvPort.FindStringSubmatch(line); m != nil && strings.HasPrefix(line, "229") {
		port, _ = strconv.Atoi(m[4])
	} else {
		if err := s.say("PASV"); err != nil {
			return nil, err
		}
		if line, err = s.numbered(); err != nil {
			return nil, err
		}
		if err := expected(line, "227"); err != nil {
			return nil, err
		}
		if m := pasvPort.FindStringSubmatch(line); m != nil {
			high, _ := strconv.Atoi(m[1])
			low, _ := strconv.Atoi(m[2])
			port = high<<8 + low
		}
	}
	if port < 1 || port > 65535 {
		return nil, wrong("no port in " + strconv.Quote(clip(line)))
	}
	to := netip.AddrPortFrom(s.spec.Addr.Addr(), uint16(port))
	s.step = "data connection"
	s.trace.happened("data connection %s", to)
	return dialTCP(s.ctx, to)
}
