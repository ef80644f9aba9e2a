package compat

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
)

// ourWords are what we say of a file in the place of rules, which the script's ipvsadm calls a mistake.
var ourWords = regexp.MustCompile("(?m)^(ipvsadm: /etc/ipvsadm.rules is no rules|Try `ipvsadm -h'.*)\n")

// TestVMIPVSService is the resource ipvsadm as init script, on a real kernel.
func TestVMIPVSService(t *testing.T) {
	if !lab.InVM(t) {
		return
	}
	t.Run("Debian", testDebianService)
	t.Run("RedHat", testRedHatService)
}

// testDebianService runs Debian's init script ipvsadm and ours in its place, operation after operation
// with several settings, and compares what they print, their exit statuses and the tables.
func testDebianService(t *testing.T) {
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

// testRedHatService is Red Hat's script, of which there is no original here, on a real kernel: the
// modules go with the last stop.
func testRedHatService(t *testing.T) {
	if err := os.Remove("/etc/default/ipvsadm"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/etc/sysconfig", 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/etc/sysconfig/ipvsadm":        "-A -t 10.0.0.1:80 -s wlc -p 600\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 2\n",
		"/etc/sysconfig/ipvsadm-config": "IPVS_SAVE_ON_STOP=\"yes\"\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The namespaces of the test before take a moment to go, and hold the modules until then.
	inUse := regexp.MustCompile(`(?m)^ip_vs_\w+ \d+ [1-9]`)
	waitFor(t, 20*time.Second, "no scheduler is in use", func() bool {
		text, err := os.ReadFile("/proc/modules")
		return err == nil && !inUse.Match(text)
	})
	s := newSide(t, true)
	for _, step := range []struct {
		op, stdout string
		status     int
	}{
		{"start", `^ipvsadm: Clearing the current IPVS table: \[  OK  \]\nipvsadm: Applying IPVS configuration:  \[  OK  \]\n$`, 0},
		{"status", `^IP Virtual Server(.|\n)*TCP  10.0.0.1:80 wlc persistent 600\n(.|\n)*\n\n$`, 0},
		{"restart", `Unloading modules: \[  OK  \]`, 1}, // they cannot be loaded again here: no modprobe has them
		{"status", `^ipvsadm: IPVS is not running.\n$`, 3},
		{"stop", `^$`, 0},
	} {
		r := s.inProcess("ipvsadm-service", "", step.op)
		if r.status != step.status || !regexp.MustCompile(step.stdout).MatchString(r.stdout) {
			t.Errorf("%s: %v", step.op, r)
		}
	}
	if text, err := os.ReadFile("/proc/modules"); err != nil || regexp.MustCompile(`(?m)^ip_vs`).Match(text) {
		t.Errorf("modules that are left: %v\n%s", err, text)
	}
	if text, err := os.ReadFile("/etc/sysconfig/ipvsadm"); err != nil || string(text) != "-A -t 10.0.0.1:80 -s wlc -p 600\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 2\n" {
		t.Errorf("saved: %v\n%s", err, text)
	}
}
