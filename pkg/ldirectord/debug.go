package ldirectord

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// The lines of -d, in the shapes that people look for in the original's.

// debugStart says that a check begins.
func (l *Log) debugStart(a director.StartCheck, spec check.Spec) {
	if l.debug == nil {
		return
	}
	l.Debugf(2, "Checking %s: real server=%s (virtual=%s)", checkName(a), spec.Hide(a.Real.ID), a.Virtual.ID())
	switch spec.Service {
	case "http", "https", "http_proxy":
		l.Debugf(2, "check_http: url=%q virtualhost=%q", spec.Hide(spec.URL), spec.VirtualHost)
	case "connect", "ping", "external", "external-perl", "on", "off", "none":
	default:
		l.Debugf(2, "Checking %s server=%s port=%d", spec.Service, spec.Addr.Addr(), spec.Addr.Port())
	}
}

// debugEnd says what came of it.
func (l *Log) debugEnd(a director.StartCheck, spec check.Spec, r check.Result) {
	if l.debug == nil {
		return
	}
	word, enabled, done := "down", "Disabled real", fmt.Sprintf("Deactivated service %s: %s", a.Real.Addr, r.Reason)
	if r.Up {
		word, enabled, done = "up", "Enabled  real", "Activated service "+a.Real.Addr.String()
	}
	switch spec.Service {
	case "http", "https", "http_proxy":
		l.Debugf(2, "Return status: %s", firstLine(r.Monitor))
		l.Debugf(2, "check_http: %s is %s", spec.Hide(spec.URL), word)
	case "ping":
		if r.Up {
			l.Debugf(2, "pong from %s", spec.Addr.Addr())
		} else {
			for _, line := range r.Trace {
				if _, attempt, ok := strings.Cut(line, " attempt "); ok {
					attempt, _, _ = strings.Cut(attempt, ":")
					l.Debugf(2, "ping to %s timed out (attempt %s)", spec.Addr.Addr(), attempt)
				}
			}
		}
	}
	for _, line := range r.Trace {
		l.Debugf(3, "%s", line)
	}
	l.Debugf(2, "%s server=%s (virtual=%s)", enabled, spec.Hide(a.Real.ID), a.Virtual.ID())
	l.Debugf(3, "%s", done)
}

// debugOp says what is done to the table, as the command of the original would be.
func (l *Log) debugOp(op ipvs.Op) {
	if l.debug != nil {
		l.Debugf(2, "Running system(/sbin/ipvsadm %s)", command(op))
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r")
}

// checkName is how the original's debug output calls a check.
func checkName(a director.StartCheck) string {
	switch {
	case a.Connect:
		return "combined-connect"
	case a.Virtual.CheckType == ldirectordcf.Combined:
		return "combined-negotiate"
	case a.Virtual.CheckType == ldirectordcf.Connect && a.Virtual.Protocol == "udp":
		return "connect (ping)"
	}
	return a.Virtual.CheckType.String()
}

// command is the arguments with which the original would have called ipvsadm.
func command(op ipvs.Op) string {
	s := op.Service
	args := []string{[...]string{"-A", "-E", "-D", "-a", "-e", "-d", "-C", "-Z"}[op.Kind]}
	add := func(words ...string) { args = append(args, words...) }
	switch {
	case s.FWMark != 0:
		add("-f", fmt.Sprint(s.FWMark))
		if s.Family == ipvs.IPv6 {
			add("-6")
		}
	case s.Protocol == ipvs.UDP:
		add("-u", s.Addr.String())
	default:
		add("-t", s.Addr.String())
	}
	method := map[ipvs.Forward]string{ipvs.Masq: "-m", ipvs.Tunnel: "-i"}[op.Dest.Forward]
	if method == "" {
		method = "-g"
	}
	switch op.Kind {
	case ipvs.AddService, ipvs.EditService:
		if s.OnePacket {
			add("-o")
		}
		add("-s", s.Scheduler)
		if s.Persistent > 0 {
			add("-p", fmt.Sprint(s.Persistent))
		}
	case ipvs.AddDest, ipvs.EditDest:
		if op.Dest.Weight > 0 {
			add("-x", fmt.Sprint(op.Dest.UpperThreshold), "-y", fmt.Sprint(op.Dest.LowerThreshold))
		}
		add("-r", op.Dest.Addr.String(), method, "-w", fmt.Sprint(op.Dest.Weight))
	case ipvs.DelDest:
		add("-r", op.Dest.Addr.String())
	}
	return strings.Join(args, " ")
}
