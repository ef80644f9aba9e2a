package ldirectordcf

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// Label is how messages name the service: "10.0.0.1:80", "[fc00::1]:80", or the mark's number.
func (v *Virtual) Label() string {
	if v.VIP.FWMark != 0 {
		return strconv.FormatUint(uint64(v.VIP.FWMark), 10)
	}
	return v.VIP.Addr.String()
}

// ID is "tcp:LABEL", "udp:LABEL", "fwm:N" or "fwm6:N".
func (v *Virtual) ID() string {
	if v.VIP.FWMark != 0 && v.VIP.Family == ipvs.IPv6 {
		return "fwm6:" + v.Label()
	}
	return v.Protocol + ":" + v.Label()
}

// IPVS is the service that the table should hold.
func (v *Virtual) IPVS() ipvs.Service {
	s := ipvs.Service{VIP: v.VIP, Scheduler: v.Scheduler, Persistent: v.Persistent, OnePacket: v.OnePacket}
	s.SchedFlags, _ = schedFlags(v.SchedFlags, v.Scheduler)
	if v.Persistent > 0 { // ipvsadm gets -M only together with -p
		s.Netmask, s.OddMask = v.Netmask, v.OddMask
	}
	return s
}

// IPVS is the destination that the table should hold while r is up.
func (r *Real) IPVS() ipvs.Dest {
	return ipvs.Dest{Addr: r.Addr, Forward: r.Forward, Weight: r.Weight, UpperThreshold: r.Upper, LowerThreshold: r.Lower}
}

// CheckedAs names the check that a single run of this service's checktype makes: a service's
// name for negotiate, else the checktype's. Combined counts as its negotiate.
func (v *Virtual) CheckedAs() string {
	switch v.CheckType {
	case Negotiate, Combined:
		return v.Service
	case Connect:
		if v.Protocol == "udp" {
			return "ping"
		}
	}
	return v.CheckType.String()
}

// realID builds Real.ID.
func (v *Virtual) realID(r *Real) string {
	check := v.CheckType.String()
	switch v.CheckType {
	case Negotiate, Combined:
		check += ":" + v.Service
	case External, ExternalPerl:
		check += ":" + v.CheckCommand
	}
	port := ""
	if v.CheckPort != 0 {
		port = strconv.Itoa(int(v.CheckPort))
	}
	request := r.Request
	if strings.HasPrefix(r.pair, "/") {
		request = r.pair
	}
	return strings.Join([]string{
		check, v.Protocol, addrText(r.Addr.Addr()), strconv.Itoa(int(r.Addr.Port())), v.VirtualHost, port,
		strconv.Itoa(int(r.Weight)), forwardName(r.Forward), quoteMeta(request), quoteMeta(r.Receive),
	}, ":")
}

// addrText prints an address as the original does everywhere: IPv6 in brackets.
func addrText(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

func forwardName(f ipvs.Forward) string {
	switch f {
	case ipvs.Masq:
		return "masq"
	case ipvs.Tunnel:
		return "ipip"
	}
	return "gate"
}

// quoteMeta is Perl's quotemeta on bytes: a backslash before all but letters, digits, underscore.
func quoteMeta(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if !isWordByte(s[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// schedFlags turns the argument of ipvsadm -b into flags. wrong is the first word that ipvsadm
// would refuse for this scheduler; it counts for nothing.
func schedFlags(text, scheduler string) (flags uint32, wrong string) {
	for word := range strings.SplitSeq(text, ",") {
		owner, name, _ := strings.Cut(word, "-")
		bit := uint32(0)
		switch {
		case word == "flag-1", owner == scheduler && name == "fallback" && (owner == "sh" || owner == "mh"):
			bit = ipvs.SchedFlag1
		case word == "flag-2", owner == scheduler && name == "port" && (owner == "sh" || owner == "mh"):
			bit = ipvs.SchedFlag2
		case word == "flag-3":
			bit = ipvs.SchedFlag3
		case wrong == "" && word != "":
			wrong = word
		}
		flags |= bit
	}
	return flags, wrong
}
