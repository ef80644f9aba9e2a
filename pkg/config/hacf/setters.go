package hacf

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/diag"
)

func setWarntime(p *parser, d *directive, w word) {
	t, ok := parseTime(w.text)
	if !ok || t <= 0 {
		p.fail(w.pos, d.name, "seconds, or a number with ms", "", "bad duration %q", w.text)
		return
	}
	p.cfg.Warntime, p.warntime = t, true
}

func setWatchdog(p *parser, d *directive, w word) {
	if p.cfg.Watchdog != "" {
		p.fail(w.pos, d.name, "one device", "", "given more than once")
		return
	}
	p.cfg.Watchdog = w.text
}

func setBaud(p *parser, d *directive, w word) {
	n := atoi(w.text)
	switch n {
	case 9600, 19200, 38400, 57600, 115200, 230400, 460800:
	default:
		p.fail(w.pos, d.name, "9600, 19200, 38400, 57600, 115200, 230400 or 460800", "", "bad rate %q", w.text)
		return
	}
	if _, twice := p.recorded[d.name]; twice {
		p.fail(w.pos, d.name, "one rate", "", "given more than once")
		return
	}
	p.cfg.Baud = n
}

func setUDPPort(p *parser, d *directive, w word) {
	n := atoi(w.text)
	if n <= 0 || n > 65535 {
		p.fail(w.pos, d.name, "a port number from 1 to 65535", "", "bad port %q", w.text)
		return
	}
	if p.host.ServiceOfPort != nil {
		if s := p.host.ServiceOfPort(n); s != "" && s != "ha-cluster" {
			p.warn(w.pos, d.name, "", fmt.Sprintf("heartbeat: udp port %s reserved for service %q.", w.text, s), "port %s is registered for %q", w.text, s)
		}
	}
	p.cfg.UDPPort = n
}

func setFacility(p *parser, d *directive, w word) {
	if !facilities[w.text] {
		p.fail(w.pos, d.name, "a syslog facility such as local0, or none", fmt.Sprintf("Log facility(%s) not valid", w.text), "no such facility %q", w.text)
		return
	}
	p.cfg.LogFacility = w.text
}

// syslog tells whether a facility is on.
func (p *parser) syslog() bool {
	f := p.cfg.LogFacility
	return f != "" && f != "none" && f != "kern"
}

func setFailback(p *parser, d *directive, w word) {
	if strings.EqualFold(w.text, "legacy") {
		p.cfg.Failback, p.failback = Legacy, false
		return
	}
	v, ok := parseBool(w.text)
	if !ok {
		p.fail(w.pos, d.name, "on, off or legacy", "", "bad value %q", w.text)
		return
	}
	p.cfg.Failback, p.failback = Off, true
	if v {
		p.cfg.Failback = On
	}
}

// setNiceFailback is the obsolete directive: its value counts for nothing but its form.
func setNiceFailback(p *parser, d *directive, w word) {
	wire := "ERROR: nice_failback flag is obsolete.. Use auto_failback {on, off, legacy} instead.\n"
	const last = "ERROR: See documentation for details."
	if _, ok := parseBool(w.text); !ok {
		p.fail(w.pos, d.name, "auto_failback on, off or legacy instead", wire+last, "obsolete, and bad value %q", w.text)
		return
	}
	if p.failback {
		wire += fmt.Sprintf("ERROR: 'nice_failback %s' has been changed to 'auto_failback off'\n", w.text)
		p.cfg.Failback = Off
	} else {
		wire += fmt.Sprintf("ERROR: nice_failback %s has been strictly interpreted as 'auto_failback legacy'\n", w.text) +
			"ERROR: Consider converting to 'auto_failback on'.\nERROR: When you do, then you can use ipfail, and hb_standby\n"
		p.cfg.Failback = Legacy
	}
	p.warn(w.pos, d.name, "auto_failback on, off or legacy instead", wire+last, "obsolete: taken as auto_failback %s", p.cfg.Failback)
}

func setRTPrio(p *parser, d *directive, w word) {
	n := atoi(w.text)
	if n < 1 || n > 99 {
		p.fail(w.pos, d.name, "a priority from 1 to 99", fmt.Sprintf("Illegal realtime priority [%s]", w.text), "bad priority %q", w.text)
		return
	}
	p.cfg.RTPrio = n
}

func setUseLogd(p *parser, d *directive, w word) {
	v, ok := parseBool(w.text)
	if !ok {
		p.fail(w.pos, d.name, "yes or no", "", "bad value %q", w.text)
		return
	}
	p.cfg.UseLogd, p.useLogd = v, true
}

func setCoreRoot(p *parser, d *directive, w word) {
	if !strings.HasPrefix(w.text, "/") {
		p.fail(w.pos, d.name, "an absolute path", fmt.Sprintf("Invalid core directory [%s]: Invalid argument", w.text), "bad directory %q", w.text)
		return
	}
	p.cfg.CoreRoot = w.text
}

// setPacemakerOnly accepts what matters only with Pacemaker, where the original has an inverted
// test that refuses the documented order.
func setPacemakerOnly(p *parser, d *directive, w word) {
	p.warn(w.pos, d.name, "", "", "has no meaning in haresources mode")
}

func setPacemaker(p *parser, d *directive, w word) {
	if p.cfg.Pacemaker != "" {
		p.fail(w.pos, d.name, "one pacemaker or crm directive", "pacemaker/crm directive used multiple times!", "given more than once")
		return
	}
	p.cfg.Pacemaker = w.text
	if v, ok := parseBool(w.text); ok && !v {
		return
	}
	p.fail(w.pos, d.name, "no; for Pacemaker use Pacemaker on Corosync",
		"systole manages haresources only: for Pacemaker use Pacemaker on Corosync", "%q asks for Pacemaker mode", w.text)
}

func setAutojoin(p *parser, d *directive, w word) {
	switch v := strings.ToLower(w.text); v {
	case "none", "other", "any":
		p.cfg.Autojoin = v
	default:
		p.fail(w.pos, d.name, "none", fmt.Sprintf("Invalid autojoin directive [%s]", w.text), "bad value %q", w.text)
	}
}

func setEnv(p *parser, d *directive, w word) {
	name, value, _ := strings.Cut(w.text, "=")
	if name == "" {
		p.fail(w.pos, d.name, "NAME=VALUE", fmt.Sprintf("set_env: invalid nvpair(%s)", w.text), "no name in %q", w.text)
		return
	}
	p.cfg.Env = append(p.cfg.Env, name+"="+value)
}

func setRexmitDelay(p *parser, d *directive, w word) {
	n := atoi(w.text)
	if n <= 0 {
		p.fail(w.pos, d.name, "milliseconds", fmt.Sprintf("Invalid max_rexmit_delay time(%s)", w.text), "bad delay %q", w.text)
		return
	}
	p.cfg.MaxRexmitDelay = time.Duration(n) * time.Millisecond
}

// recordedBool checks a value that is recorded and used by nobody in haresources mode.
func recordedBool(p *parser, d *directive, w word) {
	if _, ok := parseBool(w.text); !ok {
		p.fail(w.pos, d.name, "yes or no", "ha_config_check_boolean:Invalid directive value "+w.text, "bad value %q", w.text)
	}
}

// maxNodes is the size of the original's node table.
const maxNodes = 100

func setNode(p *parser, d *directive, w word) {
	if len(p.cfg.Nodes) >= maxNodes {
		p.fail(w.pos, d.name, "at most 100 nodes", "", "too many nodes")
		return
	}
	p.cfg.Nodes = append(p.cfg.Nodes, Node{strings.ToLower(w.text), w.pos})
}

func setStonith(p *parser, d *directive, w word) {
	f := w.fields()
	if len(f) < 2 {
		p.fail(w.pos, d.name, "a type and a configuration file", "No Stonith type given", "no type or no file given")
		return
	}
	p.cfg.Stonith = &Stonith{Type: f[0].text, Config: f[1].text, Pos: w.pos}
}

func setStonithHost(p *parser, d *directive, w word) {
	f := w.fields()
	if len(f) == 0 {
		p.fail(w.pos, d.name, "a host, a type and parameters", "No Stonith hostname argument given", "no host given")
		return
	}
	if h := strings.ToLower(f[0].text); h != "*" && p.host.Node != "" && h != p.host.Node {
		return
	}
	if len(f) < 2 {
		p.fail(w.pos, d.name, "a host, a type and parameters", "No Stonith type given", "no type given")
		return
	}
	after := w.text[f[1].pos.Col-w.pos.Col+len(f[1].text):]
	p.cfg.Stonith = &Stonith{Type: f[1].text, Params: strings.TrimSpace(after), Pos: w.pos}
}

// maxClientName is the longest name of an API client.
const maxClientName = 31

func setAPIAuth(p *parser, d *directive, w word) {
	bad := func(pos diag.Pos, why, format string, args ...any) {
		wire := ""
		if why != "" {
			wire = "ERROR: " + why + "\n"
		}
		wire += fmt.Sprintf("ERROR: Invalid apiauth directive [%s]\n", w.text) +
			"info: Syntax: apiauth client [uid=uidlist] [gid=gidlist]\ninfo: Where uidlist is a comma-separated list of uids,\n" +
			"info: and gidlist is a comma-separated list of gids\ninfo: One or the other must be specified."
		p.fail(pos, d.name, "CLIENT [uid=NAME,...] [gid=NAME,...]", wire, format, args...)
	}
	f := w.fields()
	if len(f) == 0 {
		bad(w.pos, "", "no client given")
		return
	}
	a := APIAuth{Client: f[0].text, Pos: w.pos}
	if len(a.Client) > maxClientName {
		bad(f[0].pos, fmt.Sprintf("client name [%s] too long", w.text), "client name %q is longer than %d letters", a.Client, maxClientName)
		return
	}
	for _, had := range p.cfg.APIAuth {
		if had.Client == a.Client {
			bad(f[0].pos, fmt.Sprintf("Duplicate apiauth directive for API client %s: [%s]", a.Client, w.text), "client %q has one already", a.Client)
			return
		}
	}
	for _, part := range f[1:] {
		kind, list, _ := strings.Cut(part.text, "=")
		switch {
		case kind == "uid" && a.UIDs == nil:
			a.UIDs = strings.Split(list, ",")
			for _, u := range a.UIDs {
				if !isNumber(u) && p.host.UserExists != nil && !p.host.UserExists(u) {
					bad(part.pos, fmt.Sprintf("Invalid user id name [%s]\nERROR: Bad uid list [%s]", u, list), "no user %q", u)
					return
				}
			}
		case kind == "gid" && a.GIDs == nil:
			a.GIDs = strings.Split(list, ",")
			for _, g := range a.GIDs {
				if !isNumber(g) && p.host.GroupExists != nil && !p.host.GroupExists(g) {
					bad(part.pos, fmt.Sprintf("Invalid group name [%s]\nERROR: Bad gid list [%s]", g, list), "no group %q", g)
					return
				}
			}
		case kind == "uid" || kind == "gid":
			bad(part.pos, "Duplicate "+kind+" list in apiauth", "%s is given twice", kind)
			return
		default:
			bad(part.pos, "Missing uid or gid in apiauth", "bad word %q", part.text)
			return
		}
	}
	if a.UIDs == nil && a.GIDs == nil {
		bad(w.pos, "", "neither uid nor gid given")
		return
	}
	p.cfg.APIAuth = append(p.cfg.APIAuth, a)
}

func isNumber(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

func setClient(p *parser, d *directive, w word) {
	f := w.fields()
	if len(f) < 2 {
		p.fail(w.pos, d.name, "USER /PATH/TO/PROGRAM [ARGUMENTS]", "", "no user or no program given")
		return
	}
	user, prog := f[0], f[1]
	command := w.text[prog.pos.Col-w.pos.Col:]
	switch {
	case len(user.text) > 63:
		p.fail(user.pos, d.name, "a user name", "UID specified for client child is too long", "user name is longer than 63 letters")
	case p.host.UserExists != nil && !p.host.UserExists(user.text):
		p.fail(user.pos, d.name, "a user name", fmt.Sprintf("Invalid uid [%s] specified for client child", user.text), "no user %q", user.text)
	case !strings.HasPrefix(prog.text, "/"):
		p.fail(prog.pos, d.name, "an absolute path", fmt.Sprintf("Client child command [%s] is not full pathname", command), "%q is not an absolute path", prog.text)
	case p.host.Executable != nil && !p.host.Executable(prog.text):
		p.fail(prog.pos, d.name, "a program", fmt.Sprintf("Client child command [%s] is not executable", prog.text), "%q cannot be executed", prog.text)
	default:
		p.cfg.Clients = append(p.cfg.Clients, Client{User: user.text, Command: command, Failfast: d.name == "failfast", Pos: w.pos})
	}
}

func setMedium(p *parser, d *directive, w word) {
	m := Medium{Kind: d.name, Name: w.text, Pos: w.pos}
	if d.whole {
		f := w.fields()
		if len(f) == 0 {
			p.fail(w.pos, d.name, mediumSyntax[d.name], "", "nothing given")
			return
		}
		m.Name = f[0].text
		for _, a := range f[1:] {
			m.Args = append(m.Args, a.text)
		}
	}
	if !p.checkMedium(m) {
		return
	}
	if m.Ping() {
		m.Name = strings.ToLower(m.Name)
	}
	p.cfg.Media = append(p.cfg.Media, m)
}

var mediumSyntax = map[string]string{
	"mcast":      "INTERFACE GROUP PORT TTL LOOP",
	"mcast6":     "INTERFACE GROUP PORT HOPS LOOP",
	"ucast":      "INTERFACE PEER",
	"ucast6":     "INTERFACE PEER",
	"ping_group": "NAME HOST...",
}

// maxMedia is the size of the original's table.
const maxMedia = 64

func (p *parser) checkMedium(m Medium) bool {
	bad := func(wire, format string, args ...any) bool {
		p.fail(m.Pos, m.Kind, mediumSyntax[m.Kind], wire, format, args...)
		return false
	}
	if len(p.cfg.Media) >= maxMedia {
		return bad(fmt.Sprintf("Too many media specified (> %d)\ninfo: Offending command: %s %s", maxMedia, m.Kind, m.Name), "more than %d media", maxMedia)
	}
	arg := func(i int) string {
		if i < len(m.Args) {
			return m.Args[i]
		}
		return ""
	}
	switch m.Kind {
	case "bcast":
		if p.host.CheckLink != nil {
			if err := p.host.CheckLink(m.Name); err != nil {
				p.fail(m.Pos, m.Kind, "an interface that can broadcast",
					fmt.Sprintf("ERROR: glib: Get broadcast for interface %s failed: %v\nERROR: glib: IP interface [%s] does not exist\nERROR: Illegal bcast [UDP/IP broadcast] in config file [%s]", m.Name, err, m.Name, m.Name),
					"interface %q: %v", m.Name, err)
				return false
			}
		}
	case "ucast":
		if arg(0) == "" {
			return bad(fmt.Sprintf("glib: ucast: [%s] missing target IP address/hostname", m.Name), "no peer given")
		}
	case "ucast6":
		if arg(0) == "" {
			return bad(fmt.Sprintf("glib: ucast6 [%s] missing ucast6 address", m.Name), "no peer given")
		}
		if a, err := netip.ParseAddr(arg(0)); err != nil || !a.Is6() {
			return bad(fmt.Sprintf("glib: ucast6 [%s] bad addr [%s]", m.Name, arg(0)), "%q is not an IPv6 address", arg(0))
		}
	case "mcast", "mcast6":
		return p.checkMulticast(m, arg, bad)
	case "serial":
		if !strings.HasPrefix(m.Name, "/") {
			return bad(fmt.Sprintf("glib: Serial port not full pathname [%s] in config file", m.Name), "%q is not an absolute path", m.Name)
		}
		if p.host.CheckTTY != nil {
			if err := p.host.CheckTTY(m.Name); err != nil {
				return bad(fmt.Sprintf("glib: Nonexistent serial port [%s] in config file", m.Name), "%v", err)
			}
		}
	case "ping_group":
		if len(m.Args) == 0 {
			return bad("", "no host given")
		}
	}
	return true
}

func (p *parser) checkMulticast(m Medium, arg func(int) string, bad func(string, string, ...any) bool) bool {
	for i, what := range []string{"address", "port", "ttl", "loop"} {
		if arg(i) == "" {
			name := what
			if what == "address" {
				name = m.Kind + " address"
			}
			return bad(fmt.Sprintf("glib: %s [%s] missing %s", m.Kind, m.Name, name), "no %s given", what)
		}
	}
	a, err := netip.ParseAddr(arg(0))
	if err != nil || !a.IsMulticast() || a.Is4() != (m.Kind == "mcast") {
		return bad(fmt.Sprintf("glib: %s [%s] bad addr [%s]", m.Kind, m.Name, arg(0)), "%q is not a multicast address", arg(0))
	}
	for i, c := range []struct {
		what      string
		low, high int
	}{{"port", 1, 65535}, {"ttl", 0, 4}, {"loop", 0, 1}} {
		if n := atoi(arg(i + 1)); n < c.low || n > c.high {
			return bad(fmt.Sprintf("glib:  %s [%s] bad %s [%d]", m.Kind, m.Name, c.what, n), "bad %s %q (want %d to %d)", c.what, arg(i+1), c.low, c.high)
		}
	}
	return true
}
