package perlre

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// unsupported is what Perl compiles and this package refuses.
var unsupported = map[string]bool{
	"(?|(a)|(b))\\1": true, "(a)(?1)": true, "(?(DEFINE)a)": true, "(*FAIL)": true, "(*SKIP)a": true, "(*pla:a)": true,
	`\b{wb}`: true,
}

// lenient is what Perl refuses and this package compiles: all of it is harmless.
var lenient = map[string]bool{"(?<=a*)b": true}

// different is where a match differs: the engine keeps what a group captured in an earlier turn
// of a loop, Perl forgets it.
var different = map[[2]string]bool{{`((a)(b)?)+\3`, "abab"}: true}

// perlCase is one pattern of testdata/perl-5.36.txt with the texts that it matches.
type perlCase struct {
	pattern string
	refused bool
	matches map[string]bool
}

// perlCases reads the record of what perl 5.36 made of each pattern and text.
func perlCases(t testing.TB) (cases []perlCase, texts []string) {
	t.Helper()
	data, err := os.ReadFile("testdata/perl-5.36.txt")
	if err != nil {
		t.Fatal(err)
	}
	inTexts := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		kind, quoted, _ := strings.Cut(line, "\t")
		if kind != "" {
			kind, quoted, _ = strings.Cut(line, " ")
		}
		text := ""
		if quoted != "" {
			if text, err = strconv.Unquote(quoted); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		switch {
		case kind == "texts":
			inTexts = true
		case kind == "" && inTexts:
			texts = append(texts, text)
		case kind == "":
			cases[len(cases)-1].matches[text] = true
		default:
			cases = append(cases, perlCase{text, kind == "refused", map[string]bool{}})
		}
	}
	return cases, texts
}

func TestAsPerl(t *testing.T) {
	cases, texts := perlCases(t)
	if len(cases) < 300 || len(texts) < 80 {
		t.Fatalf("%d patterns, %d texts: record not read", len(cases), len(texts))
	}
	for _, c := range cases {
		re, err := Compile(c.pattern)
		switch {
		case c.refused && err == nil && !lenient[c.pattern]:
			t.Errorf("%q: compiled, perl refuses it", c.pattern)
		case !c.refused && err != nil && !unsupported[c.pattern]:
			t.Errorf("%q: %v", c.pattern, err)
		case err == nil && unsupported[c.pattern], err != nil && lenient[c.pattern]:
			t.Errorf("%q: listed, but err is %v", c.pattern, err)
		}
		if c.refused || err != nil {
			continue
		}
		for _, text := range texts {
			got, err := re.Match([]byte(text), time.Second)
			if err != nil || got != c.matches[text] != different[[2]string{c.pattern, text}] {
				t.Errorf("%q on %q: %v, %v; perl says %v", c.pattern, text, got, err, c.matches[text])
			}
		}
	}
}
