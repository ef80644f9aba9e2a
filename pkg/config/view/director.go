package view

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Director is a ldirectord.cf. Times are in seconds; what is null was not said and has no default.
type Director struct {
	File     string    `json:"file" doc:"the file that was read"`
	Global   Global    `json:"global" doc:"the directives outside of sections"`
	Virtuals []Virtual `json:"virtual" doc:"virtual and virtual6 sections in file order, what they inherit filled in"`
}

// Global is the directives outside of sections.
type Global struct {
	CheckTimeout     *float64   `json:"checktimeout" doc:"for sections without one"`
	NegotiateTimeout *float64   `json:"negotiatetimeout" doc:"for sections without one"`
	CheckInterval    float64    `json:"checkinterval" doc:"time between checks of a real server"`
	CheckCount       int        `json:"checkcount" doc:"attempts of a ping check"`
	FailureCount     int        `json:"failurecount" doc:"failures until a real server is down"`
	Fallback         []Fallback `json:"fallback" doc:"fallback and fallback6: for sections without one; port 0 is the section's port"`
	FallbackCommand  *string    `json:"fallbackcommand" doc:"run when the fallback comes and goes"`
	AutoReload       bool       `json:"autoreload" doc:"read the file again when it has changed"`
	Callback         *string    `json:"callback" doc:"run when the file has changed"`
	LogFile          string     `json:"logfile" doc:"a file, or a syslog facility"`
	Execute          []string   `json:"execute" doc:"configurations to run besides"`
	Fork             bool       `json:"fork" doc:"sections have their own checkinterval"`
	Supervised       bool       `json:"supervised" doc:"stay in the foreground"`
	Quiescent        bool       `json:"quiescent" doc:"a real server that is down gets weight 0 instead of being removed"`
	ReaddQuiescent   bool       `json:"readdquiescent" doc:"a new real server begins with weight 0"`
	CleanStop        bool       `json:"cleanstop" doc:"remove the services at the end"`
	Email
	From           *string `json:"emailalertfrom" doc:"sender of mails"`
	MaintenanceDir *string `json:"maintenancedir" doc:"files in it take real servers out"`
}

// Email is the mail settings, of all or of a section.
type Email struct {
	To     *string `json:"emailalert" doc:"who gets mails"`
	Freq   float64 `json:"emailalertfreq" doc:"time between reminders; 0 is none"`
	Status string  `json:"emailalertstatus" doc:"when mails are sent: all, none, or words with commas"`
	SMTP   *string `json:"smtp" doc:"mail server; null is the local sendmail"`
}

// Virtual is a section.
type Virtual struct {
	Virtual  string `json:"virtual" doc:"ADDRESS:PORT, or a firewall mark"`
	Family   int    `json:"family" doc:"4 or 6"`
	Protocol string `json:"protocol" doc:"tcp, udp or fwm"`
	Reals    []Real `json:"real" doc:"real and real6 lines in file order, ranges written out"`

	Fallback        *Fallback `json:"fallback" doc:"stands in while no real server is up"`
	FallbackCommand *string   `json:"fallbackcommand" doc:"run when the fallback comes and goes"`

	Scheduler  string  `json:"scheduler" doc:"of the kernel"`
	Persistent *int    `json:"persistent" doc:"time for which a client stays with its real server"`
	Netmask    *string `json:"netmask" doc:"clients in such a network count as one: 255.255.255.0, or a prefix length of IPv6"`
	SchedFlags *string `json:"schedflags" doc:"flags of the scheduler"`
	OnePacket  bool    `json:"ops" doc:"each UDP packet is scheduled alone"`

	CheckType        string  `json:"checktype" doc:"negotiate, connect, ping, external, external-perl, on, off, or the number of connects to a negotiate"`
	Service          string  `json:"service" doc:"what negotiate speaks"`
	CheckPort        *int    `json:"checkport" doc:"where checks go; null is each real server's port"`
	CheckCommand     string  `json:"checkcommand" doc:"of external checks"`
	CheckTimeout     float64 `json:"checktimeout" doc:"limit of a connect, ping or external check"`
	NegotiateTimeout float64 `json:"negotiatetimeout" doc:"limit of a negotiate check"`
	CheckInterval    float64 `json:"checkinterval" doc:"time between checks of a real server"`
	CheckCount       int     `json:"checkcount" doc:"attempts of a ping check"`
	FailureCount     int     `json:"failurecount" doc:"failures until a real server is down"`

	Request     string  `json:"request" doc:"what is asked for, with its leading slash"`
	Receive     string  `json:"receive" doc:"regular expression that the answer matches; empty is any"`
	HTTPMethod  string  `json:"httpmethod" doc:"GET or HEAD"`
	VirtualHost *string `json:"virtualhost" doc:"the Host header"`
	Login       string  `json:"login" doc:"user of the check"`
	Passwd      *string `json:"passwd" doc:"(not shown) if there is one"`
	Database    string  `json:"database" doc:"of SQL checks"`
	Secret      *string `json:"secret" doc:"(not shown) if there is one"`

	Quiescent   bool    `json:"quiescent" doc:"a real server that is down gets weight 0 instead of being removed"`
	CleanStop   bool    `json:"cleanstop" doc:"remove the service at the end"`
	MonitorFile *string `json:"monitorfile" doc:"file with the states of real servers"`
	ServiceName string  `json:"servicename" doc:"for people"`
	Comment     string  `json:"comment" doc:"for people"`
	Email
}

// Real is a real server.
type Real struct {
	Real      string `json:"real" doc:"ADDRESS:PORT; port 0 if the line has none"`
	Method    string `json:"method" doc:"gate, masq or ipip"`
	Weight    int    `json:"weight" doc:"share of the connections"`
	Lower     int    `json:"lower" doc:"connections below which it is taken back; 0 is none"`
	Upper     int    `json:"upper" doc:"most connections; 0 is any number"`
	Request   string `json:"request" doc:"its own, or the section's"`
	Receive   string `json:"receive" doc:"its own, or the section's"`
	URL       string `json:"url" doc:"what an http, https or http_proxy check asks for"`
	CheckPort int    `json:"checkport" doc:"where checks go; 0 if nothing says"`
}

// Fallback is a server for the time when no real server is up.
type Fallback struct {
	Fallback string `json:"fallback" doc:"ADDRESS:PORT"`
	Method   string `json:"method" doc:"gate, masq or ipip"`
}

// NewDirector is the object of a ldirectord.cf.
func NewDirector(c *ldirectordcf.Config) Director {
	g := &c.Global
	d := Director{File: c.File, Virtuals: []Virtual{}, Global: Global{
		CheckTimeout: someSeconds(g.CheckTimeout), NegotiateTimeout: someSeconds(g.NegotiateTimeout), CheckInterval: g.CheckInterval.Seconds(),
		CheckCount: g.CheckCount, FailureCount: g.FailureCount, Fallback: []Fallback{}, FallbackCommand: some(g.FallbackCommand),
		AutoReload: g.AutoReload, Callback: some(g.Callback), LogFile: g.LogFile, Execute: list(g.Execute), Fork: g.Fork, Supervised: g.Supervised,
		Quiescent: g.Quiescent, ReaddQuiescent: g.ReaddQuiescent, CleanStop: g.CleanStop,
		Email: newEmail(g.Email), From: some(g.Email.From), MaintenanceDir: some(g.MaintenanceDir),
	}}
	for _, f := range g.Fallback {
		d.Global.Fallback = append(d.Global.Fallback, newFallback(f))
	}
	for i := range c.Virtuals {
		d.Virtuals = append(d.Virtuals, newVirtual(&c.Virtuals[i]))
	}
	return d
}

func newVirtual(v *ldirectordcf.Virtual) Virtual {
	o := Virtual{
		Virtual: v.Label(), Family: int(v.VIP.Family), Protocol: v.Protocol, Reals: []Real{}, FallbackCommand: some(v.FallbackCommand),
		Scheduler: v.Scheduler, Persistent: some(int(v.Persistent)), Netmask: some(netmaskText(v)), SchedFlags: some(v.SchedFlags), OnePacket: v.OnePacket,
		CheckType: checkType(v), Service: v.Service, CheckPort: some(int(v.CheckPort)), CheckCommand: v.CheckCommand,
		CheckTimeout: v.CheckTimeout.Seconds(), NegotiateTimeout: v.NegotiateTimeout.Seconds(), CheckInterval: v.CheckInterval.Seconds(),
		CheckCount: v.CheckCount, FailureCount: v.FailureCount,
		Request: v.Request, Receive: v.Receive, HTTPMethod: v.HTTPMethod, Login: v.Login, Passwd: secret(v.Password), Database: v.Database, Secret: secret(v.Secret),
		Quiescent: v.Quiescent, CleanStop: v.CleanStop, MonitorFile: some(v.MonitorFile), ServiceName: v.ServiceName, Comment: v.Comment,
		Email: newEmail(v.Email),
	}
	if v.HasVirtualHost {
		o.VirtualHost = &v.VirtualHost
	}
	if v.Fallback != nil {
		o.Fallback = some(newFallback(*v.Fallback))
	}
	for _, r := range v.Reals {
		o.Reals = append(o.Reals, Real{
			Real: r.Addr.String(), Method: method(r.Forward), Weight: int(r.Weight), Lower: int(r.Lower), Upper: int(r.Upper),
			Request: r.Request, Receive: r.Receive, URL: r.URL, CheckPort: int(r.CheckPort),
		})
	}
	return o
}

func newEmail(e ldirectordcf.Email) Email {
	return Email{To: some(e.To), Freq: e.Freq.Seconds(), Status: emailStatus(e.Status), SMTP: some(e.SMTP)}
}

func newFallback(f ldirectordcf.Fallback) Fallback {
	return Fallback{f.Addr.String(), method(f.Forward)}
}

// secret is nil, or what stands for a secret.
func secret(text string) *string {
	if text == "" {
		return nil
	}
	return some(hidden)
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

// checkType is the value of checktype.
func checkType(v *ldirectordcf.Virtual) string {
	if v.CheckType == ldirectordcf.Combined {
		return strconv.Itoa(v.Every)
	}
	return v.CheckType.String()
}

// netmaskText is the value of netmask, "" if there is none.
func netmaskText(v *ldirectordcf.Virtual) string {
	switch {
	case v.OddMask.IsValid():
		return v.OddMask.String()
	case v.Netmask == 0:
		return ""
	case v.VIP.Family == ipvs.IPv6:
		return strconv.Itoa(int(v.Netmask))
	}
	m := ^uint32(0) << (32 - v.Netmask)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
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

// wholeSeconds is a time as the file has it.
func wholeSeconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
