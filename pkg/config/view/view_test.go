package view_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/config/authkeys"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/view"
)

var update = flag.Bool("update", false, "write the golden files")

// read gives the object and the text of a file.
func read(t *testing.T, kind string, text []byte) (object any, shown string) {
	t.Helper()
	var err error
	switch kind {
	case "ha.cf":
		c, problems := hacf.Parse(kind, text, hacf.Host{})
		object, shown, err = view.NewHA(c), view.HAText(c), problems.Err()
	case "authkeys":
		ring, problems := authkeys.Parse(kind, text, authkeys.Any)
		if err = problems.Err(); err == nil {
			keys := view.NewKeys(kind, ring)
			object, shown = keys, view.KeysText(keys)
		}
	case "haresources":
		g, problems := haresources.Parse(kind, text, nil)
		object, shown, err = view.NewGroups(kind, g), view.GroupsText(g), problems.Err()
	default:
		c, problems := ldirectordcf.Parse(kind, text, ldirectordcf.Options{Hostname: "host"})
		object, shown, err = view.NewDirector(c), view.DirectorText(c), problems.Err()
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", kind, err, text)
	}
	return object, shown
}

func file(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(string(file(t, path)), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func asJSON(t *testing.T, object any) string {
	t.Helper()
	text, err := json.MarshalIndent(object, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

var kinds = []string{"ha.cf", "authkeys", "haresources", "ldirectord.cf"}

// TestEveryDirective shows files that use everything. No secret is in what is shown.
func TestEveryDirective(t *testing.T) {
	for _, kind := range kinds {
		object, text := read(t, kind, file(t, "testdata/"+kind))
		golden(t, "testdata/"+kind+".txt", text)
		golden(t, "testdata/"+kind+".json", asJSON(t, object))
		if all := text + asJSON(t, object); strings.Contains(all, "hush") {
			t.Errorf("%s: a secret is shown", kind)
		}
	}
}

// TestFilesAreComplete holds the files of TestEveryDirective against the parsers' directives.
func TestFilesAreComplete(t *testing.T) {
	has := func(kind, directive, after string) bool {
		return slices.ContainsFunc(strings.Split(string(file(t, "testdata/"+kind)), "\n"), func(line string) bool {
			return strings.HasPrefix(line, directive+after)
		})
	}
	for _, d := range hacf.Directives() {
		if !has("ha.cf", d, " ") {
			t.Errorf("ha.cf lacks %s", d)
		}
	}
	refused := []string{"connecttimeout", "timeout"} // in every case
	global, section := ldirectordcf.Directives()
	for _, d := range global {
		if !has("ldirectord.cf", d, "=") && !slices.Contains(refused, d) {
			t.Errorf("ldirectord.cf lacks %s", d)
		}
	}
	for _, d := range section {
		if !has("ldirectord.cf", "\t"+d, "=") && !slices.Contains(refused, d) {
			t.Errorf("ldirectord.cf lacks %s in a section", d)
		}
	}
}

// TestDefaults shows files that say as little as can be.
func TestDefaults(t *testing.T) {
	for kind, text := range map[string]string{
		"ha.cf": "", "haresources": "", "authkeys": "auth 1\n1 crc\n", "ldirectord.cf": "virtual=10.0.0.1:80\n\treal=10.0.0.2 gate\n",
	} {
		object, shown := read(t, kind, []byte(map[string]string{"ha.cf": "node a\nbcast eth0\nlogfile /x\n"}[kind]+text))
		golden(t, "testdata/"+kind+".least.txt", shown)
		golden(t, "testdata/"+kind+".least.json", asJSON(t, object))
	}
}

// TestFields pins the members of the objects, and finds each of them in a file's object, and no other.
func TestFields(t *testing.T) {
	for _, kind := range kinds {
		var lines []string
		want := map[string]bool{}
		for _, f := range view.Fields(kind) {
			lines = append(lines, fmt.Sprintf("%s\t%s", f.Path, f.Type))
			want[f.Path] = true
			if f.Doc == "" {
				t.Errorf("%s: %s is not described", kind, f.Path)
			}
		}
		golden(t, "testdata/"+kind+".fields", strings.Join(lines, "\n")+"\n")
		object, _ := read(t, kind, file(t, "testdata/"+kind))
		var tree any
		if err := json.Unmarshal([]byte(asJSON(t, object)), &tree); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		members("", tree, got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: - described, + there:\n%s", kind, d)
		}
	}
}

// members collects the paths of a JSON value's members.
func members(prefix string, value any, paths map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			path := prefix + name
			if l, ok := member.([]any); ok {
				paths[path+"[]"] = true
				for _, e := range l {
					members(path+"[].", e, paths)
				}
				continue
			}
			paths[path] = true
			members(path+".", member, paths)
		}
	}
}

// TestTextSaysTheSame reads files, and again what is shown of them.
func TestTextSaysTheSame(t *testing.T) {
	for _, of := range []struct{ kind, files string }{
		{"ha.cf", "../../../testdata/conf/tutorial/ha.cf"},
		{"haresources", "../../../testdata/conf/tutorial/haresources"},
		{"haresources", "testdata/haresources"},
		{"ldirectord.cf", "../../../testdata/conf/tutorial/ldirectord.cf"},
		{"ldirectord.cf", "../../../testdata/ldirectord/*.cf"},
	} {
		files, err := filepath.Glob(of.files)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", of.files, err)
		}
		tried := 0
		for _, path := range files {
			text := file(t, path)
			if _, problems := ldirectordcf.Parse("", text, ldirectordcf.Options{Hostname: "host"}); of.kind == "ldirectord.cf" && problems.Err() != nil {
				continue // a file with errors, or with names that need a resolver
			}
			tried++
			first, shown := read(t, of.kind, text)
			second, _ := read(t, of.kind, []byte(shown))
			if d := cmp.Diff(meaning(first), meaning(second)); d != "" {
				t.Errorf("%s: shown as\n%s\n- read, + read again:\n%s", path, shown, d)
			}
		}
		if tried < (len(files)+1)/2 {
			t.Errorf("%s: only %d of %d files", of.files, tried, len(files))
		}
	}
}

// meaning is an object without what its text does not say: secrets, and which values are defaults.
func meaning(object any) any {
	switch o := object.(type) {
	case view.HA:
		o.Defaults = nil
		return o
	case view.Director:
		for i := range o.Virtuals {
			o.Virtuals[i].Passwd, o.Virtuals[i].Secret = nil, nil
		}
		return o
	}
	return object
}
