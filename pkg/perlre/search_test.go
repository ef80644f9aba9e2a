package perlre

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/alloc"
)

// feed gives text to a search in pieces of n bytes.
func feed(t *testing.T, re *Regexp, text []byte, n int) bool {
	t.Helper()
	s := re.Search()
	for len(text) > 0 {
		piece := text[:min(n, len(text))]
		text = text[len(piece):]
		found, err := s.Feed(piece, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			return true
		}
		if cap(s.held) > 2*window {
			t.Fatalf("search holds %d bytes", cap(s.held))
		}
	}
	found, err := s.End(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSearchLongText(t *testing.T) {
	filler := bytes.Repeat([]byte("<p>nothing here</p>\n"), 20000) // 400 kB
	at := func(i int, s string) []byte {
		text := bytes.Clone(filler)
		return append(text[:i:i], append([]byte(s), text[i:]...)...)
	}
	tests := []struct {
		name, pattern string
		text          []byte
		want          bool
	}{
		{"plain, nowhere", "Test Page", filler, false},
		{"plain, first", "Test Page", at(0, "Test Page"), true},
		{"plain, across a window", "Test Page", at(window-4, "Test Page"), true},
		{"plain, last", "Test Page", at(len(filler), "Test Page"), true},
		{"class, across a window", `T[a-z]+ P\w+`, at(window-4, "Test Page"), true},
		{"class, across a later window", `T[a-z]+ P\w+`, at(window+window-overlap-4, "Test Page"), true},
		{"start only", `^Test`, at(300000, "Test"), false},
		{"start, at the start", `^Test\s`, at(0, "Test "), true},
		{"start of a line", `(?m)^Test$`, at(300000, "Test\n"), true},
		{"end only", `Test$`, at(window-4, "Test"), false},
		{"end, at the end", `Test$`, at(len(filler), "Test\n"), true},
		{"not followed, at a window's end", `Test(?! Page)`, at(window-4, "Test Page"), false},
		{"not followed, elsewhere", `Test(?! Page)`, at(window-4, "Test Pages Test it"), true},
		{"looking back over a window's start", `(?<=Test )Page`, at(window-5, "Test Page"), true},
	}
	for _, tt := range tests {
		re, err := Compile(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1000, 4096, 1 << 20} {
			if got := feed(t, re, tt.text, n); got != tt.want {
				t.Errorf("%s: %q in pieces of %d: %v", tt.name, tt.pattern, n, got)
			}
		}
	}
}

// TestSearchAsMatch holds a search of a text in small pieces against Perl's answers.
func TestSearchAsMatch(t *testing.T) {
	cases, texts := perlCases(t)
	for _, c := range cases {
		re, err := Compile(c.pattern)
		if err != nil || c.refused {
			continue
		}
		for _, text := range texts {
			if got := feed(t, re, []byte(text), 3); got != c.matches[text] != different[[2]string{c.pattern, text}] {
				t.Errorf("%q on %q: %v", c.pattern, text, got)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	re, err := Compile(`^(a+)+$`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if ok, err := re.Match([]byte(strings.Repeat("a", 50)+"b"), 100*time.Millisecond); err == nil || ok {
		t.Errorf("match without end: %v, %v", ok, err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("limit of 0.1 s kept after %v", took)
	}
	re, err = Compile(`(?:(a)|b(?=b|a|$))*c`)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := re.Match(bytes.Repeat([]byte("ab"), 1<<19), 10*time.Second); ok || err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("match of unbounded depth: %v, %v", ok, err)
	}
}

func TestTooDeep(t *testing.T) {
	if _, err := Compile(strings.Repeat("(", 100000)); err == nil {
		t.Error("100000 open groups compiled")
	}
}

func FuzzCompile(f *testing.F) {
	cases, _ := perlCases(f)
	for _, c := range cases {
		f.Add(c.pattern, "Test HA Page\n")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if got := alloc.Bytes(func() { _, _ = Compile(pattern) }); len(pattern) <= 1<<16 && got > 8*alloc.Text {
			t.Errorf("%d bytes allocated for a pattern of %d", got, len(pattern))
		}
		start := time.Now()
		re, err := Compile(pattern)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q: compiled in %v", pattern, took)
		}
		if err != nil {
			return
		}
		start = time.Now()
		defer func() {
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%q on %q: %v", pattern, text, took)
			}
		}()
		whole, err := re.Match([]byte(text), 50*time.Millisecond)
		if err != nil {
			return
		}
		s := re.Search()
		found, err := s.Feed([]byte(text), 50*time.Millisecond)
		if err == nil && !found {
			found, err = s.End(50 * time.Millisecond)
		}
		if err == nil && len(text) < window && found != whole {
			t.Errorf("%q on %q: Match %v, Search %v", pattern, text, whole, found)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	text := []byte(strings.Repeat("<p>some words of a page</p>\n", 100) + "Test HA Page")
	for _, pattern := range []string{"Test HA Page", "Test .* Page", "(?i)test ha page"} {
		re, err := Compile(pattern)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(pattern, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := re.Match(text, time.Second); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
