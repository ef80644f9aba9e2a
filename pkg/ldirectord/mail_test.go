package ldirectord

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/director"
)

// postOffice is a mail server that takes what it is given, but for the recipients it does not know.
type postOffice struct {
	addr     string
	refuses  string
	messages chan delivered
}

type delivered struct {
	hello, from string
	to          []string
	text        string
}

func newPostOffice(t *testing.T, serve func(*postOffice, net.Conn)) *postOffice {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &postOffice{addr: l.Addr().String(), messages: make(chan delivered, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(p, c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return p
}

func (p *postOffice) talk(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	tp := textproto.NewConn(c)
	say := func(line string) { _ = tp.PrintfLine("%s", line) }
	say("220 post.example ESMTP")
	var d delivered
	for {
		line, err := tp.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			d.hello = rest
			say("250-post.example")
			say("250 8BITMIME")
		case "MAIL":
			d.from = rest
			say("250 ok")
		case "RCPT":
			if p.refuses != "" && strings.Contains(rest, p.refuses) {
				say("550 no such user")
				continue
			}
			d.to = append(d.to, rest)
			say("250 ok")
		case "DATA":
			say("354 go on")
			text, err := io.ReadAll(tp.DotReader())
			if err != nil {
				return
			}
			d.text = string(text)
			p.messages <- d
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("500 what?")
		}
	}
}

func testLetter(change func(*ldirectordcf.Virtual)) director.Mail {
	v := &ldirectordcf.Virtual{Email: ldirectordcf.Email{To: "root@x.example, Ops <ops@y.example>", SMTP: "127.0.0.1"}}
	if change != nil {
		change(v)
	}
	return director.Mail{Virtual: v, Text: "Deleted real server: 10.0.0.2:80 (10.0.0.1:80)", State: director.Running}
}

// sent runs a mailer for the letters to its end and returns its log.
func sent(t *testing.T, port, sendmail string, letters ...director.Mail) string {
	t.Helper()
	out := &buffer{}
	m := newMailer(NewLog(Instance{Name: "t"}, nil, out))
	m.smtpPort, m.sendmail = port, sendmail
	for _, l := range letters {
		m.post(l)
	}
	m.finish(5 * time.Second)
	m.run()
	return out.String()
}

func TestMailBySMTP(t *testing.T) {
	p := newPostOffice(t, (*postOffice).talk)
	_, port, _ := net.SplitHostPort(p.addr)
	log := sent(t, port, "", testLetter(nil), testLetter(func(v *ldirectordcf.Virtual) {
		v.ServiceName, v.Comment, v.Email.From = "The shop", "call Joe", "ld@z.example"
	}))
	if log != "" {
		t.Errorf("log: %s", log)
	}
	host := hostname()
	for i, want := range []struct{ from, subject, body string }{
		{"root@" + host, "Deleted real server: 10.0.0.2:80 (10.0.0.1:80)", ""},
		{"ld@z.example", "[The shop] Deleted real server: 10.0.0.2:80 (10.0.0.1:80)", "\nService name: The shop\nComment: call Joe\n\n"},
	} {
		d := <-p.messages
		if d.hello != "localhost.localdomain" || !strings.HasPrefix(d.from, "FROM:<root@"+host+">") ||
			!slices.Equal(d.to, []string{"TO:<root@x.example>", "TO:<ops@y.example>"}) {
			t.Errorf("mail %d: envelope %+v", i, d)
		}
		msg, err := mail.ReadMessage(strings.NewReader(d.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get("From"); got != want.from {
			t.Errorf("From: %s", got)
		}
		if got := msg.Header.Get("To"); got != "root@x.example, Ops <ops@y.example>" {
			t.Errorf("To: %s", got)
		}
		if got := msg.Header.Get("Subject"); got != want.subject {
			t.Errorf("Subject: %s", got)
		}
		if at, err := msg.Header.Date(); err != nil || time.Since(at) > time.Minute {
			t.Errorf("Date: %v %v", at, err)
		}
		if id := msg.Header.Get("Message-Id"); !strings.HasSuffix(id, "@"+host+">") {
			t.Errorf("Message-ID: %s", id)
		}
		body, _ := io.ReadAll(msg.Body)
		if want := "ldirectord host: " + host + "\nLog-Message: " + want.subject + "\nDaemon-Status: running\n" + want.body; string(body) != want {
			t.Errorf("body: %q, want %q", body, want)
		}
	}
}

// TestMailRefused: one bad recipient does not cost the others their mail.
func TestMailRefused(t *testing.T) {
	p := newPostOffice(t, (*postOffice).talk)
	p.refuses = "root@"
	_, port, _ := net.SplitHostPort(p.addr)
	log := sent(t, port, "", testLetter(nil))
	if d := <-p.messages; !slices.Equal(d.to, []string{"TO:<ops@y.example>"}) {
		t.Errorf("sent to %v", d.to)
	}
	if !strings.Contains(log, "failed to send SMTP email message: 127.0.0.1:"+port+": root@x.example: 550 \"no such user\"") {
		t.Errorf("log: %s", log)
	}
	p.refuses = "@"
	log = sent(t, port, "", testLetter(nil))
	if len(p.messages) != 0 || strings.Count(log, ": 550 ") != 2 {
		t.Errorf("log: %s", log)
	}
}

// TestMailServersThatFail: each is given up in time, with the reason in the log.
func TestMailServersThatFail(t *testing.T) {
	hang := newPostOffice(t, func(_ *postOffice, c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	rude := newPostOffice(t, func(_ *postOffice, c net.Conn) { fmt.Fprint(c, "554 go away\r\n") })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	for addr, want := range map[string]string{hang.addr: "not done in time", rude.addr: `554 "go away"`, gone: "connection refused"} {
		_, port, _ := net.SplitHostPort(addr)
		out := &buffer{}
		m := newMailer(NewLog(Instance{Name: "t"}, nil, out))
		m.smtpPort = port
		m.post(testLetter(nil))
		m.finish(200 * time.Millisecond)
		begin := time.Now()
		m.run()
		if !strings.Contains(out.String(), "failed to send SMTP email message: ") || !strings.Contains(out.String(), want) {
			t.Errorf("want %s, log: %s", want, out)
		}
		if time.Since(begin) > 5*time.Second {
			t.Errorf("%s: took %v", want, time.Since(begin))
		}
	}
}

func TestMailBySendmail(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sendmail")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n{ echo \"args $*\"; cat; } >"+dir+"/sent\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if log := sent(t, "25", program, testLetter(func(v *ldirectordcf.Virtual) { v.Email.SMTP = "" })); log != "" {
		t.Errorf("log: %s", log)
	}
	f, err := os.Open(filepath.Join(dir, "sent"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if args, _ := r.ReadString('\n'); args != "args -t\n" {
		t.Errorf("called with %s", args)
	}
	msg, err := mail.ReadMessage(r)
	if err != nil || msg.Header.Get("From") != "" || msg.Header.Get("To") == "" {
		t.Errorf("%+v %v", msg, err)
	}
	log := sent(t, "25", "/bin/false", testLetter(func(v *ldirectordcf.Virtual) { v.Email.SMTP = "" }))
	if !strings.Contains(log, "failed to send email message: /bin/false -t: exit status 1") {
		t.Errorf("log: %s", log)
	}
}

// TestMailFlood: mails that a server does not take cost no memory, and nobody's time.
func TestMailFlood(t *testing.T) {
	out := &buffer{}
	m := newMailer(NewLog(Instance{Name: "t"}, nil, out))
	for range 3 * mailQueue {
		m.post(testLetter(nil))
	}
	for range mailQueue {
		<-m.queue
	}
	m.post(testLetter(nil))
	if want := fmt.Sprintf("%d mails were not sent: too many wait", 2*mailQueue); !strings.Contains(out.String(), want) {
		t.Errorf("log: %s", out)
	}
}

func TestAddresses(t *testing.T) {
	for list, want := range map[string][]string{
		"root":                              {"root"},
		"root@localhost":                    {"root@localhost"},
		"a@x.example,b@x.example":           {"a@x.example", "b@x.example"},
		"root, Ops <ops@y.example>":         {"root", "ops@y.example"},
		`"O, ps" <o@y.example>,x@y.example`: {"o@y.example", "x@y.example"},
		" , ":                               nil,
	} {
		if got := addresses(list); !slices.Equal(got, want) {
			t.Errorf("%q: %q", list, got)
		}
	}
}
