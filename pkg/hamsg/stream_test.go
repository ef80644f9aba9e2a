package hamsg_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// A piece of a long line is not taken for a line.
func TestEachMessageLongLines(t *testing.T) {
	long := ">>>\nx=" + strings.Repeat("x", 16<<10-2) + "<<<\ny=1\n<<<\n"
	var got []string
	_ = hamsg.EachMessage(strings.NewReader(long), 64<<10, func(text string) { t.Error(text) }, func(m []byte) { got = append(got, string(m)) }) // it is at its end
	if len(got) != 1 || got[0] != long {
		t.Errorf("%d messages: %.40q", len(got), got)
	}
}

// FuzzEachMessage: whatever comes, what goes on is whole messages of bounded size, the same ones
// however the bytes are cut, and it costs little.
func FuzzEachMessage(f *testing.F) {
	f.Add([]byte(">>>\nt=hb_takeover\nrsc_hold=all\n<<<\n"))
	f.Add([]byte("junk\n>>>\nt=ask_resources\n>>>\nt=hb_takeover\r\n<<<\r\nmore"))
	f.Add([]byte("<<<\n>>>\n\n<<<\n>>>\x00\n"))
	f.Add([]byte("###\n9:(0)t=abcd,5:(0)x=,%%%\n>>>\na=###\n<<<\n"))
	const limit = 4 << 10
	f.Add(append([]byte(">>>\n"), bytes.Repeat([]byte("t=x\n"), limit/4)...))
	f.Add(append(append([]byte(">>>\n"), bytes.Repeat([]byte("t"), limit)...), "\n<<<\n>>>\na=b\n<<<\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		warn := func(string) {}
		var whole, cut [][]byte
		read := func() {
			whole = nil
			_ = hamsg.EachMessage(bytes.NewReader(data), limit, warn, func(m []byte) { whole = append(whole, m) })
		}
		if got := alloc.Bytes(read); len(data) <= 1<<16 && got > alloc.Packet {
			t.Errorf("%d bytes allocated for %d", got, len(data))
		}
		_ = hamsg.EachMessage(iotest.OneByteReader(bytes.NewReader(data)), limit, warn, func(m []byte) { cut = append(cut, m) })
		if len(cut) != len(whole) {
			t.Fatalf("%d messages, byte by byte %d", len(whole), len(cut))
		}
		for i, m := range whole {
			if !bytes.Equal(m, cut[i]) {
				t.Errorf("message %d: %q, byte by byte %q", i, m, cut[i])
			}
			text := bytes.HasPrefix(m, []byte(">>>\n")) && bytes.HasSuffix(m, []byte("<<<\n")) && !bytes.Contains(m[4:], []byte("\n>>>\n"))
			netstring := bytes.HasPrefix(m, []byte("###\n")) && bytes.HasSuffix(m, []byte("%%%\n"))
			if !text && !netstring || len(m) > limit {
				t.Errorf("not one whole message: %q", m)
			}
		}
	})
}
