package ipvs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
)

// String is the name of the protocol as ldirectord writes it ("tcp", "udp", "sctp", "fwm" for
// zero), or its number.
func (p Protocol) String() string {
	switch p {
	case 0:
		return "fwm"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// ID is ldirectord's identity of a virtual service: "tcp:10.0.0.1:80", "udp:[fd00::1]:53",
// "fwm:1", "fwm6:1".
func (v VIP) ID() string {
	if v.Protocol != 0 {
		return v.Protocol.String() + ":" + v.Addr.String()
	}
	if v.Family == IPv6 {
		return fmt.Sprintf("fwm6:%d", v.FWMark)
	}
	return fmt.Sprintf("fwm:%d", v.FWMark)
}

// Bits is the length of an address of the family: 32 or 128.
func (f Family) Bits() uint8 {
	if f == IPv6 {
		return 128
	}
	return 32
}

// Mask is the prefix length of persistence with the default filled in; 0 if OddMask counts.
func (s Service) Mask() uint8 {
	switch {
	case s.OddMask.IsValid():
		return 0
	case s.Netmask == 0:
		return s.Family.Bits()
	}
	return s.Netmask
}

// SetMask4 sets the persistence netmask to an IPv4 mask in any form: as Netmask where that can
// say it, else as OddMask.
func (s *Service) SetMask4(mask [4]byte) {
	m := binary.BigEndian.Uint32(mask[:])
	ones := bits.LeadingZeros32(^m)
	if ones > 0 && m<<ones == 0 {
		s.Netmask, s.OddMask = uint8(ones), netip.Addr{}
		return
	}
	s.Netmask, s.OddMask = 0, netip.AddrFrom4(mask)
}

// Mask4 is the IPv4 persistence netmask in bytes.
func (s Service) Mask4() [4]byte {
	if s.OddMask.IsValid() {
		return s.OddMask.As4()
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-min(s.Mask(), 32)))
	return mask
}

// String is the method's name in lower case: "masq", "local", "tunnel", "route", "bypass".
func (f Forward) String() string {
	switch f {
	case Masq:
		return "masq"
	case Local:
		return "local"
	case Tunnel:
		return "tunnel"
	case Route:
		return "route"
	case Bypass:
		return "bypass"
	}
	return strconv.Itoa(int(f))
}
