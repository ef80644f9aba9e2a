package compat

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// ourWords are what we say of a file in the place of rules, which the script's ipvsadm calls a mistake.
var ourWords = regexp.MustCompile("(?m)^(ipvsadm: /etc/ipvsadm.rules is no rules|Try `ipvsadm -h'.*)\n")

// TestVMIPVSService runs Debian's init script ipvsadm and ours in its place, operation after operation
// with several settings, and compares what they print, their exit statuses and the tables.
func TestVMIPVSService(t *testing.T) {
	if !lab.InVM(t) {
		return
	}
	const script = "/etc/init.d/ipvsadm"
	rules := "# rules\n-A -t 10.0.0.1:80 -s wlc -p 600\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 2\n-a -t 10.0.0.1:80 -r 10.0.0.3:80 -m\n-A -f 7 -s rr\n"
	for _, settings := range []string{
		"AUTO=\"false\"\nDAEMON=\"none\"\n", // the package's
		"AUTO='true' # yes\nDAEMON='both'\nIFACE='lo'\nSYNCID=\"3\"\n",
		"AUTO=yes\nDAEMON=backup\nIFACE=lo\n",
	} {
		write := func(path, text string) {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var got [2]string
		for i, ours := range []bool{false, true} {
			s := newSide(t, ours)
			write("/etc/default/ipvsadm", settings)
			write("/etc/ipvsadm.rules", rules)
			var b strings.Builder
			run := func(op ...string) {
				var r result
				if ours {
					r = s.run(script, "", op...)
				} else {
					r = s.exec(script, script, "", op...)
				}
				fmt.Fprintf(&b, "$ %s\n%s--- exit status %d\n", strings.Join(op, " "), ourWords.ReplaceAllString(r.stdout, ""), r.status)
				b.WriteString(s.inProcess("ipvsadm", "", "-S", "-n").stdout + s.inProcess("ipvsadm", "", "-L", "--daemon").stdout)
			}
			for _, op := range []string{"start", "status", "restart", "reload", "stop", "load", "rate", "save", "stop", "nosuch"} {
				run(op)
			}
			saved, err := os.ReadFile("/etc/ipvsadm.rules")
			if err != nil {
				t.Fatal(err)
			}
			b.Write(saved)
			if err := os.Remove("/etc/ipvsadm.rules"); err != nil {
				t.Fatal(err)
			}
			run("status") // makes the file
			saved, err = os.ReadFile("/etc/ipvsadm.rules")
			if err != nil {
				t.Fatal(err)
			}
			b.Write(saved)
			write("/etc/ipvsadm.rules", "-A -t 10.0.0.1:80 -s rr\n-A -t nonsense -s rr\n-A -t 10.0.0.1:81 -s rr\n")
			run("load")
			write("/etc/ipvsadm.rules", "GW=10.0.0.1\n-A -t 10.0.0.1:80 -s rr\n")
			run("load")
			run("stop")
			got[i] = b.String()
		}
		if d := cmp.Diff(got[0], got[1]); d != "" {
			t.Errorf("settings %q: - Debian's script, + ours\n%s", settings, d)
		}
	}
}
