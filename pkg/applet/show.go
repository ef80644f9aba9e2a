package applet

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/getopt"
)

var showProgram = program{
	name:    "show",
	summary: "print what was understood of a configuration file, defaults filled in",
	run:     show,
}

const showUsage = `Usage: systole show [--json] [--kind ha.cf|authkeys|haresources|ldirectord.cf] FILE

Prints what was understood of a file, defaults filled in. The kind is taken from the file's name:
authkeys, haresources, ha.cf; any other name is taken for a ldirectord.cf. Keys, passwords and secrets are not printed.

Exit status: 0, 1 the file has errors (they are on standard error), 2 usage.
`

var showGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "json", Short: 'j'},
	{Long: "kind", Short: 'k', Value: getopt.Required},
	{Long: "help", Short: 'h'},
}}

func show(env Env, args []string) int {
	r, err := showGrammar.Parse(args)
	switch {
	case r.Has("help"):
		fmt.Fprint(env.Stdout, showUsage)
		return 0
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole show: %v\n", err)
		return 2
	case len(r.Operands) != 1:
		fmt.Fprint(env.Stderr, showUsage)
		return 2
	}
	file := r.Operands[0]
	kind, given := r.Value("kind")
	if !given {
		kind = "ldirectord.cf"
		if base := filepath.Base(file); slices.Contains(kinds, base) {
			kind = base
		}
	}
	if !slices.Contains(kinds, kind) {
		fmt.Fprintf(env.Stderr, "systole show: no kind %q (want %s)\n", kind, strings.Join(kinds, ", "))
		return 2
	}
	in := newInspector(env)
	text, ok := in.text(file)
	var value any
	if ok {
		value = in.understood(kind, file, text)
	}
	status := 0
	for _, p := range in.problems[file] {
		fmt.Fprintln(env.Stderr, p)
		if p.Sev == diag.Error {
			status = 1
		}
	}
	if value == nil {
		return status
	}
	if r.Has("json") {
		out := json.NewEncoder(env.Stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(plain(reflect.ValueOf(value))); err != nil {
			fmt.Fprintf(env.Stderr, "systole show: %v\n", err)
			return 1
		}
		return status
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 8, 2, ' ', 0)
	write(w, "", plain(reflect.ValueOf(value)))
	if err := w.Flush(); err != nil {
		fmt.Fprintf(env.Stderr, "systole show: %v\n", err)
		return 1
	}
	return status
}

// understood parses the file and returns its value; keys are left out.
func (in *inspector) understood(kind, file string, text []byte) any {
	switch kind {
	case "ha.cf":
		in.haCF(file, text)
		return in.parsed.HA
	case "authkeys":
		in.authkeys(file, text)
		if in.ring == nil {
			return nil
		}
		type key struct {
			Number   int
			Method   string
			Selected bool
		}
		var keys []key
		signs, _ := in.ring.Selected()
		for n := range 16 {
			if k, ok := in.ring.Key(n); ok {
				keys = append(keys, key{n, k.Method.String(), n == signs})
			}
		}
		return keys
	case "haresources":
		in.haresources(file, text, nil)
		return in.parsed.Groups
	}
	return in.ldirectord(file, text)
}

// field keeps a struct's order, which a map would lose.
type field struct {
	name  string
	value any
}

type object []field

// MarshalJSON writes the fields in their order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// plain turns a value into objects, lists and simple values: what has a text of its own (times,
// addresses, words) becomes it, positions and problems are left out.
func plain(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case diag.Pos, diag.List:
		return nil
	case fmt.Stringer:
		if v.Kind() != reflect.Pointer || !v.IsNil() {
			return x.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		o := object{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if f.Type == reflect.TypeFor[diag.Pos]() || f.Type == reflect.TypeFor[diag.List]() {
				continue
			}
			value := plain(v.Field(i))
			if (f.Name == "Password" || f.Name == "Secret") && value != "" {
				value = "(not shown)"
			}
			o = append(o, field{strings.ToLower(f.Name), value})
		}
		return o
	case reflect.Slice, reflect.Array:
		list := []any{}
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}

// write prints a value as "name  value" lines; parts of parts have their parents' names before a dot.
func write(w *tabwriter.Writer, prefix string, v any) {
	switch v := v.(type) {
	case object:
		for _, f := range v {
			name := f.name
			if prefix != "" {
				name = prefix + "." + name
			}
			write(w, name, f.value)
		}
	case []any:
		simple := true
		for _, x := range v {
			if _, ok := x.(object); ok {
				simple = false
			}
		}
		if simple {
			var words []string
			for _, x := range v {
				words = append(words, fmt.Sprint(x))
			}
			fmt.Fprintf(w, "%s\t%s\n", prefix, strings.Join(words, " "))
			return
		}
		for i, x := range v {
			write(w, fmt.Sprintf("%s[%d]", prefix, i), x)
		}
	case nil:
		fmt.Fprintf(w, "%s\t-\n", prefix)
	default:
		fmt.Fprintf(w, "%s\t%v\n", prefix, v)
	}
}
