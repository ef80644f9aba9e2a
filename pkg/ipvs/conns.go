package ipvs

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseConns reads the text of /proc/net/ip_vs_conn. Lines that are no connection entry, the
// title among them, are passed over.
func ParseConns(text []byte) []Conn {
	var conns []Conn
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 9 {
			continue
		}
		c := Conn{Protocol: f[0], State: f[7]}
		var ok [4]bool
		c.Client, ok[0] = procEndpoint(f[1], f[2])
		c.Virtual, ok[1] = procEndpoint(f[3], f[4])
		c.Dest, ok[2] = procEndpoint(f[5], f[6])
		expires, err := strconv.ParseUint(f[8], 10, 32)
		ok[3] = err == nil
		if ok != [4]bool{true, true, true, true} {
			continue
		}
		c.Expires = uint32(expires)
		if len(f) >= 11 {
			c.PE, c.PEData = f[9], f[10]
		}
		conns = append(conns, c)
	}
	return conns
}

// procEndpoint reads an address and a port as the kernel prints them: hexadecimal.
func procEndpoint(addr, port string) (netip.AddrPort, bool) {
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	if a, ok := parseIPv6(addr); ok {
		return netip.AddrPortFrom(a, uint16(p)), true
	}
	b, err := hex.DecodeString(addr)
	if err != nil || len(b) != 4 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(p)), true
}

// AppendConns appends what ipvsadm -L -c prints; engines adds the columns of --persistent-conn.
func AppendConns(b []byte, conns []Conn, engines bool, names Names) []byte {
	b = append(b, "IPVS connection entries\npro expire state       source             virtual            destination"...)
	if engines {
		b = append(b, "        pe name          pe_data"...)
	}
	b = append(b, '\n')
	for _, c := range conns {
		proto := connProtocol(c.Protocol)
		expire := fmt.Sprintf("%02d:%02d", c.Expires/60, c.Expires%60)
		b = fmt.Appendf(b, "%-3s %-6s %-11s %-18s %-18s ", c.Protocol, expire, c.State,
			names.endpoint(c.Client, proto), names.endpoint(c.Virtual, proto))
		dest := names.endpoint(c.Dest, proto)
		if engines && c.PE != "" {
			b = fmt.Appendf(b, "%-16s %-18s %s\n", dest, c.PE, c.PEData)
		} else {
			b = append(append(b, dest...), '\n')
		}
	}
	return b
}

// connProtocol tells under which protocol a connection's ports have names.
func connProtocol(name string) Protocol {
	switch name {
	case "TCP":
		return TCP
	case "UDP":
		return UDP
	case "SCTP":
		return SCTP
	}
	return 0
}
