package hacf

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

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
	p.odd(d, w, n)
	p.cfg.Baud = n
}

func setUDPPort(p *parser, d *directive, w word) {
	n := atoi(w.text)
	if n <= 0 || n%65536 == 0 {
		p.fail(w.pos, d.name, "a port number from 1 to 65535", "", "bad port %q", w.text)
		return
	}
	if n > 65535 {
		p.warn(w.pos, d.name, "a port number from 1 to 65535", "", "%d is no port: %d is used, as by the original", n, n%65536)
		n %= 65536
	} else {
		p.odd(d, w, n)
	}
	for _, kind := range []string{"bcast", "ucast", "ucast6"} {
		if port, looked := p.ports[kind]; looked && port != n {
			p.warn(w.pos, d.name, "udpport above all media", "", "comes too late for %s above, which keeps port %d", kind, port)
		}
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
	p.odd(d, w, n)
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
		p.fail(w.pos, d.name, "an absolute path", fmt.Sprintf("Invalid dir in cl_set_corerootdir() [%[1]s]: No such file or directory\nInvalid core directory [%[1]s]: Invalid argument", w.text), "bad directory %q", w.text)
		return
	}
	p.cfg.CoreRoot = w.text
}

// setPacemakerOnly is for what matters only with Pacemaker. The original wants it before the
// pacemaker directive, but has the test of crm_daemon_dir the wrong way round: the documented order
// is refused, the other one complained about and accepted.
func setPacemakerOnly(p *parser, d *directive, w word) {
	late := p.cfg.Pacemaker != ""
	wire := ""
	if late {
		wire = fmt.Sprintf("ERROR: If you specify %s, it must come before the pacemaker directive", w.text)
	}
	isDir := d.name == "crm_daemon_dir"
	if !isDir {
		if _, ok := parseBool(w.text); !ok {
			recordedBool(p, d, w)
			return
		}
	}
	if late != isDir {
		p.fail(w.pos, d.name, "no such line: it has no meaning in haresources mode", wire, "the original refuses it here")
		return
	}
	p.warn(w.pos, d.name, "", wire, "has no meaning in haresources mode")
}

func setPacemaker(p *parser, d *directive, w word) {
	if p.cfg.Pacemaker != "" {
		p.fail(w.pos, d.name, "one pacemaker or crm directive", "pacemaker/crm directive used multiple times!", "given more than once")
		return
	}
	p.cfg.Pacemaker = w.text
	v, ok := parseBool(w.text)
	switch {
	case ok && !v:
		return
	case !ok && !slices.Contains([]string{"minimal", "manual", "respawn", "ccm-only", "valgrind"}, strings.ToLower(w.text)):
		p.fail(w.pos, d.name, "no", "", "bad value %q", w.text)
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

// setQuorumServer overwrites the cluster's name, as the original's does; nobody asks a quorum server
// in haresources mode.
func setQuorumServer(p *parser, _ *directive, w word) { p.cfg.Cluster = w.text }

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
	p.odd(d, w, n)
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
