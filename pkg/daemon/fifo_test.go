package daemon

import (
	"bytes"
	"testing"
	"testing/iotest"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/halog"
)

// FuzzFIFO: whatever comes, what goes on is whole messages of bounded size, the same ones however the
// bytes are cut, and it costs little.
func FuzzFIFO(f *testing.F) {
	f.Add([]byte(">>>\nt=hb_takeover\nrsc_hold=all\n<<<\n"))
	f.Add([]byte("junk\n>>>\nt=ask_resources\n>>>\nt=hb_takeover\r\n<<<\r\nmore"))
	f.Add([]byte("<<<\n>>>\n\n<<<\n>>>\x00\n"))
	f.Add(append([]byte(">>>\n"), bytes.Repeat([]byte("t=x\n"), 1<<14)...))
	f.Add(append(append([]byte(">>>\n"), bytes.Repeat([]byte("t"), 1<<16)...), "\n<<<\n>>>\na=b\n<<<\n"...))
	log := halog.New(halog.Config{}).Logger("heartbeat", 0)
	f.Fuzz(func(t *testing.T, data []byte) {
		var whole [][]byte
		read := func() {
			whole = nil
			_ = splitFIFO(bytes.NewReader(data), log, func(m []byte) { whole = append(whole, m) }) // it is at its end
		}
		if got := alloc.Bytes(read); len(data) <= 1<<16 && got > alloc.Packet {
			t.Errorf("%d bytes allocated for %d", got, len(data))
		}
		var cut [][]byte
		_ = splitFIFO(iotest.OneByteReader(bytes.NewReader(data)), log, func(m []byte) { cut = append(cut, m) })
		if len(cut) != len(whole) {
			t.Fatalf("%d messages, byte by byte %d", len(whole), len(cut))
		}
		for i, m := range whole {
			if !bytes.Equal(m, cut[i]) {
				t.Errorf("message %d: %q, byte by byte %q", i, m, cut[i])
			}
			inner, ok := bytes.CutPrefix(m, []byte(">>>\n"))
			if inner, end := bytes.CutSuffix(inner, []byte("<<<\n")); !ok || !end || len(m) > fifoLimit+8 || bytes.HasPrefix(inner, []byte(">>>\n")) || bytes.Contains(inner, []byte("\n>>>\n")) {
				t.Errorf("not one whole message: %q", m)
			}
		}
	})
}
