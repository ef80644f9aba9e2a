package ldirectordcf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// world is the names and files of the machine on which the original was recorded.
func world() Options {
	return Options{
		LookupHost: func(name string, family ipvs.Family) (netip.Addr, error) {
			switch {
			case name == "localhost" && family == ipvs.IPv4:
				return netip.MustParseAddr("127.0.0.1"), nil
			case strings.HasSuffix(name, ".example.org") && family == ipvs.IPv4:
				return netip.MustParseAddr("192.0.2.7"), nil
			}
			return netip.Addr{}, errors.New("no such host")
		},
		LookupPort: func(name, proto string) (uint16, error) {
			switch {
			case name == "http" && proto != "udp":
				return 80, nil
			case name == "https":
				return 443, nil
			case name == "domain":
				return 53, nil
			case name == "sip":
				return 5060, nil
			}
			return 0, errors.New("no such service")
		},
		Writable: func(path string) error {
			if strings.HasPrefix(path, "/nonexist") {
				return &fs.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
			}
			return nil
		},
		DirExists: func(string) bool { return false },
		Hostname:  "director",
	}
}

// originalCase is one configuration of the record.
type originalCase struct {
	name, text     string
	original, ours []string
	differs        bool
}

func originalCases(t testing.TB) []originalCase {
	t.Helper()
	data, err := os.ReadFile("testdata/original-4.12.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "=== ")
	var cases []originalCase
	for part := range strings.SplitSeq(rest, "\n=== ") {
		name, body, _ := strings.Cut(part, "\n")
		text, answers, ok := strings.Cut(body, "---- original")
		if !ok {
			t.Fatalf("case %q has no answer", name)
		}
		original, ours, differs := strings.Cut(answers, "---- ours")
		c := originalCase{name: name, text: text, original: lines(original), ours: lines(ours), differs: differs}
		if !differs {
			c.ours = c.original
		}
		cases = append(cases, c)
	}
	return cases
}

func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// asOriginal tells what a run of Parse comes to in the words of the record: what it warned of
// in the original's words, and the first error or the services.
func asOriginal(cfg *Config, problems diag.List) []string {
	var out []string
	add := func(format string, args ...any) {
		if line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", `\n`); !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	for _, p := range problems {
		if p.WireLine != 0 {
			p.Pos.Line = max(p.WireLine, 0)
		}
		if p.Sev == diag.Error {
			add("E %d %s", p.Pos.Line, p.Wire)
			break
		}
		if p.Wire != "" {
			add("W %d %s", p.Pos.Line, p.Wire)
		}
	}
	if problems.Err() == nil {
		for i := range cfg.Virtuals {
			v := &cfg.Virtuals[i]
			s := v.IPVS()
			add("A %s %s p=%d", v.ID(), s.Scheduler, s.Persistent)
			for j := range v.Reals {
				r := &v.Reals[j]
				add("R %s x=%d y=%d %s", r.ID, r.Upper, r.Lower, v.ID())
			}
			if v.Fallback != nil {
				add("F %s %s %s", v.Fallback.Addr, forwardName(v.Fallback.Forward), v.ID())
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestAsOriginal(t *testing.T) {
	cases := originalCases(t)
	if len(cases) < 300 {
		t.Fatalf("%d cases: record not read", len(cases))
	}
	for _, c := range cases {
		cfg, problems := Parse("F", []byte(c.text), world())
		if got := asOriginal(cfg, problems); !slices.Equal(got, c.ours) {
			t.Errorf("%s\n%s  got  %q\n  want %q\n  %v", c.name, c.text, got, c.ours, problems)
		}
	}
}
