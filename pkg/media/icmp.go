package media

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	icmpHeader = 8
	maxEcho    = 5120 // bytes of payload, as in the original's ping_read
)

// echoTypes are the types of an echo request and of its reply.
func echoTypes(v6 bool) (request, reply icmp.Type) {
	if v6 {
		return ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	return ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
}

// replyType is the first byte of an echo reply.
func replyType(v6 bool) byte {
	if v6 {
		return byte(ipv6.ICMPTypeEchoReply)
	}
	return byte(ipv4.ICMPTypeEchoReply)
}

// wireIdent is the identifier as the protocol counts it: the original writes its number in the
// byte order of the machine.
func wireIdent(ident uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], ident)
	return binary.BigEndian.Uint16(b[:])
}

// echoRequest is an ICMP echo request with its checksum, which for IPv6 the kernel fills in.
func echoRequest(v6 bool, ident, seq uint16, payload []byte) ([]byte, error) {
	request, _ := echoTypes(v6)
	m := icmp.Message{Type: request, Body: &icmp.Echo{ID: int(ident), Seq: int(seq), Data: payload}}
	return m.Marshal(nil)
}

// parseEchoReply reads an ICMP message, without its IP header, and tells whether it is an echo
// reply with that identifier. The payload is a part of b.
func parseEchoReply(v6 bool, b []byte, ident uint16) (seq uint16, payload []byte, ok bool) {
	if len(b) < icmpHeader || b[0] != replyType(v6) || b[1] != 0 || binary.BigEndian.Uint16(b[4:]) != ident {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b[6:]), b[icmpHeader:], true
}

// ipv4HeaderLen is the length of the header that a raw IPv4 socket shows.
func ipv4HeaderLen(packet []byte) int {
	if len(packet) == 0 {
		return 0
	}
	return int(packet[0]&0x0f) << 2
}

// echoReplyFilter lets a raw ICMP socket have only echo replies with that identifier, so that
// what others ping costs this process nothing. Of an IPv4 packet the program sees the IP header
// first, of an IPv6 packet it does not.
func echoReplyFilter(v6 bool, ident uint16) ([]bpf.RawInstruction, error) {
	var header bpf.Instruction = bpf.LoadMemShift{Off: 0} // X = length of the IP header
	if v6 {
		header = bpf.LoadConstant{Dst: bpf.RegX, Val: 0}
	}
	return bpf.Assemble([]bpf.Instruction{
		header,
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(replyType(v6)), SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ident), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	})
}
