package applet

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
)

// TestShowSaysTheSame reads files, and again what show prints of them.
func TestShowSaysTheSame(t *testing.T) {
	meaning := func(value any) string {
		text, err := json.MarshalIndent(plain(reflect.ValueOf(value)), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, kind := range []struct {
		files string
		read  func(text []byte) (value any, again string, err error)
	}{
		{"../../testdata/conf/tutorial/ha.cf", func(text []byte) (any, string, error) {
			c, problems := hacf.Parse("", text, hacf.Host{})
			return c, haCFText(c), problems.Err()
		}},
		{"../../testdata/conf/tutorial/haresources", func(text []byte) (any, string, error) {
			g, problems := haresources.Parse("", text, nil)
			return g, haresourcesText(g), problems.Err()
		}},
		{"../../testdata/ldirectord/*.cf", func(text []byte) (any, string, error) {
			c, problems := ldirectordcf.Parse("", text, ldirectordcf.Options{Hostname: "host"})
			for i := range c.Virtuals {
				c.Virtuals[i].Password, c.Virtuals[i].Secret = "", "" // they are not shown
				for j := range c.Virtuals[i].Reals {
					c.Virtuals[i].Reals[j].ID = "" // has a pair in it that the original reads and does not use
				}
			}
			return c, ldirectordText(c), problems.Err()
		}},
	} {
		files, err := filepath.Glob(kind.files)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", kind.files, err)
		}
		tried := 0
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, shown, err := kind.read(text)
			if err != nil {
				continue // a file with errors, or with names that need a resolver
			}
			tried++
			second, _, err := kind.read([]byte(shown))
			if err != nil {
				t.Errorf("%s: %v\n%s", file, err, shown)
			} else if d := cmp.Diff(meaning(first), meaning(second)); d != "" {
				t.Errorf("%s: shown as\n%s\n- read, + read again:\n%s", file, shown, d)
			}
		}
		if tried < (len(files)+1)/2 {
			t.Errorf("%s: only %d of %d files", kind.files, tried, len(files))
		}
	}
}

// TestShowHidesSecrets looks for the passwords of a file in what show prints.
func TestShowHidesSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"x.cf":     "virtual=10.0.0.1:3306\n\treal=10.0.0.2:3306 gate\n\tservice=mysql\n\tlogin=\"me\"\n\tpasswd=\"hush\"\n\tsecret=\"hush\"\n",
		"authkeys": "auth 1\n1 sha1 hush\n2 md5 hush\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{file}, {"--json", file}} {
			var out bytes.Buffer
			status := show(Env{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}, args)
			if status != exitSound || bytes.Contains(out.Bytes(), []byte("hush")) {
				t.Errorf("show %v: status %d\n%s", args, status, out.String())
			}
		}
	}
}
