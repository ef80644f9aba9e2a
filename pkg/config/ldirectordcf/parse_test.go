package ldirectordcf

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, problems := Parse("cf", []byte(text), world())
	if err := problems.Err(); err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return cfg
}

// TestPositions wants each problem at its byte, tabs and multi-byte text notwithstanding.
func TestPositions(t *testing.T) {
	tests := []struct{ text, want string }{
		{"checktimeout = soon\n", `cf:1:16: checktimeout: bad number "soon" (want a number of seconds, 1 or more)`},
		{"\n\n  quiescent=no\n", "cf:3:3: quiescent: indented line outside of a section (want no blanks before a global directive)"},
		{"virtual=1.2.3.4:80\n\tchecktype\t=\tmaybe\n", `cf:2:14: checktype: unknown type "maybe"`},
		{"virtual=1.2.3.4:80\n\treal=10.0.0.2:80\tgate\t1\tjunk\n", `cf:2:26: real: unknown option "junk"`},
		{"virtual=1.2.3.4:80\n\treal=10.0.0.2:80\tGATE\n", `cf:2:19: real: bad forwarding method "GATE"`},
		{"virtual=1.2.3.4:nosuch\n", `cf:1:17: virtual: port "nosuch": no such service`},
		{"virtual=1.2.3.4:80\n\treceive=\"é(\"\n", `cf:2:11: receive: pattern "é(": unmatched (`},
		{"virtual=1.2.3.4:80\n\tfallback=127.0.0.1:80  nat\n", `cf:2:25: fallback: bad forwarding method "nat"`},
		{"autoreload=yes # c\n", "cf:1:16: warning: autoreload: comment after a value"},
		{"nonsense=1\n", `cf:1:1: nonsense: unknown directive "nonsense" (want a global directive or a virtual line)`},
		{"virtual=1.2.3.4:80\n\tnonsense=1\n", `cf:2:2: nonsense: unknown directive "nonsense" (want a directive of a section)`},
		{"virtual=1.2.3.4:80\n\nvirtual=1.2.3.4:80\n\tscheduler=rr\n\n", `cf:3:1: virtual: tcp:1.2.3.4:80 is there since line 1 (want one section for each)`},
		{"virtual=1.2.3.4:80\n\tscheduler=rr\n\tcheckinterval=5\n", `cf:3:2: warning: checkinterval: ignored in section tcp:1.2.3.4:80 (want fork=yes)`},
		{"quiescent=no\r\nvirtual=1.2.3.4:80\r\n", `cf:1:13: warning: carriage return: the original takes it for a part of some values, and refuses others for it (want line ends without a carriage return)`},
		{"virtual=1.2.3.4\n", `cf:1:9: warning: virtual: "1.2.3.4" is taken as firewall mark 1 (want address:port, or the number alone)`},
	}
	for _, tt := range tests {
		_, problems := Parse("cf", []byte(tt.text), world())
		if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), tt.want) {
			t.Errorf("%q:\n got  %v\n want %s", tt.text, problems, tt.want)
		}
	}
}

// A file that is something else altogether does not fill the log. Warnings alone never become an error.
func TestManyProblems(t *testing.T) {
	for line, sev := range map[string]diag.Severity{"junk " + strings.Repeat("x", 5000): diag.Error, "autoreload=yes # c": diag.Warning} {
		_, problems := Parse("cf", []byte(strings.Repeat(line+"\n", diag.MaxProblems+7)), world())
		if len(problems) != diag.MaxProblems+1 {
			t.Fatalf("%.20s: %d problems", line, len(problems))
		}
		for _, p := range problems {
			if n := len(p.String()) + len(p.Wire); n > 1000 || p.Sev != sev {
				t.Fatalf("%.20s: %d bytes, severity %d", line, n, p.Sev)
			}
		}
		if last := problems[diag.MaxProblems].String(); !strings.HasSuffix(last, "7 more problems") {
			t.Errorf("%.20s: %s", line, last)
		}
	}
}

func TestPlace(t *testing.T) {
	cfg := mustParse(t, "fallbackcommand=/bin/true\nvirtual=1.2.3.4:80\n\tscheduler=rr\n\t  scheduler=wlc\n")
	v := cfg.Virtuals[0]
	scheduler, given := v.Place("scheduler")
	command, inherited := v.Place("fallbackcommand")
	if scheduler.String() != "cf:4:4" || !given || command != v.Pos || inherited || cfg.Global.Place("fallbackcommand").String() != "cf:1:1" {
		t.Error(scheduler, given, command, inherited, cfg.Global.Place("fallbackcommand"))
	}
}

// TestTimeouts follows the two timeouts through their levels (spec/ldirectord.md 1.10).
func TestTimeouts(t *testing.T) {
	tests := []struct {
		global, section  string
		check, negotiate time.Duration
	}{
		{"", "", 5, 30},
		{"checktimeout=3", "", 3, 3},
		{"negotiatetimeout=4", "", 4, 4},
		{"checktimeout=3\nnegotiatetimeout=4", "", 3, 4},
		{"checktimeout=3\nnegotiatetimeout=4", "checktimeout=1", 1, 1},
		{"checktimeout=3\nnegotiatetimeout=4", "negotiatetimeout=2", 2, 2},
		{"checktimeout=3", "checktimeout=1\n\tnegotiatetimeout=2", 1, 2},
		{"checktimeout=3", "checktimeout=00", 3, 3},
	}
	for _, tt := range tests {
		text := "virtual=1.2.3.4:80\n"
		if tt.section != "" {
			text += "\t" + tt.section + "\n"
		}
		// The global comes last: where it stands must not matter.
		v := mustParse(t, text+tt.global+"\n").Virtuals[0]
		if v.CheckTimeout != tt.check*time.Second || v.NegotiateTimeout != tt.negotiate*time.Second {
			t.Errorf("%q, %q: %v, %v", tt.global, tt.section, v.CheckTimeout, v.NegotiateTimeout)
		}
	}
}

func TestTimeoutOfCheck(t *testing.T) {
	for directives, want := range map[string]time.Duration{
		"":                                      7,
		"checktype=connect":                     3,
		"checktype=external":                    3,
		"checktype=ping":                        3,
		"checktype=ping checkcount=4":           12,
		"checktype=connect protocol=udp":        3,
		"service=ldap":                          3,
		"service=radius":                        3,
		"service=smtp":                          7,
		"checktype=connect service=smtp":        3,
		"checktype=9 service=smtp checkcount=9": 7,
	} {
		text := "checktimeout=3\nnegotiatetimeout=7\nvirtual=1.2.3.4:80\n"
		for _, d := range strings.Fields(directives) {
			text += "\t" + d + "\n"
		}
		v := mustParse(t, text).Virtuals[0]
		if got := v.Timeout(); got != want*time.Second {
			t.Errorf("%s: %v, want %ds", directives, got, want)
		}
	}
}

func TestURL(t *testing.T) {
	tests := []struct{ section, real, want string }{
		{"", "10.0.0.2:80 gate", "http://10.0.0.2:80/"},
		{`request="a"`, "10.0.0.2:8080 gate", "http://10.0.0.2:8080/a"},
		{`request="//a"`, "10.0.0.2 gate", "http://10.0.0.2:80//a"},
		{`request="http://x/y"`, "10.0.0.2:80 gate", "http://10.0.0.2:80/http://x/y"},
		{`request="s"`, `10.0.0.2:80 gate 1 "http://x/y", "z"`, "http://x/y"},
		{`request="s"`, `10.0.0.2:80 gate 1 "", ""`, "http://10.0.0.2:80/"},
		{`request="s"`, `10.0.0.2:80 gate 1 "/o", "z"`, "http://10.0.0.2:80/s"},
		{"checkport=81", "10.0.0.2:80 gate", "http://10.0.0.2:81/"},
		{"service=https", "10.0.0.2:8443 gate", "https://10.0.0.2:8443/"},
		{"service=http_proxy", "10.0.0.2 gate", ""},
		{"service=http_proxy\n\trequest=\"http://x/y\"", "10.0.0.2 gate", "http://x/y"},
		{"service=http_proxy", `10.0.0.2 gate 1 "a","b"`, "http://10.0.0.2:3128/a"},
		{"service=smtp", "10.0.0.2:25 gate", ""},
	}
	for _, tt := range tests {
		r := mustParse(t, "virtual=1.2.3.4:80\n\treal="+tt.real+"\n\t"+tt.section+"\n").Virtuals[0].Reals[0]
		if r.URL != tt.want {
			t.Errorf("%s, %s: %q, want %q", tt.section, tt.real, r.URL, tt.want)
		}
	}
	cfg := mustParse(t, "virtual6=[fc00::1]:80\n\treal6=[fc00::2]:80 gate\n")
	if got := cfg.Virtuals[0].Reals[0].URL; got != "http://[fc00::2]:80/" {
		t.Error(got)
	}
}

// TestDefaultLogins wants ftp and sip to have a login, named or inferred, unless the file has one.
func TestDefaultLogins(t *testing.T) {
	for directives, want := range map[string]string{
		"21":                            "anonymous ldirectord@director",
		"21 service=ftp login=\"joe\"":  "joe ldirectord@director",
		"80 login=\"joe\" service=ftp":  "joe ",
		"5060":                          "ldirectord@director ",
		"80 service=sip login=\"x\"":    "x ",
		"80 service=smtp passwd=\"pw\"": " pw",
	} {
		fields := strings.Fields(directives)
		text := "virtual=1.2.3.4:" + fields[0] + "\n"
		for _, d := range fields[1:] {
			text += "\t" + d + "\n"
		}
		v := mustParse(t, text).Virtuals[0]
		if got := v.Login + " " + v.Password; got != want {
			t.Errorf("%s: %q, want %q", directives, got, want)
		}
	}
}

func TestServiceOptions(t *testing.T) {
	cfg := mustParse(t, `virtual=1.2.3.4:80
	scheduler=sh
	schedflags=sh-fallback,flag-2
	netmask=255.255.255.0
virtual=1.2.3.4:81
	scheduler=wlc
	schedflags=sh-port
	persistent=60
	netmask=255.0.255.0
	ops=yes
virtual=1.2.3.4:82
	protocol=udp
	ops=yes
`)
	if s := cfg.Virtuals[0].IPVS(); s.SchedFlags != ipvs.SchedFlag1|ipvs.SchedFlag2 || s.Netmask != 0 {
		t.Errorf("%+v: want two flags, and no mask without persistence", s)
	}
	if s := cfg.Virtuals[1].IPVS(); s.SchedFlags != 0 || s.OddMask != netip.MustParseAddr("255.0.255.0") || s.OnePacket {
		t.Errorf("%+v: want no flag of another scheduler, the mask, and ops for udp only", s)
	}
	if s := cfg.Virtuals[2].IPVS(); !s.OnePacket {
		t.Errorf("%+v", s)
	}
}

// TestReceive wants a bad expression to be an error only where a check would use it.
func TestReceive(t *testing.T) {
	for directives, sev := range map[string]diag.Severity{
		"":                  diag.Error,
		"checktype=connect": diag.Warning,
		"service=smtp":      diag.Warning,
		"service=simpletcp": diag.Error,
		"checktype=4":       diag.Error,
	} {
		for _, where := range []string{"\treceive=\"(\"\n", "\treal=10.0.0.2:80 gate 1 \"x\", \"(\"\n"} {
			_, problems := Parse("cf", []byte("virtual=1.2.3.4:80\n"+where+"\t"+directives+"\n"), world())
			if len(problems) != 1 || problems[0].Sev != sev || sev == diag.Error && problems[0].Wire != "invalid receive string" {
				t.Errorf("%q with %s: %v", directives, where, problems)
			}
		}
	}
}

// TestHugeRange wants a range of a third of the Internet refused without building it.
func TestHugeRange(t *testing.T) {
	_, problems := Parse("cf", []byte("virtual=1.2.3.4:80\n\treal=10.0.0.0->90.0.0.0:80 gate\n\treal=10.0.0.0->90.0.0.0:80 gate\n"), world())
	if errs, _ := problems.Count(); errs != 1 {
		t.Error(problems)
	}
}

func TestNoResolver(t *testing.T) {
	_, problems := Parse("cf", []byte("virtual=www.example.org:http\n"), Options{})
	if errs, _ := problems.Count(); errs != 2 {
		t.Error(problems)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range originalCases(f) {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := alloc.Bytes(func() { Parse("cf", text, world()) }); len(text) <= 1<<16 && got > alloc.Text+65536*2048 { // a range may be of 65536 real servers
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		cfg, problems := Parse("cf", text, world())
		n := strings.Count(string(text), "\n") + 1
		for _, p := range problems {
			if p.Pos.Line < 0 || p.Pos.Line > n || p.Pos.Col < 0 || p.Msg == "" {
				t.Errorf("problem %+v in %d lines", p, n)
			}
		}
		if problems.Err() != nil {
			return
		}
		ids := map[string]bool{}
		for i := range cfg.Virtuals {
			v := &cfg.Virtuals[i]
			if ids[v.ID()] {
				t.Errorf("%s twice", v.ID())
			}
			ids[v.ID()] = true
			if v.Timeout() <= 0 || v.CheckInterval <= 0 || v.FailureCount < 1 || v.Service == "" || v.Scheduler == "" {
				t.Errorf("%+v", v)
			}
			for j := range v.Reals {
				if r := &v.Reals[j]; r.ID == "" || !r.Addr.IsValid() || !strings.HasPrefix(r.Request, "/") {
					t.Errorf("%+v", r)
				}
			}
		}
	})
}
