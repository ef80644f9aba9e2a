package media

import (
	"bytes"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/systole-ha/systole/pkg/alloc"
)

func TestEchoRequest(t *testing.T) {
	got, err := echoRequest(false, 0x6f00, 0x0102, []byte("###\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{8, 0, 0, 0, 0x6f, 0, 1, 2, '#', '#', '#', '\n'}
	var sum uint32
	for i := 0; i < len(got); i += 2 {
		sum += uint32(got[i])<<8 | uint32(got[i+1])
	}
	if sum = sum>>16 + sum&0xffff; sum != 0xffff {
		t.Errorf("checksum is wrong: all words add up to %#x", sum)
	}
	if got[2], got[3] = 0, 0; !bytes.Equal(got, want) {
		t.Errorf("request %x, want %x", got, want)
	}
}

func TestIdentIsInTheMachinesByteOrder(t *testing.T) {
	if got := wireIdent(0x1234); got != 0x3412 && got != 0x1234 || wireIdent(got) != 0x1234 {
		t.Errorf("1234 goes out as %x", got)
	}
}

func TestParseEchoReply(t *testing.T) {
	reply := []byte{0, 0, 1, 2, 0x6f, 0, 1, 2, 'x'}
	seq, payload, ok := parseEchoReply(false, reply, 0x6f00)
	if !ok || seq != 0x0102 || string(payload) != "x" {
		t.Errorf("got %x, %q, %t", seq, payload, ok)
	}
	if _, payload, ok := parseEchoReply(false, reply[:8], 0x6f00); !ok || len(payload) != 0 {
		t.Errorf("no payload: %q, %t", payload, ok)
	}
	for _, other := range [][]byte{nil, reply[:7], append([]byte{8}, reply[1:]...), append([]byte{0, 1}, reply[2:]...)} {
		if _, _, ok := parseEchoReply(false, other, 0x6f00); ok {
			t.Errorf("took %x", other)
		}
	}
	if _, _, ok := parseEchoReply(false, reply, 0x6f01); ok {
		t.Error("took another's identifier")
	}
}

// The filter must pass exactly what parseEchoReply takes, whatever the length of the IP header.
func TestFilterAgreesWithTheParser(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		testFilter(t, v6)
	}
}

func testFilter(t *testing.T, v6 bool) {
	raw, err := echoReplyFilter(v6, 0x6f00)
	if err != nil {
		t.Fatal(err)
	}
	program, all := bpf.Disassemble(raw)
	if !all {
		t.Fatal("the filter holds unknown instructions")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, icmp := range [][]byte{
		{0, 0, 1, 2, 0x6f, 0, 1, 2, 'x'},
		{0, 0, 1, 2, 0x6f, 0, 1, 2},
		{8, 0, 1, 2, 0x6f, 0, 1, 2, 'x'},
		{3, 0, 1, 2, 0x6f, 0, 1, 2, 'x'},
		{0, 0, 1, 2, 0x6f, 1, 1, 2, 'x'},
		{0, 0, 1, 2, 0, 0x6f, 1, 2, 'x'},
		{0, 0, 1, 2},
		{129, 0, 1, 2, 0x6f, 0, 1, 2, 'x'},
		{129, 0, 1, 2, 0x6f, 1, 1, 2, 'x'},
		{128, 0, 1, 2, 0x6f, 0, 1, 2, 'x'},
		{},
	} {
		_, _, want := parseEchoReply(v6, icmp, 0x6f00)
		for _, words := range []int{5, 6, 15} {
			header := make([]byte, 4*words)
			header[0] = 0x40 | byte(words)
			if v6 {
				header = nil
			}
			n, err := vm.Run(append(header, icmp...))
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 != want {
				t.Errorf("IPv6 %t: %x behind a header of %d words: filter passes %d bytes, parser says %t", v6, icmp, words, n, want)
			}
		}
	}
}

func TestFirstReplySpeaksForTheGroup(t *testing.T) {
	var r replies
	for _, c := range []struct {
		seq  uint16
		want bool
	}{{0, true}, {0, false}, {1, true}, {2, true}, {1, false}, {128, true}, {128, false}, {65535, true}, {0, true}} {
		if got := r.first(c.seq); got != c.want {
			t.Errorf("reply to %d: first is %t", c.seq, got)
		}
	}
}

func FuzzEchoReply(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 0x6f, 0, 1, 2, 'x'}, uint16(0x6f00))
	f.Add([]byte("\x00\x00\x01\x02\x6f\x00\x01\x02###\n10:(0)t=NS_st,14:(0)info=group1,%%%\n"), uint16(0x6f00))
	f.Fuzz(func(t *testing.T, b []byte, ident uint16) {
		if got := alloc.Bytes(func() {
			if _, payload, ok := parseEchoReply(false, b, ident); ok {
				isPingOf(payload, Spec{Kind: "ping", Name: "h"})
			}
		}); len(b) <= 1<<16 && got > alloc.Packet {
			t.Errorf("%d bytes allocated for %d", got, len(b))
		}
		seq, payload, ok := parseEchoReply(false, b, ident)
		if !ok {
			return
		}
		isPingOf(payload, Spec{Kind: "ping", Name: "h"})
		again, err := echoRequest(false, ident, seq, payload)
		if err != nil {
			t.Fatal(err)
		}
		again[0] = 0
		s, p, ok := parseEchoReply(false, again, ident)
		if !ok || s != seq || !bytes.Equal(p, payload) {
			t.Errorf("%x came back as %d %x %t", b, s, p, ok)
		}
	})
}
