package getopt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
)

var opts = []Opt{
	{Short: 'A', Long: "add-service"},
	{Short: 't', Long: "tcp-service", Value: Required},
	{Short: 'w', Long: "weight", Value: Required},
	{Short: 'n', Long: "numeric"},
	{Short: 'd', Long: "debug"},
	{Short: 'k'},
	{Long: "tun-type", Value: Required},
	{Long: "tun-port", Value: Required},
}

func text(r Result, err error) string {
	var parts []string
	for _, f := range r.Options {
		s := f.Opt.Long
		if s == "" {
			s = string(rune(f.Opt.Short))
		}
		if f.Opt.Value == Required {
			s += "=" + f.Value
		}
		parts = append(parts, s)
	}
	s := strings.Join(parts, " ")
	if len(r.Operands) > 0 {
		s += fmt.Sprintf(" %q", r.Operands)
	}
	if err != nil {
		s += " ! " + strings.ReplaceAll(err.Error(), "\n", " ! ")
	}
	return strings.TrimSpace(s)
}

// The texts are what the original heartbeat and a getopt_long(3) program print.
func TestGNU(t *testing.T) {
	g := Grammar{Opts: opts}
	for _, tc := range []struct{ args, want string }{
		{"", ""},
		{"-A -t 1.2.3.4:80 -w1", "add-service tcp-service=1.2.3.4:80 weight=1"},
		{"-At1.2.3.4:80", "add-service tcp-service=1.2.3.4:80"},
		{"-Atn", "add-service tcp-service=n"},
		{"-ddd op -n", `debug debug debug numeric ["op"]`},
		{"--weight 5 --wei=6 --weight=", "weight=5 weight=6 weight="},
		{"--weight -n", "weight=-n"},
		{"-w -- x", `weight=-- ["x"]`},
		{"--deb", "debug"},
		{"--DEBUG", "! unrecognized option '--DEBUG'"},
		{"--tun x", "! option '--tun' is ambiguous; possibilities: '--tun-type' '--tun-port'"},
		{"--nope=1 --numeric", "! unrecognized option '--nope'"},
		{"-dZn", "debug ! invalid option -- 'Z'"},
		{"-n -w", "numeric ! option requires an argument -- 'w'"},
		{"--weight", "! option '--weight' requires an argument"},
		{"--numeric=1", "! option '--numeric' doesn't allow an argument"},
		{"a -- -n --x", `["a" "-n" "--x"]`},
		{"- -n", `numeric ["-"]`},
		{"--k", "! unrecognized option '--k'"},
	} {
		if got := text(g.Parse(strings.Fields(tc.args))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.args, got, tc.want)
		}
	}
}

// The texts are what the original ldirectord prints.
func TestPerl(t *testing.T) {
	g := Grammar{Dialect: Perl, Opts: opts}
	for _, tc := range []struct{ args, want string }{
		{"-dn cf start", `debug numeric ["cf" "start"]`},
		{"cf -d start", `["cf" "-d" "start"]`},
		{"--DEBUG start", `debug ["start"]`},
		{"--de start", `["start"] ! Unknown option: de`},
		{"-xyz", "! Unknown option: x ! Unknown option: y ! Unknown option: z"},
		{"-dx start", `debug ["start"] ! Unknown option: x`},
		{"--nosuch=1 --other start", `["start"] ! Unknown option: nosuch ! Unknown option: other`},
		{"--debug=1 start", `["start"] ! Option debug does not take an argument`},
		{"-d=1 x", `debug ["x"] ! Unknown option: = ! Unknown option: 1`},
		{"-D start", `["start"] ! Unknown option: D`},
		{"-d -- -n", `debug ["-n"]`},
		{"-w", "! Option w requires an argument"},
	} {
		if got := text(g.Parse(strings.Fields(tc.args))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.args, got, tc.want)
		}
	}
}

func TestResult(t *testing.T) {
	r, err := Grammar{Opts: opts}.Parse([]string{"-d", "--debug", "-w1", "--wei", "2"})
	if err != nil {
		t.Fatal(err)
	}
	if n, m := r.Count("d"), r.Count("debug"); n != 2 || m != 2 || !r.Has("d") || r.Has("n") || r.Has("") {
		t.Errorf("count %d, %d", n, m)
	}
	if v, ok := r.Value("weight"); !ok || v != "2" {
		t.Errorf("weight %q", v)
	}
	if v, ok := r.Value("t"); ok {
		t.Errorf("-t, which is not given, is %q", v)
	}
	_, err = Grammar{Opts: opts}.Parse([]string{"--tun"})
	if e := new(Error); !errors.As(err, &e) || e.Kind != Ambiguous || !slices.Equal(e.Could, []string{"tun-type", "tun-port"}) {
		t.Errorf("error %#v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-At1 -d --wei=5 x -- y", false)
	f.Add("-dx --DEBUG a -n", true)
	f.Fuzz(func(t *testing.T, line string, perl bool) {
		g := Grammar{Opts: opts}
		if perl {
			g.Dialect = Perl
		}
		args := strings.Split(line, " ")
		if got := alloc.Bytes(func() { _, _ = g.Parse(args) }); len(line) <= 1<<16 && got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(line))
		}
		r, err := g.Parse(args)
		// Printed one by one, what was understood is understood the same.
		var again []string
		for _, o := range r.Options {
			name := "-" + string(rune(o.Opt.Short))
			if o.Opt.Short == 0 {
				name = "--" + o.Opt.Long
			}
			again = append(again, name)
			if o.Opt.Value == Required {
				again = append(again, o.Value)
			}
		}
		again = append(append(again, "--"), r.Operands...)
		if s, serr := g.Parse(again); text(s, serr) != text(r, nil) {
			t.Errorf("%q is %s; %q is %s", args, text(r, err), again, text(s, serr))
		}
	})
}

// The texts are what the original cl_status prints.
func TestShort(t *testing.T) {
	g := Grammar{Opts: opts, Dialect: Short}
	for _, tc := range []struct{ args, want string }{
		{"op -n -w5", `numeric weight=5 ["op"]`},
		{"-xn -y", "numeric ! invalid option -- 'x' ! invalid option -- 'y'"},
		{"--n", "numeric ! invalid option -- '-'"},
		{"-n -- -d", `numeric ["-d"]`},
		{"-w", "! option requires an argument -- 'w'"},
	} {
		if got := text(g.Parse(strings.Fields(tc.args))); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.args, got, tc.want)
		}
	}
	g.InOrder = true
	if got, want := text(g.Parse([]string{"-n", "op", "-x", "-w"})), `numeric ["op" "-x" "-w"]`; got != want {
		t.Errorf("in order: %s, want %s", got, want)
	}
}
