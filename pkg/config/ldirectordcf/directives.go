package ldirectordcf

import (
	"errors"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// sectionDirectives is the directives inside a section. Each sets its part of the section; it
// is false if it reported an error instead.
var sectionDirectives = map[string]func(*parser, *section, statement) bool{
	"real":      (*parser).realLine,
	"real6":     (*parser).realLine,
	"fallback":  (*parser).fallbackLine,
	"fallback6": (*parser).fallbackLine,
	"fallbackcommand": func(p *parser, s *section, st statement) bool {
		return p.command(st, "invalid fallback command", &s.v.FallbackCommand)
	},
	"request":   (*parser).request,
	"receive":   (*parser).receive,
	"checktype": (*parser).checkType,
	"checkcommand": func(p *parser, s *section, st statement) bool {
		return p.command(st, "invalid check command", &s.v.CheckCommand)
	},
	"checktimeout": func(p *parser, s *section, st statement) bool {
		d, ok := p.seconds(st, "invalid check timeout", 0)
		s.v.CheckTimeout = d
		return ok
	},
	"negotiatetimeout": func(p *parser, s *section, st statement) bool {
		d, ok := p.seconds(st, "invalid negotiate timeout", 0)
		s.v.NegotiateTimeout = d
		return ok
	},
	"checkcount": func(p *parser, s *section, st statement) bool {
		p.setCount(st, "invalid check count", &s.v.CheckCount)
		p.deprecatedCount(st)
		return s.v.CheckCount > 0
	},
	"failurecount": func(p *parser, s *section, st statement) bool {
		p.setCount(st, "invalid failure count", &s.v.FailureCount)
		return s.v.FailureCount > 0
	},
	"checkinterval": func(p *parser, s *section, st statement) bool {
		d, ok := p.seconds(st, "invalid checkinterval", 1)
		s.v.CheckInterval = d
		return ok
	},
	"checkport": (*parser).checkPort,
	"login": func(p *parser, s *section, st statement) bool {
		return p.secret(st, "invalid login string", &s.v.Login)
	},
	"passwd": func(p *parser, s *section, st statement) bool {
		return p.secret(st, "invalid password", &s.v.Password)
	},
	"database": func(p *parser, s *section, st statement) bool {
		return p.secret(st, "invalid database", &s.v.Database)
	},
	"secret": func(p *parser, s *section, st statement) bool {
		return p.secret(st, "invalid secret", &s.v.Secret)
	},
	"load":        (*parser).load,
	"scheduler":   (*parser).scheduler,
	"persistent":  (*parser).persistent,
	"netmask":     (*parser).netmask,
	"schedflags":  (*parser).schedFlags,
	"ops":         func(p *parser, s *section, st statement) bool { return p.yesNo(st, &s.v.OnePacket) },
	"protocol":    (*parser).protocol,
	"service":     (*parser).service,
	"httpmethod":  (*parser).httpMethod,
	"virtualhost": (*parser).virtualHost,
	"quiescent":   func(p *parser, s *section, st statement) bool { return p.yesNo(st, &s.v.Quiescent) },
	"cleanstop":   func(p *parser, s *section, st statement) bool { return p.yesNo(st, &s.v.CleanStop) },
	"emailalert":  func(p *parser, s *section, st statement) bool { return p.emailTo(st, &s.v.Email) },
	"emailalertfreq": func(p *parser, s *section, st statement) bool {
		return p.emailFreq(st, &s.v.Email)
	},
	"emailalertstatus": func(p *parser, s *section, st statement) bool {
		return p.emailStatus(st, &s.v.Email)
	},
	"smtp":        func(p *parser, s *section, st statement) bool { return p.smtp(st, &s.v.Email) },
	"monitorfile": (*parser).monitorFile,
	"servicename": func(_ *parser, s *section, st statement) bool {
		s.v.ServiceName = st.value
		return true
	},
	"comment": func(_ *parser, s *section, st statement) bool {
		s.v.Comment = st.value
		return true
	},
	"connecttimeout": func(p *parser, _ *section, st statement) bool {
		const wire = "connecttimeout directive deprecated in favour of negotiatetimeout"
		p.fail(p.pos(st), st.name, wire, "negotiatetimeout", "directive is no longer there")
		return false
	},
}

// command reads a program's path, with or without quotes.
func (p *parser) command(st statement, wire string, dst *string) bool {
	command := st.value
	if inner, ok := unquote(command); ok {
		command = inner
	}
	if command == "" {
		p.fail(p.at(st, 0), st.name, wire, "a command", "no value")
		return false
	}
	*dst = command
	return true
}

// secret reads a quoted string that must not be empty.
func (p *parser) secret(st statement, wire string, dst *string) bool {
	text, ok := p.quoted(st, unknownInSectionWire(st.raw))
	if !ok {
		return false
	}
	if text == "" {
		p.fail(p.at(st, 0), st.name, wire, `"value"`, "empty string")
		return false
	}
	*dst = text
	return true
}

func (p *parser) request(s *section, st statement) bool {
	if !p.secret(st, "no request string specified", &s.v.Request) {
		return false
	}
	s.v.Request = withSlash(s.v.Request)
	return true
}

// withSlash puts a slash before a request unless there is one.
func withSlash(request string) string {
	if strings.HasPrefix(request, "/") {
		return request
	}
	return "/" + request
}

func (p *parser) receive(s *section, st statement) bool {
	s.receiveAt = p.at(st, 1)
	return p.secret(st, "invalid receive string", &s.v.Receive)
}

func isTypeByte(c byte) bool { return isWordByte(c) || c == '-' }

func (p *parser) checkType(s *section, st statement) bool {
	if digits := run(st.value, isDigit); digits != "" {
		s.v.CheckType, s.v.Every = Combined, number(digits)
		return true
	}
	word := run(st.value, isTypeByte)
	for t, name := range checkTypeNames {
		if word == name && CheckType(t) != Combined {
			s.v.CheckType, s.v.Every = CheckType(t), 0
			return true
		}
	}
	const wire = `checktype must be "connect", "negotiate", "on", "off", "ping", "external", "external-perl" or a positive number`
	p.fail(p.at(st, 0), st.name, wire, "negotiate, connect, ping, external, external-perl, on, off, or a number", "unknown type %q", clip(st.value))
	return false
}

func (p *parser) checkPort(s *section, st statement) bool {
	const want = "a port, 1 to 65535"
	digits := run(st.value, isDigit)
	if digits == "" {
		p.fail(p.at(st, 0), st.name, "invalid port", want, "bad port %q", clip(st.value))
		return false
	}
	n := number(digits)
	if n < 1 || n > 65535 {
		p.fail(p.at(st, 0), st.name, "checkport must be in range 1..65536", want, "port %s out of range", clip(digits))
		return false
	}
	s.v.CheckPort = uint16(n)
	return true
}

// load reads a value that the original has never used.
func (p *parser) load(_ *section, st statement) bool {
	text, ok := p.quoted(st, unknownInSectionWire(st.raw))
	if ok && firstWord(text) == "" {
		p.fail(p.at(st, 0), st.name, "invalid string for load testing", `"word"`, "no word in %q", clip(text))
		return false
	}
	return ok
}

func (p *parser) scheduler(s *section, st statement) bool {
	name := run(st.value, func(c byte) bool { return c >= 'a' && c <= 'z' })
	if name == "" {
		p.fail(p.at(st, 0), st.name, "invalid scheduler, should be only lowercase letters (a-z)", "wrr, rr, wlc, lc, sh, ...", "bad scheduler %q", clip(st.value))
		return false
	}
	s.v.Scheduler = name
	return true
}

func (p *parser) persistent(s *section, st statement) bool {
	digits := run(st.value, isDigit)
	if digits == "" {
		p.fail(p.at(st, 0), st.name, "invalid persistent timeout", "a number of seconds", "bad number %q", clip(st.value))
		return false
	}
	s.v.Persistent = uint32(number(digits))
	if s.v.Persistent == 0 {
		p.warn(p.at(st, 0), st.name, "", "1 or more seconds, or no persistent line", "0 is not persistent; ipvsadm would refuse the service")
	}
	return true
}

func (p *parser) netmask(s *section, st statement) bool {
	value := strings.TrimRightFunc(st.value, isBlankRune)
	if s.family == ipvs.IPv6 {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n < 1 || n > 128 {
			p.fail(p.at(st, 0), st.name, "invalid netmask: a prefix length between 1 and 128 is required", "1 to 128", "bad prefix length %q", clip(value))
			return false
		}
		s.v.Netmask = uint8(n)
		return true
	}
	if !isDottedQuad(value) {
		p.fail(p.at(st, 0), st.name, "invalid netmask: dotted quad notation is required", "255.255.255.255 or the like", "bad mask %q", clip(value))
		return false
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		p.warn(p.at(st, 0), st.name, "", "255.255.255.255 or the like", "%q is no address: not used; ipvsadm would refuse the service", clip(value))
		return true
	}
	var service ipvs.Service
	service.SetMask4(addr.As4())
	s.v.Netmask, s.v.OddMask = service.Netmask, service.OddMask
	return true
}

// isDottedQuad tells four runs of digits between dots, of whatever size.
func isDottedQuad(s string) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		if part == "" || run(part, isDigit) != part {
			return false
		}
	}
	return len(parts) == 4
}

func (p *parser) schedFlags(s *section, st statement) bool {
	word := run(st.value, func(c byte) bool { return isTypeByte(c) || c == ',' })
	if word == "" {
		p.fail(p.at(st, 0), st.name, "invalid sched-flags", "sh-port, sh-fallback, mh-port, mh-fallback, flag-1 to flag-3", "no value")
		return false
	}
	s.v.SchedFlags = word
	s.flagsAt = p.at(st, 0)
	return true
}

func (p *parser) protocol(s *section, st statement) bool {
	word := firstWord(st.value)
	isMark := s.v.Protocol == "fwm"
	switch {
	case word == "":
		p.fail(p.at(st, 0), st.name, "invalid protocol", "tcp or udp", "no word in %q", clip(st.value))
		return false
	case isMark && word != "fwm":
		const wire = "protocol must be fwm if the virtual service is a fwmark (a number)"
		p.fail(p.at(st, 0), st.name, wire, "fwm, as the service is a firewall mark", "bad protocol %q", clip(word))
		return false
	case !isMark && word != "tcp" && word != "udp":
		const wire = "protocol must be tcp or udp if the virtual service is an address and port"
		p.fail(p.at(st, 0), st.name, wire, "tcp or udp", "bad protocol %q", clip(word))
		return false
	}
	s.v.Protocol = word
	return true
}

func (p *parser) service(s *section, st statement) bool {
	word := firstWord(st.value)
	if !isService(word) {
		const wire = "service must be dns, ftp, http, https, http_proxy, imap, imaps, ldap, ldaps, mysql, nntp, none, oracle, pop, pops, " +
			"radius, pgsql, simpletcp, sip, smtp or submission"
		p.fail(p.at(st, 0), st.name, wire, strings.Join(serviceNames(), ", "), "unknown service %q", clip(word))
		return false
	}
	s.v.Service = word
	s.serviceAt = p.pos(st)
	p.defaultLogin(&s.v)
	return true
}

// defaultLogin fills in who an ftp or sip check logs in as, where nothing is set yet.
func (p *parser) defaultLogin(v *Virtual) {
	if v.Login != "" {
		return
	}
	switch v.Service {
	case "ftp":
		v.Login = "anonymous"
		if v.Password == "" {
			v.Password = "ldirectord@" + p.opts.Hostname
		}
	case "sip":
		v.Login = "ldirectord@" + p.opts.Hostname
	}
}

func (p *parser) httpMethod(s *section, st statement) bool {
	switch method := strings.ToUpper(firstWord(st.value)); method {
	case "GET", "HEAD":
		s.v.HTTPMethod = method
		return true
	}
	p.fail(p.at(st, 0), st.name, "httpmethod must be GET or HEAD", "GET or HEAD", "bad method %q", clip(st.value))
	return false
}

// virtualHost takes the text up to the first inner quote; an opening quote is skipped.
func (p *parser) virtualHost(s *section, st statement) bool {
	host, _, _ := strings.Cut(strings.TrimPrefix(st.value, `"`), `"`)
	s.v.VirtualHost, s.v.HasVirtualHost = host, true
	return true
}

func (p *parser) monitorFile(s *section, st statement) bool {
	name := st.value
	if inner, ok := unquote(name); ok {
		name = inner
	}
	s.v.MonitorFile = name
	if p.opts.Writable == nil {
		return true
	}
	if err := p.opts.Writable(name); err != nil {
		wire := "unable to open monitorfile " + name + ": " + causeText(err)
		p.fail(p.at(st, 0), st.name, wire, "a file that can be written", "cannot open %q: %v", name, err)
		return false
	}
	return true
}

// causeText is an error of the operating system in C's words, which start with a capital.
func causeText(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	text := err.Error()
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
