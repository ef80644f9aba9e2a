package ipaddr

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// ipaddr2 is the agent IPaddr2: it puts the address on the interface without an alias of its own.
type ipaddr2 struct {
	*call
	target
	lvs bool // lvs_support: the address may be on lo of a real server that is a director too
}

func (x *ipaddr2) find(strict bool) (place, *refusal) {
	return x.findif(x.target, strict || x.o.Dialect == halog.C6)
}

func (x *ipaddr2) monitor() int {
	p, no := x.find(false)
	if no != nil {
		x.log("ERROR: %s", no.text)
		x.log("INFO: [findif] failed")
		return notRunning
	}
	if _, ok := x.served(p.prefix.Addr(), p.link, p.prefix.Bits()); !ok {
		return notRunning
	}
	return success
}

func (x *ipaddr2) renew() {
	if p, no := x.find(false); no == nil {
		x.announce(p.link, p.prefix.Addr(), x.announceFailure())
	}
}

func (x *ipaddr2) start() int {
	p, no := x.find(true)
	if no != nil {
		x.log("ERROR: %s", no.text)
		x.log("ERROR: [findif] failed")
		return no.code
	}
	ip, label := p.prefix.Addr(), ""
	if x.label != "" {
		if label = p.link + ":" + x.label; len(label) >= syscall.IFNAMSIZ {
			x.log("ERROR: Interface label [%s] exceeds maximum character limit of %d", label, syscall.IFNAMSIZ-1)
			return notConfigured
		}
	}
	if _, ok := x.served(ip, p.link, p.prefix.Bits()); ok {
		x.renew()
		return success
	}
	if x.lvs {
		x.leaveLoopback(ip)
	}
	if err := x.add(p, label); err != nil {
		x.log("ERROR: %s", rtnetlink(err))
		if x.o.Dialect == halog.D12 {
			x.log("ERROR: Failed to add %s", ip)
		} else {
			x.log("ERROR:  failed.")
		}
		return genericError
	}
	x.keep(p)
	if !strings.HasPrefix(p.link, "lo") {
		x.logSendArp(p.link, ip)
		x.announce(p.link, ip, x.announceFailure())
	}
	return success
}

// add puts the address on the interface and brings that up.
func (x *ipaddr2) add(p place, label string) error {
	what, with, labelled := "inet", "", ""
	if p.prefix.Addr().Is6() {
		what = "inet6"
	}
	if p.broadcast.IsValid() {
		with = " with broadcast address " + p.broadcast.String()
	}
	if label != "" {
		labelled = " (with label " + label + ")"
	}
	x.log("INFO: Adding %s address %s%s to device %s%s", what, p.prefix, with, p.link, labelled)
	err := x.o.Host.AddAddr(netif.Addr{Link: p.link, Prefix: p.prefix, Broadcast: p.broadcast, Label: label})
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	x.log("INFO: Bringing device %s up", p.link)
	return x.o.Host.SetUp(p.link)
}

// logSendArp writes the command that the original would run now. The words are its own: the frames
// are sent by the Announcer on its schedule.
func (x *ipaddr2) logSendArp(link string, ip netip.Addr) {
	if ip.Is6() {
		return
	}
	gap, run := " ", "/var/run"
	if x.o.Dialect == halog.D12 {
		gap, run = "  ", "/run"
	}
	x.log("INFO: /usr/libexec/heartbeat/send_arp%s-i 200 -r 5 -p %s/resource-agents/send_arp-%s %s %s auto not_used not_used", gap, run, ip, link, ip)
}

func (x *ipaddr2) announceFailure() string {
	if x.o.Dialect == halog.D12 {
		return "Could not send gratuitous arps: rc=1"
	}
	return "Could not send gratuitous arps"
}

func (x *ipaddr2) stop() int {
	// The original asks findif once more where the address would belong now, and if the interface is
	// down or another network was added it finds nothing, or another place, and reports success: the
	// address stays, and two nodes have it.
	p, no := x.find(false)
	if q, ok := x.kept(); ok {
		p, no = q, nil
	}
	if no != nil {
		x.log("ERROR: %s", no.text)
		x.log("WARNING: [findif] failed")
		return success
	}
	ip := p.prefix.Addr()
	if x.o.Announcer.Cancel(p.link, ip) && x.o.Dialect == halog.D12 {
		x.log("INFO: killed previously running send_arp for %s", ip)
	}
	if _, ok := x.served(ip, p.link, p.prefix.Bits()); !ok {
		x.log("INFO: IP status = no, IP_CIP=")
		return success
	}
	x.log("INFO: IP status = ok, IP_CIP=")
	if err := x.remove(p.link, p.prefix); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		x.keep(p)
		x.log("ERROR: %s", rtnetlink(err))
		if x.o.Dialect == halog.D12 {
			x.log("ERROR: Unable to remove IP [%s from interface [ %s ]", ip, p.link)
		}
		return genericError
	}
	if x.lvs {
		return x.returnToLoopback(ip)
	}
	return success
}

// kept is where the address is if we put it there, or if it is on an interface that is down: after
// a crash nobody else can say so.
func (x *ipaddr2) kept() (place, bool) {
	ip, err := netip.ParseAddr(x.ip)
	if err != nil {
		return place{}, false
	}
	if p, ok := x.forget(ip); ok {
		if _, there := x.served(ip, p.link, p.prefix.Bits()); there {
			return p, true
		}
	}
	if a, ok := x.served(ip, x.nic, -1); ok {
		if l, ok := x.link(a.Link); ok && !l.Up && !l.Loopback {
			return place{link: a.Link, prefix: a.Prefix}, true
		}
	}
	return place{}, false
}

// loopbackFile remembers that the address was on lo. Its text is the original's.
func (x *ipaddr2) loopbackFile(ip netip.Addr) string { return filepath.Join(x.o.StateDir, ip.String()) }

// leaveLoopback takes the address off lo, where a real server has it as /32.
func (x *ipaddr2) leaveLoopback(ip netip.Addr) {
	a, ok := x.served(ip, "lo", ip.BitLen())
	if !ok || ip.Is6() {
		return
	}
	x.log("INFO: Removing conflicting loopback lo.")
	err := os.MkdirAll(x.o.StateDir, 0o755|os.ModeSticky)
	if err == nil {
		err = os.WriteFile(x.loopbackFile(ip), []byte(ip.String()+" 32 255.255.255.255 lo\n"), 0o644)
	}
	if err != nil {
		x.log("ERROR: Could not save conflicting loopback lo. it will not be restored.")
	}
	if err := x.o.Host.DelAddr("lo", a.Prefix); err != nil {
		x.log("ERROR: %s", rtnetlink(err))
	}
	x.log("INFO: ip route delete %s dev lo", ip)
	// Most often there is no such route; the original does not look at the outcome either.
	_ = x.o.Host.DelRoute("lo", a.Prefix)
}

// returnToLoopback undoes leaveLoopback, if that was done.
func (x *ipaddr2) returnToLoopback(ip netip.Addr) int {
	b, err := os.ReadFile(x.loopbackFile(ip))
	if text := strings.TrimSpace(string(b)); err != nil || text == "" {
		return success
	}
	x.log("INFO: Restoring loopback IP Address  %s 32 255.255.255.255 lo.", ip)
	p := place{link: "lo", prefix: netip.PrefixFrom(ip, 32), broadcast: netip.AddrFrom4([4]byte{255, 255, 255, 255})}
	if err := x.add(p, ""); err != nil {
		x.log("ERROR: %s", rtnetlink(err))
		return genericError
	}
	if err := os.Remove(x.loopbackFile(ip)); err != nil {
		x.log("ERROR: %v", err)
	}
	return success
}

// rtnetlink words an error as the ip program does.
func rtnetlink(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return "RTNETLINK answers: " + strings.ToUpper(text[:1]) + text[1:]
}
