package hacf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxMedia is the size of the original's table.
const maxMedia = 64

// mediumSyntax is what a medium's directive wants.
var mediumSyntax = map[string]string{
	"bcast":      "an interface with an IPv4 address",
	"mcast":      "INTERFACE GROUP PORT TTL LOOP",
	"mcast6":     "INTERFACE GROUP PORT HOPS LOOP",
	"ucast":      "INTERFACE PEER",
	"ucast6":     "INTERFACE PEER",
	"serial":     "the path of a serial port",
	"ping":       "a host with an IPv4 address",
	"ping6":      "a host with an IPv6 address",
	"ping_group": "NAME HOST...",
}

// pluginText is what the original calls the media whose directive takes words one by one.
var pluginText = map[string]string{
	"bcast":  "bcast [UDP/IP broadcast]",
	"serial": "serial [serial ring]",
	"ping":   "ping [ping membership]",
	"ping6":  "ping6 [ping6 membership]",
}

func setMedium(p *parser, d *directive, w word) {
	m := mediumLine{parser: p, Medium: Medium{Kind: d.name, Name: w.text, Pos: w.pos}}
	if d.whole {
		f := w.fields()
		if len(f) == 0 {
			m.bad("", "nothing given")
			return
		}
		m.Name = f[0].text
		for _, a := range f[1:] {
			m.Args = append(m.Args, a.text)
		}
	}
	switch {
	case len(p.cfg.Media) >= maxMedia:
		m.bad(fmt.Sprintf("Too many media specified (> %d)\ninfo: Offending command: %s %s", maxMedia, m.Kind, w.text), "more than %d media", maxMedia)
		return
	case !m.check():
		return
	}
	if m.Ping() {
		m.Name = strings.ToLower(m.Name)
	}
	p.cfg.Media = append(p.cfg.Media, m.Medium)
}

// mediumLine is a medium while it is looked at.
type mediumLine struct {
	*parser
	Medium
}

// bad reports the medium; wire is the original's text, or a part of it for the media of
// pluginText, whose core adds a line of its own.
func (m *mediumLine) bad(wire, format string, args ...any) bool {
	if plugin, ok := pluginText[m.Kind]; ok {
		if wire != "" {
			wire += "\n"
		}
		wire += fmt.Sprintf("Illegal %s in config file [%s]", plugin, m.Name)
	}
	m.fail(m.Pos, m.Kind, mediumSyntax[m.Kind], wire, format, args...)
	return false
}

// arg is word i after the name, or "".
func (m *mediumLine) arg(i int) string {
	if i < len(m.Args) {
		return m.Args[i]
	}
	return ""
}

// check makes the plugin's checks, in its order.
func (m *mediumLine) check() bool {
	switch m.Kind {
	case "bcast":
		m.Port = m.port()
		if err := m.link(); err != nil {
			return m.bad(fmt.Sprintf("glib: Get broadcast for interface %s failed: %v\nglib: IP interface [%s] does not exist", m.Name, err, m.Name), "interface %q: %v", m.Name, err)
		}
	case "ucast":
		m.Port = m.port()
		if m.arg(0) == "" {
			return m.bad(fmt.Sprintf("glib: ucast: [%s] missing target IP address/hostname", m.Name), "no peer given")
		}
		if err := m.resolve(m.arg(0), false); err != nil {
			return m.bad(fmt.Sprintf("glib: ucast: cannot resolve hostname\nglib: ucast: interface [%s] does not exist", m.Name), "peer %q: %v", m.arg(0), err)
		}
	case "ucast6":
		m.Port = m.port()
		if err := m.link(); err != nil {
			return m.bad(m.invalidDevice(), "interface %q: %v", m.Name, err)
		}
		if m.arg(0) == "" {
			return m.bad(fmt.Sprintf("glib: ucast6 [%s] missing ucast6 address", m.Name), "no peer given")
		}
		if a, err := netip.ParseAddr(m.arg(0)); err != nil || !a.Is6() {
			return m.bad(fmt.Sprintf("glib: ucast6 [%s] bad addr [%s]", m.Name, m.arg(0)), "%q is not an IPv6 address", m.arg(0))
		} else if !m.inZone(a.Zone()) {
			return false
		}
	case "mcast", "mcast6":
		return m.checkMulticast()
	case "serial":
		return m.checkSerial()
	case "ping", "ping6":
		if err := m.resolve(m.Name, m.Kind == "ping6"); err != nil {
			return m.bad(m.unknownHost(m.Name, err), "host %q: %v", m.Name, err)
		}
	case "ping_group":
		if len(m.Args) == 0 {
			return m.bad("", "no host given")
		}
		for _, host := range m.Args {
			if err := m.resolve(host, false); err != nil {
				m.warn(m.Pos, m.Kind, "", "ERROR: "+m.unknownHost(host, err), "host %q: %v; it is left out", host, err)
			}
		}
	}
	return true
}

// inZone wants the zone of a ucast6's peer, if it has one, to be its interface.
func (m *mediumLine) inZone(zone string) bool {
	if zone == "" || zone == m.Name || m.host.LinkIndex == nil {
		return true
	}
	own, err := m.host.LinkIndex(m.Name)
	if err != nil {
		return true // checked before
	}
	scope, err := strconv.Atoi(zone)
	if err != nil {
		if scope, err = m.host.LinkIndex(zone); err != nil {
			return m.bad(fmt.Sprintf("glib: ucast6 [%s] bad addr [%s]", m.Name, m.arg(0)), "%q: interface %q: %v", m.arg(0), zone, err)
		}
	}
	if scope == own {
		return true
	}
	return m.bad(fmt.Sprintf("glib: ucast6: index %d does not match scope id %d for device %s\nWARN: glib: Error creating ucast6_private(%s, %s)",
		own, scope, m.Name, m.Name, m.arg(0)), "the peer's zone %q is another interface than %s", zone, m.Name)
}

// unknownHost is ping's text; ping6 has none.
func (m *mediumLine) unknownHost(host string, err error) string {
	if m.Kind == "ping6" {
		return ""
	}
	return fmt.Sprintf("glib: unknown host: %s: %v", host, err)
}

// link looks at the medium's interface.
func (m *mediumLine) link() error {
	if m.host.CheckLink == nil {
		return nil
	}
	return m.host.CheckLink(m.Kind, m.Name)
}

func (m *mediumLine) invalidDevice() string {
	return fmt.Sprintf("glib: %s device [%s] is invalid or not set up properly", m.Kind, m.Name)
}

// port is the udpport of the medium's kind, which is looked up once.
func (m *mediumLine) port() int {
	if _, looked := m.ports[m.Kind]; !looked {
		m.ports[m.Kind] = m.cfg.UDPPort
	}
	return m.ports[m.Kind]
}

// resolve looks a host up, unless it is an address of the family.
func (m *mediumLine) resolve(host string, ipv6 bool) error {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() == ipv6 || m.host.Resolve == nil {
		return nil
	}
	return m.host.Resolve(host, ipv6)
}

func (m *mediumLine) checkSerial() bool {
	if !strings.HasPrefix(m.Name, "/") {
		return m.bad(fmt.Sprintf("glib: Serial port not full pathname [%s] in config file", m.Name), "%q is not an absolute path", m.Name)
	}
	if m.host.CheckTTY == nil {
		return true
	}
	switch err := m.host.CheckTTY(m.Name); {
	case err == nil:
		return true
	case errors.Is(err, fs.ErrNotExist):
		return m.bad(fmt.Sprintf("glib: Nonexistent serial port [%s] in config file", m.Name), "no device %q", m.Name)
	default:
		return m.bad(fmt.Sprintf("glib: Serial port [%s] not a char device in config file", m.Name), "%q is not a character device", m.Name)
	}
}

// checkMulticast checks the words after the interface, and puts in their place what the original
// makes of them: numbers of one or two bytes.
func (m *mediumLine) checkMulticast() bool {
	v6 := m.Kind == "mcast6"
	hops, blank := "ttl", ""
	if v6 {
		hops, blank = "hops", " " // mcast6 has a second blank in one more text
	}
	if err := m.link(); err != nil {
		wire := m.invalidDevice()
		if !v6 {
			wire = fmt.Sprintf("glib: Unable to retrieve local interface address for interface [%s] using ioctl(SIOCGIFADDR): %v\n", m.Name, err) + wire
		}
		return m.bad(wire, "interface %q: %v", m.Name, err)
	}
	for i, what := range []string{m.Kind + " address", "port", hops, "loop"} {
		if m.arg(i) == "" {
			return m.bad(fmt.Sprintf("glib: %s [%s] missing %s", m.Kind, m.Name, what), "no %s given", what)
		}
	}
	if a, err := netip.ParseAddr(m.arg(0)); err != nil || a.Is6() != v6 || !isGroup(a) {
		return m.bad(fmt.Sprintf("glib: %s%s [%s] bad addr [%s]", blank, m.Kind, m.Name, m.arg(0)), "%q is not %s", m.arg(0), groups[v6])
	}
	if !m.checkPort(v6) {
		return false
	}
	for i, c := range []struct {
		what string
		high uint8
	}{{hops, 4}, {"loop", 1}} {
		n := uint8(atoi(m.arg(i + 2)))
		if n > c.high {
			return m.bad(fmt.Sprintf("glib:  %s [%s] bad %s [%d]", m.Kind, m.Name, c.what, n), "bad %s %q, not from 0 to %d", c.what, m.arg(i+2), c.high)
		} else if n == 0 && c.what == hops {
			m.warn(m.Pos, m.Kind, "1 or more", "", "%s 0: nothing leaves this machine", hops)
		}
		m.take(i+2, c.what, int(n))
	}
	return true
}

// take puts a number in its argument's place, with a warning if it is not what stands there.
func (m *mediumLine) take(i int, what string, n int) {
	if !plain(m.Args[i], n) {
		m.warn(m.Pos, m.Kind, mediumSyntax[m.Kind], "", "%s %q is taken as %d, as by the original", what, m.Args[i], n)
	}
	m.Args[i] = strconv.Itoa(n)
}

// groups are the addresses that mcast and mcast6 take.
var groups = map[bool]string{
	false: "an IPv4 multicast address",
	true:  "an IPv6 multicast address of link, admin, site or organisation scope (ff02::, ff04::, ff05::, ff08::)",
}

// isGroup tells whether the original takes an address for a multicast group: any of IPv4; of IPv6
// those that leave the interface and not the organisation.
func isGroup(a netip.Addr) bool {
	if !a.IsMulticast() || a.Zone() != "" {
		return false
	}
	if a.Is4() {
		return true
	}
	b := a.As16()
	return slices.Contains([]byte{2, 4, 5, 8}, b[1]&0x0f) && [14]byte(b[2:]) != [14]byte{}
}

// checkPort wants a number; mcast6 looks the name of a service up, too.
func (m *mediumLine) checkPort(v6 bool) bool {
	if !v6 {
		port := atoi(m.arg(1))
		if port <= 0 {
			return m.bad(fmt.Sprintf("glib:  mcast [%s] bad port [%d]", m.Name, port), "bad port %q", m.arg(1))
		}
		m.take(1, "port", int(uint16(port)))
		return true
	}
	if port, err := strconv.ParseUint(m.arg(1), 10, 31); err == nil {
		m.take(1, "port", int(uint16(port))) // as getaddrinfo does
		return true
	}
	if m.host.PortOfService == nil {
		return true
	}
	if err := m.host.PortOfService(m.arg(1)); err != nil {
		a := m.Args
		return m.bad(fmt.Sprintf("glib: getaddrinfo([%s]:%s): Servname not supported for ai_socktype\nWARN: glib: Error creating mcast6_private(%s, %s, %s, %d, %d)",
			a[0], a[1], m.Name, a[0], a[1], uint8(atoi(a[2])), uint8(atoi(a[3]))), "port %q: %v", a[1], err)
	}
	return true
}
