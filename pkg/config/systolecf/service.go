package systolecf

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/diag"
)

// Service is one option of a "service NAME OPTION VALUE..." line: what ldirectord.cf has no words
// for, and would be refused for by the original.
type Service struct {
	Pos diag.Pos // of the option
	// Name says of which virtual services: "*", "10.0.0.1:80", "tcp:10.0.0.1:80", "[fc00::1]:80",
	// or a firewall mark.
	Name          string
	Option, Value string
}

// Options is what service lines say of one virtual service. The zero value is what the original does.
type Options struct {
	Rise       int  // good checks in a row until a server that was down is put back; 0 is 1
	Jitter     int  // percent of checkinterval by which a check may be late, at random
	LeaveEdits bool // what somebody else changes in the table stays

	Verify     Verify
	CAFile     string        // PEM file of authorities; empty is the system's
	ServerName string        // for SNI and Verify; empty is virtualhost
	CertWarn   time.Duration // a certificate that has less to live is warned of; 0 is never

	AgentPort uint16 // of each real server's agent; 0 is none
}

// Verify says how much of a TLS server's certificate is looked at.
type Verify uint8

// Kinds of verification.
const (
	VerifyNothing Verify = iota // any certificate will do
	VerifyChain                 // it must come from an authority and be in its time
	VerifyName                  // and be for the server's name
)

// option is an option of a service line. set is false if the value will not do.
type option struct {
	want string
	set  func(o *Options, value string) bool
}

var options = map[string]option{
	"rise": {"a number from 1 to 1000", func(o *Options, v string) bool { return number(v, 1, 1000, &o.Rise) }},
	"jitter": {"0% to 50%", func(o *Options, v string) bool {
		percent, ok := strings.CutSuffix(v, "%")
		return ok && number(percent, 0, 50, &o.Jitter)
	}},
	"leaveedits": {"yes or no", func(o *Options, v string) bool {
		o.LeaveEdits = v == "yes"
		return v == "yes" || v == "no"
	}},
	"verify": {"no, chain or name", func(o *Options, v string) bool {
		kind := slices.Index([]string{"no", "chain", "name"}, v)
		o.Verify = Verify(max(kind, 0))
		return kind >= 0
	}},
	"cafile": {"an absolute path", func(o *Options, v string) bool {
		o.CAFile = v
		return strings.HasPrefix(v, "/")
	}},
	"servername": {"a host name", func(o *Options, v string) bool {
		o.ServerName = v
		return !strings.ContainsAny(v, `"/:[]`)
	}},
	"certwarn": {"a number of days from 0 to 3650", func(o *Options, v string) bool {
		days := 0
		ok := number(v, 0, 3650, &days)
		o.CertWarn = time.Duration(days) * 24 * time.Hour
		return ok
	}},
	"agentport": {"a port from 1 to 65535, or 0 for none", func(o *Options, v string) bool {
		port := 0
		ok := number(v, 0, 65535, &port)
		o.AgentPort = uint16(port)
		return ok
	}},
}

func number(text string, least, most int, to *int) bool {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return false
	}
	*to = n
	return true
}

// service reads "service NAME OPTION VALUE...".
func (c *Config) service(at func(int) diag.Pos, words []word, problems *diag.List) {
	if len(words) < 4 || len(words)%2 != 0 {
		problems.Errorf(at(words[0].col), "service", "service NAME OPTION VALUE..., NAME a virtual service or *", "%d words", len(words)-1)
		return
	}
	for i := 2; i < len(words); i += 2 {
		name, value := words[i], words[i+1]
		o, known := options[name.text]
		switch {
		case !known:
			problems.Errorf(at(name.col), "service", strings.Join(slices.Sorted(maps.Keys(options)), ", "), "%q is not an option", name.text)
		case !o.set(new(Options), value.text):
			problems.Errorf(at(value.col), "service "+name.text, o.want, "bad value %q", value.text)
		default:
			c.Services = append(c.Services, Service{Pos: at(name.col), Name: words[1].text, Option: name.text, Value: value.text})
		}
	}
}

// Names tells whether the line is about the virtual service of that id ("tcp:10.0.0.1:80",
// "fwm:3") and label ("10.0.0.1:80", "3").
func (s Service) Names(id, label string) bool {
	return s.Name == "*" || s.Name == id || s.Name == label
}

// Options is what the file says of a virtual service. Where several lines say something the last
// one counts.
func (c *Config) Options(id, label string) (o Options) {
	for _, s := range c.Services {
		if s.Names(id, label) {
			options[s.Option].set(&o, s.Value) // its value was good when it was read
		}
	}
	return o
}
