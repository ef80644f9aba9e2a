package getopt

import (
	"fmt"
	"strings"
	"testing"
)

var table = Grammar{Opts: []Opt{
	{Short: 'A', Long: "add-service"},
	{Short: 't', Long: "tcp-service", Value: Required},
	{Short: 'w', Long: "weight", Value: Required},
	{Short: 'p', Long: "persistent", Value: TakesNumber},
	{Short: 'n', Long: "numeric"},
	{Short: 'd', Long: "debug"},
	{Short: 'o', Long: "ops"},
	{Long: "tun-type", Value: Required},
	{Long: "tun-port", Value: Required},
	{Short: 'v', Long: "verbose", Value: Optional},
}}

func text(r Result, err error) string {
	var parts []string
	for _, f := range r.Options {
		s := f.Opt.Long
		if f.HasValue {
			s += "=" + f.Value
		}
		parts = append(parts, s)
	}
	s := strings.Join(parts, " ")
	if len(r.Operands) > 0 {
		s += fmt.Sprintf(" %q", r.Operands)
	}
	if err != nil {
		s += " ! " + err.Error()
	}
	return strings.TrimSpace(s)
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"-A -t 1.2.3.4:80 -w1", "add-service tcp-service=1.2.3.4:80 weight=1"},
		{"-At1.2.3.4:80", "add-service tcp-service=1.2.3.4:80"},
		{"-ddd op -n", `debug debug debug numeric ["op"]`},
		{"-p 300 -n", "persistent=300 numeric"},
		{"-p300", "persistent=300"},
		{"-p -n", "persistent numeric"},
		{"-pn x", `persistent numeric ["x"]`},
		{"--persistent --numeric", "persistent numeric"},
		{"--persistent=9", "persistent=9"},
		{"--weight 5 --wei=6", "weight=5 weight=6"},
		{"--deb", "debug"},
		{"--tun x", "! option '--tun' is ambiguous; possibilities: '--tun-type' '--tun-port'"},
		{"--nope", "! unrecognized option '--nope'"},
		{"-Z", "! invalid option -- 'Z'"},
		{"-n -w", "numeric ! option requires an argument -- 'w'"},
		{"--weight", "! option '--weight' requires an argument"},
		{"--numeric=1", "! option '--numeric' doesn't allow an argument"},
		{"a -- -n --x", `["a" "-n" "--x"]`},
		{"- -n", `numeric ["-"]`},
		{"-vv", "verbose=v"},
		{"-v 3", `verbose ["3"]`},
	} {
		if got := text(table.Parse(strings.Fields(tc.args))); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.args, got, tc.want)
		}
	}
}

// Perl's Getopt::Long: one dash or two, any case, no clusters.
func TestGetoptLong(t *testing.T) {
	g := Grammar{SingleDash: true, IgnoreCase: true, Opts: []Opt{{Short: 'd', Long: "debug"}, {Short: 'h', Long: "help"}, {Short: 'v', Long: "version"}}}
	for args, want := range map[string]string{
		"cf -d start":    `debug ["cf" "start"]`,
		"-debug start":   `debug ["start"]`,
		"--DEB start":    `debug ["start"]`,
		"-dh":            "! unrecognized option '-dh'",
		"cf start -help": `help ["cf" "start"]`,
	} {
		if got := text(g.Parse(strings.Fields(args))); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

func TestStopAtOperand(t *testing.T) {
	g := table
	g.StopAtOperand = true
	if got := text(g.Parse([]string{"-n", "x", "-A"})); got != `numeric ["x" "-A"]` {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-At1 -p 3 --wei=5 x -- y")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		r, err := table.Parse(args)
		if err == nil && len(r.Operands) > len(args) {
			t.Errorf("%d operands of %d arguments", len(r.Operands), len(args))
		}
	})
}
