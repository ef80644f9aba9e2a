package ldirectordcf

import (
	"strings"
	"time"
)

// globalDirectives is the directives outside of sections, without virtual, virtual6 and
// supervised, which have shapes of their own. Each sets its part of Global or reports.
var globalDirectives = map[string]func(*parser, statement){
	"checktimeout": func(p *parser, st statement) {
		p.setSeconds(st, "invalid check timeout value", &p.cfg.Global.CheckTimeout)
	},
	"negotiatetimeout": func(p *parser, st statement) {
		p.setSeconds(st, "invalid negotiate timeout value", &p.cfg.Global.NegotiateTimeout)
	},
	"checkinterval": func(p *parser, st statement) {
		p.setSeconds(st, "invalid check interval value", &p.cfg.Global.CheckInterval)
	},
	"checkcount": func(p *parser, st statement) {
		p.setCount(st, "invalid check count value", &p.cfg.Global.CheckCount)
		p.deprecatedCount(st)
	},
	"failurecount": func(p *parser, st statement) {
		p.setCount(st, "invalid failure count value", &p.cfg.Global.FailureCount)
	},
	"fallback":        (*parser).globalFallback,
	"fallback6":       (*parser).globalFallback,
	"fallbackcommand": (*parser).globalFallbackCommand,
	"autoreload":      func(p *parser, st statement) { p.yesNo(st, &p.cfg.Global.AutoReload) },
	"callback":        (*parser).callback,
	"logfile":         (*parser).logfile,
	"execute":         (*parser).execute,
	"fork":            func(p *parser, st statement) { p.yesNo(st, &p.cfg.Global.Fork) },
	"quiescent":       func(p *parser, st statement) { p.yesNo(st, &p.cfg.Global.Quiescent) },
	"readdquiescent":  func(p *parser, st statement) { p.yesNo(st, &p.cfg.Global.ReaddQuiescent) },
	"cleanstop":       func(p *parser, st statement) { p.yesNo(st, &p.cfg.Global.CleanStop) },
	"emailalert":      func(p *parser, st statement) { p.emailTo(st, &p.cfg.Global.Email) },
	"emailalertfreq":  func(p *parser, st statement) { p.emailFreq(st, &p.cfg.Global.Email) },
	"emailalertstatus": func(p *parser, st statement) {
		p.emailStatus(st, &p.cfg.Global.Email)
	},
	"emailalertfrom": (*parser).emailFrom,
	"smtp":           func(p *parser, st statement) { p.smtp(st, &p.cfg.Global.Email) },
	"maintenancedir": (*parser).maintenanceDir,
	"connecttimeout": func(p *parser, st statement) {
		const wire = "connecttimeout directive deprecated in favour of negotiatetimeout"
		p.fail(p.pos(st), st.name, wire, "negotiatetimeout", "directive is no longer there")
	},
	"timeout": func(p *parser, st statement) {
		const wire = "timeout directive deprecated in favour of checktimeout and negotiatetimeout"
		p.fail(p.pos(st), st.name, wire, "checktimeout or negotiatetimeout", "directive is no longer there")
	},
}

func (p *parser) setSeconds(st statement, wire string, dst *time.Duration) {
	if d, ok := p.seconds(st, wire, 1); ok {
		*dst = d
	}
}

func (p *parser) setCount(st statement, wire string, dst *int) {
	if n, ok := p.natural(st, wire, "a number, 1 or more", 0); ok {
		*dst = max(n, 1)
	}
}

func (p *parser) deprecatedCount(st statement) {
	const wire = "checkcount option is deprecated and slated for removal.  please see 'failurecount'"
	p.warn(p.pos(st), st.name, wire, "failurecount", "deprecated; it only counts the attempts of ping checks")
}

// supervised reads the directive with or without a value; any other word that starts with it is an error.
func (p *parser) supervised(st statement) {
	rest := strings.TrimFunc(st.raw[len("supervised"):], isBlankRune)
	if rest == "" {
		p.cfg.Global.Supervised = true
		const wire = "please update your config not to use a bare supervised directive"
		p.warn(p.pos(st), "supervised", wire, "supervised=yes", "directive without a value")
		return
	}
	if st.name != "supervised" || !st.assigned {
		p.fail(p.pos(st), "supervised", "supervised must be 'yes' or 'no'", "supervised=yes or supervised=no", "bad line %q", clip(st.raw))
		return
	}
	st.value = p.cutComment(st)
	p.yesNo(st, &p.cfg.Global.Supervised)
}

func (p *parser) globalFallbackCommand(st statement) {
	command, ok := p.text(st, "invalid fallback command", "a command")
	if !ok {
		return
	}
	if inner, quoted := unquote(command); quoted {
		command = inner
	}
	p.cfg.Global.FallbackCommand = command
}

func (p *parser) callback(st statement) {
	if command, ok := p.quoted(st, unknownWire(st.raw)); ok {
		p.cfg.Global.Callback = command
	}
}

func (p *parser) logfile(st statement) {
	name, ok := p.quoted(st, unknownWire(st.raw))
	if !ok {
		return
	}
	p.cfg.Global.LogFile = name
	if !strings.HasPrefix(name, "/") || p.opts.Debug || p.cfg.Global.Supervised || p.opts.Writable == nil {
		return
	}
	if err := p.opts.Writable(name); err != nil {
		p.fail(p.at(st, 1), st.name, "unable to open logfile: "+name, "a file that can be written, or a syslog facility", "cannot open %q: %v", name, err)
	}
}

func (p *parser) execute(st statement) {
	if st.value == "" {
		p.warn(p.at(st, 0), st.name, "", "a configuration's name", "no value: nothing to run")
		return
	}
	p.cfg.Global.Execute = append(p.cfg.Global.Execute, st.value)
}

func (p *parser) maintenanceDir(st statement) {
	dir, ok := p.text(st, "maintenance directory not specified", "a directory")
	if !ok {
		return
	}
	p.cfg.Global.MaintenanceDir = dir
	if p.opts.DirExists != nil && !p.opts.DirExists(dir) {
		p.warn(p.at(st, 0), st.name, "maintenance directory does not exist", "", "no directory %q", dir)
	}
}

func (p *parser) emailTo(st statement, e *Email) bool {
	to := st.value
	if inner, ok := unquote(to); ok && len(inner)+2 == len(to) {
		to = inner
	}
	if to == "" {
		p.fail(p.at(st, 0), st.name, "no email address specified", "an address", "no value")
		return false
	}
	e.To = to
	return true
}

func (p *parser) emailFreq(st statement, e *Email) bool {
	if st.value == "" || !isDigit(st.value[0]) {
		p.fail(p.at(st, 0), st.name, "invalid email alert frequency", "a number of seconds", "bad number %q", clip(st.value))
		return false
	}
	e.Freq = time.Duration(number(run(st.value, isDigit))) * second
	return true
}

func (p *parser) emailFrom(st statement) {
	if from, ok := p.text(st, "no email from address specified", "an address"); ok {
		p.cfg.Global.Email.From = from
	}
}

var emailStatusWords = map[string]EmailStatus{
	"all": EmailAll, "none": EmailNone, "starting": EmailStarting, "running": EmailRunning, "stopping": EmailStopping,
	"reloading": EmailReloading,
}

// emailStatus reads a list of daemon states. none goes with no other word.
func (p *parser) emailStatus(st statement, e *Email) bool {
	const want = "all, none, or a list of starting, running, stopping, reloading"
	value := strings.TrimRightFunc(st.value, isBlankRune)
	if value == "" {
		e.Status = EmailNone
		return true
	}
	var status EmailStatus
	words := strings.Split(strings.TrimRight(value, ","), ",")
	other := "" // a word that none does not go with
	for i := range words {
		words[i] = strings.TrimFunc(words[i], isBlankRune)
		if other == "" && words[i] != "none" {
			other = words[i]
		}
	}
	for _, word := range words {
		bits, ok := emailStatusWords[word]
		if !ok {
			wire := `invalid email alert status at: "` + word + `"`
			p.fail(p.at(st, max(strings.Index(value, word), 0)), st.name, wire, want, "unknown status %q", clip(word))
			return false
		}
		if word == "none" && other != "" {
			wire := `invalid email alert status: "` + other + `" specified with "none"`
			p.fail(p.at(st, 0), st.name, wire, want, "%q together with \"none\"", clip(other))
			return false
		}
		status |= bits
	}
	e.Status = status
	return true
}

func isHostByte(c byte) bool { return isWordByte(c) || c == '.' || c == '+' || c == '-' }

func (p *parser) smtp(st statement, e *Email) bool {
	i := 0
	for i < len(st.value) && isHostByte(st.value[i]) {
		i++
	}
	if i == 0 {
		p.fail(p.at(st, 0), st.name, "invalid SMTP server address", "a host name without quotes", "bad address %q", clip(st.value))
		return false
	}
	e.SMTP = st.value[:i]
	return true
}
