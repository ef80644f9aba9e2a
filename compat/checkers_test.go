package compat

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
)

// checkCase is a section of ldirectord.cf for one real service, and what comes of it.
type checkCase struct {
	service string
	port    uint16
	what    string
	lines   string // of the section, besides service=; @ is the real server's address
	up      bool
	reason  string // is part of the reason
}

const loginLines = "login=\"joe\"\npasswd=\"s3 cr\"et\"\n"

var wrongLogin = strings.Replace(loginLines, "s3", "wrong", 1)

// checkCases are the real services, right and wrong.
var checkCases = []checkCase{
	{"http", 80, "page", "request=\"index.html\"\nreceive=\"^<html>Test HA Page</html>$\"\n", true, ""},
	{"http", 80, "big page", "request=\"big.html\"\nreceive=\"Test\\sHA\\s+Page\"\n", true, ""},
	{"http", 80, "redirect", "request=\"moved\"\nreceive=\"Test HA Page\"\n", true, ""},
	{"http", 80, "HEAD", "httpmethod=HEAD\nrequest=\"index.html\"\n", true, ""},
	{"http", 80, "wrong answer", "receive=\"Another Page\"\n", false, "not found"},
	{"http", 80, "no page", "request=\"nothing.html\"\n", false, "404"},
	{"http", 80, "error", "request=\"down\"\n", false, "503"},
	{"http", 443, "plain to TLS", "", false, "400"},
	{"https", 443, "page", "request=\"index.html\"\nreceive=\"Test HA Page\"\nvirtualhost=www.systole.test\n", true, ""},
	{"https", 443, "wrong answer", "receive=\"Another Page\"\n", false, "not found"},
	{"https", 80, "TLS to plain", "", false, "TLS"},
	{"http_proxy", 3128, "page", "request=\"http://@/index.html\"\nreceive=\"Test HA Page\"\n", true, ""},
	{"http_proxy", 3128, "wrong answer", "request=\"http://@/index.html\"\nreceive=\"Another Page\"\n", false, "not found"},
	{"http_proxy", 3128, "no way on", "request=\"http://@:1/\"\n", false, "50"},
	{"ftp", 21, "login", loginLines, true, ""},
	{"ftp", 21, "anonymous file", "request=\"index\"\nreceive=\"^Test HA Page$|HA.Page\"\n", true, ""},
	{"ftp", 21, "file", loginLines + "request=\"tmp/vsftpd/root/index\"\nreceive=\"second line\"\n", true, ""},
	{"ftp", 21, "wrong answer", "request=\"index\"\nreceive=\"Another Page\"\n", false, "not found"},
	{"ftp", 21, "no file", "request=\"nothing\"\nreceive=\"x\"\n", false, "550"},
	{"ftp", 21, "wrong login", wrongLogin, false, "530"},
	{"smtp", 25, "hello", "", true, ""},
	{"smtp", 110, "wrong answer", "", false, "greeting: +OK"},
	{"submission", 587, "hello", "", true, ""},
	{"submission", 110, "wrong answer", "", false, "greeting: +OK"},
	{"pop", 110, "greeting", "", true, ""},
	{"pop", 110, "login", loginLines, true, ""},
	{"pop", 110, "wrong login", wrongLogin, false, "PASS: -ERR"},
	{"pop", 25, "wrong answer", loginLines, false, "greeting: 220"},
	{"pops", 995, "greeting", "", true, ""},
	{"pops", 995, "login", loginLines, true, ""},
	{"pops", 995, "wrong login", wrongLogin, false, "PASS: -ERR"},
	{"pops", 993, "wrong answer", loginLines, false, "greeting: * OK"},
	{"imap", 143, "greeting", "", true, ""},
	{"imap", 143, "login", loginLines, true, ""},
	{"imap", 143, "wrong login", wrongLogin, false, "LOGIN: 0 NO"},
	{"imap", 25, "wrong answer", "", false, "greeting: 220"},
	{"imaps", 993, "greeting", "", true, ""},
	{"imaps", 993, "login", loginLines, true, ""},
	{"imaps", 993, "wrong login", wrongLogin, false, "LOGIN: 0 NO"},
	{"imaps", 995, "wrong answer", loginLines, false, "greeting: +OK"},
	{"nntp", 119, "greeting", "", true, ""},
	{"nntp", 110, "wrong answer", "", false, "greeting: +OK"},
	{"ldap", 389, "root", "", true, ""},
	{"ldap", 389, "entry", "request=\"ou=lab,dc=systole,dc=test\"\nreceive=\"^ou=lab,\"\n", true, ""},
	{"ldap", 389, "login", "login=\"cn=joe,dc=systole,dc=test\"\npasswd=\"s3 cr\"et\"\nrequest=\"dc=systole,dc=test\"\nreceive=\"systole\"\n", true, ""},
	{"ldap", 389, "wrong answer", "request=\"ou=lab,dc=systole,dc=test\"\nreceive=\"^ou=other,\"\n", false, "is not in"},
	{"ldap", 389, "no entry", "request=\"ou=nobody,dc=systole,dc=test\"\n", false, "noSuchObject"},
	{"ldap", 389, "wrong login", "login=\"cn=joe,dc=systole,dc=test\"\npasswd=\"wrong\"\n", false, "invalidCredentials"},
	{"ldap", 25, "no LDAP", "", false, "bind"},
	{"ldaps", 636, "root", "", true, ""},
	{"ldaps", 636, "entry", "request=\"ou=lab,dc=systole,dc=test\"\nreceive=\"^ou=lab,\"\n", true, ""},
	{"ldaps", 636, "wrong answer", "request=\"ou=lab,dc=systole,dc=test\"\nreceive=\"^ou=other,\"\n", false, "is not in"},
	{"ldaps", 636, "wrong login", "login=\"cn=joe,dc=systole,dc=test\"\npasswd=\"wrong\"\n", false, "invalidCredentials"},
	{"dns", 53, "address", "protocol=udp\nrequest=\"www.systole.test\"\nreceive=\"^10\\.20\\.0\\.81$\"\n", true, ""},
	{"dns", 53, "name", "protocol=udp\nrequest=\"10.20.0.80\"\nreceive=\"www.systole.test\"\n", true, ""},
	{"dns", 53, "name of IPv6", "protocol=udp\nrequest=\"fd20::80\"\nreceive=\"^www6\\.systole\"\n", true, ""},
	{"dns", 53, "alias", "protocol=udp\nrequest=\"alias.systole.test\"\nreceive=\"10.20.0.80\"\n", true, ""},
	{"dns", 53, "TCP", "protocol=tcp\nrequest=\"www.systole.test\"\nreceive=\"10.20.0.80\"\n", true, ""},
	{"dns", 53, "longer than a packet", "protocol=udp\nrequest=\"big.systole.test\"\nreceive=\"^10\\.20\\.9\\.1$\"\n", true, ""},
	{"dns", 53, "anything", "protocol=udp\nrequest=\"www.systole.test\"\n", true, ""},
	{"dns", 53, "default", "protocol=udp\n", true, ""},
	{"dns", 53, "wrong answer", "protocol=udp\nrequest=\"www.systole.test\"\nreceive=\"10.20.0.82\"\n", false, "is in no answer"},
	{"dns", 53, "no such name", "protocol=udp\nrequest=\"nothing.systole.test\"\nreceive=\".\"\n", false, "NXDOMAIN"},
	{"dns", 53, "no address", "protocol=udp\nrequest=\"only6.systole.test\"\nreceive=\".\"\n", false, "no such record"},
	{"dns", 53, "not its zone", "protocol=tcp\nrequest=\"www.example.org\"\nreceive=\".\"\n", false, "NXDOMAIN"},
	{"dns", 80, "no DNS", "protocol=tcp\nrequest=\"www.systole.test\"\nreceive=\".\"\n", false, ""},
	{"mysql", 3306, "row", loginLines + "database=\"shop\"\nrequest=\"SHOW TABLES\"\n", true, ""},
	{"mysql", 3306, "huge rows", loginLines + "database=\"shop\"\nrequest=\"SELECT * FROM full ORDER BY x\"\n", true, ""},
	{"mysql", 3306, "no row", loginLines + "database=\"shop\"\nrequest=\"SELECT * FROM t\"\n", false, "no rows"},
	{"mysql", 3306, "wrong query", loginLines + "database=\"shop\"\nrequest=\"SELECT * FROM nothing\"\n", false, "1146"},
	{"mysql", 3306, "wrong database", loginLines + "database=\"nothing\"\nrequest=\"SELECT 1\"\n", false, "1044"},
	{"mysql", 3306, "wrong login", wrongLogin + "database=\"shop\"\nrequest=\"SELECT 1\"\n", false, "1045"},
	{"mysql", 3306, "no login", "database=\"shop\"\nrequest=\"SELECT 1\"\n", false, "Must specify a login and request string"},
	{"mysql", 25, "no MySQL", loginLines + "database=\"shop\"\nrequest=\"SELECT 1\"\n", false, ""},
	{"pgsql", 5432, "row", loginLines + "database=\"postgres\"\nrequest=\"SELECT 1\"\n", true, ""},
	{"pgsql", 5432, "many rows", loginLines + "database=\"postgres\"\nrequest=\"SELECT * FROM filled\"\n", true, ""},
	{"pgsql", 5432, "md5", strings.Replace(loginLines, "joe", "md5", 1) + "database=\"postgres\"\nrequest=\"SELECT 1\"\n", true, ""},
	{"pgsql", 5432, "TLS only", strings.Replace(loginLines, "joe", "tlsonly", 1) + "database=\"postgres\"\nrequest=\"SELECT 1\"\n", true, ""},
	{"pgsql", 5432, "no TLS", strings.Replace(loginLines, "joe", "plainonly", 1) + "database=\"postgres\"\nrequest=\"SELECT 1\"\n", true, ""},
	{"pgsql", 5432, "no row", loginLines + "database=\"postgres\"\nrequest=\"SELECT * FROM empty\"\n", false, "no rows"},
	{"pgsql", 5432, "wrong query", loginLines + "database=\"postgres\"\nrequest=\"SELECT * FROM nothing\"\n", false, "does not exist"},
	{"pgsql", 5432, "wrong database", loginLines + "database=\"nothing\"\nrequest=\"SELECT 1\"\n", false, "does not exist"},
	{"pgsql", 5432, "wrong login", wrongLogin + "database=\"postgres\"\nrequest=\"SELECT 1\"\n", false, "password authentication failed"},
	{"pgsql", 25, "no PostgreSQL", loginLines + "database=\"postgres\"\nrequest=\"SELECT 1\"\n", false, ""},
	{"radius", 1812, "accept", loginLines + "secret=\"testing123\"\n", true, ""},
	{"radius", 1812, "wrong login", wrongLogin + "secret=\"testing123\"\n", false, "Access-Reject"},
	{"simpletcp", 25, "greeting", "protocol=tcp\nrequest=\"QUIT\\n\"\nreceive=\"^220 .*ESMTP Exim\"\n", true, ""},
	{"simpletcp", 25, "wrong answer", "protocol=tcp\nrequest=\"QUIT\\n\"\nreceive=\"Postfix\"\n", false, "not found"},
	{"sip", 5060, "options", "protocol=udp\nlogin=\"joe\"\n", true, ""},
	{"sip", 5060, "options over TCP", "protocol=tcp\nlogin=\"joe\"\n", true, ""},
	{"sip", 5060, "wrong answer", "protocol=tcp\nlogin=\"nobody\"\n", false, "404"},
	{"oracle", 80, "no driver", loginLines + "request=\"SELECT 1\"\n", false, "without Oracle"},
	{"none", 80, "up", "", true, ""},
	{"http", 80, "connect", "checktype=connect\n", true, ""},
	{"http", 81, "no connect", "checktype=connect\n", false, "refused"},
	{"http", 80, "ping", "checktype=ping\n", true, ""},
	{"http", 80, "external", "checktype=external\ncheckcommand=/bin/true\n", true, ""},
	{"http", 80, "external fails", "checktype=external\ncheckcommand=/bin/false\n", false, "exit status 1"},
}

// conf is the section of a case for a real server at addr.
func (c checkCase) conf(n int, addr netip.Addr, port uint16) string {
	virtual, real := "virtual=10.21.0.1", "real="+addr.String()
	if addr.Is6() {
		virtual, real = "virtual6=[fd21::1]", "real6=["+addr.String()+"]"
	}
	host := addr.String()
	if addr.Is6() {
		host = "[" + host + "]"
	}
	var b strings.Builder
	// The weight makes every server another to the original, which knows them by it among other things.
	fmt.Fprintf(&b, "%s:%d\n\t%s:%d masq %d\n\tservice=%s\n\tchecktype=negotiate\n", virtual, 10000+n, real, port, n+1, c.service)
	for line := range strings.Lines(strings.ReplaceAll(c.lines, "@", host)) {
		b.WriteString("\t" + line)
	}
	return b.String()
}

// spec is what the section's check is.
func (c checkCase) spec(t *testing.T, addr netip.Addr, port uint16) check.Spec {
	t.Helper()
	cfg, problems := ldirectordcf.Parse("cf", []byte("checktimeout=1\n"+c.conf(0, addr, port)), ldirectordcf.Options{Hostname: "director"})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return check.SpecOf(&cfg.Virtuals[0], &cfg.Virtuals[0].Reals[0])
}

// checked is a run of a check.
type checked struct {
	name   string
	spec   check.Spec
	limit  time.Duration
	result check.Result
	late   time.Duration // of this machine, meanwhile
	err    error
}

// lags measures how late this machine wakes those up who sleep, all the time.
type lags struct {
	mu    sync.Mutex
	woken []lateness
	done  chan bool
	gone  chan bool
}

type lateness struct {
	at time.Time
	by time.Duration
}

func newLags() *lags {
	l := &lags{done: make(chan bool), gone: make(chan bool)}
	go func() {
		defer close(l.gone)
		const nap = 5 * time.Millisecond
		for {
			begin := time.Now()
			select {
			case <-l.done:
				return
			case <-time.After(nap):
			}
			now := time.Now()
			l.mu.Lock()
			l.woken = append(l.woken, lateness{now, now.Sub(begin) - nap})
			l.mu.Unlock()
		}
	}()
	return l
}

// during is the greatest lateness between two times.
func (l *lags) during(from, to time.Time) (most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.woken) - 1; i >= 0 && !l.woken[i].at.Before(from); i-- {
		if !l.woken[i].at.Add(-l.woken[i].by).After(to) {
			most = max(most, l.woken[i].by)
		}
	}
	return most
}

func (l *lags) stop() {
	close(l.done)
	<-l.gone
}

// checkAll runs checks from the director, as many at a time as slots.
func (f *farmland) checkAll(all []*checked, slots int) {
	machine := newLags()
	defer machine.stop()
	gate := make(chan bool, slots)
	var group sync.WaitGroup
	for _, c := range all {
		gate <- true
		group.Go(func() {
			defer func() { <-gate }()
			begin := time.Now()
			c.err = f.director.Do(func() error {
				ctx, cancel := context.WithTimeout(context.Background(), c.limit)
				defer cancel()
				checker, known := check.For(c.spec.Service)
				if !known {
					return fmt.Errorf("no checker for %s", c.spec.Service)
				}
				c.result = checker.Check(ctx, c.spec)
				return nil
			})
			c.late = machine.during(begin, time.Now())
		})
	}
	group.Wait()
}

// tooLate tells a verdict that came after its time, as far as that is not the machine's fault.
func (c *checked) tooLate() bool { return c.result.Took > c.limit+50*time.Millisecond+c.late }

// sound is what holds for every check.
func (c *checked) sound(t *testing.T) {
	t.Helper()
	if c.err != nil {
		t.Fatal(c.err)
	}
	if !c.result.Up && c.result.Reason == "" {
		t.Error("down without a reason")
	}
	if !c.result.Up && len(c.result.Trace) == 0 {
		t.Error("down without a transcript")
	}
	for _, secret := range []string{servicePassword, "wrong cr", serviceSecret} {
		if strings.Contains(fmt.Sprintf("%+v", c.result), secret) {
			t.Errorf("%q is in %+v", secret, c.result)
		}
	}
}

// sni checks a virtual host of nginx that is shown only to those who ask for it by name.
func (f *farmland) sni(t *testing.T) {
	https := checkCases[slices.IndexFunc(checkCases, func(c checkCase) bool { return c.service == "https" && c.up })]
	for _, addr := range []netip.Addr{goodServer, goodServer6} {
		for name, up := range map[string]bool{"sni.systole.test": true, "other.systole.test": false, "": false} {
			run := &checked{spec: https.spec(t, addr, 8443), limit: 10 * time.Second}
			run.spec.ServerName = name
			f.checkAll([]*checked{run}, 1)
			run.sound(t)
			if r := run.result; r.Up != up || !up && !strings.Contains(r.Reason, "unrecognized name") {
				t.Errorf("%s asked for %q: %+v", addr, name, r)
			}
		}
	}
}

// Checkers that have no answer to be wrong, or no login.
var (
	answerless = []string{"none", "ping", "radius"}
	loginless  = []string{"none", "ping", "connect", "external", "http", "https", "http_proxy", "smtp", "submission", "nntp", "dns", "simpletcp", "sip"}
	elsewhere  = []string{"on", "off", "external-perl", "oracle"} // tested in pkg/check
)

// TestCheckersCovered: the real servers and the bad ones are every checker's.
func TestCheckersCovered(t *testing.T) {
	have := map[string]map[string]int{}
	for _, c := range checkCases {
		kind := c.service
		if slices.Contains([]string{"connect", "no connect", "ping", "external", "external fails"}, c.what) {
			kind = strings.Fields(strings.TrimPrefix(c.what, "no "))[0]
		}
		if have[kind] == nil {
			have[kind] = map[string]int{}
		}
		switch {
		case c.up:
			have[kind]["up"]++
		case strings.Contains(c.what, "login"):
			have[kind]["wrong login"]++
		default:
			have[kind]["wrong answer"]++
		}
	}
	for _, kind := range check.Names() {
		row := have[kind]
		if slices.Contains(elsewhere, kind) {
			continue
		}
		if row["up"] == 0 || row["wrong answer"] == 0 && !slices.Contains(answerless, kind) || row["wrong login"] == 0 && !slices.Contains(loginless, kind) {
			t.Errorf("%s: %v", kind, row)
		}
	}
	for _, name := range []string{"refused", "hung after accept", "drips", "stalls in TLS"} { // which all that can be up meet
		if !slices.ContainsFunc(manners, func(m manner) bool { return m.name == name && m.addr.Is4() && m.addr6.Is6() }) {
			t.Errorf("no bad server is %q", name)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(have)) {
		t.Logf("%-11s %v", kind, have[kind])
	}
}

// overTLS tells the services that begin with TLS, or change to it.
func (c checkCase) overTLS() bool {
	return slices.Contains([]string{"https", "pgsql", "ldaps", "imaps", "pops"}, c.service)
}

// TestCheckers has every checker check the real service, over IPv4 and IPv6, with and without TLS,
// and servers that are bad in every way. It takes about 20 s.
func TestCheckers(t *testing.T) {
	f := newFarmland(t)
	f.misbehave(t)
	// Real services: the verdict counts, and the machine may be slow.
	t.Run("real", func(t *testing.T) {
		var all []*checked
		of := map[*checked]checkCase{}
		for _, c := range checkCases {
			for _, addr := range []netip.Addr{goodServer, goodServer6} {
				run := &checked{name: fmt.Sprintf("%s %s %s", c.service, c.what, addr), spec: c.spec(t, addr, c.port), limit: 10 * time.Second}
				all = append(all, run)
				of[run] = c
			}
		}
		f.checkAll(all, 8)
		for _, run := range all {
			t.Run(run.name, func(t *testing.T) {
				run.sound(t)
				if run.tooLate() {
					t.Errorf("took %v, the machine was late by %v", run.result.Took, run.late)
				}
				if c, r := of[run], run.result; r.Up != c.up || !strings.Contains(r.Reason, c.reason) {
					t.Errorf("%v: %s\n%s", r.Up, r.Reason, strings.Join(r.Trace, "\n"))
				}
			})
		}
	})
	// What systole.cf asks for beyond the original: whose certificate it is, and how old.
	t.Run("certificates", func(t *testing.T) {
		cafile := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(cafile, f.ca, 0o600); err != nil {
			t.Fatal(err)
		}
		ways := []struct {
			name   string
			edit   func(*check.Spec)
			up     bool
			reason string
		}{
			{"chain", func(s *check.Spec) { s.Verify, s.CAFile = systolecf.VerifyChain, cafile }, true, ""},
			{"chain, of the system", func(s *check.Spec) { s.Verify = systolecf.VerifyChain }, false, "unknown authority"},
			{"name", func(s *check.Spec) { s.Verify, s.CAFile, s.ServerName = systolecf.VerifyName, cafile, serviceName }, true, ""},
			{"another name", func(s *check.Spec) {
				s.Verify, s.CAFile, s.ServerName = systolecf.VerifyName, cafile, "other.systole.test"
			}, false, "not other.systole.test"},
		}
		var all []*checked
		seen := map[string]bool{}
		for _, c := range checkCases {
			if !c.up || !c.overTLS() || seen[c.service] {
				continue
			}
			seen[c.service] = true
			for _, w := range ways {
				run := &checked{name: c.service + " " + w.name, spec: c.spec(t, goodServer, c.port), limit: 10 * time.Second}
				run.spec.CertWarn = 14 * 24 * time.Hour // more than it has
				w.edit(&run.spec)
				all = append(all, run)
			}
		}
		f.checkAll(all, 8)
		for i, run := range all {
			t.Run(run.name, func(t *testing.T) {
				run.sound(t)
				w, r := ways[i%len(ways)], run.result
				if r.Up != w.up || !strings.Contains(r.Reason, w.reason) || w.up && !strings.Contains(r.Warning, "certificate of "+serviceName+" ends in 9 days") {
					t.Errorf("%+v", r)
				}
			})
		}
	})
	t.Run("SNI", f.sni)
	t.Run("daemon", f.daemon)
	// Bad servers: every service is down, in time. So many checks at once make the test quick and
	// the machine late, which is measured and forgiven.
	t.Run("bad", func(t *testing.T) {
		var all []*checked
		of, want := map[*checked]manner{}, map[*checked]bool{}
		for _, c := range checkCases {
			if !c.up || c.service == "none" || c.what == "external" {
				continue
			}
			for _, m := range manners {
				if m.name == "stalls in TLS" && !c.overTLS() {
					continue
				}
				for _, addr := range []netip.Addr{m.addr, m.addr6} {
					run := &checked{name: fmt.Sprintf("%s %s %s %s", c.service, c.what, m.name, addr), spec: c.spec(t, addr, c.port), limit: time.Second}
					all = append(all, run)
					of[run] = m
					want[run] = m.passes(c)
				}
			}
		}
		f.checkAll(all, 60)
		// On a busy machine anybody may be late; who is late three times is to blame himself.
		for range 2 {
			f.checkAll(slices.Collect(func(yield func(*checked) bool) {
				for _, run := range all {
					if run.tooLate() && !yield(run) {
						return
					}
				}
			}), 8)
		}
		var latest time.Duration
		for _, run := range all {
			t.Run(run.name, func(t *testing.T) {
				run.sound(t)
				r := run.result
				latest = max(latest, r.Took-run.limit)
				if r.Up != want[run] {
					t.Errorf("%v: %+v", r.Up, r)
				}
				if run.tooLate() {
					t.Errorf("took %v of %v, the machine was late by %v: %+v", r.Took, run.limit, run.late, r)
				}
				if of[run].name == "refused" && !r.Up && !strings.Contains(r.Reason, "refused") {
					t.Errorf("%+v", r)
				}
			})
		}
		t.Logf("%d checks of bad servers; the latest verdict came %v after its time", len(all), latest)
	})
}
