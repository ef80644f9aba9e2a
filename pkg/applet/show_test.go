package applet

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestShowHidesSecrets looks for the passwords of a file in what show prints.
func TestShowHidesSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"x.cf":     "virtual=10.0.0.1:3306\n\treal=10.0.0.2:3306 gate\n\tservice=mysql\n\tlogin=\"me\"\n\tpasswd=\"hush\"\n\tsecret=\"hush\"\n",
		"ha.cf":    "logfile /x\nbcast lo\nnode a\nstonith_host * null hush\n",
		"authkeys": "auth 1\n1 sha1 hush\n2 md5 hush\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{file}, {"--json", file}} {
			var out bytes.Buffer
			status := show(Env{Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }}, args)
			if status == exitMisuse || bytes.Contains(out.Bytes(), []byte("hush")) {
				t.Errorf("show %v: status %d\n%s", args, status, out.String())
			}
		}
	}
}
