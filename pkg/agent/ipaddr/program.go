package ipaddr

import (
	"net/netip"
	"strings"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/netif"
)

// Place is where an address belongs, as the program findif of resource-agents tells scripts.
type Place struct {
	Link      string
	Prefix    netip.Prefix
	Broadcast netip.Addr
}

// FindifError is why findif finds nothing, with its exit status.
type FindifError struct {
	Code int
	Text string
}

// Error is the program's text.
func (e *FindifError) Error() string { return e.Text }

// Findif is the program findif: by the best route to ip, the default route included if mask is given.
// mask (a length or a dotted quad), nic and broadcast may be empty. A label behind nic's name is kept
// and not looked at.
func Findif(host netif.Host, ip, mask, nic, broadcast string) (Place, error) {
	base, _, _ := strings.Cut(nic, ":")
	x := &portable{
		call:   &call{Agent: New(Options{Host: host}), c: agent.Call{Log: silent{}}},
		target: target{ip: ip, mask: mask, nic: base, broadcast: broadcast},
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil || !addr.Is4() {
		return Place{}, &FindifError{notConfigured, "IP address [" + ip + "] not valid."}
	}
	p, no := x.findifProgram(addr)
	if no != nil {
		return Place{}, &FindifError{no.code, no.text}
	}
	if nic != "" {
		p.link = nic
	}
	return Place{Link: p.link, Prefix: p.prefix, Broadcast: p.broadcast}, nil
}

// Quad is the dotted form of a prefix length.
func Quad(bits int) string { return quad(bits) }

// silent is a log that nobody reads.
type silent struct{}

func (silent) Script(string, string) {}
func (silent) Print(string)          {}
func (silent) NextPID() int          { return 0 }
