package ldirectordcf

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

const corpus = "../../../testdata/ldirectord"

// TestCorpus holds everything that is understood of each file of the corpus against
// testdata/NAME.golden.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob(corpus + "/*.cf")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	used := map[string]bool{}
	for _, file := range files {
		name := filepath.Base(file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cfg, problems := Parse(name, text, world())
		for d := range directivesIn(string(text)) {
			used[d] = true
		}
		var b strings.Builder
		for _, p := range problems {
			fmt.Fprintf(&b, "%v\n\toriginal: %q\n", p, p.Wire)
		}
		if problems.Err() == nil {
			dump(&b, cfg)
		}
		golden := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (-want +got, -update to accept):\n%s", name, diff)
		}
	}
	for name := range globalDirectives {
		if !used[name] && name != "timeout" && name != "connecttimeout" {
			t.Errorf("the corpus does not use the global directive %s", name)
		}
	}
	for name := range sectionDirectives {
		if !used[name] && name != "connecttimeout" {
			t.Errorf("the corpus does not use the directive %s", name)
		}
	}
}

func directivesIn(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(text) {
		found[firstWord(line)] = true
	}
	return found
}

// dump writes a Config field by field.
func dump(b *strings.Builder, cfg *Config) {
	g := cfg.Global
	g.places = nil // every Pos below is one
	b.WriteString(strings.Replace(fmt.Sprintf("%+v\n", g), " places:map[]", "", 1))
	for _, v := range cfg.Virtuals {
		fmt.Fprintf(b, "\n%s (%s), timeout %v\n", v.ID(), v.Label(), v.Timeout())
		if v.Fallback != nil {
			fmt.Fprintf(b, "fallback %+v\n", *v.Fallback)
		}
		for _, r := range v.Reals {
			fmt.Fprintf(b, "  %+v\n", r)
		}
		v.Reals, v.Fallback, v.places = nil, nil, nil
		// Options is not of this file.
		b.WriteString(strings.Replace(fmt.Sprintf("%+v\n", v), fmt.Sprintf(" Options:%+v places:map[]", v.Options), "", 1))
	}
}
