package compat

import (
	"io"
	"net/http"
	"net/mail"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// eximConfig is a mail server that takes mail for lab.example and writes it into files.
const eximConfig = `primary_hostname = mail.lab.example
domainlist local_domains = lab.example
acl_smtp_rcpt = rcpt
spool_directory = /var/log/exim
log_file_path = /var/log/exim/%slog
exim_user = root
exim_group = root
never_users =
tls_advertise_hosts =
chunking_advertise_hosts =
begin acl
rcpt:
  accept domains = +local_domains
  deny message = relay not permitted
begin routers
all:
  driver = accept
  local_parts = admin : ops
  transport = file
begin transports
file:
  driver = appendfile
  file = /tmp/mail-$local_part_data
  user = mail
  group = mail
  delivery_date_add
  return_path_add
`

// TestMail has alerts go through a real mail server.
func TestMail(t *testing.T) {
	lab.NeedRoot(t)
	lab.NeedPrograms(t, "/usr/sbin/exim4")
	n := lab.Net(t)
	node := func(name, addr string) *lab.Node {
		t.Helper()
		nd, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}}})
		if err != nil {
			t.Fatal(err)
		}
		return nd
	}
	director, post := node("director", "10.9.0.1/24"), node("post", "10.9.0.3/24")
	web, err := post.Serve("10.9.0.3:80", okHandler)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(program(t))
	if err != nil {
		t.Fatal(err)
	}
	config := `checkinterval=1
checktimeout=3
emailalert="admin@lab.example, Ops <ops@lab.example>, nobody@elsewhere.example"
emailalertfrom=director@lab.example
emailalertstatus=running,stopping
smtp=10.9.0.3
virtual=10.9.1.1:80
	real=10.9.0.3:80 gate
	service=http
	servicename=The shop
	comment=call Joe
# end
`
	for _, f := range []struct {
		on         *lab.Node
		path, text string
	}{
		{director, "/usr/sbin/ldirectord", string(program)},
		{director, "/etc/ha.d/ldirectord.cf", config},
		{post, "/etc/exim-lab.conf", eximConfig},
		{post, "/var/log/exim/.keep", ""},
	} {
		if err := f.on.WriteFile(f.path, []byte(f.text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exim := post.Command(t.Context(), "/usr/sbin/exim4", "-C", "/etc/exim-lab.conf", "-bdf", "-oX", "25")
	exim.Stderr = os.Stderr
	if err := exim.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, time.Minute, "the mail server answers", func() bool {
		c, err := director.Dial(t.Context(), "tcp4", "10.9.0.3:25")
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
	ldirectord := func(action string) {
		t.Helper()
		c := director.Command(t.Context(), "/usr/sbin/ldirectord", action)
		c.Env = append(c.Env, "SYSTOLE_IPVS=model")
		if r, err := c.Result(); err != nil || r.Code != 0 {
			t.Fatalf("%s: %+v %v", action, r, err)
		}
	}
	log := func() string {
		text, _ := director.ReadFile("/var/log/ldirectord.log") // there may be none yet
		return string(text)
	}
	box := func(user string) string {
		text, _ := post.ReadFile("/tmp/mail-" + user)
		return string(text)
	}
	ldirectord("start")
	waitFor(t, time.Minute, "the real server is up", func() bool { return strings.Contains(log(), "Added real server") })
	if err := web.Close(); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"admin", "ops"} {
		waitFor(t, time.Minute, user+" has a mail: "+log(), func() bool { return strings.Contains(box(user), "Comment: call Joe\n\n") })
		text := box(user)
		_, text, _ = strings.Cut(text, "\n") // the mailbox's own line
		m, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		for name, want := range map[string]string{
			"From": "director@lab.example", "Subject": "[The shop] Deleted real server: 10.9.0.3:80 (10.9.1.1:80)",
			"To": "admin@lab.example, Ops <ops@lab.example>, nobody@elsewhere.example", "Return-Path": "<root@director>",
		} {
			if got := m.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if at, err := m.Header.Date(); err != nil || time.Since(at) > time.Hour {
			t.Errorf("Date: %v %v", at, err)
		}
		body, _ := io.ReadAll(m.Body)
		want := "ldirectord host: director\nLog-Message: [The shop] Deleted real server: 10.9.0.3:80 (10.9.1.1:80)\nDaemon-Status: running\n\n" +
			"Service name: The shop\nComment: call Joe\n\n"
		if !strings.HasPrefix(string(body), want) {
			t.Errorf("body %q, want %q", body, want)
		}
	}
	waitFor(t, time.Minute, "the log tells whom the server refused", func() bool {
		return strings.Contains(log(), "nobody@elsewhere.example: 550 \"relay not permitted\"")
	})
	ldirectord("stop")
	if strings.Contains(box("admin"), "Added real server") { // the file wants none while starting
		t.Errorf("mail:\n%s", box("admin"))
	}
	if err := exim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = exim.Wait() // "killed"
}

var okHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
