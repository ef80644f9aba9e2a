package view

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// DirectorText is a ldirectord.cf that says what cfg says.
func DirectorText(cfg *ldirectordcf.Config) string {
	t := &directorText{}
	t.global(&cfg.Global)
	for i := range cfg.Virtuals {
		t.virtual(&cfg.Virtuals[i], cfg.Global.Fork)
	}
	return t.String()
}

// directorText writes the lines of a ldirectord.cf.
type directorText struct {
	strings.Builder
	indent string
}

func (t *directorText) line(name, value string) { fmt.Fprintf(t, "%s%s=%s\n", t.indent, name, value) }

// given writes a line unless there is nothing to say.
func (t *directorText) given(name, value string) {
	if value != "" {
		t.line(name, value)
	}
}

func (t *directorText) quoted(name, value string) {
	if value != "" {
		t.line(name, `"`+value+`"`)
	}
}

func (t *directorText) secret(name, value string) {
	if value != "" {
		fmt.Fprintf(t, "%s# %s %s\n", t.indent, name, hidden)
	}
}

func (t *directorText) yes(name string, value bool) {
	if value {
		t.line(name, "yes")
	} else {
		t.line(name, "no")
	}
}

func (t *directorText) seconds(name string, d time.Duration) {
	if d > 0 {
		t.line(name, wholeSeconds(d))
	}
}

func (t *directorText) global(g *ldirectordcf.Global) {
	t.seconds("checktimeout", g.CheckTimeout)
	t.seconds("negotiatetimeout", g.NegotiateTimeout)
	t.seconds("checkinterval", g.CheckInterval)
	t.checkCount(g.CheckCount)
	t.line("failurecount", strconv.Itoa(g.FailureCount))
	for _, f := range g.Fallback {
		t.fallback(&f)
	}
	t.given("fallbackcommand", g.FallbackCommand)
	t.yes("autoreload", g.AutoReload)
	t.quoted("callback", g.Callback)
	t.quoted("logfile", g.LogFile)
	for _, e := range g.Execute {
		t.line("execute", e)
	}
	t.yes("fork", g.Fork)
	t.yes("supervised", g.Supervised)
	t.yes("quiescent", g.Quiescent)
	t.yes("readdquiescent", g.ReaddQuiescent)
	t.yes("cleanstop", g.CleanStop)
	t.email(g.Email)
	t.given("emailalertfrom", g.Email.From)
	t.given("maintenancedir", g.MaintenanceDir)
}

// checkCount leaves the default out: the directive is deprecated and draws a warning.
func (t *directorText) checkCount(n int) {
	if n != 1 {
		t.line("checkcount", strconv.Itoa(n))
	}
}

func (t *directorText) fallback(f *ldirectordcf.Fallback) {
	addr := f.Addr.String()
	if f.Addr.Port() == 0 {
		addr = strings.TrimSuffix(addr, ":0")
	}
	t.line(family("fallback", f.Addr.Addr()), addr+" "+method(f.Forward))
}

// family is the directive's name for addresses of that family.
func family(name string, addr netip.Addr) string {
	if addr.Is6() {
		return name + "6"
	}
	return name
}

// email leaves defaults out where no mail is sent.
func (t *directorText) email(e ldirectordcf.Email) {
	t.given("emailalert", e.To)
	if e.To != "" || e.Freq != 0 {
		t.line("emailalertfreq", wholeSeconds(e.Freq))
	}
	if e.To != "" || e.Status != ldirectordcf.EmailAll {
		t.line("emailalertstatus", emailStatus(e.Status))
	}
	t.given("smtp", e.SMTP)
}

func (t *directorText) virtual(v *ldirectordcf.Virtual, fork bool) {
	name := "virtual"
	if v.VIP.Family == ipvs.IPv6 {
		name = "virtual6"
	}
	t.indent = ""
	t.WriteByte('\n')
	t.line(name, v.Label())
	t.indent = "\t"
	t.line("protocol", v.Protocol)
	for i := range v.Reals {
		t.real(&v.Reals[i])
	}
	if v.Fallback != nil {
		t.fallback(v.Fallback)
	}
	t.given("fallbackcommand", v.FallbackCommand)
	t.line("scheduler", v.Scheduler)
	if v.Persistent > 0 {
		t.line("persistent", strconv.FormatUint(uint64(v.Persistent), 10))
	}
	t.given("netmask", netmaskText(v))
	t.given("schedflags", v.SchedFlags)
	if v.OnePacket {
		t.yes("ops", true)
	}
	t.checks(v)
	if fork {
		t.seconds("checkinterval", v.CheckInterval)
	}
	t.seconds("checktimeout", v.CheckTimeout)
	t.seconds("negotiatetimeout", v.NegotiateTimeout)
	t.checkCount(v.CheckCount)
	t.line("failurecount", strconv.Itoa(v.FailureCount))
	t.yes("quiescent", v.Quiescent)
	t.yes("cleanstop", v.CleanStop)
	t.given("monitorfile", v.MonitorFile)
	t.given("servicename", v.ServiceName)
	t.given("comment", v.Comment)
	t.email(v.Email)
}

// checks writes what is asked of the real servers.
func (t *directorText) checks(v *ldirectordcf.Virtual) {
	t.line("checktype", checkType(v))
	t.line("service", v.Service)
	if v.CheckPort != 0 {
		t.line("checkport", strconv.Itoa(int(v.CheckPort)))
	}
	if v.CheckType == ldirectordcf.External || v.CheckType == ldirectordcf.ExternalPerl || v.CheckCommand != "/bin/true" {
		t.line("checkcommand", v.CheckCommand)
	}
	t.quoted("request", v.Request)
	t.quoted("receive", v.Receive)
	t.line("httpmethod", v.HTTPMethod)
	if v.HasVirtualHost {
		t.line("virtualhost", `"`+v.VirtualHost+`"`)
	}
	t.quoted("login", v.Login)
	t.secret("passwd", v.Password)
	t.quoted("database", v.Database)
	t.secret("secret", v.Secret)
}

func (t *directorText) real(r *ldirectordcf.Real) {
	words := []string{r.Addr.String(), method(r.Forward), strconv.Itoa(int(r.Weight))}
	if r.OwnPair {
		words = append(words, fmt.Sprintf(`"%s", "%s"`, strings.TrimPrefix(r.Request, "/"), r.Receive))
	}
	if r.Lower > 0 {
		words = append(words, fmt.Sprintf("l:%d", r.Lower))
	}
	if r.Upper > 0 {
		words = append(words, fmt.Sprintf("u:%d", r.Upper))
	}
	t.line(family("real", r.Addr.Addr()), strings.Join(words, " "))
}
