package applet

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/hbauth"
)

var showProgram = program{
	name:    "show",
	summary: "print what was understood of a configuration file, defaults filled in",
	run:     show,
}

const showUsage = `Usage: systole show [--json] [--kind ha.cf|authkeys|haresources|ldirectord.cf] FILE

Prints what was understood of a file, defaults filled in: in the grammar of the file, or with --json
as an object, times in seconds. Keys, passwords and secrets are not shown. The kind is taken from
the file's name; any other name than ha.cf, authkeys and haresources is taken for a ldirectord.cf.

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
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole show: %v (systole show --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, showUsage)
		return exitSound
	case len(r.Operands) != 1:
		fmt.Fprint(env.Stderr, showUsage)
		return exitMisuse
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
		return exitMisuse
	}
	in := newInspector(env)
	in.file(kind, file)
	for _, p := range in.problems[file] {
		fmt.Fprintln(env.Stderr, p)
	}
	status := exitSound
	if in.problems[file].Err() != nil {
		status = exitErrors
	}
	out := in.understood(kind)
	if r.Has("json") {
		text, err := json.MarshalIndent(plain(reflect.ValueOf(out.value)), "", "  ")
		if err != nil {
			fmt.Fprintf(env.Stderr, "systole show: %v\n", err)
			return exitErrors
		}
		fmt.Fprintf(env.Stdout, "%s\n", text)
		return status
	}
	fmt.Fprint(env.Stdout, out.text)
	return status
}

// understanding is a file as it was understood, as a value and in its grammar.
type understanding struct {
	value any
	text  string
}

// understood is what file found out; nothing of a file that could not be read, or of keys with errors.
func (in *inspector) understood(kind string) understanding {
	switch {
	case kind == "ha.cf" && in.parsed.HA != nil:
		return understanding{in.parsed.HA, haCFText(in.parsed.HA)}
	case kind == "authkeys" && in.ring != nil:
		keys := listKeys(in.ring)
		return understanding{keys, authkeysText(keys)}
	case kind == "haresources" && in.parsed.Resources != "":
		return understanding{in.parsed.Groups, haresourcesText(in.parsed.Groups)}
	case kind == "ldirectord.cf" && len(in.parsed.Ldirectord) > 0:
		cfg := in.parsed.Ldirectord[0]
		return understanding{cfg, ldirectordText(cfg)}
	}
	return understanding{}
}

// shownKey is a key of authkeys without its text.
type shownKey struct {
	Number int
	Method string
	Signs  bool
}

func listKeys(ring *hbauth.Ring) []shownKey {
	var keys []shownKey
	signs, _ := ring.Selected()
	for n := range hbauth.MaxKeys {
		if k, ok := ring.Key(n); ok {
			keys = append(keys, shownKey{n, k.Method.String(), n == signs})
		}
	}
	return keys
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

// hidden are the fields that are not shown when they are set.
var hidden = []string{"password", "secret"}

// plain turns a value into objects, lists and simple values: what has a text of its own (addresses,
// words) becomes it, times become seconds, positions and problems are left out.
func plain(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.Seconds()
	case ldirectordcf.EmailStatus:
		return emailStatus(x)
	case fmt.Stringer:
		if v.Kind() != reflect.Pointer {
			return x.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		o := object{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name := f.Tag.Get("json")
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			if !f.IsExported() || name == "-" || f.Type == reflect.TypeFor[diag.Pos]() || f.Type == reflect.TypeFor[diag.List]() {
				continue
			}
			value := plain(v.Field(i))
			if slices.Contains(hidden, name) && value != "" {
				value = notShown
			}
			o = append(o, field{name, value})
		}
		return o
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	}
	return v.Interface()
}
