package applet

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/config/view"
	"github.com/systole-ha/systole/pkg/getopt"
)

var showProgram = program{
	name:    "show",
	summary: "print what was understood of a configuration file, defaults filled in",
	run:     show,
}

const showUsage = `Usage: systole show [--json] [--kind ha.cf|authkeys|haresources|ldirectord.cf] FILE
       systole show --fields KIND

Prints what was understood of a file, defaults filled in: in the grammar of the file, or with --json
as an object, times in seconds. Keys, passwords and the parameters of stonith devices are not shown.
The kind is taken from the file's name; any other name than ha.cf, authkeys and haresources is taken
for a ldirectord.cf. --fields lists the members of the object for a kind of file; later versions may
add some, and change or remove none.

Exit status: 0, 1 the file has errors (they are on standard error), 2 usage.
`

var showGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "json", Short: 'j'},
	{Long: "kind", Short: 'k', Value: getopt.Required},
	{Long: "fields", Value: getopt.Required},
	{Long: "help", Short: 'h'},
}}

func show(env Env, args []string) int {
	r, err := showGrammar.Parse(args)
	described, describe := r.Value("fields")
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole show: %v (systole show --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, showUsage)
		return exitSound
	case describe && len(r.Operands) == 0:
		return showFields(env, described)
	case len(r.Operands) != 1 || describe:
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
		return noKind(env, kind)
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
	object, text := in.understood(kind, file)
	if !r.Has("json") {
		fmt.Fprint(env.Stdout, text)
		return status
	}
	if object == nil {
		return status
	}
	out, err := json.MarshalIndent(object, "", "  ")
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole show: %v\n", err)
		return exitErrors
	}
	fmt.Fprintf(env.Stdout, "%s\n", out)
	return status
}

func noKind(env Env, kind string) int {
	fmt.Fprintf(env.Stderr, "systole show: no kind %q (want %s)\n", kind, strings.Join(kinds, ", "))
	return exitMisuse
}

// showFields describes the object of a kind of file.
func showFields(env Env, kind string) int {
	if !slices.Contains(kinds, kind) {
		return noKind(env, kind)
	}
	for _, f := range view.Fields(kind) {
		fmt.Fprintf(env.Stdout, "%-30s %-15s %s\n", f.Path, f.Type, f.Doc)
	}
	return exitSound
}

// understood is what file found out, as an object and in the grammar of the file; nothing of a file
// that could not be read, or of keys with errors.
func (in *inspector) understood(kind, file string) (object any, text string) {
	switch {
	case kind == "ha.cf" && in.parsed.HA != nil:
		return view.NewHA(in.parsed.HA), view.HAText(in.parsed.HA)
	case kind == "authkeys" && in.ring != nil:
		keys := view.NewKeys(file, in.ring)
		return keys, view.KeysText(keys)
	case kind == "haresources" && in.parsed.Resources != "":
		return view.NewGroups(file, in.parsed.Groups), view.GroupsText(in.parsed.Groups)
	case kind == "ldirectord.cf" && len(in.parsed.Ldirectord) > 0:
		cfg := in.parsed.Ldirectord[0]
		return view.NewDirector(cfg), view.DirectorText(cfg)
	}
	return nil, ""
}
