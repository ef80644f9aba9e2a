package lab_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

func TestVMRunsAJob(t *testing.T) {
	t.Parallel()
	share := t.TempDir()
	var out, complaints bytes.Buffer
	script := "echo $WORD from $(uname -n); echo no >&2; touch /etc/lab-guest " + share + "/seen; ls /proc/net/ip_vs; exit 7"
	status := lab.VM(t, lab.Spec{
		Command: []string{"sh", "-c", script}, Env: append(os.Environ(), "WORD=hello"),
		Share: []string{share}, Stdout: &out, Stderr: &complaints,
	})
	if status != 7 || out.String() != "hello from guest\n/proc/net/ip_vs\n" || complaints.String() != "no\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, out.String(), complaints.String())
	}
	if _, err := os.Stat(share + "/seen"); err != nil {
		t.Errorf("a shared directory: %v", err)
	}
	if _, err := os.Stat("/etc/lab-guest"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the machine's own: %v", err)
	}
}

func TestVMHasALimit(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	_, err := lab.RunVM(t.Context(), lab.Spec{Command: []string{"sleep", "1000"}, Limit: 2 * time.Second})
	if errors.Is(err, lab.ErrNoVM) {
		t.Skip(err)
	}
	if err == nil || !strings.Contains(err.Error(), "not done within 2s") || time.Since(begin) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestInVM(t *testing.T) {
	t.Parallel()
	if !lab.InVM(t) {
		return
	}
	for _, args := range [][]string{
		{"-A", "-t", "10.0.0.1:80", "-s", "wlc", "-p", "600"},
		{"-a", "-t", "10.0.0.1:80", "-r", "10.0.0.2:80", "-g"},
	} {
		if out, err := exec.Command("ipvsadm", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	out, err := exec.Command("ipvsadm", "-S", "-n").Output()
	if err != nil || string(out) != "-A -t 10.0.0.1:80 -s wlc -p 600\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -g -w 1\n" {
		t.Errorf("%q, %v", out, err)
	}
	// Networks work in here as they do outside.
	_, a, b := pair(t)
	if !reaches(t, a, b) {
		t.Error("b does not hear a")
	}
}
