package ldirectord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/director"
)

// Limits of mails: a mail server that is slow or gone delays nothing but mails.
const (
	mailLimit = 10 * time.Second // for sending one
	mailQueue = 512              // waiting; more are thrown away
	mailGrace = 3 * time.Second  // for what waits at an orderly end
)

// mailer sends mails, one after the other.
type mailer struct {
	log      *Log
	queue    chan letter
	ending   chan struct{} // closed by finish
	ctx      context.Context
	cancel   func()
	smtpPort string // 25
	sendmail string // "" is where systems have it
	lost     int    // since the last one that found room; the owner's
}

// letter is a mail to be sent.
type letter struct {
	director.Mail
	at time.Time
}

func newMailer(log *Log) *mailer {
	ctx, cancel := context.WithCancel(context.Background())
	return &mailer{
		log: log, queue: make(chan letter, mailQueue), ending: make(chan struct{}), ctx: ctx, cancel: cancel, smtpPort: "25",
	}
}

// post has a mail sent. It does not wait.
func (m *mailer) post(a director.Mail) {
	select {
	case m.queue <- letter{a, time.Now()}:
		if m.lost > 0 {
			m.log.Printf("%d mails were not sent: too many wait", m.lost)
			m.lost = 0
		}
	default:
		m.lost++
	}
}

// run sends mails until finish, and then those that wait.
func (m *mailer) run() {
	defer m.cancel()
	for {
		select {
		case l := <-m.queue:
			m.send(l)
		case <-m.ending:
			for len(m.queue) > 0 && m.ctx.Err() == nil {
				m.send(<-m.queue)
			}
			if n := len(m.queue); n > 0 {
				m.log.Printf("%d mails were not sent: no time left", n)
			}
			return
		}
	}
}

// finish has run end when all is sent, or at the latest after grace.
func (m *mailer) finish(grace time.Duration) {
	timer := time.AfterFunc(grace, m.cancel)
	context.AfterFunc(m.ctx, func() { timer.Stop() })
	close(m.ending)
}

// send sends one mail. The text of a failure is the original's, with the reason.
func (m *mailer) send(l letter) {
	ctx, cancel := context.WithTimeout(m.ctx, mailLimit)
	defer cancel()
	if server := l.Virtual.Email.SMTP; server != "" {
		if err := l.smtp(ctx, net.JoinHostPort(server, m.smtpPort)); err != nil {
			m.log.Printf("failed to send SMTP email message: %v", err)
		}
		return
	}
	if err := l.pipe(ctx, m.sendmail); err != nil {
		m.log.Printf("failed to send email message: %v", err)
	}
}

// smtp hands the mail to a server, without a login and without encryption, as the original does.
func (l letter) smtp(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, err := smtp.NewClient(conn, "localhost.localdomain")
	if err == nil {
		err = l.talk(c)
	}
	if err != nil && ctx.Err() != nil {
		err = errors.New("not done in time")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", addr, err)
	}
	return nil
}

func (l letter) talk(c *smtp.Client) error {
	if err := c.Hello("localhost.localdomain"); err != nil {
		return err
	}
	sender := envelopeSender()
	if err := c.Mail(sender); err != nil {
		return err
	}
	var refused []error
	recipients := addresses(l.Virtual.Email.To)
	if len(recipients) == 0 {
		return fmt.Errorf("no address in emailalert %q", l.Virtual.Email.To)
	}
	for _, to := range recipients {
		if err := c.Rcpt(to); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", to, err))
		}
	}
	if len(refused) == len(recipients) {
		return errors.Join(refused...)
	}
	w, err := c.Data()
	if err == nil {
		_, err = w.Write(l.text(sender))
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_ = c.Quit() // it is sent
	}
	return errors.Join(append(refused, err)...)
}

// pipe hands the mail to sendmail, which finds the recipients in it.
func (l letter) pipe(ctx context.Context, program string) error {
	if program == "" {
		for _, path := range []string{"/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/sendmail"} {
			if _, err := os.Stat(path); err == nil {
				program = path
				break
			}
		}
	}
	if program == "" {
		return errors.New("no sendmail on this machine (smtp= names a server)")
	}
	cmd := exec.CommandContext(ctx, program, "-t")
	cmd.Stdin = bytes.NewReader(l.text(""))
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s -t: %w", program, err)
	}
	return nil
}

// text is the whole message. from is what From says when the file does not; empty leaves it out,
// as sendmail has its own idea.
func (l letter) text(from string) []byte {
	v, host := l.Virtual, hostname()
	subject := l.Text
	if v.ServiceName != "" {
		subject = "[" + v.ServiceName + "] " + subject
	}
	if v.Email.From != "" {
		from = v.Email.From
	}
	var b bytes.Buffer
	head := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, oneLine(value)) }
	if from != "" {
		head("From", from)
	}
	head("To", v.Email.To)
	head("Subject", subject)
	head("Date", l.at.Format(time.RFC1123Z))
	head("Message-ID", fmt.Sprintf("<%d.%d.ldirectord@%s>", l.at.UnixNano(), os.Getpid(), host))
	fmt.Fprintf(&b, "\nldirectord host: %s\nLog-Message: %s\nDaemon-Status: %s\n", host, oneLine(subject), l.State)
	if v.ServiceName != "" || v.Comment != "" {
		b.WriteString("\n")
		if v.ServiceName != "" {
			fmt.Fprintf(&b, "Service name: %s\n", oneLine(v.ServiceName))
		}
		if v.Comment != "" {
			fmt.Fprintf(&b, "Comment: %s\n", oneLine(v.Comment))
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

func oneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }

// addresses takes the list of recipients apart.
func addresses(list string) (out []string) {
	if parsed, err := mail.ParseAddressList(list); err == nil {
		for _, a := range parsed {
			out = append(out, a.Address)
		}
		return out
	}
	for part := range strings.SplitSeq(list, ",") { // names without a domain
		part = strings.TrimSpace(part)
		if _, rest, ok := strings.Cut(part, "<"); ok {
			part, _, _ = strings.Cut(rest, ">")
		}
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}

// envelopeSender is USER@HOST, by the user id and not by the environment.
func envelopeSender() string {
	name := "root"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return name + "@" + hostname()
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "localhost"
	}
	return host
}
