package applet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// notShown stands for a secret.
const notShown = "(not shown)"

// haCFText is a ha.cf that says what cfg says.
func haCFText(cfg *hacf.Config) string {
	var b strings.Builder
	for _, l := range cfg.Lines() {
		if l.Default {
			fmt.Fprintf(&b, "%-23s %-11s # default\n", l.Directive, l.Value)
		} else {
			fmt.Fprintf(&b, "%-23s %s\n", l.Directive, l.Value)
		}
	}
	return b.String()
}

func authkeysText(keys []shownKey) string {
	var b strings.Builder
	for _, k := range keys {
		if k.Signs {
			fmt.Fprintf(&b, "auth %d\n", k.Number)
		}
	}
	for _, k := range keys {
		fmt.Fprintf(&b, "%d %s", k.Number, k.Method)
		if k.Method != "crc" {
			b.WriteString(" " + notShown)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// haresourcesText is a haresources that says what groups say, with what is run for each.
func haresourcesText(groups []haresources.Group) string {
	var b strings.Builder
	for _, g := range groups {
		b.WriteString(g.Node)
		for _, r := range g.Resources {
			b.WriteString(" " + r.Word)
		}
		b.WriteByte('\n')
		for _, r := range g.Resources {
			fmt.Fprintf(&b, "#   %s start\n", strings.Join(append([]string{r.Script}, r.Args...), " "))
		}
	}
	return b.String()
}

// ldirectordText is a ldirectord.cf that says what cfg says.
func ldirectordText(cfg *ldirectordcf.Config) string {
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
		fmt.Fprintf(t, "%s# %s %s\n", t.indent, name, notShown)
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
		t.line(name, strconv.FormatInt(int64(d/time.Second), 10))
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

// method is the word of the file for a forwarding method.
func method(f ipvs.Forward) string {
	switch f {
	case ipvs.Masq:
		return "masq"
	case ipvs.Tunnel:
		return "ipip"
	}
	return "gate"
}

func (t *directorText) email(e ldirectordcf.Email) {
	if e.To == "" {
		return
	}
	t.line("emailalert", e.To)
	t.line("emailalertfreq", strconv.FormatInt(int64(e.Freq/time.Second), 10))
	t.line("emailalertstatus", emailStatus(e.Status))
	t.given("smtp", e.SMTP)
}

// emailStatus is the value of emailalertstatus.
func emailStatus(s ldirectordcf.EmailStatus) string {
	switch s {
	case ldirectordcf.EmailAll:
		return "all"
	case ldirectordcf.EmailNone:
		return "none"
	}
	var words []string
	for _, w := range []struct {
		bit  ldirectordcf.EmailStatus
		word string
	}{
		{ldirectordcf.EmailStarting, "starting"},
		{ldirectordcf.EmailRunning, "running"},
		{ldirectordcf.EmailStopping, "stopping"},
		{ldirectordcf.EmailReloading, "reloading"},
	} {
		if s&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

func (t *directorText) virtual(v *ldirectordcf.Virtual, fork bool) {
	name, id := "virtual", v.VIP.Addr.String()
	if v.VIP.FWMark != 0 {
		id = strconv.FormatUint(uint64(v.VIP.FWMark), 10)
	}
	if v.VIP.Family == ipvs.IPv6 {
		name = "virtual6"
	}
	t.indent = ""
	t.WriteByte('\n')
	t.line(name, id)
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
	if v.Netmask > 0 {
		t.line("netmask", netmask(v.Netmask, v.VIP.Family))
	}
	if v.OddMask.IsValid() {
		t.line("netmask", v.OddMask.String())
	}
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
	kind := v.CheckType.String()
	if v.CheckType == ldirectordcf.Combined {
		kind = strconv.Itoa(v.Every)
	}
	t.line("checktype", kind)
	t.line("service", v.Service)
	if v.CheckPort != 0 {
		t.line("checkport", strconv.Itoa(int(v.CheckPort)))
	}
	if v.CheckType == ldirectordcf.External || v.CheckType == ldirectordcf.ExternalPerl {
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

// netmask is the mask of a prefix length as the file has it.
func netmask(bits uint8, f ipvs.Family) string {
	if f == ipvs.IPv6 {
		return strconv.Itoa(int(bits))
	}
	m := ^uint32(0) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}
