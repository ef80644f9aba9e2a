package check

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// talk plays a server's part: "S" lines are sent, "C" lines are what the check must say. With
// "close" it hangs up, with "hang" it says no more.
func talk(t *testing.T, course string) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		for line := range strings.SplitSeq(strings.TrimSpace(course), "\n") {
			who, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch who {
			case "S":
				fmt.Fprintf(c, "%s\r\n", text)
			case "C":
				heard, err := in.ReadString('\n')
				if err != nil {
					t.Errorf("waiting for %q: %v", text, err)
					return
				}
				if strings.TrimRight(heard, "\r\n") != text || !strings.HasSuffix(heard, "\r\n") {
					t.Errorf("said %q, not %q", heard, text)
				}
			case "sip": // a request's head, which has another test
				for line := "x"; line != "\r\n"; {
					if line, _ = in.ReadString('\n'); line == "" {
						t.Error("request without an end")
						return
					}
				}
			case "hang":
				io.Copy(io.Discard, in)
				return
			case "close":
				return
			default:
				t.Errorf("bad line %q", line)
			}
		}
		io.Copy(io.Discard, in)
	}
}

func TestLineProtocols(t *testing.T) {
	const login = "joe@x.y"
	tests := []struct {
		name, service, login, course string
		up                           bool
		reason                       string
	}{
		{"smtp", "smtp", "", `
			S 220-one
			S 220 two
			C EHLO localhost.localdomain
			S 250-x
			S 250 y
			C QUIT
			S 221 bye`, true, ""},
		{"submission, old server", "submission", "", `
			S 220 x
			C EHLO localhost.localdomain
			S 502 what
			C HELO localhost.localdomain
			S 250 y
			C QUIT
			close`, true, ""},
		{"smtp full", "smtp", "", "S 421 too many\nclose", false, "greeting: 421 too many"},
		{"smtp refuses", "smtp", "", `
			S 220 x
			C EHLO localhost.localdomain
			S 550 no
			C HELO localhost.localdomain
			S 550 still no`, false, "HELO: 550 still no"},
		{"smtp closes", "smtp", "", "close", false, "greeting: connection closed"},
		{"smtp half a reply", "smtp", "", "S 220-x\nclose", false, "greeting: connection closed"},
		{"smtp hangs", "smtp", "", "S 220 x\nhang", false, "EHLO: timed out"},
		{"pop", "pop", "", "S +OK\nC QUIT\nS +OK", true, ""},
		{"pop, no", "pop", "", "S -ERR go away", false, "greeting: -ERR go away"},
		{"pop, login", "pop", login, `
			S +OK x
			C USER joe@x.y
			S +OK
			C PASS p"\ w
			S +OK in
			C QUIT
			S +OK`, true, ""},
		{"pop, wrong login", "pop", login, `
			S +OK x
			C USER joe@x.y
			S +OK
			C PASS p"\ w
			S -ERR your p"\ w is wrong`, false, "PASS: -ERR your *** is wrong"},
		{"pop, no such user", "pop", login, "S +OK\nC USER joe@x.y\nS -ERR who", false, "USER: -ERR who"},
		{"pop, apop", "pop", login, `
			S +OK hi <1.2@h>
			C USER joe@x.y
			S -ERR not in the clear
			C APOP joe@x.y bc065b4e1f129cb87ce3e362a58d66a8
			S +OK
			C QUIT
			close`, true, ""},
		{"imap", "imap", "", "S * OK hi\nC 1 LOGOUT\nS * BYE\nS 1 OK", true, ""},
		{"imap, no", "imap", "", "S * BYE full", false, "greeting: * BYE full"},
		{"imap, login", "imap", login, `
			S * OK hi
			C 0 LOGIN joe@x.y "p\"\\ w"
			S * CAPABILITY x
			S 0 OK in
			C 1 LOGOUT
			close`, true, ""},
		{"imap, wrong login", "imap", login, `
			S * OK hi
			C 0 LOGIN joe@x.y "p\"\\ w"
			S 0 NO wrong`, false, "LOGIN: 0 NO wrong"},
		{"imap, thrown out", "imap", login, `
			S * OK hi
			C 0 LOGIN joe@x.y "p\"\\ w"
			S * BYE bye`, false, "LOGIN: * BYE bye"},
		{"imap, known", "imap", login, "S * PREAUTH hi\nC 1 LOGOUT\nclose", true, ""},
		{"nntp", "nntp", "", "S 201 no posting\nC QUIT\nS 205 .", true, ""},
		{"nntp, full", "nntp", "", "S 400 full", false, "greeting: 400 full"},
		{"ftp", "ftp", login, `
			S 220-x
			S  220 not yet
			S 220 y
			C USER joe@x.y
			S 331 ?
			C PASS p"\ w
			S 230 in
			C QUIT
			S 221 .`, true, ""},
		{"ftp, no password", "ftp", login, "S 220 x\nC USER joe@x.y\nS 230 in\nC QUIT\nclose", true, ""},
		{"ftp, wrong login", "ftp", login, "S 220 x\nC USER joe@x.y\nS 331 ?\nC PASS p\"\\ w\nS 530 no", false, "PASS: 530 no"},
		{"sip", "sip", login, sipCourse + "S SIP/2.0 100 Trying\nS\nS SIP/2.0 200 OK\nS Via: x\nS", true, ""},
		{"sip, no", "sip", login, sipCourse + "S SIP/2.0 503 Full\nS", false, "OPTIONS: SIP/2.0 503 Full"},
		{"sip, no end", "sip", login, sipCourse + "S SIP/2.0 200 OK\nS Via: x\nclose", false, "OPTIONS: connection closed"},
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, tt := range tests {
			t.Run(host+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				addr := serve(t, host, talk(t, tt.course))
				s := Spec{Service: tt.service, Addr: addr, Login: tt.login, Request: "/"}
				if tt.login != "" {
					s.Password = `p"\ w`
				}
				limit := 5 * time.Second
				if strings.Contains(tt.course, "hang") {
					limit = 200 * time.Millisecond
				}
				r := run(t, s, limit)
				if r.Up != tt.up || r.Reason != tt.reason {
					t.Errorf("%+v", r)
				}
				trace := strings.Join(r.Trace, "\n")
				if !tt.up && !strings.Contains(trace, "* "+tt.reason) {
					t.Errorf("transcript does not end with the reason:\n%s", trace)
				}
				if strings.Contains(fmt.Sprint(r), s.Password) && s.Password != "" || strings.Contains(trace, `p\"\\ w`) {
					t.Errorf("the password is in %+v", r)
				}
			})
		}
	}
}

const sipCourse = "sip\n"

func TestFTPFile(t *testing.T) {
	const file = "some text\nTest HA Page\n"
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, passive := range []string{"EPSV", "PASV"} {
			data := serve(t, host, func(c net.Conn) { io.WriteString(c, file) })
			course := "S 220 x\nC USER anonymous\nS 331 ?\nC PASS x\nS 230 in\nC CWD /\nS 250 ok\nC TYPE I\nS 200 ok\nC EPSV\n"
			if passive == "EPSV" {
				course += fmt.Sprintf("S 229 here (|||%d|)\n", data.Port())
			} else {
				course += fmt.Sprintf("S 500 what\nC PASV\nS 227 here (192,0,2,1,%d,%d)\n", data.Port()>>8, data.Port()&255)
			}
			for receive, up := range map[string]bool{"^some.text": true, "": true, "Test Page": false} {
				end := ""
				if up {
					end = "\nC QUIT\nclose"
				}
				addr := serve(t, host, talk(t, course+"C RETR /pub/x\nS 150 comes"+end))
				s := Spec{Service: "ftp", Addr: addr, Login: "anonymous", Password: "x", Request: "/pub/x", Receive: receive}
				if r := run(t, s, 5*time.Second); r.Up != up {
					t.Errorf("%s %s, receive %q: %+v", host, passive, receive, r)
				}
			}
			addr := serve(t, host, talk(t, course+"C RETR /pub/x\nS 550 no such file"))
			s := Spec{Service: "ftp", Addr: addr, Login: "anonymous", Password: "x", Request: "/pub/x", Receive: ".*"}
			if r := run(t, s, 5*time.Second); r.Up || r.Reason != "RETR: 550 no such file" {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestSimpleTCP(t *testing.T) {
	tests := []struct {
		name, request, receive, want, answer string
		up                                   bool
	}{
		{"line", `/PING\nAGAIN\n`, "^PONG$", "PING\nAGAIN\n", "x\nPONG\ny\n", true},
		{"not across lines", "/x", "a.*b", "x", "a\nb\n", false},
		{"last line without end", "/x", "^b$", "x", "a\nb", true},
		{"nothing asked", "/", "hello", "", "hello\n", true},
		{"anything", "/x", "", "x", "\n", true},
		{"nothing", "/x", "", "x", "", false},
		{"longer than a buffer", "/x", "end$", "x", strings.Repeat("x", 3*readSize) + "end\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			addr := serve(t, "127.0.0.1", func(c net.Conn) {
				request, _ := io.ReadAll(c)
				got <- string(request)
				io.WriteString(c, tt.answer)
			})
			s := Spec{Service: "simpletcp", Addr: addr, Proto: "tcp", Request: tt.request, Receive: tt.receive}
			if r := run(t, s, 5*time.Second); r.Up != tt.up {
				t.Errorf("%+v", r)
			}
			if request := <-got; request != tt.want {
				t.Errorf("asked %q", request)
			}
		})
	}
}

// packets answers UDP packets until the test ends; nil answers are not sent.
func packets(t *testing.T, host string, answer func(request []byte) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := answer(buf[:n]); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

func TestPackets(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		var asked atomic.Int32
		addr := packets(t, host, func(request []byte) []byte {
			if asked.Add(1) == 1 {
				return nil // lost
			}
			if !strings.HasPrefix(string(request), "OPTIONS sip:joe SIP/2.0\r\nVia: SIP/2.0/UDP ") || !strings.HasSuffix(string(request), "\r\nContent-Length: 0\r\n\r\n") {
				t.Errorf("asked %q", request)
			}
			return []byte("SIP/2.0 200 OK\r\nVia: x\r\n\r\n")
		})
		if r := run(t, Spec{Service: "sip", Addr: addr, Proto: "udp", Login: "joe"}, 5*time.Second); !r.Up || asked.Load() != 2 {
			t.Errorf("sip: asked %d times, %+v", asked.Load(), r)
		}
		addr = packets(t, host, func(request []byte) []byte { return append([]byte("a\nyou said "), request...) })
		s := Spec{Service: "simpletcp", Addr: addr, Proto: "udp", Request: "/hello", Receive: "^you said hello$"}
		if r := run(t, s, 5*time.Second); !r.Up {
			t.Errorf("simpletcp: %+v", r)
		}
		s.Receive = "^a.you"
		if r := run(t, s, 200*time.Millisecond); r.Up || !strings.Contains(r.Reason, "not found in") {
			t.Errorf("simpletcp: %+v", r)
		}
	}
	refused, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(refused.LocalAddr().String())
	refused.Close()
	for _, service := range []string{"sip", "simpletcp"} {
		if r := run(t, Spec{Service: service, Addr: addr, Proto: "udp", Login: "joe", Request: "/x"}, 5*time.Second); r.Up || !strings.Contains(r.Reason, "connection refused") {
			t.Errorf("%s: %+v", service, r)
		}
	}
}
