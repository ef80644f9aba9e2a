package hamsg_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// split feeds the stream in pieces of that many bytes and returns the messages found.
func split(t *testing.T, stream string, size int) (messages []string, skipped int) {
	t.Helper()
	var s hamsg.Splitter
	for len(stream) > 0 {
		n := min(size, len(stream))
		if _, err := s.Write([]byte(stream[:n])); err != nil {
			t.Fatal(err)
		}
		stream = stream[n:]
		for m := s.Next(); m != nil; m = s.Next() {
			messages = append(messages, string(m))
		}
	}
	return messages, s.Skipped()
}

func TestSplitter(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		want         []string
		skipped      int
	}{
		{"two messages", ">>>\na=1\n<<<\n>>>\nb=2\n<<<\n", []string{">>>\na=1\n<<<\n", ">>>\nb=2\n<<<\n"}, 0},
		{"joined in the middle", "=1\n<<<\n>>>\nb=2\n<<<\n", []string{">>>\nb=2\n<<<\n"}, 7},
		{"a writer cut off by another", ">>>\na=1\n>>>\nb=2\n<<<\nc=3\n<<<\n", []string{">>>\nb=2\n<<<\n"}, 16},
		{"noise between", ">>>\na=1\n<<<\n\n\xff\xff\n>>>\nb=2\n<<<\n", []string{">>>\na=1\n<<<\n", ">>>\nb=2\n<<<\n"}, 4},
		{"NUL after a message", ">>>\na=1\n<<<\n\x00>>>\nb=2\n<<<\n", []string{">>>\na=1\n<<<\n", ">>>\nb=2\n<<<\n"}, 0},
		{"no end", ">>>\na=1\n", nil, 0},
		{"half a mark", ">>>\na=1\n<<<", nil, 0},
		{"too long", ">>>\n" + strings.Repeat("a=1\n", 70_000) + "<<<\n>>>\nb=2\n<<<\n", []string{">>>\nb=2\n<<<\n"}, 280_008},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			got, skipped := split(t, c.stream, size)
			if strings.Join(got, "|") != strings.Join(c.want, "|") || skipped != c.skipped {
				t.Errorf("%s, %d bytes at a time: %q, %d skipped, want %q, %d", c.name, size, got, skipped, c.want, c.skipped)
			}
		}
	}
}

func TestSplitterForgetsAnEndlessLine(t *testing.T) {
	got, skipped := split(t, ">>>\n"+strings.Repeat("x", hamsg.MaxMessage+10)+"\n>>>\nb=2\n<<<\n", 4096)
	if len(got) != 1 || got[0] != ">>>\nb=2\n<<<\n" || skipped != hamsg.MaxMessage+15 {
		t.Errorf("got %q, %d skipped", got, skipped)
	}
}

// FuzzSplitter: the same messages come out however the bytes are cut, and none of the bytes is lost
// count of.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("noise\x00>>>\nt=status\n<<<\n>>>\nt=x\n>>>\nt=y\n<<<\nrest"), 3)
	f.Add([]byte(">>>\n<<<\n<<<\n\x00\x00>>>more\n<<<more\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		split := func(step int) (messages [][]byte, skipped int) {
			var s hamsg.Splitter
			for rest := data; len(rest) > 0; {
				n := min(max(step, 1), len(rest))
				_, _ = s.Write(rest[:n]) // it never fails
				rest = rest[n:]
				for m := s.Next(); m != nil; m = s.Next() {
					messages = append(messages, m)
				}
			}
			return messages, s.Skipped()
		}
		if got := alloc.Bytes(func() { split(len(data)) }); len(data) <= 1<<16 && got > alloc.Packet {
			t.Errorf("%d bytes allocated for %d", got, len(data))
		}
		whole, skipped := split(len(data))
		cut, skippedCut := split(step)
		if len(whole) != len(cut) || skipped != skippedCut {
			t.Fatalf("%d messages and %d bytes skipped; in pieces of %d %d and %d", len(whole), skipped, step, len(cut), skippedCut)
		}
		for i, m := range whole {
			if !bytes.Equal(m, cut[i]) || !bytes.HasPrefix(m, []byte(">>>\n")) || !bytes.HasSuffix(m, []byte("<<<\n")) {
				t.Errorf("message %d: %q, in pieces %q", i, m, cut[i])
			}
		}
	})
}
