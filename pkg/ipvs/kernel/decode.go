package kernel

import (
	"encoding/binary"
	"net/netip"

	library "github.com/cloudflare/ipvs"
	"github.com/mdlayher/netlink"

	"github.com/systole-ha/systole/pkg/ipvs"
)

func decodeInfo(dec *netlink.AttributeDecoder) (info ipvs.Info) {
	for dec.Next() {
		switch dec.Type() {
		case infoVersion:
			v := dec.Uint32()
			info.Version = [3]uint8{uint8(v >> 16), uint8(v >> 8), uint8(v)}
		case infoConnSize:
			info.ConnSize = dec.Uint32()
		}
	}
	return info
}

func decodeTimeouts(dec *netlink.AttributeDecoder) (to ipvs.Timeouts) {
	for dec.Next() {
		switch dec.Type() {
		case attrTimeoutTCP:
			to.TCP = dec.Uint32()
		case attrTimeoutTCPFin:
			to.TCPFin = dec.Uint32()
		case attrTimeoutUDP:
			to.UDP = dec.Uint32()
		}
	}
	return to
}

func decodeService(dec *netlink.AttributeDecoder) (e ipvs.Entry) {
	var addr, mask []byte
	var port uint16
	var flags library.Flags
	var timeout uint32
	var short, long ipvs.Stats
	e.Family = ipvs.IPv4
	for dec.Next() {
		switch dec.Type() {
		case svcFamily:
			if library.AddressFamily(dec.Uint16()) == library.INET6 {
				e.Family = ipvs.IPv6
			}
		case svcProtocol:
			e.Protocol = ipvs.Protocol(dec.Uint16())
		case svcAddr:
			addr = dec.Bytes()
		case svcPort:
			port = bigEndian16(dec.Bytes())
		case svcMark:
			e.FWMark = dec.Uint32()
		case svcScheduler:
			e.Scheduler = dec.String()
		case svcFlags:
			if b := dec.Bytes(); len(b) >= 4 { // and the mask of those that count: all
				flags = library.Flags(binary.NativeEndian.Uint32(b))
			}
		case svcTimeout:
			timeout = dec.Uint32()
		case svcNetmask:
			mask = dec.Bytes()
		case svcEngine:
			e.PE = dec.String()
		case svcStats:
			short = decodeStats(dec)
		case svcStats64:
			long = decodeStats(dec)
		}
	}
	if e.FWMark == 0 {
		e.Addr = addrPort(addr, port, e.Family)
	}
	if flags&library.ServicePersistent != 0 {
		e.Persistent = timeout
	}
	e.OnePacket = flags&library.ServiceOnePacket != 0
	for bit, flag := range schedulerFlags {
		if flags&flag != 0 {
			e.SchedFlags |= bit
		}
	}
	switch {
	case len(mask) != 4:
	case e.Family == ipvs.IPv4:
		e.SetMask4([4]byte(mask))
	default:
		e.Netmask = uint8(binary.NativeEndian.Uint32(mask))
	}
	e.Stats = newer(short, long)
	return e
}

// decodeDest reads a destination of a service of that family, which older kernels do not tell of
// each destination.
func decodeDest(dec *netlink.AttributeDecoder, family ipvs.Family) (d ipvs.DestEntry) {
	var addr []byte
	var port uint16
	var short, long ipvs.Stats
	for dec.Next() {
		switch dec.Type() {
		case destFamily:
			family = ipvs.IPv4
			if library.AddressFamily(dec.Uint16()) == library.INET6 {
				family = ipvs.IPv6
			}
		case destAddr:
			addr = dec.Bytes()
		case destPort:
			port = bigEndian16(dec.Bytes())
		case destForward:
			d.Forward = ipvs.Forward(dec.Uint32() & forwardMask)
		case destWeight:
			d.Weight = int32(dec.Uint32())
		case destUpper:
			d.UpperThreshold = dec.Uint32()
		case destLower:
			d.LowerThreshold = dec.Uint32()
		case destActive:
			d.ActiveConns = dec.Uint32()
		case destInactive:
			d.InactConns = dec.Uint32()
		case destPersistent:
			d.PersistConns = dec.Uint32()
		case destTunType:
			d.TunType = ipvs.TunnelType(dec.Uint8())
		case destTunPort:
			d.TunPort = bigEndian16(dec.Bytes())
		case destTunFlags:
			d.TunFlags = dec.Uint16()
		case destStats:
			short = decodeStats(dec)
		case destStats64:
			long = decodeStats(dec)
		}
	}
	d.Addr = addrPort(addr, port, family)
	d.Stats = newer(short, long)
	return d
}

// addrPort reads an address, for which the kernel gives the room of an IPv6 one.
func addrPort(addr []byte, port uint16, family ipvs.Family) netip.AddrPort {
	if family == ipvs.IPv4 && len(addr) > 4 {
		addr = addr[:4]
	}
	a, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(a, port)
}

// decodeStats reads counters of 32 or 64 bits.
func decodeStats(dec *netlink.AttributeDecoder) (s ipvs.Stats) {
	counters := []*uint64{&s.Conns, &s.InPkts, &s.OutPkts, &s.InBytes, &s.OutBytes, &s.CPS, &s.InPPS, &s.OutPPS, &s.InBPS, &s.OutBPS}
	dec.Nested(func(dec *netlink.AttributeDecoder) error {
		for dec.Next() {
			i, b := int(dec.Type())-1, dec.Bytes()
			switch {
			case i < 0 || i >= len(counters):
			case len(b) == 4:
				*counters[i] = uint64(binary.NativeEndian.Uint32(b))
			case len(b) == 8:
				*counters[i] = binary.NativeEndian.Uint64(b)
			}
		}
		return nil
	})
	return s
}

// newer prefers the 64-bit counters, which kernels before 4.1 do not have.
func newer(short, long ipvs.Stats) ipvs.Stats {
	if long == (ipvs.Stats{}) {
		return short
	}
	return long
}

func bigEndian16(b []byte) uint16 {
	if len(b) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}
