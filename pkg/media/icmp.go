package media

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

const (
	icmpHeader = 8
	maxEcho    = 5120 // bytes of payload, as in the original's ping_read
)

// wireIdent is the identifier as the protocol counts it: the original writes its number in the
// byte order of the machine.
func wireIdent(ident uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], ident)
	return binary.BigEndian.Uint16(b[:])
}

// echoRequest is an ICMP echo request with its checksum.
func echoRequest(ident, seq uint16, payload []byte) ([]byte, error) {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(ident), Seq: int(seq), Data: payload}}
	return m.Marshal(nil)
}

// parseEchoReply reads an ICMP message, without its IP header, and tells whether it is an echo
// reply with that identifier. The payload is a part of b.
func parseEchoReply(b []byte, ident uint16) (seq uint16, payload []byte, ok bool) {
	if len(b) < icmpHeader || b[0] != byte(ipv4.ICMPTypeEchoReply) || b[1] != 0 || binary.BigEndian.Uint16(b[4:]) != ident {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b[6:]), b[icmpHeader:], true
}

// echoReplyFilter lets a raw ICMP socket have only echo replies with that identifier, so that
// what others ping costs this process nothing. The program sees the IP header first.
func echoReplyFilter(ident uint16) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadMemShift{Off: 0}, // X = length of the IP header
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ipv4.ICMPTypeEchoReply), SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ident), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	})
}
