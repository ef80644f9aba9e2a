package check

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// evil servers say whatever makes a client reserve memory.
var evil = map[string]map[string]func(c net.Conn){
	"ldap": {
		"entry of 2 GB": sends("0\x84\x7f\xff\xff\xff\x02\x01\x01", nil),
		"bind, then an entry without end": sends("0\x0c\x02\x01\x01a\x07\x0a\x01\x00\x04\x00\x04\x00",
			[]byte("0\x83\x10\x00\x00\x02\x01\x02d\x83\x0f\xff\xf8\x04\x83\x0f\xff\xf0"+strings.Repeat("a", 1<<16))),
		"deeply nested": sends("", bytes.Repeat([]byte("0\x80"), 1<<15)),
	},
	"mysql": {
		"packet of 16 MB": sends("\xff\xff\xff\x00\x0a", bytes.Repeat([]byte("5"), 1<<16)),
		"columns without number": func(c net.Conn) {
			mysqlGreet(c)
			c.Write([]byte("\x09\x00\x00\x01\xfe\xff\xff\xff\x7f\x00\x00\x00\x00"))
			io.Copy(io.Discard, c)
		},
		"a row without end": func(c net.Conn) {
			mysqlGreet(c)
			c.Write([]byte("\x01\x00\x00\x01\x01" + "\x18\x00\x00\x02\x03def\x00\x00\x00\x01x\x00\x0c!\x00\xff\xff\x00\x00\xfd\x00\x00\x00\x00\x00" + "\x05\x00\x00\x03\xfe\x00\x00\x02\x00"))
			block := []byte("\xff\xff\xff\x04" + strings.Repeat("a", 1<<16))
			for {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		},
	},
	"pgsql": {
		"message of 2 GB":  sends("N", []byte("R\x7f\xff\xff\xff"+strings.Repeat("a", 1<<16))),
		"parameters":       sends("N", []byte("S\x00\x00\xff\xff"+strings.Repeat("a", 0xfffb))),
		"columns galore":   sends("NR\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05IT\x00\x00\x00\x06\xff\xff", nil),
		"errors":           sends("N", []byte("E\x00\x00\x75\x30"+strings.Repeat("a", 29995)+"\x00")),
		"something else":   sends("x", bytes.Repeat([]byte("x"), 1<<16)),
		"negative lengths": sends("N", bytes.Repeat([]byte("R\xff\xff\xff\xff"), 1<<12)),
	},
	"dns": {
		"answers galore": sends("", func() []byte {
			b := []byte("\x00\x00\x81\x80\x00\x00\xff\xff\x00\x00\x00\x00")
			for len(b) < 0xff00 {
				b = append(b, "\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"...)
			}
			return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
		}()),
	},
	"smtp":      {"lines": sends("220-hello\r\n", []byte(strings.Repeat("220-hello\r\n", 1<<12))), "a line": sends("220", bytes.Repeat([]byte("a"), 1<<16))},
	"pop":       {"a line": sends("+OK", bytes.Repeat([]byte("a"), 1<<16))},
	"imap":      {"lines": sends("* OK\r\n", []byte(strings.Repeat("* CAPABILITY\r\n", 1<<12))), "a line": sends("* OK", bytes.Repeat([]byte("a"), 1<<16))},
	"nntp":      {"a line": sends("2", bytes.Repeat([]byte("a"), 1<<16))},
	"sip":       {"fields": sends("SIP/2.0 200 OK\r\n", []byte(strings.Repeat("X: y\r\n", 1<<12)))},
	"simpletcp": {"lines": sends("", []byte(strings.Repeat("hello\n", 1<<12))), "a line": sends("", bytes.Repeat([]byte("a"), 1<<16))},
	"ftp":       {"lines": sends("220-hello\r\n", []byte(strings.Repeat("220-hello\r\n", 1<<12)))},
}

// sends says begin, and then block for ever.
func sends(begin string, block []byte) func(net.Conn) {
	return func(c net.Conn) {
		go io.Copy(io.Discard, c)
		if _, err := io.WriteString(c, begin); err != nil {
			return
		}
		for len(block) > 0 {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
		time.Sleep(time.Second)
	}
}

// mysqlGreet lets a client in and waits for its query.
func mysqlGreet(c net.Conn) {
	hello := "\x0a5.5.5\x00\x01\x00\x00\x00abcdefgh\x00\xff\xf7\x21\x02\x00\xff\x81\x15" + strings.Repeat("\x00", 10) + "abcdefghijkl\x00mysql_native_password\x00"
	fmt.Fprintf(c, "%c%c\x00\x00%s", len(hello)&255, len(hello)>>8, hello)
	in := bufio.NewReader(c)
	packet := func() {
		var head [4]byte
		io.ReadFull(in, head[:])
		io.CopyN(io.Discard, in, int64(mysqlSize(head[:])))
	}
	packet()
	io.WriteString(c, "\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00")
	packet()
}

// TestBounds counts what a check of a server that floods allocates in all, what is freed meanwhile
// included.
func TestBounds(t *testing.T) {
	for service, ways := range evil {
		for name, serveEvil := range ways {
			t.Run(service+"/"+name, func(t *testing.T) {
				addr := serve(t, "127.0.0.1", serveEvil)
				s := Spec{Service: service, Addr: addr, Proto: "tcp", Login: "joe", Password: "x", Database: "d", Request: "/SELECT 1", Receive: "not there"}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				r := run(t, s, 300*time.Millisecond)
				runtime.ReadMemStats(&after)
				if r.Up || r.Stack != "" {
					t.Errorf("%+v", r)
				}
				if lines := len(r.Trace); lines > maxEvents+1 {
					t.Errorf("a transcript of %d lines", lines)
				}
				if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 {
					t.Errorf("%d KiB allocated: %s", spent>>10, r.Reason)
				}
			})
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x01\x01\x03\x00\x00\x02abc"), uint8(3))
	f.Add([]byte("\xff\xff\xff\x01"), uint8(1))
	f.Add([]byte("\x03\x00\x00\x01\xfcab"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		// Whatever way it comes in, what gets through is whole messages that are allowed, and a part of one.
		read := func(step int) []byte {
			fr := &frames{Conn: reader{bytes.NewReader(data), step}, head: 4, size: mysqlSize, allow: mysqlAllow}
			got, _ := io.ReadAll(fr)
			return got
		}
		whole := read(len(data) + 1)
		if !bytes.HasPrefix(data, whole) {
			t.Fatalf("%q became %q", data, whole)
		}
		if bits := read(int(step%7) + 1); !bytes.HasPrefix(bits, whole) || len(bits) > len(whole)+6 {
			t.Errorf("in bits %q, at once %q", bits, whole)
		}
		for at := 0; at+4 <= len(whole); {
			size := mysqlSize(whole[at:])
			if size > maxFrame {
				t.Fatalf("a message of %d bytes got through", size)
			}
			at += 4 + size
		}
	})
}

// reader is a connection that brings so many bytes at a time.
type reader struct {
	from io.Reader
	step int
}

func (r reader) Read(p []byte) (int, error)  { return r.from.Read(p[:min(len(p), r.step)]) }
func (r reader) Write(p []byte) (int, error) { return len(p), nil }
func (r reader) Close() error                { return nil }
func (r reader) LocalAddr() net.Addr         { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }

func (r reader) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
func (r reader) SetDeadline(time.Time) error      { return nil }
func (r reader) SetReadDeadline(time.Time) error  { return nil }
func (r reader) SetWriteDeadline(time.Time) error { return nil }

func FuzzLDAP(f *testing.F) {
	f.Add([]byte("0\x0c\x02\x01\x02e\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte("0\x84\x00\x00\x00\x0c\x02\x01\x02d\x07\x04\x05cn=xy0\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSession(t.Context(), Spec{})
		s.in = bufio.NewReader(bytes.NewReader(data))
		defer func() { s.in = nil }()
		for range len(data) + 1 {
			tag, answer, err := s.ldapHear(2)
			if err != nil {
				return
			}
			if answer.left < 0 || answer.after < 0 {
				t.Fatalf("%x: %+v", tag, answer)
			}
			if tag == ldapSearchDone {
				err = s.ldapResult(answer)
			} else {
				_, _ = answer.text(maxDN)
				err = answer.skip()
			}
			if err != nil {
				return
			}
		}
		t.Error("more messages than bytes")
	})
}

func FuzzPackets(f *testing.F) {
	f.Add([]byte("\x00\x00\x81\x80\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"))
	f.Add([]byte("\x02\x00\x00\x14aaaaaaaaaaaaaaaa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSession(t.Context(), Spec{Secret: "x"})
		s.conn = &conn{packets: true}
		receive, err := patterns.get("never there")
		if err != nil {
			t.Fatal(err)
		}
		if err := (&dnsQuery{session: s, receive: receive}).judge(data); err == nil {
			t.Error("found what is not there")
		}
		if _, genuine := s.radiusJudge(make([]byte, radiusHead), data); genuine {
			t.Error("made without the secret")
		}
	})
}
